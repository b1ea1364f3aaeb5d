//! Every bad value of a report is told by its field, or taken with a warning, and none is ever half taken.

use serde_json::{Value, json};
use waypost::{domain::time::Timestamp, ledger::Effect};

use crate::support::{Client, Server};

/// A body whose text is JSON, with this text as a field's value.
async fn send(shop: &Client, path: &str, base: &Value, field: &str, text: &str) -> crate::support::Answer {
    let mut body = base.clone();
    body.as_object_mut().unwrap().remove(field);
    let rest = body.to_string();
    let separator = if rest.len() > 2 { "," } else { "" };
    let body = format!("{}{separator}\"{field}\":{text}}}", &rest[..rest.len() - 1]);
    let request = shop.request(axum::http::Method::POST, path);
    shop.send(request.header("content-type", "application/json").body(body)).await
}

#[tokio::test]
async fn a_wrong_value_of_a_conversion_is_named() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let base = json!({"program": "summer", "coupon": "JANE10"});
    let long = format!("\"{}\"", "9".repeat(70));
    let future = json!(Timestamp(Timestamp::now().0 + 6 * 60_000).to_string()).to_string();
    let old = json!(Timestamp(Timestamp::now().0 - 31 * 86_400_000).to_string()).to_string();
    let cases: Vec<(&str, &str, &str, &str)> = vec![
        // Amounts: no number, none of this size, none below 0.
        ("amount", "\"\"", "amount", "invalid_request"),
        ("amount", "\"ten\"", "amount", "invalid_request"),
        ("amount", "\"NaN\"", "amount", "invalid_request"),
        ("amount", "\"Infinity\"", "amount", "invalid_request"),
        ("amount", "\"1,50\"", "amount", "invalid_request"),
        ("amount", "\"1 000\"", "amount", "invalid_request"),
        ("amount", "\"0x10\"", "amount", "invalid_request"),
        ("amount", "\"10%\"", "amount", "invalid_request"),
        ("amount", "\"$5\"", "amount", "invalid_request"),
        ("amount", "true", "amount", "invalid_request"),
        ("amount", "[5]", "amount", "invalid_request"),
        ("amount", "{\"value\":5}", "amount", "invalid_request"),
        ("amount", "1e99", "amount", "invalid_request"),
        ("amount", "1e-99", "amount", "invalid_request"),
        ("amount", &long, "amount", "invalid_request"),
        ("amount", "-1", "amount", "amount_negative"),
        ("amount", "\"-0.001\"", "amount", "amount_negative"),
        ("amount", "-1e-30", "amount", "amount_negative"),
        ("amount", "\"10000000000000.01\"", "amount", "amount_too_large"),
        ("amount", "1e15", "amount", "amount_too_large"),
        ("amount", "1E60", "amount", "amount_too_large"),
        // The parts of it.
        ("commissions", "{}", "commissions", "invalid_request"),
        ("commissions", "[{\"sub_amount\":\"x\"}]", "commissions[0].sub_amount", "invalid_request"),
        (
            "commissions",
            "[{\"sub_amount\":1},{\"sub_amount\":-2}]",
            "commissions[1].sub_amount",
            "amount_negative",
        ),
        ("commissions", "[{\"sub_amount\":9e12},{\"sub_amount\":9e12}]", "commissions", "amount_too_large"),
        (
            "commissions",
            "[{\"sub_amount\":1},{\"sub_amount\":1,\"commission_type\":\"gold\"}]",
            "commissions[1].commission_type",
            "unknown_commission_type",
        ),
        ("commissions", "[{\"sub_amount\":1,\"percent\":5}]", "commissions[0].percent", "invalid_request"),
        // Words of closed sets.
        ("currency", "\"EURO\"", "currency", "invalid_request"),
        ("currency", "\"\u{20ac}\"", "currency", "invalid_request"),
        ("currency", "840", "currency", "invalid_request"),
        ("currency", "\"XXX\"", "currency", "unknown_currency"),
        ("currency", "\"XAU\"", "currency", "unknown_currency"),
        ("commission_type", "\"gold\"", "commission_type", "unknown_commission_type"),
        ("commission_type", "5", "commission_type", "invalid_request"),
        ("kind", "\"refund\"", "kind", "invalid_request"),
        ("kind", "\"click\"", "kind", "invalid_request"),
        ("program", "\"winter\"", "program", "unknown_program"),
        ("program", "\"No Slug\"", "program", "invalid_request"),
        ("program_group", "\"europe\"", "program", "program_mismatch"),
        // Times.
        ("occurred_at", "\"yesterday\"", "occurred_at", "invalid_request"),
        ("occurred_at", "1700000000", "occurred_at", "invalid_request"),
        ("occurred_at", "\"2026-02-30T00:00:00Z\"", "occurred_at", "invalid_request"),
        ("occurred_at", "\"1969-12-31T23:59:59Z\"", "occurred_at", "invalid_request"),
        ("occurred_at", "\"10000-01-01T00:00:00Z\"", "occurred_at", "invalid_request"),
        ("occurred_at", "\"0000-01-01T00:00:00Z\"", "occurred_at", "invalid_request"),
        ("occurred_at", "\"2100-01-01T00:00:00Z\"", "occurred_at", "occurred_in_future"),
        ("occurred_at", "\"1970-01-01T00:00:00Z\"", "occurred_at", "occurred_too_long_ago"),
        ("occurred_at", &future, "occurred_at", "occurred_in_future"),
        ("occurred_at", &old, "occurred_at", "occurred_too_long_ago"),
        // Texts.
        ("external_id", "\"\"", "external_id", "invalid_request"),
        ("external_id", "\"a\\u0000b\"", "external_id", "invalid_request"),
        ("customer_id", "17", "customer_id", "invalid_request"),
        ("click_id", "\"a b\"", "click_id", "invalid_request"),
        ("meta_data", "[]", "meta_data", "invalid_request"),
        ("percentage", "\"10\"", "percentage", "invalid_request"),
    ];
    for path in ["/v1/conversions", "/v1/commissions/preview"] {
        for (field, text, named, code) in &cases {
            let refused = send(shop, path, &base, field, text).await;
            assert_eq!(refused.status, 422, "{path} {field} {text}: {}", refused.text);
            assert_eq!(refused.header("content-type"), Some("application/problem+json"));
            let problem = refused.json();
            assert_eq!(
                (refused.fields(), problem["code"].as_str()),
                (vec![(*named).to_owned()], Some(*code)),
                "{path} {field} {text}"
            );
        }
        for (body, code) in [
            ("{", "invalid_json"),
            ("[]", "invalid_json"),
            ("{\"amount\":NaN}", "invalid_json"),
            ("{\"amount\":1,\"amount\":2}", "invalid_json"),
        ] {
            let request =
                shop.request(axum::http::Method::POST, path).header("content-type", "application/json");
            let refused = shop.send(request.body(body)).await;
            assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some(code)), "{path} {body}");
        }
    }
    for list in ["conversions", "commissions", "customers", "rejected"] {
        assert!(shop.all(&format!("/v1/{list}"), 5).await.is_empty(), "{list}");
    }
}

#[tokio::test]
async fn a_number_is_taken_by_its_digits() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let base = json!({"program": "summer", "coupon": "JANE10"});
    for (text, amount, rounded) in [
        ("49.9", "49.90", false),
        ("\"49.90\"", "49.90", false),
        ("4.99e1", "49.90", false),
        ("499E-1", "49.90", false),
        ("\"+5\"", "5.00", false),
        ("-0.0", "0.00", false),
        ("0.005", "0.00", true),
        ("0.015", "0.02", true),
        ("\"2.675\"", "2.68", true),
        ("2.6650000000000000000000000000000001", "2.67", true),
        ("1e-60", "0.00", true),
        ("1e13", "10000000000000.00", false),
        ("9007199254740.993", "9007199254740.99", true),
        ("null", "0.00", false),
    ] {
        let taken = send(shop, "/v1/conversions", &base, "amount", text).await.ok(201);
        let conversion = &taken["conversion"];
        let warnings = if rounded { json!(["amount_rounded"]) } else { json!([]) };
        assert_eq!((&conversion["amount"], &conversion["warnings"]), (&json!(amount), &warnings), "{text}");
    }
}

#[tokio::test]
async fn a_wrong_refund_is_named() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let sold = json!({"program": "summer", "coupon": "JANE10", "external_id": "o-1", "amount": "50"});
    let sold = shop.post("/v1/conversions", sold).await.ok(201);
    let id = sold["id"].as_str().unwrap();
    let of = json!({"conversion_id": id});
    let taken = shop
        .post("/v1/refunds", json!({"conversion_id": id, "amount": 10, "external_id": "r-1"}))
        .await
        .ok(201);
    let refund = json!(taken["id"]).to_string();
    // Accepted held conversions may turn out to be rejected; a declined one was not taken.
    let held = json!({"program": "summer", "external_id": "o-2", "amount": "5", "coupon": "JANE10",
        "authority": "held_pixel"});
    let Effect::Held { id: held } = server.receive(shop.account, "conversion", held).await else {
        panic!("not held");
    };
    let held = format!("cnv_{}", held.simple());
    shop.post(&format!("/v1/held/{held}/refuse"), json!({})).await.ok(200);
    let held = json!(held).to_string();
    for (field, text, named, code) in [
        ("amount", "\"x\"", "amount", "invalid_request"),
        ("amount", "\"NaN\"", "amount", "invalid_request"),
        ("amount", "1e99", "amount", "invalid_request"),
        ("amount", "-1", "amount", "amount_negative"),
        ("amount", "0", "amount", "refund_of_nothing"),
        ("amount", "40.01", "amount", "refund_exceeds_conversion"),
        ("amount", "1e30", "amount", "amount_too_large"),
        ("currency", "\"EUR\"", "currency", "refund_currency_mismatch"),
        ("currency", "\"XXX\"", "currency", "refund_currency_mismatch"),
        ("conversion_id", &refund, "conversion_id", "invalid_request"),
        ("conversion_id", &held, "conversion_id", "conversion_missing"),
        ("conversion_id", "\"o-1\"", "conversion_id", "invalid_request"),
        ("conversion_id", "5", "conversion_id", "invalid_request"),
        ("external_id", "\"r-1\"", "external_id", "idempotency_conflict"),
        ("conversion_external_id", "\"o-1\"", "conversion_id", "invalid_request"),
        ("kind", "\"gift\"", "kind", "invalid_request"),
        ("occurred_at", "\"2026-01-01T00:00:00Z\"", "occurred_at", "invalid_request"),
    ] {
        let refused = send(shop, "/v1/refunds", &of, field, text).await;
        assert_eq!(refused.status, 422, "{field} {text}: {}", refused.text);
        let problem = refused.json();
        let told = (refused.fields(), problem["code"].as_str());
        assert_eq!(told, (vec![named.to_owned()], Some(code)), "{field} {text}");
    }
    for (body, named) in [
        (json!({}), "conversion_id"),
        (json!({"conversion_external_id": "o-1"}), "program"),
        (json!({"conversion_external_id": "o-1", "program": "winter"}), "program"),
    ] {
        assert_eq!(shop.post("/v1/refunds", body.clone()).await.fields(), [named], "{body}");
    }
    assert_eq!(shop.get(&format!("/v1/conversions/{id}")).await.ok(200)["refunded"], "10.00");
    assert_eq!(shop.all("/v1/refunds", 5).await.len(), 1);
}

#[tokio::test]
async fn corrected_amounts_are_exact() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let sold = json!({"program": "summer", "coupon": "JANE10", "external_id": "o-1", "amount": "50"});
    let sold = shop.post("/v1/conversions", sold).await.ok(201);
    let conversion = format!("/v1/conversions/{}", sold["id"].as_str().unwrap());
    let commission = sold["conversion"]["commissions"][0]["id"].as_str().unwrap();
    let commission = format!("/v1/commissions/{commission}");
    for path in [&conversion, &commission] {
        for bad in ["\"x\"", "\"NaN\"", "null", "true", "1.005", "-1", "1e99", "1e15", "\"10%\""] {
            let body = format!("{{\"amount\":{bad}}}");
            let request =
                shop.request(axum::http::Method::PATCH, path).header("content-type", "application/json");
            let refused = shop.send(request.body(body)).await;
            assert_eq!((refused.status, refused.fields()), (422, vec!["amount".to_owned()]), "{path} {bad}");
        }
        assert_eq!(shop.patch(path, json!({})).await.fields(), ["amount"]);
    }
    let refused = shop.patch(&commission, json!({"amount": 1, "comment": "x".repeat(501)})).await;
    assert_eq!(refused.fields(), ["comment"]);
    assert_eq!(shop.get(&commission).await.ok(200)["amount"], "5.00");
}

#[tokio::test]
async fn what_came_through_the_log_is_listed_with_its_reason() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let base = json!({"program": "summer", "coupon": "JANE10"});
    let with = |field: &str, value: Value| {
        let mut body = base.clone();
        body[field] = value;
        body
    };
    let mut reasons = Vec::new();
    for (body, reason) in [
        (with("amount", json!("-1")), "amount_negative"),
        (with("amount", json!("1e60")), "amount_too_large"),
        (with("currency", json!("XXX")), "unknown_currency"),
        (with("commission_type", json!("gold")), "unknown_commission_type"),
        (with("program", json!("winter")), "unknown_program"),
        (with("coupon", json!("NO")), "unattributed"),
        (with("occurred_at", json!(0)), "occurred_too_long_ago"),
        (with("occurred_at", json!(Timestamp::MAX)), "occurred_in_future"),
    ] {
        let effect = server.receive(shop.account, "conversion", body.clone()).await;
        assert!(matches!(effect, Effect::Rejected { .. }), "{body}: {effect:?}");
        reasons.push(reason);
    }
    let listed = shop.all("/v1/rejected", 3).await;
    let told: Vec<&str> = listed.iter().rev().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(told, reasons);
    // Each is taken once it is right.
    for row in listed {
        let retry = format!("/v1/rejected/{}/retry", row["id"].as_str().unwrap());
        let right = json!({"amount": "1", "currency": null, "commission_type": null, "program": "summer",
            "coupon": "JANE10", "occurred_at": null});
        assert_eq!(shop.post(&retry, right).await.ok(200)["outcome"], "settled", "{row}");
    }
    assert_eq!(shop.all("/v1/conversions", 5).await.len(), reasons.len());
    assert!(shop.all("/v1/rejected?retried=false", 5).await.is_empty());
}
