//! Conversions before their clicks, refunds before their conversions, and the end of their time.

use sea_orm::EntityTrait;
use waypost::{
    domain::traffic::TrafficClass, events::Conversion, store::entities::conversion, stream::Topic,
};

use crate::fixtures::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_that_arrive_wake_their_conversions_in_order() {
    let world = World::open().await;
    let (mut sales, mut clicks) = (Numbered::new(1, "conversions/0"), Numbered::new(1, "clicks/0"));
    let of_clicks: Vec<_> =
        (0..20).map(|_| clicks.click(world.click(TrafficClass::Valid, None, "desktop"))).collect();
    let of_sales: Vec<_> = of_clicks
        .iter()
        .enumerate()
        .map(|(n, click)| {
            let click_id = Some(click.id.to_string());
            sales.sale(Conversion { referral_code: None, click_id, ..world.sale(&format!("o-{n}"), "10") })
        })
        .collect();
    let running = world.settle();
    world.append_events(Topic::Conversions, &of_sales).await;
    eventually("all wait", || async { world.outcomes().await.get("pending") == Some(&20) }).await;
    world.assert_sound().await;
    world.append_events(Topic::Clicks, &of_clicks).await;
    eventually("all settled", || async { world.outcomes().await.get("settled") == Some(&20) }).await;
    running.stop().await;
    let rows = conversion::Entity::find().all(world.store.reader()).await.unwrap();
    let mut order: Vec<_> = rows.iter().map(|row| (row.arrived_seq, row.seq)).collect();
    order.sort_unstable();
    assert!(order.windows(2).all(|pair| pair[0].1 < pair[1].1), "{order:?}");
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end_of_their_time_they_are_rejected() {
    let mut world = World::open().await;
    world.settings.pending_time_ms = 1;
    let mut sales = Numbered::new(1, "conversions/0");
    let lost = Conversion {
        referral_code: None,
        click_id: Some(uuid::Uuid::now_v7().to_string()),
        ..world.sale("o-1", "10")
    };
    let events = [sales.sale(lost), sales.refund(world.refund("nowhere", None))];
    world.append_events(Topic::Conversions, &events).await;
    let running = world.settle();
    eventually("both are rejected", || async { world.outcomes().await.get("rejected") == Some(&2) }).await;
    running.stop().await;
    assert_eq!(world.outcomes().await.get("pending"), None);
    world.assert_sound().await;
}
