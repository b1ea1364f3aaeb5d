//! Records that cannot take effect: those that nobody can read go aside, those of a newer version stop their topic.

use sea_orm::EntityTrait;
use waypost::{
    domain::traffic::TrafficClass, events::VERSION, store::entities::rejected_event, stream::Topic,
};

use crate::{
    fixtures::{Numbered, World, eventually},
    instance::Instance,
    positions::stays_stalled,
    services,
    topics::{Topics, positions},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_read_goes_aside() {
    let world = World::open().await;
    let topics = Topics::create(services::kafka()).await;
    let garbage: [Option<&[u8]>; 6] = [
        None,
        Some(b""),
        Some(b"null"),
        Some(b"{\"v\":1}"),
        Some(b"\x00\xff\xfe"),
        Some(b"{\"v\":1,\"a\\u0000\":1}"),
    ];
    let (mut sales, mut clicks) = (Numbered::new(1, "conversions/0"), Numbered::new(1, "clicks/0"));
    for (n, payload) in garbage.iter().enumerate() {
        let payload = [payload.map(<[u8]>::to_vec)];
        topics.put(Topic::Conversions, 1, &payload).await;
        topics.put(Topic::Clicks, 1, &payload).await;
        topics.put_event(Topic::Conversions, 1, &sales.sale(world.sale(&format!("o-{n}"), "10"))).await;
        let click = clicks.click(world.click(TrafficClass::Valid, None, "desktop"));
        topics.put_event(Topic::Clicks, 1, &click).await;
    }
    let instance = Instance::start(&world, &topics).await;
    topics.all_settled(&world.store).await;
    let outcomes = world.outcomes().await;
    assert_eq!((outcomes["settled"], outcomes["stored"]), (6, 6), "{outcomes:?}");
    let rejected = rejected_event::Entity::find().all(world.store.reader()).await.unwrap();
    assert_eq!(rejected.len(), 12);
    assert!(rejected.iter().all(|row| row.kind == "unreadable"), "{rejected:?}");
    world.assert_sound().await;
    instance.stop().await;
    topics.remove().await;
}

/// Sales behind nothing that is wrong.
const OTHERS: i32 = 1_200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_version_stops_its_partition_and_pages_while_the_others_go_on() {
    let world = World::open().await;
    let topics = Topics::create(services::kafka()).await;
    let mut sales = Numbered::new(1, "conversions/0");
    for n in 0..6 {
        let mut event = sales.sale(world.sale(&format!("o-{n}"), "10"));
        event.v = if n == 4 { VERSION + 1 } else { VERSION };
        topics.put_event(Topic::Conversions, 2, &event).await;
    }
    let instance = Instance::start(&world, &topics).await;
    instance.reaches("settlement_stalled", "conversions", |stalled| stalled == 1.0).await;
    let mut clicks = Numbered::new(1, "clicks/0");
    let events: Vec<_> =
        (0..40).map(|_| clicks.click(world.click(TrafficClass::Valid, None, "desktop"))).collect();
    topics.spread(Topic::Clicks, &events).await;
    topics.settled(&world.store, Topic::Clicks).await;
    // Events of other partitions are taken meanwhile, more than one batch of them.
    let more: Vec<_> =
        (0..OTHERS).map(|n| sales.sale(world.sale(&format!("p-{n}"), "10")).encode()).collect();
    topics.put(Topic::Conversions, 3, &more.into_iter().map(Some).collect::<Vec<_>>()).await;
    eventually("the other partition", async || {
        positions(&world.store, Topic::Conversions).await[&3] == i64::from(OTHERS)
    })
    .await;
    // An alert must not think that all is well because they go on.
    stays_stalled(&instance, &world, 2, 4, "event version 2 is newer than this build reads").await;
    instance.reaches("settlement_lag_events", "conversions", |lag| lag == 2.0).await;
    assert_eq!(world.outcomes().await["settled"], 4 + i64::from(OTHERS));
    instance.stop().await;
    topics.remove().await;
}
