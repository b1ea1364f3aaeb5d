//! The same `Idempotency-Key` takes effect once.

use axum::http::Method;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Set};
use serde_json::{Value, json};
use waypost::{
    catalog::{KeyKind, Scope},
    store::entities::idempotency_key,
};

use crate::support::{Answer, Client, Server, program};

async fn post(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    client.send(client.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await
}

#[tokio::test]
async fn a_repeat_gets_the_same_answer() {
    let server = Server::start().await;
    let (shop, other) = (&server.shop, server.account("other").await);
    let body = json!({"first_name": "Jane"});
    let first = post(shop, "/v1/affiliates", "k1", &body).await;
    let again = post(shop, "/v1/affiliates", "k1", &body).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.text, again.text);
    assert_eq!(
        (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
        (None, Some("true"))
    );
    assert_eq!(shop.all("/v1/affiliates", 5).await.len(), 1);
    for (path, body) in [("/v1/affiliates", json!({"first_name": "June"})), ("/v1/programs", body.clone())] {
        let refused = post(shop, path, "k1", &body).await;
        let expected = if path == "/v1/programs" { "invalid_request" } else { "idempotency_key_reused" };
        assert_eq!((refused.status, &refused.json()["code"]), (422, &json!(expected)));
    }
    let refused = post(shop, "/v1/programs", "k1", &program("p")).await;
    assert_eq!(refused.json()["code"], "idempotency_key_reused");
    // Keys of another account are its own.
    assert_eq!(post(&other, "/v1/affiliates", "k1", &body).await.header("idempotency-replayed"), None);
}

/// What an API key may do decides what is answered; which of two equal keys asks does not.
#[tokio::test]
async fn an_answer_is_for_keys_of_the_same_scopes() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let renewed = [Scope::Domains, Scope::Events, Scope::Write, Scope::Read];
    let renewed = server.key(shop, KeyKind::Secret, &renewed).await;
    let reporter = server.key(shop, KeyKind::Secret, &[Scope::Events]).await;
    let sale = json!({"program": "summer", "amount": "10", "coupon": "JANE10"});
    let first = post(shop, "/v1/conversions", "k1", &sale).await;
    assert_eq!((first.status, &first.json()["conversion"]["amount"]), (201, &json!("10.00")));
    let again = post(&renewed, "/v1/conversions", "k1", &sale).await;
    assert_eq!((again.header("idempotency-replayed"), &again.text), (Some("true"), &first.text));
    let refused = post(&reporter, "/v1/conversions", "k1", &sale).await;
    assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("idempotency_key_reused")));
    assert!(!refused.text.contains("commissions"), "{}", refused.text);
    assert_eq!(shop.all("/v1/conversions", 5).await.len(), 1);
    // What it reports itself is answered to it again.
    let own = post(&reporter, "/v1/conversions", "k2", &sale).await;
    assert_eq!((own.status, &own.json()["conversion"]), (201, &Value::Null));
    assert_eq!(post(&reporter, "/v1/conversions", "k2", &sale).await.text, own.text);
}

#[tokio::test]
async fn a_refused_request_is_not_remembered() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.post("/v1/affiliates", json!({"id": "jane"})).await.ok(201);
    let body = json!({"id": "jane"});
    assert_eq!(post(shop, "/v1/affiliates", "k1", &body).await.status, 409);
    assert_eq!(post(shop, "/v1/affiliates", "k1", &json!({"id": "june"})).await.status, 201);
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day() {
    let server = Server::start().await;
    let shop = &server.shop;
    let body = json!({"first_name": "Jane"});
    post(shop, "/v1/affiliates", "k1", &body).await.ok(201);
    post(shop, "/v1/affiliates", "k2", &body).await.ok(201);
    let reader = server.store.reader();
    let row =
        idempotency_key::Entity::find_by_id((shop.account.0, "k1".to_owned())).one(reader).await.unwrap();
    let mut row = row.unwrap();
    row.created_at -= 86_400_000;
    let at = row.created_at;
    let mut row = row.into_active_model();
    row.created_at = Set(at);
    let tx = server.store.begin().await.unwrap();
    row.update(&tx).await.unwrap();
    tx.commit().await.unwrap();
    let anew = post(shop, "/v1/affiliates", "k1", &body).await;
    assert_eq!((anew.status, anew.header("idempotency-replayed")), (201, None));
    assert_eq!(shop.all("/v1/affiliates", 5).await.len(), 3);
}

#[tokio::test]
async fn fifty_at_once_are_one() {
    let server = Server::start().await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let shop = server.shop.clone();
            tokio::spawn(async move { post(&shop, "/v1/affiliates", "k1", &json!({"company": "C"})).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.text == answers[0].text));
    let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_some()).count();
    assert_eq!(replayed, 49);
    assert_eq!(server.shop.all("/v1/affiliates", 100).await.len(), 1);
}

#[tokio::test]
async fn a_key_is_a_plain_text() {
    let server = Server::start().await;
    for key in ["", "a b", &"x".repeat(256), "é"] {
        let refused = post(&server.shop, "/v1/affiliates", key, &json!({})).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["Idempotency-Key".to_owned()]), "{key}");
    }
    assert!(server.shop.all("/v1/affiliates", 5).await.is_empty());
}
