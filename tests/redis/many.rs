//! More than one server: a cluster whose keys move, and a primary that is replaced.

use std::time::Instant;

use redis::{Client, aio::MultiplexedConnection};
use uuid::Uuid;
use waypost::visitor::Visit;

use super::support::{DEADLINE, Edge, HOUR, Servers, settings, somebody, visit};

const CLUSTER: &str = "WAYPOST_TEST_REDIS_CLUSTER";

async fn connect(node: &str) -> MultiplexedConnection {
    let client = Client::open(format!("redis://{node}")).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn cluster<T: redis::FromRedisValue>(node: &mut MultiplexedConnection, words: &[&str]) -> T {
    redis::cmd("CLUSTER").arg(words).query_async(node).await.unwrap()
}

#[tokio::test]
async fn a_cluster_is_asked_node_by_node_and_keys_that_move_are_followed() {
    let servers = Servers::start("redis-cluster");
    let url = servers.address(CLUSTER);
    let settings = settings(&url);
    let (one, other) = (Edge::start(&settings), Edge::start(&settings));
    let batch: Vec<Visit> = (0..256).map(|_| visit(somebody(), HOUR)).collect();
    let own: Vec<Uuid> = batch.iter().map(|visit| visit.click_id).collect();
    assert_eq!(one.firsts(&batch).await, own);
    let again: Vec<Visit> = batch.iter().map(|first| visit(first.key, HOUR)).collect();
    assert_eq!(other.firsts(&again).await, own);
    assert_eq!((one.visits("answered"), other.visits("answered")), (256, 256));

    // A visitor whose key is on the first node, while its slot is on the way to the second (ASK), and there (MOVED).
    let mut nodes = Vec::new();
    for node in url.strip_prefix("redis+cluster://").unwrap().split(',') {
        nodes.push(connect(node).await);
    }
    let mut ids: Vec<String> = Vec::new();
    for node in &mut nodes {
        ids.push(cluster(node, &["MYID"]).await);
    }
    let key_of = |key: &[u8; 16]| [settings.prefix.as_bytes(), key].concat();
    let mut visitors = Vec::new();
    let mut slot = String::new();
    // The slots of three nodes are in thirds, the first one's from 0; it must have no keys yet, so that it can move.
    while visitors.is_empty() {
        let key = somebody();
        let found: u16 =
            redis::cmd("CLUSTER").arg("KEYSLOT").arg(key_of(&key)).query_async(&mut nodes[0]).await.unwrap();
        let keys: u64 = cluster(&mut nodes[0], &["COUNTKEYSINSLOT", &found.to_string()]).await;
        if found < 5_000 && keys == 0 {
            visitors.push(key);
            slot = found.to_string();
        }
    }
    let moving: String = cluster(&mut nodes[1], &["SETSLOT", &slot, "IMPORTING", &ids[0]]).await;
    assert_eq!(moving, "OK");
    let moving: String = cluster(&mut nodes[0], &["SETSLOT", &slot, "MIGRATING", &ids[1]]).await;
    assert_eq!(moving, "OK");
    let first = visit(visitors[0], HOUR);
    assert!(one.is_fresh(first).await);
    let there: u64 = cluster(&mut nodes[1], &["COUNTKEYSINSLOT", &slot]).await;
    assert_eq!(there, 1, "ASK was followed");
    for node in [1, 0, 2] {
        let moved: String = cluster(&mut nodes[node], &["SETSLOT", &slot, "NODE", &ids[1]]).await;
        assert_eq!(moved, "OK");
    }
    assert_eq!(other.firsts(&[visit(visitors[0], HOUR)]).await, [first.click_id], "MOVED was followed");
    for edge in [&one, &other] {
        assert_eq!((edge.visits("unanswered"), edge.requests("error")), (0, 0));
    }
}

#[tokio::test]
async fn a_replaced_primary_is_found_through_sentinel() {
    let servers = Servers::start("redis-sentinel");
    let mut settings = settings(&servers.address("WAYPOST_TEST_REDIS_SENTINEL"));
    settings.breaker_ms = 100;
    let (one, other) = (Edge::start(&settings), Edge::start(&settings));
    one.until_answered().await;
    other.until_answered().await;
    let key = somebody();
    assert!(one.is_fresh(visit(key, HOUR)).await);
    assert!(!other.is_fresh(visit(key, HOUR)).await);

    servers.signal("redis-primary", "-KILL");
    let began = Instant::now();
    while one.metric("waypost_redis_breaker_open") == 0 {
        assert!(began.elapsed() < DEADLINE);
        assert!(one.is_fresh(visit(somebody(), HOUR)).await);
    }
    one.until_answered().await;
    other.until_answered().await;
    let key = somebody();
    assert!(one.is_fresh(visit(key, HOUR)).await);
    assert!(!other.is_fresh(visit(key, HOUR)).await);
}

#[tokio::test]
async fn sentinels_without_a_password_serve_a_primary_that_wants_one() {
    let servers = Servers::start("redis-sentinel");
    let address = servers.address("WAYPOST_TEST_REDIS_SENTINEL");
    let settings = settings(&address.replace("://", "://default:any@"));
    // The primary has no password for `default`, so it takes any; the sentinel refuses one that it did not ask for.
    let edge = Edge::start(&settings);
    edge.until_answered().await;
}
