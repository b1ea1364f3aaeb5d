//! One publisher at a time, and one that was thought dead.

use std::time::Duration;

use uuid::Uuid;
use waypost::{
    catalog::Versioned,
    domain::time::Timestamp,
    store::{Store, publications},
    stream::kafka::catalog::{CatalogProducer, Outgoing, PublishError, TopicPosition},
};

use crate::{backend::Database, fixtures::*};

fn outgoing(version: i64, destination: &str) -> Outgoing {
    let versioned = Versioned { version, record: link(1, "jane", destination) };
    Outgoing { key: "link/1".to_owned(), version, value: Some(serde_json::to_vec(&versioned).unwrap()) }
}

fn at(version: i64) -> TopicPosition {
    TopicPosition { version, whole: true }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_replaced_can_write_nothing_any_more() {
    let world = World::new().await;
    let kafka = world.settings.kafka.clone();
    let fenced = tokio::task::spawn_blocking(move || {
        let old = CatalogProducer::take_over(&kafka).unwrap();
        old.publish(Some("the-topic"), &[outgoing(1, "https://old.example/")], at(1)).unwrap();
        let new = CatalogProducer::take_over(&kafka).unwrap();
        new.publish(None, &[outgoing(3, "https://new.example/")], at(3)).unwrap();
        // It was paused, and still believes that version 2 comes next.
        let fenced = old.publish(None, &[outgoing(2, "https://zombie.example/")], at(2));
        new.publish(None, &[outgoing(4, "https://newest.example/")], at(4)).unwrap();
        fenced
    });
    let fenced = fenced.await.unwrap();
    assert!(matches!(fenced, Err(PublishError::Fenced)), "{fenced:?}");
    let edge = world.edge().await.loaded().await;
    assert_eq!(edge.destination("jane").as_deref(), Some("https://newest.example/"));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_run_take_turns() {
    let world = World::new().await;
    world.put(vec![account(), link(1, "jane", "https://0.example/")]).await;
    let first = world.publisher();
    world.published().await;
    let second = world.publisher();
    let edge = world.edge().await.loaded().await;
    world.put(vec![link(1, "jane", "https://1.example/")]).await;
    edge.leads("jane", Some("https://1.example/")).await;
    let holder = async || {
        publications::find(world.store.reader(), &world.topic()).await.unwrap().and_then(|row| row.holder)
    };
    let one = holder().await.expect("somebody publishes");
    first.stop().await;
    world.put(vec![link(1, "jane", "https://2.example/")]).await;
    edge.leads("jane", Some("https://2.example/")).await;
    let other = holder().await.expect("somebody publishes");
    assert_ne!(one, other);
    second.stop().await;
    assert_eq!(holder().await, None);
    edge.stop().await;
}

/// The same turns in the store of many machines.
#[tokio::test(flavor = "multi_thread")]
async fn the_right_to_publish_is_one_processes_in_postgresql_too() {
    let database = Database::empty().await;
    let store = Store::open(&database.url()).await.unwrap();
    let (now, a, b) = (Timestamp::now(), Uuid::now_v7(), Uuid::now_v7());
    let later = |ms: i64| Timestamp(now.0 + ms);
    assert!(publications::hold(&store, "t", a, now, later(5_000)).await.unwrap());
    assert!(!publications::hold(&store, "t", b, later(4_000), later(9_000)).await.unwrap());
    assert!(publications::hold(&store, "t", a, later(4_000), later(9_000)).await.unwrap());
    assert!(publications::begin_topic(&store, "t", a, "id").await.unwrap());
    assert!(publications::intend(&store, "t", a, 0, 7).await.unwrap());
    assert!(!publications::intend(&store, "t", b, 0, 7).await.unwrap());
    assert!(publications::hold(&store, "t", b, later(9_001), later(15_000)).await.unwrap());
    assert!(!publications::done(&store, "t", a, 0, 7, true).await.unwrap(), "it has lost the right");
    assert!(publications::intend(&store, "t", b, 0, 7).await.unwrap());
    assert!(publications::done(&store, "t", b, 0, 7, true).await.unwrap());
    assert!(!publications::done(&store, "t", b, 0, 8, true).await.unwrap(), "it stands elsewhere");
    publications::release(&store, "t", b).await.unwrap();
    assert!(publications::hold(&store, "t", a, later(9_002), later(15_000)).await.unwrap());

    // And the whole way, with both databases' types of JSON and of numbers.
    let mut world = World::new().await;
    world.store = store.clone();
    world.put(vec![account(), link(1, "jane", "https://pg.example/")]).await;
    let publisher = world.publisher();
    let edge = world.edge().await.loaded().await;
    assert_eq!(edge.destination("jane").as_deref(), Some("https://pg.example/"));
    world.put(vec![removed(1, "jane")]).await;
    edge.leads("jane", None).await;
    edge.stop().await;
    publisher.stop().await;
    let again = waypost::jobs::catalog_republish::republish(&store, &world.settings.kafka).await.unwrap();
    assert_eq!((again.records, again.removed), (2, 0));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_end_is_sent_again() {
    let world = World::new().await;
    world.put(vec![account(), link(1, "jane", "https://a.example/")]).await;
    let publisher = world.publisher();
    world.published().await;
    publisher.stop().await;
    // As if it had been killed between the brokers' commit and the store's.
    let (topic, holder) = (world.topic(), Uuid::now_v7());
    let row = publications::find(world.store.reader(), &topic).await.unwrap().unwrap();
    world.put(vec![link(1, "jane", "https://b.example/")]).await;
    let now = Timestamp::now();
    assert!(publications::hold(&world.store, &topic, holder, now, now).await.unwrap());
    let next = row.published + 1;
    assert!(publications::intend(&world.store, &topic, holder, row.published, next).await.unwrap());
    let kafka = world.settings.kafka.clone();
    tokio::task::spawn_blocking(move || {
        let producer = CatalogProducer::take_over(&kafka).unwrap();
        producer.publish(None, &[outgoing(next, "https://b.example/")], at(next)).unwrap();
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let publisher = world.publisher();
    world.published().await;
    world.put(vec![link(1, "jane", "https://c.example/")]).await;
    let edge = world.edge().await.loaded().await;
    edge.leads("jane", Some("https://c.example/")).await;
    edge.stop().await;
    publisher.stop().await;
}
