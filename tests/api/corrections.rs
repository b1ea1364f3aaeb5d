//! Amounts that change, prices worked out anew, conversions taken out.

use serde_json::{Value, json};

use crate::support::{Client, Server};

fn sale(external_id: &str, amount: &str) -> Value {
    json!({"program": "summer", "external_id": external_id, "amount": amount, "coupon": "JANE10"})
}

/// The paths of a conversion of 100.00 and of its commission of 10.00.
async fn sold(shop: &Client) -> (String, String) {
    let taken = shop.post("/v1/conversions", sale("o-1", "100")).await.ok(201);
    let commission = taken["conversion"]["commissions"][0]["id"].as_str().unwrap();
    (format!("/v1/conversions/{}", taken["id"].as_str().unwrap()), format!("/v1/commissions/{commission}"))
}

async fn accrued(shop: &Client) -> String {
    let balance = shop.get("/v1/affiliates/jane/balance").await.ok(200);
    balance["balances"][0]["accrued"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_amount_changes_and_is_priced_when_asked() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let (conversion, commission) = sold(shop).await;
    let changed = shop.patch(&conversion, json!({"amount": "150.50"})).await.ok(200);
    assert_eq!(changed["amount"], "150.50");
    assert_eq!(changed["commissions"][0]["amount"], "10.00");
    let priced = shop.post(&format!("{conversion}/recalculate"), json!({})).await.ok(200);
    assert_eq!(priced["commissions"][0]["amount"], "15.05");
    assert_eq!(accrued(shop).await, "15.05");
    // Today's rules, where they are asked for.
    let types = json!({"commission_types": [{"form": "percentage", "value": "20"}]});
    shop.patch("/v1/programs/summer", types).await.ok(200);
    let then = shop.post(&format!("{conversion}/recalculate"), json!({"rules": "then"})).await.ok(200);
    assert_eq!(then["commissions"][0]["amount"], "15.05");
    let now = shop.post(&format!("{conversion}/recalculate"), json!({"rules": "current"})).await.ok(200);
    assert_eq!(now["commissions"][0]["amount"], "30.10");
    assert_eq!(shop.get(&commission).await.ok(200)["amount"], "30.10");
    let refused = shop.post(&format!("{conversion}/recalculate"), json!({"rules": "new"})).await;
    assert_eq!(refused.fields(), ["rules"]);
}

#[tokio::test]
async fn an_amount_stays_above_what_was_refunded() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let (conversion, _) = sold(shop).await;
    let refund = json!({"program": "summer", "conversion_external_id": "o-1", "amount": "40"});
    shop.post("/v1/refunds", refund).await.ok(201);
    let refused = shop.patch(&conversion, json!({"amount": "40"})).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert_eq!(refused.fields(), ["amount"]);
    assert_eq!(shop.patch(&conversion, json!({"amount": "40.01"})).await.ok(200)["amount"], "40.01");
}

#[tokio::test]
async fn a_commission_is_set_by_hand() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let (conversion, commission) = sold(shop).await;
    let set = shop.patch(&commission, json!({"amount": "7.50", "comment": "agreed"})).await.ok(200);
    assert_eq!(set["amount"], "7.50");
    assert_eq!(accrued(shop).await, "7.50");
    let refund = json!({"program": "summer", "conversion_external_id": "o-1", "amount": "50"});
    shop.post("/v1/refunds", refund).await.ok(201);
    assert_eq!(shop.get(&commission).await.ok(200)["amount"], "3.75");
    // What was set by hand is forgotten.
    let priced = shop.post(&format!("{conversion}/recalculate"), json!({})).await.ok(200);
    assert_eq!(priced["commissions"][0]["amount"], "5.00");
}

#[tokio::test]
async fn a_commission_goes_back_to_review() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let (_, commission) = sold(shop).await;
    for first in ["approve", "disapprove"] {
        shop.post(&format!("{commission}/{first}"), json!({})).await.ok(200);
        let open = shop.post(&format!("{commission}/reopen"), json!({})).await.ok(200);
        assert_eq!((&open["status"], &open["approved_at"]), (&json!("pending"), &Value::Null), "{first}");
        assert_eq!(accrued(shop).await, "10.00", "{first}");
    }
    let refused = shop.post(&format!("{commission}/reopen"), json!({})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("already_so")));
}

#[tokio::test]
async fn a_deleted_conversion_is_hidden_and_claims_its_name() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let (conversion, commission) = sold(shop).await;
    shop.delete(&conversion).await.ok(204);
    assert!(shop.all("/v1/conversions", 5).await.is_empty());
    assert_eq!(shop.all("/v1/conversions?status=deleted", 5).await.len(), 1);
    assert_eq!(shop.get(&conversion).await.ok(200)["status"], "deleted");
    assert_eq!(shop.get(&commission).await.ok(200)["status"], "disapproved");
    assert_eq!(accrued(shop).await, "0.00");
    let again = shop.post("/v1/conversions", sale("o-1", "100")).await.ok(200);
    assert_eq!(again["outcome"], "duplicate");
    for refused in [
        shop.delete(&conversion).await,
        shop.patch(&conversion, json!({"amount": "5"})).await,
        shop.post(&format!("{conversion}/recalculate"), json!({})).await,
        shop.post(&format!("{commission}/approve"), json!({})).await,
        shop.post(&format!("{commission}/reopen"), json!({})).await,
    ] {
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (409, &json!("conversion_deleted")),
            "{}",
            refused.text
        );
    }
    let refund = json!({"program": "summer", "conversion_external_id": "o-1"});
    let refused = shop.post("/v1/refunds", refund).await;
    assert_eq!(refused.json()["code"], "conversion_deleted");
    assert_eq!(refused.fields(), ["conversion_external_id"]);
}

#[tokio::test]
async fn what_waits_cannot_be_corrected() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let click = format!("clk_{}", uuid::Uuid::now_v7().simple());
    let waits = shop.post("/v1/conversions", json!({"amount": 5, "click_id": click})).await.ok(202);
    let path = format!("/v1/conversions/{}", waits["id"].as_str().unwrap());
    for refused in [
        shop.patch(&path, json!({"amount": "5"})).await,
        shop.post(&format!("{path}/recalculate"), json!({})).await,
        shop.delete(&path).await,
    ] {
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (409, &json!("not_settled")),
            "{}",
            refused.text
        );
    }
}
