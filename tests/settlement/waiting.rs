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
    // A look that was under way when the clicks came had passed the first of them over already.
    let looks = 1 + order.windows(2).filter(|pair| pair[0].1 > pair[1].1).count();
    assert!(looks <= 2, "{order:?}");
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

/// Settlement was away for longer than anything waits, or its store comes from a backup: what is awaited lies in the
/// log, and the clock alone gives up nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_in_their_time_is_read_before_they_are_given_up() {
    let world = World::open().await;
    let (mut sales, mut clicks) = (Numbered::new(1, "conversions/0"), Numbered::new(1, "clicks/0"));
    let awaited = clicks.click(world.click(TrafficClass::Valid, None, "desktop"));
    let click_id = Some(awaited.id.to_string());
    let bare = Conversion { referral_code: None, click_id, ..world.sale("o-1", "10") };
    let before = [sales.sale(bare), sales.refund(world.refund("late", None))];
    world.append_events(Topic::Conversions, &before).await;
    let running = world.settle();
    eventually("both wait", async || world.outcomes().await.get("pending") == Some(&2)).await;
    running.kill().await;
    assert_eq!(world.end_their_time().await, 2);

    // Behind so much else that they could be given up long before they are read.
    let mut of_clicks: Vec<_> =
        (0..2_000).map(|_| clicks.click(world.click(TrafficClass::Valid, None, "desktop"))).collect();
    of_clicks.push(awaited);
    world.append_events(Topic::Clicks, &of_clicks).await;
    let mut of_sales: Vec<_> =
        (0..300).map(|n| sales.sale(world.sale(&format!("other-{n}"), "10"))).collect();
    of_sales.push(sales.sale(world.sale("late", "10")));
    world.append_events(Topic::Conversions, &of_sales).await;
    let running = world.settle();
    world.caught_up().await;
    eventually("nothing waits", async || !world.outcomes().await.contains_key("pending")).await;
    running.stop().await;
    let outcomes = world.outcomes().await;
    assert_eq!((outcomes.get("settled"), outcomes.get("rejected")), (Some(&303), None), "{outcomes:?}");
    // All but the one that was taken back.
    assert_eq!(world.balances().await[&(1, "accrued".to_owned())], -100 * 301);
    world.assert_sound().await;
}
