//! The same order from fifty connections at once is one conversion.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::StatusCode;
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use tokio::{sync::Barrier, task::JoinSet};
use waypost::store::{
    Store,
    entities::{commission_line, conversion, posting, stream_outcome},
};

use crate::{
    folder::Folder,
    running::{Waypost, client, eventually, report},
};

const CONNECTIONS: i64 = 50;

/// Sends what `event` gives for each number on a connection of its own, all at once; all have to be taken.
async fn send_at_once(waypost: &Waypost, with_keys: bool, event: impl Fn(i64) -> Value) {
    let together = Arc::new(Barrier::new(usize::try_from(CONNECTIONS).unwrap()));
    let mut sending = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (client, together) = (client(), together.clone());
        let key = waypost.at.secret_key.clone().unwrap();
        let mut request = report(&client, &waypost.at.edge, &key, "conversion", &event(number));
        if with_keys {
            request = request.header("idempotency-key", format!("key-{number}"));
        }
        sending.spawn(async move {
            together.wait().await;
            request.send().await.unwrap().status()
        });
    }
    let answers = sending.join_all().await;
    assert!(answers.iter().all(|status| *status == StatusCode::ACCEPTED), "{answers:?}");
}

/// Conversions and refunds by outcome, markers left out.
async fn outcomes(store: &Store) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for row in stream_outcome::Entity::find().all(store.reader()).await.unwrap() {
        if row.stream.starts_with("conversions/") && row.outcome != "marker" && row.events != 0 {
            *sums.entry(row.outcome).or_default() += row.events;
        }
    }
    sums
}

/// One test is one race: what they are told, and how the fifty end.
async fn race(with_keys: bool, event: impl Fn(&str, i64) -> Value, others: &str) {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let token = waypost.follow("jane").await.token;
    send_at_once(&waypost, with_keys, |number| event(&token, number)).await;
    let store = folder.store().await;
    let ended = eventually("every event to be settled", async || {
        let sums = outcomes(&store).await;
        (sums.values().sum::<i64>() == CONNECTIONS).then_some(sums)
    })
    .await;
    assert_eq!(ended, [("settled".to_owned(), 1), (others.to_owned(), CONNECTIONS - 1)].into());
    waypost.stop().await;

    let conversions = conversion::Entity::find().all(store.reader()).await.unwrap();
    assert_eq!(conversions.len(), 1, "{conversions:?}");
    assert_eq!(conversions[0].external_id.as_deref(), Some("order"));
    assert_eq!(commission_line::Entity::find().all(store.reader()).await.unwrap().len(), 1);
    assert_eq!(posting::Entity::find().all(store.reader()).await.unwrap().len(), 2);
    folder.assert_adds_up();
    folder.assert_log_is_discreet();
}

fn order(program: Option<&str>, amount: &str, token: &str) -> Value {
    json!({"program": program, "external_id": "order", "amount": amount, "click_id": token})
}

#[tokio::test]
async fn one_of_fifty_settles() {
    race(false, |token, _| order(Some("demo-shop"), "50.00", token), "duplicate").await;
}

#[tokio::test]
async fn keys_of_their_own_make_no_orders_of_their_own() {
    race(true, |token, _| order(Some("demo-shop"), "50.00", token), "duplicate").await;
}

/// Nothing names the program but the click, so only settlement can know the order.
#[tokio::test]
async fn an_order_without_a_program_is_known_by_its_attribution() {
    race(true, |token, _| order(None, "50.00", token), "duplicate").await;
}

#[tokio::test]
async fn the_first_of_fifty_contradictions_wins() {
    let amount = |number| format!("{}.00", 10 + number);
    race(false, |token, number| order(Some("demo-shop"), &amount(number), token), "rejected").await;
}
