//! A Redis that is stopped, killed, or was never there.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use super::support::{Edge, HOUR, Logs, Servers, settings, somebody, visit};

/// The time limit of a batch, and how long a batch may take on a machine that is busy.
const LIMIT_MS: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_stopped_redis_costs_the_time_limit_then_nothing_and_is_found_again() {
    let servers = Servers::start("redis");
    let (logs, _guard) = Logs::catch();
    let mut settings = settings(&servers.address("WAYPOST_TEST_REDIS"));
    (settings.timeout_ms, settings.breaker_failures, settings.breaker_ms) = (LIMIT_MS, 3, 3_000);
    let edge = Edge::start(&settings);
    edge.until_answered().await;
    let seen = somebody();
    assert!(edge.is_fresh(visit(seen, HOUR)).await);

    servers.signal("redis", "-STOP");
    for failed in 1..=3 {
        let began = Instant::now();
        assert!(edge.is_fresh(visit(somebody(), HOUR)).await);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(LIMIT_MS) && took < PATIENCE, "{took:?}");
        assert_eq!(edge.requests("timeout"), failed);
    }
    assert_eq!(edge.metric("waypost_redis_breaker_open"), 1);
    let stranger = somebody();
    assert!(edge.is_fresh(visit(stranger, HOUR)).await);
    assert_eq!((edge.requests("skipped"), edge.requests("timeout")), (1, 3), "an open breaker asks nobody");
    // Both those from before and those of the meantime are known.
    assert!(!edge.is_fresh(visit(seen, HOUR)).await);
    assert!(!edge.is_fresh(visit(stranger, HOUR)).await);
    assert_eq!(edge.requests("skipped"), 1, "what is known asks nobody");

    servers.signal("redis", "-CONT");
    edge.until_answered().await;
    assert_eq!(edge.metric("waypost_redis_breaker_open"), 0);
    assert!(!edge.is_fresh(visit(stranger, HOUR)).await);
    assert_eq!(logs.count("Redis failed several times in a row"), 1, "{}", logs.text());
    assert_eq!(logs.count("Redis answers again"), 1, "{}", logs.text());
}

#[tokio::test]
async fn a_killed_redis_is_found_again_when_it_is_back() {
    let servers = Servers::start("redis");
    let (logs, _guard) = Logs::catch();
    let mut settings = settings(&servers.address("WAYPOST_TEST_REDIS"));
    (settings.timeout_ms, settings.breaker_ms) = (500, 100);
    let edge = Edge::start(&settings);
    edge.until_answered().await;
    let seen = somebody();
    assert!(edge.is_fresh(visit(seen, HOUR)).await);

    servers.signal("redis", "-KILL");
    let began = Instant::now();
    while edge.metric("waypost_redis_breaker_open") == 0 {
        assert!(began.elapsed() < PATIENCE, "{}", logs.text());
        assert!(edge.is_fresh(visit(somebody(), HOUR)).await);
        tokio::task::yield_now().await;
    }
    assert_eq!(edge.requests("timeout"), 0, "a closed port is no reason to wait");

    servers.bring_up();
    edge.until_answered().await;
    // Redis came back empty; the edge did not forget.
    assert!(!edge.is_fresh(visit(seen, HOUR)).await);
    assert_eq!(logs.count("Redis cannot be reached"), 1, "{}", logs.text());
    assert_eq!(logs.count("Redis is reached again"), 1, "{}", logs.text());
}

#[tokio::test]
async fn a_redis_that_never_was_only_warns() {
    // Bound and not listening: connections are refused.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (logs, _guard) = Logs::catch();
    let edge = Edge::start(&settings(&format!("redis://user:hunter2@{nobody}")));
    let key = somebody();
    let began = Instant::now();
    assert!(edge.is_fresh(visit(key, HOUR)).await);
    assert!(!edge.is_fresh(visit(key, HOUR)).await);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!((edge.requests("error"), edge.visits("unanswered"), edge.visits("known")), (1, 1, 1));
    assert_eq!(logs.count("Redis cannot be reached"), 1, "{}", logs.text());
    assert!(!logs.text().contains("hunter2"), "{}", logs.text());
}
