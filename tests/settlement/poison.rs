//! U+0000, which PostgreSQL stores nowhere, in an event that came past the edge.

use bytes::Bytes;
use sea_orm::{EntityTrait, QueryOrder};
use waypost::{
    domain::traffic::TrafficClass,
    events::Event,
    store::entities::{click, rejected_event},
    stream::Topic,
};

use crate::fixtures::*;

/// The event's record with `text` replaced by one that has U+0000 in it.
fn poisoned(event: &Event, text: &str) -> Bytes {
    let json = String::from_utf8(event.encode()).unwrap();
    assert!(json.contains(text), "{json}");
    json.replace(text, &format!("{text}\\u0000")).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_store_holds_is_rejected_and_the_rest_goes_on() {
    let world = World::open().await;
    let (mut sales, mut clicks) = (Numbered::new(1, "conversions/0"), Numbered::new(1, "clicks/0"));
    let mut sale = world.sale("o-1", "10");
    sale.meta_data.insert("note".to_owned(), "a word".into());
    let mut sold = |text: &str| poisoned(&sales.sale(sale.clone()), text);
    let records = vec![sold("a word"), sold("o-1"), sold("note")];
    world.append(Topic::Conversions, records).await;
    // Whose stream it is cannot be read: it is in no sum.
    let stray = poisoned(&Numbered::new(2, "conversions/0").sale(world.sale("o-9", "10")), "edge-1");
    world.append(Topic::Conversions, vec![stray]).await;
    let good = sales.sale(world.sale("o-2", "10"));
    world.append_events(Topic::Conversions, &[good]).await;
    let followed =
        |clicks: &mut Numbered| clicks.click(world.click(TrafficClass::Valid, Some("DE"), "desktop"));
    world.append(Topic::Clicks, vec![poisoned(&followed(&mut clicks), "Firefox")]).await;
    world.append_events(Topic::Clicks, &[followed(&mut clicks)]).await;
    world.settle_all().await;

    let outcomes = world.outcomes().await;
    assert_eq!((outcomes["settled"], outcomes["rejected"], outcomes["stored"]), (1, 4, 1));
    assert_eq!(click::Entity::find().all(world.store.reader()).await.unwrap().len(), 1);
    let kept = rejected_event::Entity::find().order_by_asc(rejected_event::Column::Id);
    let kept = kept.all(world.store.reader()).await.unwrap();
    let mut told: Vec<_> = kept.iter().map(|row| (row.kind.as_str(), row.detail.clone().unwrap())).collect();
    told.sort();
    let named = |field: &str| format!("{field} has the character U+0000, which cannot be stored");
    assert_eq!(
        told,
        [
            ("click", named("body.click.browser")),
            ("conversion", named("body.conversion.external_id")),
            ("conversion", named("body.conversion.meta_data.note")),
            ("conversion", named("body.conversion.meta_data.note\u{fffd}")),
            ("unreadable", named("origin.edge")),
        ]
    );
    assert!(kept.iter().all(|row| row.reason == "malformed"));
    // As it came, for whoever repairs the sender.
    assert!(kept.iter().any(|row| row.event.contains("a word\\u0000")));
    world.assert_sound().await;
}
