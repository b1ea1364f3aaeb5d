//! Starts with a snapshot: that may be used, that may not, and without brokers.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use waypost::{
    catalog::{
        Catalog,
        snapshot::{self, TopicPlace, Wanted},
    },
    config::Settings,
    domain::time::Timestamp,
};

use crate::fixtures::*;

/// The same deployment while no broker answers: nothing listens on port 1.
fn without_brokers(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.kafka.brokers = "127.0.0.1:1".to_owned();
    settings
}

/// A world whose edge has left a snapshot.
async fn left() -> World {
    let world = World::new().await;
    world
        .put(vec![account(), link(1, "jane", "https://a.example/"), link(2, "tom", "https://b.example/")])
        .await;
    world.put(vec![removed(2, "tom")]).await;
    let publisher = world.publisher();
    let edge = world.edge_at(world.snapshot()).await.loaded().await;
    edge.leads("jane", Some("https://a.example/")).await;
    edge.stop().await;
    publisher.stop().await;
    world
}

fn place(world: &World) -> TopicPlace {
    let topic = world.topic();
    let wanted = Wanted { topic: &topic, now: Timestamp::now(), max_age_ms: i64::MAX };
    snapshot::read(&world.snapshot(), wanted, &Catalog::new()).unwrap().unwrap()
}

/// Writes another snapshot in the place of the one that was left.
fn forge(world: &World, change: impl FnOnce(&mut TopicPlace)) {
    let topic = world.topic();
    let catalog = Catalog::new();
    let wanted = Wanted { topic: &topic, now: Timestamp::now(), max_age_ms: i64::MAX };
    let mut place = snapshot::read(&world.snapshot(), wanted, &catalog).unwrap().unwrap();
    change(&mut place);
    let record = link(99, "forged", "https://forged.example/");
    catalog.apply(waypost::catalog::Versioned { version: 1, record });
    snapshot::write(&world.snapshot(), &catalog, &place).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_brokers_the_snapshot_serves() {
    let world = left().await;
    let mode = fs::metadata(world.snapshot()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let edge = Edge::start(&without_brokers(&world.settings), world.snapshot()).await.loaded().await;
    assert!(edge.has("jane") && !edge.has("tom"));
    edge.stop().await;
    // It is still good for the next start, and no younger than it was.
    let before = place(&world);
    let edge = Edge::start(&without_brokers(&world.settings), world.snapshot()).await.loaded().await;
    edge.stop().await;
    assert_eq!(place(&world), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_brokers_and_without_a_snapshot_it_waits() {
    let world = World::without_topic().await;
    let edge = Edge::start(&without_brokers(&world.settings), world.snapshot()).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(!edge.catalog.is_loaded());
    edge.stop().await;
    assert!(!world.snapshot().exists(), "what was never whole is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_while_the_edge_was_away_does_not_come_back() {
    let world = left().await;
    world.put(vec![removed(1, "jane"), link(3, "sue", "https://c.example/")]).await;
    let publisher = world.publisher();
    world.published().await;
    publisher.stop().await;
    let edge = world.edge_at(world.snapshot()).await.loaded().await;
    assert!(!edge.has("jane") && edge.has("sue") && !edge.has("tom"));
    edge.stop().await;
    // Also when the next start has no broker.
    let edge = Edge::start(&without_brokers(&world.settings), world.snapshot()).await.loaded().await;
    assert!(!edge.has("jane") && edge.has("sue"));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_may_not_be_used_is_not() {
    let day = 86_400_000;
    type Change = fn(&mut TopicPlace);
    let changes: [(&str, Change); 4] = [
        ("another topic", |place| place.topic.push('x')),
        ("too old", |place| place.current_at.0 -= 4 * 86_400_000),
        ("from the future", |place| place.current_at.0 += 86_400_000),
        ("another topic id", |place| place.topic_id.push('x')),
    ];
    assert_eq!(Settings::default().catalog.snapshot_max_age_ms, 3 * day + day / 2);
    for (why, change) in changes {
        let world = left().await;
        forge(&world, change);
        let edge = world.edge_at(world.snapshot()).await.loaded().await;
        assert!(!edge.has("forged") && edge.has("jane"), "{why}");
        edge.stop().await;
        let edge = world.edge_at(world.snapshot()).await.loaded().await;
        assert!(!edge.has("forged") && edge.has("jane"), "{why}: the next one is good again");
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_ignored() {
    let world = left().await;
    let whole = fs::read(world.snapshot()).unwrap();
    for damaged in [&b""[..], b"{}", &whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
        fs::write(world.snapshot(), damaged).unwrap();
        let edge = world.edge_at(world.snapshot()).await.loaded().await;
        assert!(edge.has("jane") && !edge.has("tom"));
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_the_topic_does_not_have_are_read_anew() {
    let world = left().await;
    forge(&world, |place| {
        place.offsets = place.offsets.keys().map(|partition| (*partition, 1_000_000)).collect();
    });
    let edge = world.edge_at(world.snapshot()).await.loaded().await;
    assert!(!edge.has("forged") && edge.has("jane"));
    edge.stop().await;
}
