//! Instances that go without a word: killed, or stopped and back when others have their partitions.

use sea_orm::sqlx::{self, PgConnection};
use waypost::stream::Topic;

use crate::{
    backend,
    fixtures::{World, eventually},
    instance::Instance,
    services,
    topics::{Load, PARTITIONS, Topics, positions},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_instance_had_is_taken_over() {
    let world = World::open().await;
    let topics = Topics::create(services::kafka()).await;
    let mut load = Load::new(1);
    let (first, second) = (Instance::start(&world, &topics).await, Instance::start(&world, &topics).await);
    for instance in [&first, &second] {
        instance.has_partitions(2.0).await;
    }
    load.more(&world, &topics, 400).await;
    first.kill();
    load.more(&world, &topics, 400).await;
    topics.all_settled(&world.store).await;
    second.has_partitions(f64::from(PARTITIONS)).await;
    load.assert_settled(&world).await;
    second.stop().await;
    topics.remove().await;
}

/// Backends of instances that wait for a lock.
async fn waiting(connection: &mut PgConnection) -> Vec<i32> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

/// The compare-and-set alone is between a zombie and a second effect: it is stopped when it has polled events and
/// before it has begun to settle them, and comes back when another instance has settled the same ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_is_stopped_by_the_position() {
    let world = World::open().await;
    let topics = Topics::create(services::kafka()).await;
    let mut load = Load::new(1);
    load.more(&world, &topics, 40).await;
    let zombie = Instance::start(&world, &topics).await;
    topics.all_settled(&world.store).await;

    // Hold it at the first statement of a transaction.
    let (mut holder, mut watcher) = (world.database.connection().await, world.database.connection().await);
    let lock = "BEGIN; SELECT FROM positions WHERE topic = 'waypost.conversions.v1' FOR UPDATE";
    backend::run(&mut holder, lock.to_owned()).await;
    load.more(&world, &topics, 40).await;
    eventually("a batch that waits", async || !waiting(&mut watcher).await.is_empty()).await;
    zombie.freeze();
    // Its transaction is gone, as if it had been stopped a moment earlier: what is left is a batch in its memory.
    for backend in waiting(&mut watcher).await {
        let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1)")
            .bind(backend)
            .fetch_one(&mut watcher)
            .await
            .unwrap();
        assert!(ended);
    }
    backend::run(&mut holder, "ROLLBACK".to_owned()).await;

    let heir = Instance::start(&world, &topics).await;
    topics.all_settled(&world.store).await;
    heir.has_partitions(f64::from(PARTITIONS)).await;
    let stands = positions(&world.store, Topic::Conversions).await;

    zombie.signal("CONT");
    zombie.reaches("settlement_lost_ownership_total", "conversions", |lost| lost >= 1.0).await;
    assert_eq!(positions(&world.store, Topic::Conversions).await, stands);
    load.assert_settled(&world).await;
    assert!(zombie.log().contains("another instance has moved the position"), "{}", zombie.log());
    // It was no reason to page, and it is a member like any other afterwards.
    assert_eq!(zombie.of("settlement_stalled", "conversions").await, 0.0);
    for instance in [&zombie, &heir] {
        instance.has_partitions(2.0).await;
    }
    load.more(&world, &topics, 40).await;
    topics.all_settled(&world.store).await;
    load.assert_settled(&world).await;
    zombie.stop().await;
    heir.stop().await;
    topics.remove().await;
}
