//! A store that was restored from an older copy, and a topic that was made anew.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rdkafka::{
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use waypost::{
    jobs::catalog_republish::{RepublishError, republish},
    store::{
        Store, publications,
        sequences::{self, Sequence},
    },
};

use crate::fixtures::*;

/// The id of a link that is made now.
async fn next_id(world: &World) -> i64 {
    let tx = world.store.begin().await.unwrap();
    let id = sequences::next(&tx, Sequence::Link).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// A copy of the store as it is.
async fn copied(world: &mut World) -> PathBuf {
    let (path, copy) = (world.folder.path().join("store.db"), world.folder.path().join("copy.db"));
    world.store.clone().close().await.unwrap();
    fs::copy(&path, &copy).unwrap();
    world.store = Store::open(&Store::sqlite_url(&path)).await.unwrap();
    copy
}

/// The store is this file from here on.
async fn reopen(world: &mut World, path: &Path) {
    world.store.clone().close().await.unwrap();
    world.store = Store::open(&Store::sqlite_url(path)).await.unwrap();
}

/// The topic is gone, and the brokers know that it is.
async fn remove_topic(world: &World) {
    let admin: AdminClient<DefaultClientContext> =
        waypost::stream::kafka::client::connection(&world.settings.kafka).create().unwrap();
    let gone = admin.delete_topics(&[&world.topic()], &AdminOptions::new()).await.unwrap();
    assert!(gone.iter().all(Result::is_ok), "{gone:?}");
    until("the brokers have forgotten the topic", async || {
        let admin = waypost::stream::kafka::admin::Admin::connect(&world.settings.kafka).await.unwrap();
        admin.partitions(&plan(&world.settings.kafka)).is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_publishes_nothing_until_it_was_made_the_newest() {
    let mut world = World::new().await;
    let missing = republish(&world.store, &world.settings.kafka).await;
    assert!(matches!(missing, Err(RepublishError::NotPublished)), "{missing:?}");
    world
        .put(vec![account(), link(1, "jane", "https://a.example/"), link(2, "tom", "https://b.example/")])
        .await;
    let first = world.publisher();
    let edge = world.edge_at(world.snapshot()).await.loaded().await;
    first.stop().await;
    let copy = copied(&mut world).await;
    // What happens after it.
    let second = world.publisher();
    for n in 0..10 {
        world.put(vec![link(1, "jane", &format!("https://a.example/{n}"))]).await;
    }
    world.put(vec![removed(2, "tom"), link(3, "sue", "https://lost.example/")]).await;
    let lost = next_id(&world).await;
    edge.leads("sue", Some("https://lost.example/")).await;
    edge.leads("tom", None).await;
    edge.leads("jane", Some("https://a.example/9")).await;
    second.stop().await;

    reopen(&mut world, &copy).await;
    world.put(vec![link(4, "new", "https://new.example/")]).await;
    let before = publications::find(world.store.reader(), &world.topic()).await.unwrap().unwrap();
    let third = world.publisher();
    until("it has tried", async || {
        let row = publications::find(world.store.reader(), &world.topic()).await.unwrap().unwrap();
        row.holder.is_some()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let row = publications::find(world.store.reader(), &world.topic()).await.unwrap().unwrap();
    assert_eq!((row.publishing, row.published), (before.publishing, before.published), "nothing was sent");
    assert!(!edge.has("new"));

    let made = republish(&world.store, &world.settings.kafka).await.unwrap();
    // The account, three links, and the one that the copy does not know.
    assert_eq!((made.records, made.removed), (4, 1));
    // Clicks of a link that is lost are out there, and never become those of another.
    assert!(next_id(&world).await > lost);
    edge.leads("new", Some("https://new.example/")).await;
    edge.leads("jane", Some("https://a.example/")).await;
    edge.leads("tom", Some("https://b.example/")).await;
    edge.leads("sue", None).await;
    // And it goes on from there.
    world.put(vec![removed(4, "new"), link(5, "next", "https://next.example/")]).await;
    edge.leads("next", Some("https://next.example/")).await;
    edge.leads("new", None).await;
    world.published().await;
    let fresh = world.edge().await.loaded().await;
    for code in ["jane", "tom", "sue", "new", "next"] {
        assert_eq!(fresh.destination(code), edge.destination(code), "{code}");
    }
    fresh.stop().await;
    edge.stop().await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stores_topic_is_left_alone() {
    let world = World::new().await;
    world.put(vec![account(), link(1, "jane", "https://a.example/")]).await;
    let publisher = world.publisher();
    let edge = world.edge().await.loaded().await;
    publisher.stop().await;
    let mut other = World::without_topic().await;
    other.settings.kafka = world.settings.kafka.clone();
    other.put((1..50).map(|n| link(n, "jane", "https://wrong.example/")).collect()).await;
    let wrong = other.publisher();
    until("it has tried", async || {
        let row = publications::find(other.store.reader(), &other.topic()).await.unwrap();
        row.is_some_and(|row| row.holder.is_some())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(edge.destination("jane").as_deref(), Some("https://a.example/"));
    wrong.stop().await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_filled_again() {
    let world = World::new().await;
    world
        .put(vec![account(), link(1, "jane", "https://a.example/"), link(2, "tom", "https://b.example/")])
        .await;
    let publisher = world.publisher();
    let edge = world.edge_at(world.snapshot()).await.loaded().await;
    edge.stop().await;
    publisher.stop().await;
    remove_topic(&world).await;
    world.create_topic(&[]).await;
    world.put(vec![removed(2, "tom")]).await;
    // An edge with the snapshot of the old topic: it may not take it for the new one's.
    let edge = world.edge_at(world.snapshot()).await;
    let publisher = world.publisher();
    let edge = edge.loaded().await;
    edge.leads("jane", Some("https://a.example/")).await;
    edge.leads("tom", None).await;
    let fresh = world.edge().await.loaded().await;
    assert!(fresh.has("jane") && !fresh.has("tom"));
    fresh.stop().await;
    edge.stop().await;
    publisher.stop().await;
}

/// The worst of both: Kafka's disks are gone, and the store is an older copy. Its versions are behind what edges know.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_edge_takes_the_topic_of_an_older_store() {
    let mut world = World::new().await;
    world
        .put(vec![account(), link(1, "jane", "https://a.example/"), link(2, "tom", "https://b.example/")])
        .await;
    let copy = copied(&mut world).await;
    let publisher = world.publisher();
    let edge = world.edge().await.loaded().await;
    for n in 0..10 {
        world.put(vec![link(1, "jane", &format!("https://a.example/{n}"))]).await;
    }
    world.put(vec![link(3, "sue", "https://lost.example/")]).await;
    edge.leads("sue", Some("https://lost.example/")).await;
    publisher.stop().await;

    remove_topic(&world).await;
    reopen(&mut world, &copy).await;
    world.create_topic(&[]).await;
    let publisher = world.publisher();
    edge.leads("jane", Some("https://a.example/")).await;
    edge.leads("sue", None).await;
    // What changes from here on is below the versions that the edge had.
    world.put(vec![removed(2, "tom")]).await;
    edge.leads("tom", None).await;
    edge.stop().await;
    publisher.stop().await;
}
