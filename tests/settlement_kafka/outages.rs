//! Brokers that are away.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    broker::Broker,
    fixtures::{World, eventually},
    instance::Instance,
    services,
    topics::{Load, Topics},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_back_loses_nothing() {
    let world = World::open().await;
    let broker = Broker::start();
    let topics = Topics::create(broker.address.clone()).await;
    let mut load = Load::new(1);
    let instance = Instance::start(&world, &topics).await;
    load.more(&world, &topics, 200).await;
    topics.all_settled(&world.store).await;
    load.more(&world, &topics, 200).await;
    broker.kill();
    for topic in ["clicks", "conversions"] {
        instance.reaches("settlement_brokers_up", topic, |up| up == 0.0).await;
    }
    // Longer than the session. It waits; there is nothing that somebody could do here.
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        assert_eq!(instance.of("settlement_stalled", "conversions").await, 0.0);
        sleep(Duration::from_millis(100)).await;
    }
    broker.start_again();
    load.more(&world, &topics, 200).await;
    topics.all_settled(&world.store).await;
    load.assert_settled(&world).await;
    for topic in ["clicks", "conversions"] {
        instance.reaches("settlement_brokers_up", topic, |up| up == 1.0).await;
        instance.reaches("settlement_partitions", topic, |partitions| partitions == 4.0).await;
        assert_eq!(instance.of("settlement_stalled", topic).await, 0.0);
    }
    let (_, leaving) = instance.stop().await;
    assert!(leaving < Duration::from_secs(15), "left after {leaving:?}");
}

/// A refusal does not pass by waiting: somebody has to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_refuse_are_a_reason_to_page() {
    let world = World::open().await;
    let topics = Topics::create(services::kafka()).await;
    // Below `group.min.session.timeout.ms` of the brokers.
    let instance = Instance::with_session(&world, &topics, Duration::from_secs(1)).await;
    for topic in ["clicks", "conversions"] {
        instance.reaches("settlement_stalled", topic, |stalled| stalled == 1.0).await;
    }
    assert!(instance.log().contains("InvalidSessionTimeout"), "{}", instance.log());
    instance.stop().await;
    topics.remove().await;
}

/// Brokers that never were there are no reason to end, and none to hang at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_brokers_it_waits_and_ends_when_told() {
    let world = World::open().await;
    // Nothing listens on port 1.
    let topics = Topics::named("127.0.0.1:1".to_owned());
    let instance = Instance::start(&world, &topics).await;
    eventually("an attempt", async || {
        let log = instance.log();
        log.contains("the brokers do not answer") || log.contains("Connection refused")
    })
    .await;
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        assert_eq!(instance.of("settlement_brokers_up", "clicks").await, 0.0);
        assert_eq!(instance.of("settlement_stalled", "clicks").await, 0.0);
        sleep(Duration::from_millis(100)).await;
    }
    let (_, leaving) = instance.stop().await;
    assert!(leaving < Duration::from_secs(15), "left after {leaving:?}");
}
