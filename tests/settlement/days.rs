//! Clicks by day: room for those that come, the end of those whose time is over.

use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use uuid::{Builder, Uuid};
use waypost::{
    domain::{
        calendar::date_of,
        time::{MS_PER_DAY, Timestamp},
        traffic::TrafficClass,
    },
    events::Body,
    jobs::retention::{forget_clicks, make_room},
    settlement::reconcile::reconcile,
    store::entities::{click, click_rollup},
    stream::Topic,
};

use crate::fixtures::*;

fn click_id(at: Timestamp, n: u8) -> Uuid {
    Builder::from_unix_timestamp_millis(at.0.unsigned_abs(), &[n; 10]).into_uuid()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_click_of_any_kept_day_is_stored_and_old_days_are_forgotten() {
    let mut world = World::open().await;
    world.settings.click_retention_days = 30;
    let now = Timestamp::now();
    make_room(&world.store, now).await.unwrap();
    make_room(&world.store, now).await.unwrap();
    let mut numbered = Numbered::new(1, "clicks/0");
    // Days before today; beyond 30 they come too late.
    let days = [0, 1, 2, 29, 30, 31, 400];
    let clicks: Vec<_> = (1..)
        .zip(days)
        .map(|(n, days)| {
            let id = click_id(now.plus_days(-days), n);
            let body = Body::Click(Box::new(world.click(TrafficClass::Valid, Some("DE"), "desktop")));
            numbered.event_with(id, body)
        })
        .collect();
    world.append_events(Topic::Clicks, &clicks).await;
    world.settle_all().await;
    let outcomes = world.outcomes().await;
    assert_eq!((outcomes["stored"], outcomes["late"]), (5, 2));
    let stored = || async {
        let mut days: Vec<i32> = click::Entity::find()
            .all(world.store.reader())
            .await
            .unwrap()
            .iter()
            .map(|row| now.day() - row.day)
            .collect();
        days.sort_unstable();
        days
    };
    assert_eq!(stored().await, [0, 1, 2, 29, 30]);
    assert_eq!(forget_clicks(&world.store, now, 30).await.unwrap(), 0);
    // Of the days after yesterday only those that had clicks are older than one day.
    assert_eq!(forget_clicks(&world.store, now, 1).await.unwrap(), 3);
    assert_eq!(stored().await, [0, 1]);
    assert_eq!(forget_clicks(&world.store, now, 1).await.unwrap(), 0);
    // The counts stay, and a day that was forgotten takes clicks again.
    assert_eq!(click_rollup::Entity::find().count(world.store.reader()).await.unwrap(), 5);
    let body = Body::Click(Box::new(world.click(TrafficClass::Valid, None, "mobile")));
    let again = numbered.event_with(click_id(Timestamp(now.0 - 2 * MS_PER_DAY), 99), body);
    world.append_events(Topic::Clicks, &[again]).await;
    world.settle_all().await;
    assert_eq!(stored().await, [0, 1, 2]);
    // It has fewer than were counted of it, which is no difference; in a day that is kept whole it is one.
    world.assert_sound().await;
    for (day, found) in [(2, None), (1, Some(1)), (0, Some(0))] {
        let tx = world.store.begin().await.unwrap();
        let of_day = click::Entity::delete_many().filter(click::Column::Day.eq(now.day() - day));
        assert_eq!(of_day.exec(&tx).await.unwrap().rows_affected, 1);
        let differences = reconcile(&tx).await.unwrap().differences;
        let expected = found.map(|day| {
            let date = date_of(now.day() - day);
            format!("0 clicks are stored of {date}, 1 are counted")
        });
        assert_eq!(differences, Vec::from_iter(expected));
        tx.rollback().await.unwrap();
    }
}
