//! One rule, whoever remembers: memory, Redis, and two edges that share a Redis.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tokio::time::sleep;
use uuid::Uuid;
use waypost::{
    domain::time::Timestamp,
    visitor::{MemoryRecentVisits, RecentVisits, Visit},
};

use super::{
    services,
    support::{DEADLINE, Edge, HOUR, settings, somebody, visit},
};

/// Batches of (edge, key, whether repeats are looked for at all).
type Steps = Vec<Vec<(usize, u8, bool)>>;

fn steps() -> impl Strategy<Value = Steps> {
    let visit = (0_usize..2, 0_u8..6, prop::bool::weighted(0.9));
    prop::collection::vec(prop::collection::vec(visit, 1..8), 1..12)
}

/// What a list of all clicks would say. A batch goes to the edge of its first visit.
async fn follow(edges: &[&dyn RecentVisits], steps: &Steps) {
    let keys: Vec<[u8; 16]> = (0..6).map(|_| somebody()).collect();
    let mut known: HashMap<[u8; 16], Uuid> = HashMap::new();
    for batch in steps {
        let visits: Vec<Visit> = batch
            .iter()
            .map(|(_, key, asked)| visit(keys[usize::from(*key)], if *asked { HOUR } else { 0 }))
            .collect();
        let expected: Vec<Uuid> = visits
            .iter()
            .map(|visit| match visit.window_ms {
                0 => visit.click_id,
                _ => *known.entry(visit.key).or_insert(visit.click_id),
            })
            .collect();
        let found = edges[batch[0].0 % edges.len()].first_of(Timestamp::now(), &visits).await;
        assert_eq!(found, expected, "{steps:?}");
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn memory_follows_the_rule(steps in steps()) {
        run(async { follow(&[&MemoryRecentVisits::new(1_000)], &steps).await });
    }

    #[test]
    fn redis_follows_the_rule(steps in steps()) {
        run(async {
            let edge = Edge::start(&settings(&services::redis()));
            follow(&[&edge.recent], &steps).await;
            assert_eq!(edge.visits("unanswered"), 0);
        });
    }

    #[test]
    fn two_edges_follow_the_rule_together(steps in steps()) {
        run(async {
            let settings = settings(&services::redis());
            let (one, other) = (Edge::start(&settings), Edge::start(&settings));
            follow(&[&one.recent, &other.recent], &steps).await;
            assert_eq!(one.visits("unanswered") + other.visits("unanswered"), 0);
        });
    }
}

#[test]
fn exactly_one_is_first_across_edges_and_cores() {
    const EDGES: usize = 2;
    const CORES: usize = 2;
    const KEYS: usize = 1_000;
    let behind = tokio::runtime::Runtime::new().unwrap();
    let settings = settings(&services::redis());
    let _within = behind.enter();
    let edges: Vec<Edge> = (0..EDGES).map(|_| Edge::start(&settings)).collect();
    let keys: Vec<[u8; 16]> = (0..KEYS).map(|_| somebody()).collect();
    // Each core has a runtime of its own, as in the edge; connections live on the one behind.
    let answers: Vec<Vec<(Uuid, Uuid)>> = std::thread::scope(|scope| {
        let cores: Vec<_> = (0..EDGES * CORES)
            .map(|core| {
                let (edge, keys) = (&edges[core % EDGES], &keys);
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    run(async {
                        for batch in keys.chunks(100) {
                            let visits: Vec<Visit> = batch.iter().map(|key| visit(*key, HOUR)).collect();
                            let firsts = edge.firsts(&visits).await;
                            answers.extend(visits.iter().map(|visit| visit.click_id).zip(firsts));
                        }
                    });
                    answers
                })
            })
            .collect();
        cores.into_iter().map(|core| core.join().unwrap()).collect()
    });
    for key in 0..KEYS {
        let fresh: HashSet<Uuid> =
            answers.iter().filter(|core| core[key].0 == core[key].1).map(|core| core[key].0).collect();
        assert_eq!(fresh.len(), 1, "key {key}");
    }
    for edge in &edges {
        assert_eq!(edge.visits("unanswered"), 0);
        assert_eq!(edge.visits("answered") + edge.visits("known"), (CORES * KEYS) as u64);
        assert_eq!(edge.requests("ok"), edge.metric("waypost_redis_seconds_count"));
    }
}

#[tokio::test]
async fn the_window_begins_with_the_first_click_whoever_asks() {
    const WINDOW: u32 = 3_000;
    let settings = settings(&services::redis());
    let (one, other) = (Edge::start(&settings), Edge::start(&settings));
    let key = somebody();
    let began = Instant::now();
    let first = visit(key, WINDOW);
    assert!(one.is_fresh(first).await);
    let mut repeats = 0;
    let next = loop {
        let again = visit(key, WINDOW);
        match other.firsts(&[again]).await[..] {
            [found] if found == again.click_id => break again,
            [found] => assert_eq!(found, first.click_id),
            _ => panic!("one visit has one answer"),
        }
        repeats += 1;
        assert!(began.elapsed() < DEADLINE);
        sleep(Duration::from_millis(10)).await;
    };
    // The clock of the one is read before Redis', which counts whole milliseconds.
    assert!(began.elapsed() >= Duration::from_millis(u64::from(WINDOW) - 1), "{:?}", began.elapsed());
    assert!(repeats > 0);
    // A new window has begun, also for the one that knew the first.
    assert_eq!(one.firsts(&[visit(key, WINDOW)]).await, [next.click_id]);
}

#[tokio::test]
async fn what_is_kept_is_the_click_for_a_day_at_most() {
    let settings = settings(&services::redis());
    let edge = Edge::start(&settings);
    let (long, never) = (visit(somebody(), u32::MAX), visit(somebody(), 0));
    assert_eq!(edge.firsts(&[long, never]).await, [long.click_id, never.click_id]);
    let client = redis::Client::open(services::redis()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let key = |visit: &Visit| [settings.prefix.as_bytes(), &visit.key].concat();
    let mut ask = redis::pipe();
    ask.cmd("GET").arg(key(&long)).cmd("PTTL").arg(key(&long)).cmd("EXISTS").arg(key(&never));
    let (kept, left, other): (Vec<u8>, u32, bool) = ask.query_async(&mut connection).await.unwrap();
    assert_eq!(kept, long.click_id.as_bytes());
    assert!((86_300_000..=86_400_000).contains(&left), "{left}");
    assert!(!other, "a window of 0 is never asked for");
}

#[tokio::test]
async fn a_key_that_is_not_ours_spoils_only_its_own_visit() {
    let settings = settings(&services::redis());
    let edge = Edge::start(&settings);
    let client = redis::Client::open(services::redis()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys = [somebody(), somebody(), somebody(), somebody()];
    let name = |key: &[u8; 16]| [settings.prefix.as_bytes(), key].concat();
    let mut spoil = redis::pipe();
    spoil.cmd("SET").arg(name(&keys[0])).arg("not sixteen bytes").ignore();
    spoil.cmd("RPUSH").arg(name(&keys[2])).arg("a list").ignore();
    spoil.exec_async(&mut connection).await.unwrap();
    for round in 1..=5 {
        let visits: Vec<Visit> = keys.iter().map(|key| visit(*key, HOUR)).collect();
        let found = Edge::start(&settings).firsts(&visits).await;
        // Redis decides about the good ones; about the others each edge does.
        for n in [0, 2] {
            assert_eq!(found[n], visits[n].click_id);
        }
        for n in [1, 3] {
            assert_eq!(found[n] == visits[n].click_id, round == 1);
        }
    }
    let spoilt: Vec<Visit> = keys.iter().map(|key| visit(*key, HOUR)).collect();
    edge.firsts(&spoilt).await;
    assert_eq!((edge.visits("unanswered"), edge.visits("answered")), (2, 2));
    assert_eq!((edge.requests("ok"), edge.requests("error")), (1, 0));
    // Where nothing is ours, Redis has not answered.
    let stranger = Edge::start(&settings);
    stranger.firsts(&[visit(keys[0], HOUR), visit(keys[2], HOUR)]).await;
    assert_eq!((stranger.requests("ok"), stranger.requests("error")), (0, 1));
}
