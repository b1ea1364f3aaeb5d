//! Once in effect, however often it is delivered, by whom, and whatever is killed.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use tokio::time::sleep;
use waypost::{domain::traffic::TrafficClass, events::Event, stream::Topic};

use crate::fixtures::*;

/// Sales, refunds and clicks of one boot.
fn events(world: &World, boot: u128, count: usize) -> (Vec<Event>, Vec<Event>) {
    let (mut sales, mut clicks) = (Numbered::new(boot, "conversions/0"), Numbered::new(boot, "clicks/0"));
    let mut of_sales = Vec::new();
    let mut of_clicks = Vec::new();
    for n in 0..count {
        of_sales.push(sales.sale(world.sale(&format!("{boot}-{n}"), "10")));
        if n % 3 == 0 {
            of_sales.push(sales.refund(world.refund(&format!("{boot}-{}", n + 1), Some("1"))));
        }
        let class = if n % 5 == 0 { TrafficClass::Crawler } else { TrafficClass::Valid };
        of_clicks.push(clicks.click(world.click(class, Some("DE"), "desktop")));
    }
    (of_sales, of_clicks)
}

/// `count` sales of 10.00 at 10 %, of which those after every third have 1.00 refunded.
fn accrued(count: i64) -> i64 {
    let refunded = (0..count).filter(|n| n % 3 == 0 && n + 1 < count).count();
    -(count * 100 - i64::try_from(refunded).unwrap() * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_read_again_changes_nothing() {
    let world = World::open().await;
    let (sales, clicks) = events(&world, 1, 90);
    world.append_events(Topic::Conversions, &sales).await;
    world.append_events(Topic::Clicks, &clicks).await;
    // The same records again, as after a failed acknowledgement.
    world.append_events(Topic::Conversions, &sales[20..50]).await;
    world.append_events(Topic::Clicks, &clicks[20..50]).await;
    world.settle_all().await;
    let (outcomes, balances) = (world.outcomes().await, world.balances().await);
    assert_eq!(balances[&(1, "accrued".to_owned())], accrued(90));
    world.assert_sound().await;
    // From the beginning, out of a log that has forgotten nothing.
    let source = |events: &[Event]| {
        let source = FakeSource::default();
        events.iter().for_each(|event| source.push(event.encode().into()));
        source
    };
    let (conversions, of_clicks) = (source(&sales), source(&clicks));
    let tx = world.store.begin().await.unwrap();
    tx.execute_unprepared("UPDATE positions SET next_offset = 0").await.unwrap();
    tx.commit().await.unwrap();
    let running = world.settle_from(of_clicks, conversions);
    eventually("both read again", || async {
        let reader = world.store.reader();
        let at = |topic: Topic| waypost::store::streams::position(reader, topic.name(), 0);
        at(Topic::Clicks).await.unwrap() == 90
            && at(Topic::Conversions).await.unwrap() == i64::try_from(sales.len()).unwrap()
    })
    .await;
    running.stop().await;
    assert_eq!((world.outcomes().await, world.balances().await), (outcomes, balances));
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_of_one_topic_do_the_work_of_one() {
    let world = World::open().await;
    let (first, second) = (world.settle(), world.settle());
    for boot in 1..=10 {
        let (sales, clicks) = events(&world, boot, 40);
        world.append_events(Topic::Conversions, &sales).await;
        world.append_events(Topic::Clicks, &clicks).await;
    }
    world.caught_up().await;
    first.stop().await;
    second.stop().await;
    assert_eq!(world.balances().await[&(1, "accrued".to_owned())], 10 * accrued(40));
    let outcomes = world.outcomes().await;
    assert_eq!((outcomes["stored"], outcomes.get("duplicate_delivery")), (400, None));
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_it_goes_on_where_it_was() {
    let mut world = World::open().await;
    world.settings.batch_events = 7;
    for boot in 1..=6 {
        let (sales, clicks) = events(&world, boot, 50);
        world.append_events(Topic::Conversions, &sales).await;
        world.append_events(Topic::Clicks, &clicks).await;
    }
    for pause in (0..40_u64).map(|n| n * 7 % 61) {
        let running = world.settle();
        sleep(Duration::from_millis(pause)).await;
        running.kill().await;
    }
    world.settle_all().await;
    assert_eq!(world.balances().await[&(1, "accrued".to_owned())], 6 * accrued(50));
    let outcomes = world.outcomes().await;
    let refunds = (0..50).filter(|n| n % 3 == 0).count();
    let per_boot = 50 + i64::try_from(refunds).unwrap();
    assert_eq!((outcomes["stored"], outcomes["settled"]), (300, 6 * per_boot));
    assert_eq!(outcomes.get("duplicate"), None);
    world.assert_sound().await;
}
