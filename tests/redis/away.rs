//! A Redis that is stopped, killed, or was never there.

use std::time::{Duration, Instant};

use super::support::{Edge, HOUR, Logs, Servers, settings, somebody, visit};

/// The time limit of a batch, and how long a batch may take on a machine that is busy.
const LIMIT_MS: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(10);

const OPENED: &str = "Redis failed several times in a row";
const CLOSED: &str = "Redis answers again";
const LOST: &str = "Redis cannot be reached";
const FOUND: &str = "Redis is reached again";

#[tokio::test]
async fn a_stopped_redis_costs_the_time_limit_then_nothing_and_is_found_again() {
    let servers = Servers::start("redis");
    let (logs, _guard) = Logs::catch();
    let mut settings = settings(&servers.address("WAYPOST_TEST_REDIS"));
    (settings.timeout_ms, settings.breaker_failures, settings.breaker_ms) = (LIMIT_MS, 3, 10_000);
    let edge = Edge::start(&settings);
    let seen = somebody();
    assert!(edge.is_fresh(visit(seen, HOUR)).await);
    // A busy machine may have been late before; with an answer none of that counts any more.
    edge.until_answered().await;
    let counted = || (edge.requests("skipped"), edge.requests("timeout"));
    let (skipped, late) = counted();
    let said = [OPENED, CLOSED].map(|line| logs.count(line));

    servers.signal("redis", "-STOP");
    let mut quickest = PATIENCE;
    for failed in 1..=3 {
        let began = Instant::now();
        assert!(edge.is_fresh(visit(somebody(), HOUR)).await);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(LIMIT_MS) && took < PATIENCE, "{took:?}");
        quickest = quickest.min(took);
        assert_eq!(counted(), (skipped, late + failed));
    }
    assert!(quickest < Duration::from_secs(1), "of three the quickest took {quickest:?}");
    assert_eq!(edge.metric("waypost_redis_breaker_open"), 1);
    let stranger = somebody();
    assert!(edge.is_fresh(visit(stranger, HOUR)).await);
    assert_eq!(counted(), (skipped + 1, late + 3), "an open breaker asks nobody");
    // Both those from before and those of the meantime are known.
    assert!(!edge.is_fresh(visit(seen, HOUR)).await);
    assert!(!edge.is_fresh(visit(stranger, HOUR)).await);
    assert_eq!(counted(), (skipped + 1, late + 3), "what is known asks nobody");

    servers.signal("redis", "-CONT");
    edge.until_answered().await;
    assert_eq!(edge.metric("waypost_redis_breaker_open"), 0);
    assert!(!edge.is_fresh(visit(stranger, HOUR)).await);
    let once_more = said.map(|times| times + 1);
    assert_eq!([OPENED, CLOSED].map(|line| logs.count(line)), once_more, "{}", logs.text());
}

#[tokio::test]
async fn a_killed_redis_is_found_again_when_it_is_back() {
    let servers = Servers::start("redis");
    let (logs, _guard) = Logs::catch();
    let mut settings = settings(&servers.address("WAYPOST_TEST_REDIS"));
    settings.breaker_ms = 100;
    let edge = Edge::start(&settings);
    edge.until_answered().await;
    let seen = somebody();
    assert!(edge.is_fresh(visit(seen, HOUR)).await);
    let late = edge.requests("timeout");
    let said = [LOST, FOUND].map(|line| logs.count(line));

    servers.signal("redis", "-KILL");
    let began = Instant::now();
    while edge.metric("waypost_redis_breaker_open") == 0 {
        assert!(began.elapsed() < PATIENCE, "{}", logs.text());
        assert!(edge.is_fresh(visit(somebody(), HOUR)).await);
        tokio::task::yield_now().await;
    }
    assert_eq!(edge.requests("timeout"), late, "a closed port is no reason to wait");

    servers.bring_up();
    edge.until_answered().await;
    // Redis came back empty; the edge did not forget.
    assert!(!edge.is_fresh(visit(seen, HOUR)).await);
    let once_more = said.map(|times| times + 1);
    assert_eq!([LOST, FOUND].map(|line| logs.count(line)), once_more, "{}", logs.text());
}

#[tokio::test]
async fn a_redis_that_never_was_only_warns() {
    let (logs, _guard) = Logs::catch();
    // Nothing listens on port 1: connections are refused.
    let edge = Edge::start(&settings("redis://user:hunter2@127.0.0.1:1"));
    let key = somebody();
    let began = Instant::now();
    assert!(edge.is_fresh(visit(key, HOUR)).await);
    assert!(!edge.is_fresh(visit(key, HOUR)).await);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!((edge.requests("error"), edge.visits("unanswered"), edge.visits("known")), (1, 1, 1));
    assert_eq!(logs.count(LOST), 1, "{}", logs.text());
    assert!(!logs.text().contains("hunter2"), "{}", logs.text());
}
