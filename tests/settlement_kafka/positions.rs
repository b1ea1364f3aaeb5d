//! A position that the log does not have stops settlement; nothing is skipped and nothing begins elsewhere.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use tokio::time::{Instant, sleep};
use waypost::stream::Topic;

use crate::{
    fixtures::World,
    instance::Instance,
    services,
    topics::{Load, Topics, positions},
};

async fn set_position(world: &World, partition: i32, offset: i64) {
    let tx = world.store.begin().await.unwrap();
    tx.execute_unprepared(&format!(
        "INSERT INTO positions (topic, partition, next_offset) VALUES ('{}', {partition}, {offset}) \
         ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
        Topic::Conversions.name()
    ))
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

/// Stalled for some time, with `said` in its log, and the position where it was.
async fn stays_stalled(instance: &Instance, world: &World, partition: i32, offset: i64, said: &str) {
    instance.reaches("settlement_stalled", "conversions", |stalled| stalled == 1.0).await;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(instance.of("settlement_stalled", "conversions").await, 1.0);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(positions(&world.store, Topic::Conversions).await[&partition], offset);
    assert!(instance.log().contains(said), "{}", instance.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_end_and_below_the_beginning() {
    let world = World::open().await;
    let topics = Topics::create(services::kafka()).await;
    let mut load = Load::new(1);
    load.more(&world, &topics, 80).await;
    // As after the topic was made anew.
    set_position(&world, 1, 1_000).await;
    let instance = Instance::start(&world, &topics).await;
    let said = "offset 1000 of waypost.conversions.v1 is not there, the log ends at 20";
    stays_stalled(&instance, &world, 1, 1_000, said).await;
    // Somebody puts it right, and it goes on by itself.
    set_position(&world, 1, 0).await;
    topics.all_settled(&world.store).await;
    load.assert_settled(&world).await;
    instance.reaches("settlement_stalled", "conversions", |stalled| stalled == 0.0).await;
    instance.stop().await;

    // As a store from a backup that is older than the log's retention.
    load.more(&world, &topics, 80).await;
    topics.forget(Topic::Conversions, 1, 30).await;
    let instance = Instance::start(&world, &topics).await;
    let said = "offset 20 of waypost.conversions.v1 is gone, the log begins at 30";
    stays_stalled(&instance, &world, 1, 20, said).await;
    // Somebody has seen what is lost, and decides to go on.
    set_position(&world, 1, 30).await;
    topics.all_settled(&world.store).await;
    let outcomes = world.outcomes().await;
    assert_eq!((outcomes["settled"], outcomes["stored"]), (load.count - 10, load.count));
    // What is lost shows.
    let missing: i64 = world.reconcile().await.streams.iter().map(|stream| stream.missing()).sum();
    assert_eq!(missing, 10);
    instance.reaches("settlement_stalled", "conversions", |stalled| stalled == 0.0).await;
    instance.stop().await;
    topics.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_positions_begins_where_the_log_does() {
    let world = World::open().await;
    let topics = Topics::create(services::kafka()).await;
    let mut load = Load::new(1);
    load.more(&world, &topics, 40).await;
    topics.forget(Topic::Conversions, 0, 4).await;
    let instance = Instance::start(&world, &topics).await;
    topics.all_settled(&world.store).await;
    let outcomes = world.outcomes().await;
    assert_eq!((outcomes["settled"], outcomes["stored"]), (36, 40));
    instance.stop().await;
    topics.remove().await;
}
