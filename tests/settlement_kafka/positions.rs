//! A position that the log does not have, or that is of another log: nothing is skipped.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use tokio::time::{Instant, sleep};
use waypost::stream::Topic;

use crate::{
    fixtures::{World, eventually},
    instance::Instance,
    services,
    topics::{Load, PARTITIONS, Topics, positions},
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

/// Stalled for some time, but no longer than the position is where it was, with `said` in its log.
async fn stalls(instance: &Instance, world: &World, partition: i32, offset: i64, said: &str) {
    instance.reaches("settlement_stalled", "conversions", |stalled| stalled == 1.0).await;
    // It is tried again and again, which must not look as if it went on. Where the machine is so busy that the group
    // takes the partition away, it is not stalled until it is back.
    let (mut looks, until) = (Vec::new(), Instant::now() + Duration::from_secs(4));
    while Instant::now() < until {
        let stalled = instance.of("settlement_stalled", "conversions").await;
        if positions(&world.store, Topic::Conversions).await[&partition] != offset {
            break;
        }
        looks.push(stalled);
        assert_eq!(instance.of("settlement_stalled", "clicks").await, 0.0);
        sleep(Duration::from_millis(50)).await;
    }
    let stalled = looks.iter().filter(|stalled| **stalled == 1.0).count();
    assert!(looks.is_empty() || stalled > looks.len() / 2, "{stalled} of {}", looks.len());
    assert!(instance.log().contains(said), "{}", instance.log());
}

/// As [`stalls`], and the position stays where it was.
pub async fn stays_stalled(instance: &Instance, world: &World, partition: i32, offset: i64, said: &str) {
    stalls(instance, world, partition, offset, said).await;
    assert_eq!(positions(&world.store, Topic::Conversions).await[&partition], offset);
}

/// So many events of both topics were settled, by an instance that has stopped since.
async fn settled(events: i64) -> (World, Topics, Load) {
    let world = World::open().await;
    let topics = Topics::create(services::kafka()).await;
    let mut load = Load::new(1);
    load.more(&world, &topics, events).await;
    let instance = Instance::start(&world, &topics).await;
    topics.all_settled(&world.store).await;
    instance.stop().await;
    (world, topics, load)
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
    stalls(&instance, &world, 1, 1_000, said).await;
    // A broker that has just come back would know its end by now: it begins over.
    topics.all_settled(&world.store).await;
    let said = "the log ends at 20, before the last event that was settled";
    assert!(instance.log().contains(said), "{}", instance.log());
    assert_eq!(instance.metric("waypost_settlement_begun_over_total{topic=\"conversions\"}").await, 1.0);
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
    let said = instance.waypost(&["positions", "begin-over", "--topic", "conversions", "--partition", "1"]);
    assert_eq!(said, "waypost.conversions.v1  partition 1  was at 20, begins over\n");
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
async fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    let (world, topics, _) = settled(40).await;
    topics.remove().await;
    // By clients that have not seen the old one, and so cannot take the new one for it.
    let topics = topics.beside();
    topics.make().await;
    // More than there were: the old positions are in the middle of it.
    let mut anew = Load::new(2);
    anew.more(&world, &topics, 80).await;
    let instance = Instance::start(&world, &topics).await;
    eventually("all events", async || {
        let outcomes = world.outcomes().await;
        (outcomes["settled"], outcomes["stored"]) == (120, 120)
    })
    .await;
    topics.all_settled(&world.store).await;
    assert_eq!(instance.metric("waypost_settlement_begun_over_total{topic=\"clicks\"}").await, 4.0);
    world.assert_sound().await;
    instance.stop().await;
    topics.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_settled_may_be_forgotten() {
    let (world, topics, mut load) = settled(40).await;
    // All of one partition, as retention does where nothing comes any more; and the beginning of another.
    topics.forget(Topic::Conversions, 0, 10).await;
    topics.forget(Topic::Conversions, 1, 9).await;
    let instance = Instance::start(&world, &topics).await;
    instance.has_partitions(f64::from(PARTITIONS)).await;
    // It is looked at every two seconds: what is the same for longer is the lag of these partitions.
    let mut since = Instant::now();
    eventually("no lag", async || {
        if instance.of("settlement_lag_events", "conversions").await != 0.0 {
            since = Instant::now();
        }
        since.elapsed() > Duration::from_secs(5)
    })
    .await;
    load.more(&world, &topics, 40).await;
    topics.all_settled(&world.store).await;
    load.assert_settled(&world).await;
    let (said, _) = instance.stop().await;
    assert!(!said.contains("cannot go on"), "{said}");
    topics.remove().await;
}

/// The first event of a partition was settled, and the next ones are gone: the position is no reason to begin wherever
/// the log does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forgotten_after_the_first_event_is_not_passed_over() {
    let (world, topics, mut load) = settled(4).await;
    load.more(&world, &topics, 20).await;
    topics.forget(Topic::Conversions, 1, 4).await;
    let instance = Instance::start(&world, &topics).await;
    let said = "offset 1 of waypost.conversions.v1 is gone, the log begins at 4";
    stays_stalled(&instance, &world, 1, 1, said).await;
    assert!(
        instance.waypost(&["positions", "list"]).contains("conversions.v1  partition 1  next offset 1\n")
    );
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
