//! What was seen is what ended somehow, click by click and conversion by conversion.

use std::collections::BTreeMap;

use bytes::Bytes;
use sea_orm::{ConnectionTrait, EntityTrait};
use waypost::{
    domain::{time::Timestamp, traffic::TrafficClass},
    events::Conversion,
    store::entities::{click, click_rollup, rejected_event},
    stream::Topic,
};

use crate::fixtures::*;

fn counts(expected: &[(&str, i64)]) -> BTreeMap<String, i64> {
    expected.iter().map(|(outcome, events)| ((*outcome).to_owned(), *events)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_has_one_outcome_and_gaps_are_listed() {
    let world = World::open().await;
    let (mut sales, mut clicks) = (Numbered::new(1, "conversions/0"), Numbered::new(1, "clicks/0"));
    let mut events = Vec::new();
    for n in 0..120 {
        events.push(sales.sale(world.sale(&format!("o-{n}"), "10")));
    }
    for n in 0..30 {
        events.push(sales.sale(world.sale(&format!("o-{n}"), "10")));
        events.push(sales.refund(world.refund(&format!("o-{n}"), Some("4"))));
    }
    sales.lose();
    sales.lose();
    let unattributed = Conversion { referral_code: None, ..world.sale("x", "1") };
    for _ in 0..7 {
        events.push(sales.sale(unattributed.clone()));
    }
    for n in 0..3 {
        events.push(sales.refund(world.refund(&format!("nowhere-{n}"), None)));
    }
    let held = Conversion {
        authority: waypost::events::Authority::HeldPixel,
        program: Some("shop".to_owned()),
        ..world.sale("h", "1")
    };
    events.push(sales.sale(held));
    // Of an account that is not there; it says whose it would be.
    let stranger = Conversion { account: waypost::domain::ids::AccountId(77), ..world.sale("s", "1") };
    events.push(sales.sale(stranger));
    events.push(sales.end());
    world.append_events(Topic::Conversions, &events).await;
    world.append(Topic::Conversions, vec![Bytes::from_static(b"\xffgarbage"), Bytes::new()]).await;

    let kinds = [
        (TrafficClass::Valid, Some("DE"), "desktop", 40),
        (TrafficClass::Valid, Some("DE"), "mobile", 30),
        (TrafficClass::Valid, None, "mobile", 20),
        (TrafficClass::Crawler, Some("US"), "crawler", 15),
        (TrafficClass::Duplicate, Some("DE"), "desktop", 5),
    ];
    let mut events = Vec::new();
    for (class, country, device, count) in kinds {
        for _ in 0..count {
            events.push(clicks.click(world.click(class, country, device)));
        }
    }
    // The same click under another number.
    let again = clicks.event_with(events[0].id, events[0].body.clone());
    events.push(again);
    // One that the store would have forgotten.
    let old = uuid::Builder::from_unix_timestamp_millis(1_000_000_000_000, &[3; 10]).into_uuid();
    let body = events[0].body.clone();
    events.push(clicks.event_with(old, body));
    // Of a link that is not the account's.
    let mut foreign = world.click(TrafficClass::Valid, None, "desktop");
    foreign.link = waypost::domain::ids::LinkId(99);
    events.push(clicks.click(foreign));
    events.push(clicks.end());
    world.append_events(Topic::Clicks, &events).await;

    world.settle_all().await;
    world.assert_sound().await;
    let report = world.reconcile().await;
    let [of_clicks, of_sales] = &report.streams[..] else { panic!("{report:?}") };
    assert_eq!(
        of_sales.outcomes,
        counts(&[
            ("settled", 150),
            ("duplicate", 30),
            ("rejected", 8),
            ("pending", 3),
            ("held", 1),
            ("marker", 1)
        ])
    );
    assert_eq!((of_sales.seen, of_sales.last, of_sales.ended), (193, 195, true));
    assert_eq!((of_sales.gaps.as_slice(), of_sales.missing()), ([(181, 182)].as_slice(), 2));
    assert_eq!(
        of_clicks.outcomes,
        counts(&[("stored", 110), ("duplicate_delivery", 1), ("late", 1), ("rejected", 1), ("marker", 1)])
    );
    assert_eq!((of_clicks.seen, of_clicks.gaps.len(), of_clicks.ended), (114, 0, true));
    // 120 at 1.00, 30 of them less 0.40.
    assert_eq!(world.balances().await[&(1, "accrued".to_owned())], -(120 * 100 - 30 * 40));
    let rejected = rejected_event::Entity::find().all(world.store.reader()).await.unwrap();
    let nobodys: Vec<_> = rejected.iter().filter(|row| row.account_id == 0).map(|row| &*row.kind).collect();
    assert_eq!(nobodys, ["unreadable", "unreadable"]);
    assert_eq!(rejected.iter().filter(|row| row.reason == "malformed").count(), 4);

    let day = Timestamp::now().day();
    let rollups = click_rollup::Entity::find().all(world.store.reader()).await.unwrap();
    // Of both days, should midnight have come.
    let mut of_both = BTreeMap::new();
    for row in &rollups {
        *of_both.entry((row.class.clone(), row.country.clone(), row.device.clone())).or_insert(0) +=
            row.clicks;
    }
    let found: Vec<_> =
        of_both.into_iter().map(|((class, country, device), n)| (class, country, device, n)).collect();
    let mut expected: Vec<_> = kinds
        .iter()
        .map(|(class, country, device, count)| {
            let text = |text: &str| text.to_owned();
            (text(class.as_str()), text(country.unwrap_or("")), text(device), *count)
        })
        .collect();
    expected.sort();
    assert_eq!(found, expected);
    assert!(rollups.iter().all(|row| (day - 1..=day).contains(&row.day)));
    assert_eq!(click::Entity::find().all(world.store.reader()).await.unwrap().len(), 110);

    for (statement, part) in [
        ("UPDATE click_rollups SET clicks = clicks - 1 WHERE device = 'crawler'", "counted per day"),
        ("DELETE FROM clicks WHERE device = 'crawler'", "clicks are stored of"),
        ("DELETE FROM clicks", "0 clicks are stored of"),
        ("UPDATE stream_outcomes SET events = 149 WHERE outcome = 'settled'", "have an outcome"),
        ("DELETE FROM rejected_events WHERE kind = 'conversion'", "ended as rejected"),
        ("UPDATE conversions SET status = 'pending' WHERE external_id = 'o-3'", "ended as pending"),
        ("DELETE FROM refunds WHERE status = 'pending'", "ended as pending"),
    ] {
        let tx = world.store.begin().await.unwrap();
        assert!(tx.execute_unprepared(statement).await.unwrap().rows_affected() > 0);
        let differences = waypost::settlement::reconcile::reconcile(&tx).await.unwrap().differences;
        assert!(differences.iter().any(|text| text.contains(part)), "{statement}: {differences:?}");
        tx.rollback().await.unwrap();
    }
    world.assert_sound().await;
}
