//! Any number of instances do the work of one.

use std::time::Duration;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use tokio::time::{Instant, sleep};
use waypost::store::entities::click_rollup;

use crate::{
    fixtures::{World, eventually},
    instance::Instance,
    services,
    topics::{Load, PARTITIONS, Topics},
};

/// So long that nothing in the test can be its end.
const SESSION: Duration = Duration::from_secs(60);

/// Waits until the group has been divided: nothing has moved for some heartbeats. An instance that is stopped before
/// keeps its partitions for its session.
async fn settle_down(instances: &[&Instance]) {
    let mut before = Vec::new();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        let mut now = Vec::new();
        for instance in instances {
            for topic in ["clicks", "conversions"] {
                now.push(instance.of("settlement_rebalances_total", topic).await);
            }
        }
        if now != before {
            (before, since) = (now, Instant::now());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the instances have all partitions of both topics between them.
async fn share(instances: &[&Instance]) {
    for topic in ["clicks", "conversions"] {
        eventually("all partitions to have an owner", async || {
            let mut sum = 0;
            for instance in instances {
                let partitions = instance.of("settlement_partitions", topic).await;
                if partitions == 0.0 {
                    return false;
                }
                sum += partitions as i32;
            }
            sum == PARTITIONS
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_once_while_instances_come_and_go() {
    let world = World::open().await;
    let topics = Topics::create(services::kafka()).await;
    let mut load = Load::new(1);
    load.more(&world, &topics, 200).await;
    let first = Instance::with_session(&world, &topics, SESSION).await;
    share(&[&first]).await;
    load.more(&world, &topics, 200).await;
    let second = Instance::with_session(&world, &topics, SESSION).await;
    load.more(&world, &topics, 200).await;
    share(&[&first, &second]).await;
    let third = Instance::with_session(&world, &topics, SESSION).await;
    load.more(&world, &topics, 200).await;
    share(&[&first, &second, &third]).await;
    settle_down(&[&first, &second, &third]).await;
    load.more(&world, &topics, 200).await;
    // One leaves in the middle of the work: the others need not wait for its session to end.
    let (_, leaving) = first.stop().await;
    assert!(leaving < Duration::from_secs(15), "left after {leaving:?}");
    share(&[&second, &third]).await;
    settle_down(&[&second, &third]).await;
    load.more(&world, &topics, 200).await;
    third.stop().await;
    load.more(&world, &topics, 200).await;
    topics.all_settled(&world.store).await;
    load.assert_settled(&world).await;
    second.has_partitions(f64::from(PARTITIONS)).await;
    for topic in ["clicks", "conversions"] {
        assert!(second.of("settlement_rebalances_total", topic).await >= 2.0);
        assert_eq!(second.of("settlement_stalled", topic).await, 0.0);
        second.reaches("settlement_lag_events", topic, |lag| lag == 0.0).await;
        second.reaches("settlement_brokers_up", topic, |up| up == 1.0).await;
    }
    // Each partition counts its clicks in rows of its own.
    for partition in 0..PARTITIONS {
        let rows = click_rollup::Entity::find()
            .filter(click_rollup::Column::Partition.eq(partition))
            .all(world.store.reader())
            .await
            .unwrap();
        let clicks: i64 = rows.iter().map(|row| row.clicks).sum();
        assert_eq!(clicks, load.count / i64::from(PARTITIONS));
    }
    second.audits().await;
    second.stop().await;
    topics.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_later_is_noticed() {
    let world = World::open().await;
    let topics = Topics::named(services::kafka());
    let instance = Instance::start(&world, &topics).await;
    let mut load = Load::new(1);
    topics.make().await;
    load.more(&world, &topics, 20).await;
    topics.all_settled(&world.store).await;
    load.assert_settled(&world).await;
    assert_eq!(instance.of("settlement_stalled", "clicks").await, 0.0);
    instance.stop().await;
    topics.remove().await;
}
