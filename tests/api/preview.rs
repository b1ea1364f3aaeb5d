//! A dry run says what would come of a conversion, and leaves no trace.

use sea_orm::{EntityTrait, PaginatorTrait};
use serde_json::{Value, json};
use waypost::store::entities::{
    account, balance, claim, commission_line, conversion, customer, idempotency_key, journal_entry, posting,
    rejected_event,
};

use crate::support::Server;

async fn rows(server: &Server) -> Vec<u64> {
    let db = server.store.reader();
    let last = account::Entity::find().all(db).await.unwrap()[0].last_seq;
    vec![
        last.unsigned_abs(),
        balance::Entity::find().count(db).await.unwrap(),
        claim::Entity::find().count(db).await.unwrap(),
        commission_line::Entity::find().count(db).await.unwrap(),
        conversion::Entity::find().count(db).await.unwrap(),
        customer::Entity::find().count(db).await.unwrap(),
        idempotency_key::Entity::find().count(db).await.unwrap(),
        journal_entry::Entity::find().count(db).await.unwrap(),
        posting::Entity::find().count(db).await.unwrap(),
        rejected_event::Entity::find().count(db).await.unwrap(),
    ]
}

#[tokio::test]
async fn what_is_foretold_comes_true() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let before = rows(&server).await;
    let body = json!({"external_id": "o-1", "customer_id": "c-1", "coupon": "jane10", "referral_code": "no",
        "commissions": [{"sub_amount": "10.005"}, {"sub_amount": 20}]});
    let told = shop.post("/v1/commissions/preview", body.clone()).await.ok(200);
    assert_eq!(rows(&server).await, before);
    assert_eq!((&told["outcome"], &told["program"]), (&json!("settled"), &json!("summer")));
    assert_eq!((&told["amount"], &told["currency"]), (&json!("30.00"), &json!("USD")));
    assert_eq!((&told["resolved_by"], &told["warnings"]), (&json!("coupon"), &json!(["amount_rounded"])));
    let steps = told["commissions"][0]["steps"].as_array().unwrap();
    let kinds: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    for kind in ["attribution", "rule", "calculation", "result"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    // The same again, with a key too: nothing was remembered.
    let request = shop.request(axum::http::Method::POST, "/v1/commissions/preview");
    let keyed = shop.send(request.json(&body).header("Idempotency-Key", "k-1")).await;
    assert_eq!((keyed.header("idempotency-replayed"), rows(&server).await), (None, before));
    let real = shop.post("/v1/conversions", body.clone()).await.ok(201)["conversion"].clone();
    let of = |rows: &Value| -> Vec<Value> {
        let names = ["number", "amount", "sub_amount", "commission_type", "status", "affiliate", "kind"];
        rows.as_array().unwrap().iter().map(|row| json!(names.map(|name| row[name].clone()))).collect()
    };
    assert_eq!(of(&told["commissions"]), of(&real["commissions"]));
    assert_eq!(of(&keyed.json()["commissions"]), of(&real["commissions"]));
    // It was taken now, and that is what a preview says.
    let again = shop.post("/v1/commissions/preview", body).await.ok(200);
    assert_eq!(again["outcome"], "duplicate");
}

#[tokio::test]
async fn what_would_not_settle_is_told_too() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let before = rows(&server).await;
    let refused = shop.post("/v1/commissions/preview", json!({"amount": 5, "coupon": "NO"})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("unattributed")));
    assert_eq!(refused.json()["warnings"], json!(["unknown_coupon"]));
    let refused = shop.post("/v1/commissions/preview", json!({"amount": "NaN", "coupon": "JANE10"})).await;
    assert_eq!(refused.fields(), ["amount"]);
    let click = format!("clk_{}", uuid::Uuid::now_v7().simple());
    let waits = shop.post("/v1/commissions/preview", json!({"amount": 5, "click_id": click})).await.ok(200);
    assert_eq!((&waits["outcome"], &waits["waits_for"]), (&json!("pending"), &json!("click_not_stored")));
    let lead = json!({"kind": "lead", "referral_code": "jane", "program": "summer"});
    let lead = shop.post("/v1/commissions/preview", lead).await.ok(200);
    assert_eq!(lead["commissions"][0]["amount"], "0.00");
    assert_eq!(rows(&server).await, before);
}
