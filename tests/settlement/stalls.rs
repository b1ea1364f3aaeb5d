//! What cannot go on stops, and goes on when it can; nothing is skipped.

use std::time::Duration;

use bytes::Bytes;
use sea_orm::{ConnectionTrait, EntityTrait};
use tokio::time::sleep;
use waypost::{
    events::VERSION,
    store::{entities::rejected_event, streams},
    stream::Topic,
};

use crate::fixtures::*;

async fn stands_at(world: &World, offset: i64) -> bool {
    streams::position(world.store.reader(), Topic::Conversions.name(), 0).await.unwrap() == offset
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_version_stalls_until_it_can_be_read() {
    let world = World::open().await;
    let mut sales = Numbered::new(1, "conversions/0");
    let source = FakeSource::default();
    let events: Vec<_> = (0..10).map(|n| sales.sale(world.sale(&format!("o-{n}"), "10"))).collect();
    for (n, event) in events.iter().enumerate() {
        let mut event = event.clone();
        event.v = if n == 6 { VERSION + 1 } else { VERSION };
        source.push(event.encode().into());
    }
    let running = world.settle_from(FakeSource::default(), source.clone());
    // All before it take effect, nothing after it does.
    eventually("the newer event", || stands_at(&world, 6)).await;
    sleep(Duration::from_millis(300)).await;
    assert!(stands_at(&world, 6).await);
    assert_eq!(world.outcomes().await["settled"], 6);
    // As if a build had come that reads it.
    source.replace(6, events[6].encode().into());
    eventually("the end", || stands_at(&world, 10)).await;
    running.stop().await;
    assert_eq!(world.outcomes().await["settled"], 10);
    assert_eq!(world.balances().await[&(1, "accrued".to_owned())], -1_000);
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_read_by_nobody_does_not_stall() {
    let world = World::open().await;
    let mut sales = Numbered::new(1, "conversions/0");
    let nested = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let garbage = [
        Bytes::from_static(b""),
        Bytes::from_static(b"null"),
        Bytes::from_static(b"{\"v\":0}"),
        Bytes::from_static(b"{\"v\":1}"),
        Bytes::from_static(b"\x00\xff\xfe"),
        Bytes::from(nested),
    ];
    let count = garbage.len();
    for payload in garbage {
        world.append(Topic::Conversions, vec![payload.clone()]).await;
        world.append(Topic::Clicks, vec![payload]).await;
        let event = sales.sale(world.sale(&format!("o-{}", uuid::Uuid::now_v7()), "10"));
        world.append_events(Topic::Conversions, &[event]).await;
    }
    // Each in the other's topic.
    let mut clicks = Numbered::new(1, "clicks/0");
    let click = clicks.click(world.click(waypost::domain::traffic::TrafficClass::Valid, None, "desktop"));
    world.append_events(Topic::Conversions, &[click]).await;
    let sale = sales.sale(world.sale("astray", "10"));
    world.append_events(Topic::Clicks, &[sale]).await;
    world.settle_all().await;
    let outcomes = world.outcomes().await;
    assert_eq!((outcomes["settled"], outcomes["rejected"]), (i64::try_from(count).unwrap(), 2));
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sum_that_cannot_be_kept_refuses_its_event_alone() {
    let world = World::open().await;
    let mut sales = Numbered::new(1, "conversions/0");
    let mut sell = |id: &str| sales.sale(world.sale(id, "10"));
    world.append_events(Topic::Conversions, &[sell("o-1")]).await;
    world.settle_all().await;
    let tx = world.store.begin().await.unwrap();
    tx.execute_unprepared("UPDATE balances SET amount = amount * 90000000000000000").await.unwrap();
    tx.commit().await.unwrap();
    let before = world.balances().await;
    world.append_events(Topic::Conversions, &[sell("o-2"), sell("o-3")]).await;
    world.settle_all().await;
    assert_eq!(world.outcomes().await, [("settled".to_owned(), 1), ("rejected".to_owned(), 2)].into());
    assert_eq!(world.balances().await, before);
    for row in rejected_event::Entity::find().all(world.store.reader()).await.unwrap() {
        let detail = row.detail.as_deref();
        assert_eq!(
            (&*row.reason, detail),
            ("amount_too_large", Some("a sum would be larger than can be kept"))
        );
    }
}
