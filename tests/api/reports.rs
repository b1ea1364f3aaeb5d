//! Conversions and refunds that are reported to the API itself, and rejected events that are sent again.

use axum::http::Method;
use serde_json::{Value, json};
use waypost::{
    catalog::{KeyKind, Scope},
    domain::time::{MS_PER_DAY, Timestamp},
    ledger::Effect,
};

use crate::support::{Client, Server};

fn sale(external_id: &str, amount: &str) -> Value {
    json!({"program": "summer", "external_id": external_id, "amount": amount, "coupon": "JANE10"})
}

fn refund(external_id: &str, of: &str, amount: &str) -> Value {
    let mut body = json!({"program": "summer", "external_id": external_id, "conversion_external_id": of});
    if !amount.is_empty() {
        body["amount"] = json!(amount);
    }
    body
}

async fn counts(shop: &Client) -> [usize; 4] {
    let mut counts = [0; 4];
    for (count, path) in counts.iter_mut().zip(["conversions", "commissions", "refunds", "rejected"]) {
        *count = shop.all(&format!("/v1/{path}"), 50).await.len();
    }
    counts
}

#[tokio::test]
async fn a_conversion_settles_before_the_answer() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let taken = shop.post("/v1/conversions", sale("o-1", "49.90")).await.ok(201);
    assert_eq!(taken["outcome"], "settled");
    let conversion = &taken["conversion"];
    assert_eq!((&conversion["kind"], &conversion["amount"]), (&json!("conversion"), &json!("49.90")));
    assert_eq!(conversion["commissions"][0]["amount"], "4.99");
    assert_eq!(taken["id"], conversion["id"]);
    let path = format!("/v1/conversions/{}", taken["id"].as_str().unwrap());
    assert_eq!(shop.get(&path).await.ok(200), *conversion);
    // Once more, over the API or through the log: it is taken once.
    let again = shop.post("/v1/conversions", sale("o-1", "49.90")).await.ok(200);
    assert_eq!((&again["outcome"], &again["id"]), (&json!("duplicate"), &taken["id"]));
    let late = server.receive(shop.account, "conversion", sale("o-1", "49.90")).await;
    assert!(matches!(late, Effect::Duplicate { .. }), "{late:?}");
    let other = shop.post("/v1/conversions", sale("o-1", "50")).await;
    assert_eq!((other.status, other.fields()), (422, vec!["external_id".to_owned()]), "{}", other.text);
    assert_eq!(other.json()["code"], "idempotency_conflict");
    // Kinds have spaces of their own, and a purchase is a conversion.
    let mut lead = sale("o-1", "0");
    lead["kind"] = json!("lead");
    assert_eq!(shop.post("/v1/conversions", lead).await.ok(201)["conversion"]["kind"], "lead");
    let mut purchase = sale("o-1", "49.90");
    purchase["kind"] = json!("purchase");
    assert_eq!(shop.post("/v1/conversions", purchase).await.ok(200)["id"], taken["id"]);
    assert_eq!(counts(shop).await, [2, 2, 0, 0]);
}

#[tokio::test]
async fn what_must_wait_says_for_what() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let click = format!("clk_{}", uuid::Uuid::now_v7().simple());
    let waits = shop.post("/v1/conversions", json!({"amount": 5, "click_id": click})).await.ok(202);
    assert_eq!(waits["outcome"], "pending");
    assert_eq!(waits["conversion"]["waits_for"], "click_not_stored");
    let early = shop.post("/v1/refunds", refund("r-1", "o-1", "")).await.ok(202);
    assert_eq!((&early["outcome"], &early["refund"]["status"]), (&json!("pending"), &json!("pending")));
    let sold = shop.post("/v1/conversions", sale("o-1", "49.90")).await.ok(201);
    assert_eq!(sold["conversion"]["refunded"], "49.90");
    assert_eq!(sold["conversion"]["refunds"][0]["id"], early["id"]);
    let path = format!("/v1/refunds/{}", early["id"].as_str().unwrap());
    assert_eq!(shop.get(&path).await.ok(200)["amount"], "49.90");
}

#[tokio::test]
async fn what_the_rules_reject_leaves_nothing_behind() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let body = json!({"external_id": "o-1", "amount": 5, "coupon": "NO", "referral_code": "nobody"});
    let refused = shop.post("/v1/conversions", body).await;
    assert_eq!((refused.status, refused.header("content-type")), (422, Some("application/problem+json")));
    let problem = refused.json();
    assert_eq!(problem["code"], "unattributed");
    assert_eq!(problem["warnings"], json!(["unknown_coupon", "unknown_referral_code"]));
    assert_eq!(counts(shop).await, [0, 0, 0, 0]);
    // It claims nothing: corrected, it may be sent again.
    let body = json!({"external_id": "o-1", "amount": 5, "coupon": "JANE10", "referral_code": "nobody"});
    shop.post("/v1/conversions", body).await.ok(201);
}

#[tokio::test]
async fn refunds_are_applied_before_the_answer() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let sold = shop.post("/v1/conversions", sale("o-1", "49.90")).await.ok(201);
    let taken = shop.post("/v1/refunds", refund("r-1", "o-1", "9.90")).await.ok(201);
    assert_eq!((&taken["refund"]["amount"], &taken["refund"]["currency"]), (&json!("9.90"), &json!("USD")));
    assert_eq!(taken["refund"]["conversion"], sold["id"]);
    assert_eq!(shop.post("/v1/refunds", refund("r-1", "o-1", "9.90")).await.ok(200)["id"], taken["id"]);
    let by_id = json!({"conversion_id": sold["id"], "reason": "chargeback"});
    let rest = shop.post("/v1/refunds", by_id.clone()).await.ok(201);
    assert_eq!(
        (&rest["refund"]["amount"], &rest["refund"]["reason"]),
        (&json!("40.00"), &json!("chargeback"))
    );
    let more = shop.post("/v1/refunds", by_id).await;
    assert_eq!((more.status, more.fields()), (422, vec!["amount".to_owned()]), "{}", more.text);
    assert_eq!(more.json()["code"], "refund_exceeds_conversion");
    let of_it = format!("/v1/refunds?conversion={}&status=settled", sold["id"].as_str().unwrap());
    let rows = shop.all(&of_it, 1).await;
    assert_eq!(rows, [rest["refund"].clone(), taken["refund"].clone()]);
    assert_eq!(shop.all("/v1/refunds?external_id=r-1", 5).await.len(), 1);
    let from = rows[0]["received_at"].as_str().unwrap();
    assert!(!shop.all(&format!("/v1/refunds?from={from}"), 5).await.is_empty());
    assert!(
        shop.all(&format!("/v1/refunds?to={}", rows[1]["received_at"].as_str().unwrap()), 5).await.is_empty()
    );
    assert_eq!(shop.all("/v1/commissions", 5).await[0]["amount"], "0.00");
}

#[tokio::test]
async fn a_key_makes_a_report_without_external_id_known_again() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let body = json!({"amount": 5, "coupon": "JANE10"});
    let send = async |key: &str, body: &Value| {
        let request = shop.request(Method::POST, "/v1/conversions").json(body).header("Idempotency-Key", key);
        shop.send(request).await
    };
    let first = send("k-1", &body).await;
    let again = send("k-1", &body).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!((first.status, first.json()), (201, again.json()));
    let other = send("k-1", &json!({"amount": 6, "coupon": "JANE10"})).await;
    assert_eq!((other.status, &other.json()["code"]), (422, &json!("idempotency_key_reused")));
    assert_eq!(send("k-2", &body).await.status, 201);
    assert_eq!(shop.post("/v1/conversions", body).await.status, 201);
    assert_eq!(shop.all("/v1/conversions", 5).await.len(), 3);
}

#[tokio::test]
async fn a_key_reports_what_its_scopes_say() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let events = server.key(shop, KeyKind::Secret, &[Scope::Events]).await;
    let writer = server.key(shop, KeyKind::Secret, &[Scope::Read, Scope::Write]).await;
    let import = server.key(shop, KeyKind::Secret, &[Scope::Events, Scope::Import]).await;
    let publishable = server.key(shop, KeyKind::Publishable, &Scope::ALL).await;
    for path in ["/v1/conversions", "/v1/refunds"] {
        assert_eq!(writer.post(path, json!({})).await.status, 403, "{path}");
        assert_eq!(publishable.post(path, json!({})).await.status, 401, "{path}");
    }
    // It learns that it was taken, and no more.
    let taken = events.post("/v1/conversions", sale("o-1", "5")).await.ok(201);
    assert_eq!((&taken["outcome"], &taken["conversion"]), (&json!("settled"), &Value::Null));
    let taken = events.post("/v1/refunds", refund("r-1", "o-1", "1")).await.ok(201);
    assert_eq!(taken["refund"], Value::Null);
    assert_eq!(events.get("/v1/conversions").await.status, 403);
    let mut old = sale("o-2", "5");
    old["occurred_at"] = json!(Timestamp(Timestamp::now().0 - 31 * MS_PER_DAY).to_string());
    let refused = events.post("/v1/conversions", old.clone()).await;
    assert_eq!((refused.status, refused.fields()), (422, vec!["occurred_at".to_owned()]));
    assert_eq!(refused.json()["code"], "occurred_too_long_ago");
    // It may be as old as it is, but nobody was approved then.
    let refused = import.post("/v1/conversions", old).await;
    assert_eq!(refused.json()["code"], "affiliate_not_approved");
}

#[tokio::test]
async fn a_rejected_event_is_repaired_and_sent_again() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let mut wrong = sale("o-1", "49.90");
    wrong["coupon"] = json!("NO");
    wrong["commission_type"] = json!("gold");
    wrong["meta_data"] = json!({"basket": [1, {"n": 2}]});
    server.receive(shop.account, "conversion", wrong).await;
    let rejected = shop.all("/v1/rejected", 5).await[0].clone();
    let path = format!("/v1/rejected/{}", rejected["id"].as_str().unwrap());
    let retry = format!("{path}/retry");
    let again = shop.send(shop.request(Method::POST, &retry)).await.ok(200);
    assert_eq!((&again["outcome"], &again["reason"]), (&json!("rejected"), &json!("unattributed")));
    for (repair, field) in [
        (json!({"amount": "x"}), "amount"),
        (json!({"what": 1}), "what"),
        (json!({"commissions": [{"sub_amount": "1"}, {}]}), "commissions[1].sub_amount"),
    ] {
        let refused = shop.post(&retry, repair.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{repair}");
    }
    // One fault less; it stays as it was sent last.
    let again = shop.post(&retry, json!({"coupon": "JANE10"})).await.ok(200);
    assert_eq!(again["reason"], "unknown_commission_type");
    let kept = shop.get(&path).await.ok(200);
    assert_eq!((&kept["reason"], &kept["reported"]["coupon"]), (&again["reason"], &json!("JANE10")));
    assert_eq!(kept["event"], rejected["event"]);
    let taken = shop.post(&retry, json!({"commission_type": null, "amount": 1.005e1})).await.ok(200);
    assert_eq!(taken["outcome"], "settled");
    let conversion = shop.get(&format!("/v1/conversions/{}", taken["id"].as_str().unwrap())).await.ok(200);
    assert_eq!((&conversion["amount"], &conversion["external_id"]), (&json!("10.05"), &json!("o-1")));
    assert_eq!(conversion["reported"]["meta_data"], json!({"basket": [1, {"n": 2}]}));
    let refused = shop.post(&retry, json!({"amount": 5})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("already_retried")));

    let mut more = refund("r-1", "o-1", "99");
    more["reason"] = json!("broken");
    server.receive(shop.account, "refund", more).await;
    let rejected = shop.all("/v1/rejected?retried=false", 5).await[0].clone();
    assert_eq!(rejected["reason"], "refund_exceeds_conversion");
    let retry = format!("/v1/rejected/{}/retry", rejected["id"].as_str().unwrap());
    assert_eq!(shop.post(&retry, json!({"coupon": "X"})).await.fields(), ["coupon"]);
    let taken = shop.post(&retry, json!({"amount": null})).await.ok(200);
    assert_eq!(taken["outcome"], "settled");
    let row = shop.get(&format!("/v1/refunds/{}", taken["id"].as_str().unwrap())).await.ok(200);
    assert_eq!((&row["amount"], &row["reason"]), (&json!("10.05"), &json!("broken")));
}
