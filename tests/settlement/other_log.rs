//! A store meets a log that is not the one that it was settled from: its events take effect, all of them and once.

use waypost::{
    domain::traffic::TrafficClass,
    events::{Conversion, Event},
    store::streams,
    stream::Topic,
};

use crate::fixtures::*;

/// Sales of one boot of an edge.
fn sales(world: &World, boot: u128, count: usize) -> Vec<Event> {
    let mut numbered = Numbered::new(boot, "conversions/0");
    (0..count).map(|n| numbered.sale(world.sale(&format!("{boot}-{n}"), "10"))).collect()
}

fn log(events: &[Event]) -> FakeSource {
    let source = FakeSource::default();
    events.iter().for_each(|event| source.push(event.encode().into()));
    source
}

async fn stands_at(world: &World) -> i64 {
    streams::position(world.store.reader(), Topic::Conversions.name(), 0).await.unwrap()
}

/// Settles until `settled` sales have, and the position is at the end of `events`.
async fn settle(world: &World, events: &[Event], settled: i64) {
    let running = world.settle_from(FakeSource::default(), log(events));
    let end = i64::try_from(events.len()).unwrap();
    eventually(&format!("{settled} sales"), async || {
        world.outcomes().await.get("settled") == Some(&settled) && stands_at(world).await == end
    })
    .await;
    running.stop().await;
    assert_eq!(world.balances().await[&(1, "accrued".to_owned())], -100 * settled);
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_the_place_of_another_is_read_from_its_beginning() {
    let world = World::open().await;
    let (first, second) = (sales(&world, 1, 6), sales(&world, 2, 9));
    settle(&world, &first, 6).await;
    settle(&world, &second, 15).await;
    // Back again, as after a switch that was taken back.
    settle(&world, &first, 15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_lost_its_end_and_grown_again_loses_nothing_more() {
    let world = World::open().await;
    let (first, second) = (sales(&world, 1, 6), sales(&world, 2, 4));
    settle(&world, &first, 6).await;
    // Offsets 4 and 5 are those of other events now.
    let grown = [&first[..4], &second].concat();
    settle(&world, &grown, 10).await;
    assert_eq!(world.outcomes().await["settled"], 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_ends_before_the_position_is_begun_over_after_a_while() {
    let world = World::open().await;
    let (first, second) = (sales(&world, 1, 6), sales(&world, 2, 3));
    settle(&world, &first, 6).await;
    settle(&world, &second, 9).await;
    // One event before the position: reading waits for the one that would prove the log.
    let third = sales(&world, 3, 2);
    settle(&world, &third, 11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_log_goes_on_where_it_was() {
    let world = World::open().await;
    let all = sales(&world, 1, 10);
    for end in [3, 4, 10] {
        settle(&world, &all[..end], i64::try_from(end).unwrap()).await;
    }
    let (_, last) = streams::standing(world.store.reader(), Topic::Conversions.name(), 0).await.unwrap();
    let expected = waypost::stream::Fingerprint::of(&all[9].encode());
    assert_eq!(last.as_deref(), Some(expected.as_bytes().as_slice()));
}

/// A conversion waits for its click, which lies in the new log of clicks: short of the old position, it is not read yet
/// when the waiting time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_up_before_the_other_log_was_read() {
    let world = World::open().await;
    let clicks = |boot, count| {
        let mut numbered = Numbered::new(boot, "clicks/0");
        (0..count).map(|_| numbered.click(world.click(TrafficClass::Valid, None, "desktop"))).collect()
    };
    let (old, new): (Vec<Event>, Vec<Event>) = (clicks(1, 6), clicks(2, 3));
    let running = world.settle_from(log(&old), FakeSource::default());
    eventually("the old clicks", async || world.outcomes().await.get("stored") == Some(&6)).await;
    running.stop().await;

    let click_id = Some(new[2].id.to_string());
    let sale = Conversion { referral_code: None, click_id, ..world.sale("o-1", "10") };
    let sale = Numbered::new(1, "conversions/0").sale(sale);
    let sales = log(&[sale]);
    let running = world.settle_from(log(&old), sales.clone());
    eventually("it waits", async || world.outcomes().await.get("pending") == Some(&1)).await;
    running.stop().await;
    // As long after.
    assert_eq!(world.end_their_time().await, 1);

    let running = world.settle_from(log(&new), sales);
    eventually("the new clicks", async || world.outcomes().await.get("stored") == Some(&9)).await;
    eventually("the sale", async || world.outcomes().await.get("settled") == Some(&1)).await;
    running.stop().await;
    world.assert_sound().await;
}
