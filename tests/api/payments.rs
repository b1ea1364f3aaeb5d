//! Payments, payouts, their minimums and adjustments, through HTTP.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Server, program};

/// The account `shop` with commissions that are approved and final at once.
async fn server() -> Server {
    let server = Server::start().await;
    server.shop.furnish().await;
    server
        .shop
        .patch("/v1/programs/summer", json!({"payout_delay": 0, "auto_approve_commissions": true}))
        .await
        .ok(200);
    server
}

async fn sell(server: &Server, external_id: &str, amount: &str) {
    let sale = json!({"program": "summer", "external_id": external_id, "amount": amount, "coupon": "JANE10"});
    server.receive(server.shop.account, "conversion", sale).await;
}

fn to_jane(amount: &str) -> Value {
    json!({"affiliate": "jane", "amount": amount, "currency": "USD"})
}

async fn balance(shop: &Client) -> [String; 3] {
    let balance = shop.get("/v1/affiliates/jane/balance").await.ok(200)["balances"][0].clone();
    ["balance", "available", "reserved"].map(|name| balance[name].as_str().unwrap().to_owned())
}

#[track_caller]
fn code(answer: &Answer) -> String {
    assert_eq!(answer.status, 409, "{}", answer.text);
    answer.json()["code"].as_str().unwrap().to_owned()
}

fn path(kind: &str, one: &Value) -> String {
    format!("/v1/{kind}/{}", one["id"].as_str().unwrap())
}

/// Amount and whether it was paid, of jane's commissions, the first first.
async fn paid(shop: &Client) -> Vec<(String, bool)> {
    let mut rows = shop.all("/v1/affiliates/jane/commissions", 2).await;
    rows.reverse();
    rows.iter()
        .map(|row| (row["amount"].as_str().unwrap().to_owned(), row["paid"].as_bool().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_payment_is_recorded_and_cancelled() {
    let server = server().await;
    let shop = &server.shop;
    sell(&server, "o-1", "49.90").await;
    sell(&server, "o-2", "100").await;
    let mut asked = to_jane("5.00");
    asked["comment"] = json!("March");
    let made = shop.post("/v1/payments", asked).await.ok(201);
    assert!(made["id"].as_str().unwrap().starts_with("pay_"));
    assert_eq!(
        (&made["status"], &made["amount"], &made["comment"]),
        (&json!("recorded"), &json!("5.00"), &json!("March"))
    );
    assert_eq!(balance(shop).await, ["9.99", "9.99", "0.00"]);
    assert_eq!(paid(shop).await, [("4.99".to_owned(), true), ("10.00".to_owned(), false)]);
    let one = &shop.all("/v1/commissions?affiliate=jane", 5).await[1];
    assert_eq!(one["paid"], true);
    assert_eq!(shop.get(&path("commissions", one)).await.ok(200), *one);
    // In a list of everybody it is not told.
    assert_eq!(shop.all("/v1/commissions", 5).await[1].get("paid"), None);

    assert_eq!(shop.get(&path("payments", &made)).await.ok(200), made);
    let recorded = "/v1/payments?affiliate=jane&status=recorded&currency=USD";
    assert_eq!(shop.all(recorded, 5).await, std::slice::from_ref(&made));
    assert!(shop.all("/v1/payments?status=cancelled", 5).await.is_empty());
    assert!(shop.all("/v1/payments?currency=EUR", 5).await.is_empty());
    assert!(shop.all("/v1/payments?to=2020-01-01T00:00:00Z", 5).await.is_empty());
    assert_eq!(shop.all("/v1/payments?from=2020-01-01T00:00:00Z", 5).await.len(), 1);

    let cancel = format!("{}/cancel", path("payments", &made));
    assert_eq!(shop.post(&cancel, json!({})).await.ok(200)["status"], "cancelled");
    assert_eq!(code(&shop.post(&cancel, json!({})).await), "already_so");
    assert_eq!(balance(shop).await, ["14.99", "14.99", "0.00"]);
    assert!(paid(shop).await.iter().all(|(_, paid)| !paid));
    let told: Vec<String> = shop
        .all("/v1/affiliates/jane/postings", 2)
        .await
        .iter()
        .take(2)
        .map(|one| ["event", "side", "payment"].map(|name| one[name].as_str().unwrap()).join(" "))
        .collect();
    let id = made["id"].as_str().unwrap();
    assert_eq!(told, [format!("payment_cancelled credit {id}"), format!("payment_recorded debit {id}")]);
    // More than there is: the balance goes below zero.
    shop.post("/v1/payments", to_jane("20")).await.ok(201);
    assert_eq!(balance(shop).await, ["-5.01", "-5.01", "0.00"]);
}

#[tokio::test]
async fn a_payout_takes_what_is_available_and_no_more() {
    let server = server().await;
    let shop = &server.shop;
    sell(&server, "o-1", "100").await;
    let refused = shop.post("/v1/payouts", to_jane("10.01")).await;
    assert_eq!(code(&refused), "exceeds_available");
    assert_eq!(refused.fields(), ["amount"]);
    let made = shop.post("/v1/payouts", to_jane("6")).await.ok(201);
    assert!(made["id"].as_str().unwrap().starts_with("pyo_"));
    assert_eq!((&made["status"], &made["amount"]), (&json!("created"), &json!("6.00")));
    assert_eq!(balance(shop).await, ["4.00", "4.00", "6.00"]);
    assert_eq!(code(&shop.post("/v1/payouts", to_jane("4.01")).await), "exceeds_available");
    let at = path("payouts", &made);
    assert_eq!(shop.post(&format!("{at}/paid"), json!({})).await.ok(200)["status"], "paid");
    assert_eq!(code(&shop.post(&format!("{at}/paid"), json!({})).await), "already_so");
    for way in ["failed", "cancel"] {
        assert_eq!(code(&shop.post(&format!("{at}/{way}"), json!({})).await), "has_ended");
    }
    assert_eq!(balance(shop).await, ["4.00", "4.00", "0.00"]);
    for (way, status) in [("failed", "failed"), ("cancel", "cancelled")] {
        let made = shop.post("/v1/payouts", to_jane("4")).await.ok(201);
        assert_eq!(balance(shop).await, ["0.00", "0.00", "4.00"]);
        let ended = shop.post(&format!("{}/{way}", path("payouts", &made)), json!({})).await.ok(200);
        assert_eq!(ended["status"], status);
        assert_eq!(balance(shop).await, ["4.00", "4.00", "0.00"]);
    }
    let statuses = async |query: &str| {
        let rows = shop.all(&format!("/v1/payouts{query}"), 2).await;
        rows.iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(statuses("").await, ["cancelled", "failed", "paid"]);
    assert_eq!(statuses("?status=failed&affiliate=jane").await, ["failed"]);
    assert_eq!(shop.get("/v1/payouts?status=recorded").await.fields(), ["status"]);
    assert_eq!(shop.get("/v1/payments?status=created").await.fields(), ["status"]);
    // A payout is no payment.
    assert!(shop.all("/v1/payments", 5).await.is_empty());
    let as_payment = at.replace("/v1/payouts/pyo_", "/v1/payments/pay_");
    assert_eq!(shop.get(&as_payment).await.status, 404);
    assert_eq!(shop.post(&format!("{as_payment}/cancel"), json!({})).await.status, 404);
}

#[tokio::test]
async fn a_payout_is_made_once_by_its_key() {
    let server = server().await;
    let shop = &server.shop;
    sell(&server, "o-1", "100").await;
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            // Six with the same key, six with keys of their own: 10.00 are there for two of 5.00.
            let key = if n % 2 == 0 { "march".to_owned() } else { format!("other-{n}") };
            let shop = shop.clone();
            tokio::spawn(async move {
                let request = shop.request(Method::POST, "/v1/payouts").header("Idempotency-Key", key);
                (n % 2 == 0, shop.send(request.json(&to_jane("5"))).await)
            })
        })
        .collect();
    let mut made = std::collections::BTreeSet::new();
    for task in tasks {
        let (_, answer) = task.await.unwrap();
        match answer.status {
            201 => drop(made.insert(answer.json()["id"].as_str().unwrap().to_owned())),
            409 => assert_eq!(answer.json()["code"], "exceeds_available"),
            other => panic!("{other} {}", answer.text),
        }
    }
    assert_eq!(made.len(), 2);
    assert_eq!(shop.all("/v1/payouts", 5).await.len(), 2);
    assert_eq!(balance(shop).await, ["0.00", "0.00", "10.00"]);
}

#[tokio::test]
async fn minimums_are_kept_for_each_currency() {
    let server = server().await;
    let shop = &server.shop;
    sell(&server, "o-1", "100").await;
    assert_eq!(shop.get("/v1/payout-minimums/USD").await.status, 404);
    let set = shop.put("/v1/payout-minimums/usd", json!({"amount": "5", "currency": "USD"})).await.ok(200);
    assert_eq!((&set["currency"], &set["amount"]), (&json!("USD"), &json!("5.00")));
    shop.put("/v1/payout-minimums/JPY", json!({"amount": 1000})).await.ok(200);
    assert_eq!(shop.get("/v1/payout-minimums/USD").await.ok(200), set);
    let currencies: Vec<Value> =
        shop.all("/v1/payout-minimums", 1).await.iter().map(|row| row["currency"].clone()).collect();
    assert_eq!(currencies, ["JPY", "USD"]);
    let refused = shop.post("/v1/payouts", to_jane("4.99")).await;
    assert_eq!(code(&refused), "below_minimum_payout");
    assert_eq!(refused.json()["detail"], "a payout must be at least 5.00 USD");
    shop.post("/v1/payouts", to_jane("5")).await.ok(201);
    // What was sent is recorded, however little.
    shop.post("/v1/payments", to_jane("0.01")).await.ok(201);
    shop.delete("/v1/payout-minimums/USD").await.ok(204);
    assert_eq!(shop.delete("/v1/payout-minimums/USD").await.status, 404);
    shop.post("/v1/payouts", to_jane("0.01")).await.ok(201);
    for (path, body, named) in [
        ("USD", json!({}), "amount"),
        ("USD", json!({"amount": "0"}), "amount"),
        ("USD", json!({"amount": "-1"}), "amount"),
        ("USD", json!({"amount": "1.001"}), "amount"),
        ("JPY", json!({"amount": "1.5"}), "amount"),
        ("USD", json!({"amount": null}), "amount"),
        ("USD", json!({"amount": "1", "currency": "EUR"}), "currency"),
    ] {
        let refused = shop.put(&format!("/v1/payout-minimums/{path}"), body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]), "{path} {body}");
    }
    for wrong in ["XAU", "dollar", "US"] {
        let answer = shop.put(&format!("/v1/payout-minimums/{wrong}"), json!({"amount": "1"})).await;
        assert_eq!(answer.status, 404, "{wrong} {}", answer.text);
    }
}

#[tokio::test]
async fn another_account_has_minimums_of_its_own() {
    let server = server().await;
    let shop = &server.shop;
    let other = server.account("other").await;
    shop.put("/v1/payout-minimums/USD", json!({"amount": "5"})).await.ok(200);
    other.put("/v1/payout-minimums/USD", json!({"amount": "7"})).await.ok(200);
    assert_eq!(shop.get("/v1/payout-minimums/USD").await.ok(200)["amount"], "5.00");
    other.delete("/v1/payout-minimums/USD").await.ok(204);
    assert_eq!(shop.get("/v1/payout-minimums/USD").await.ok(200)["amount"], "5.00");
    // Nor does it pay another's affiliate, or learn that there is one.
    for path in ["/v1/payments", "/v1/payouts"] {
        let real = other.post(path, to_jane("1")).await;
        let mut nobody = to_jane("1");
        nobody["affiliate"] = json!("nobody");
        let unreal = other.post(path, nobody).await;
        assert_eq!(
            (real.status, real.fields(), &real.text),
            (422, vec!["affiliate".to_owned()], &unreal.text)
        );
        for affiliate in ["jane", "nobody"] {
            assert_eq!(other.get(&format!("{path}?affiliate={affiliate}")).await.fields(), ["affiliate"]);
        }
    }
}

#[tokio::test]
async fn amounts_are_exact_or_refused() {
    let server = server().await;
    let shop = &server.shop;
    sell(&server, "o-1", "100").await;
    let cases = [
        (json!("1.005"), json!("USD"), "amount"),
        (json!(1.005), json!("USD"), "amount"),
        (json!("1e-3"), json!("USD"), "amount"),
        (json!("-1"), json!("USD"), "amount"),
        (json!(-1), json!("USD"), "amount"),
        (json!("0"), json!("USD"), "amount"),
        (json!("0.00"), json!("USD"), "amount"),
        (json!("10000000000000.01"), json!("USD"), "amount"),
        (json!("1e30"), json!("USD"), "amount"),
        (json!("NaN"), json!("USD"), "amount"),
        (json!("Infinity"), json!("USD"), "amount"),
        (json!("one"), json!("USD"), "amount"),
        (json!(""), json!("USD"), "amount"),
        (json!(true), json!("USD"), "amount"),
        (json!(["1"]), json!("USD"), "amount"),
        (json!(null), json!("USD"), "amount"),
        (json!("1.5"), json!("JPY"), "amount"),
        (json!("1.0001"), json!("BHD"), "amount"),
        (json!("1"), json!("XAU"), "currency"),
        (json!("1"), json!("dollar"), "currency"),
        (json!("1"), json!(840), "currency"),
        (json!("1"), json!(null), "currency"),
    ];
    for (amount, currency, named) in cases {
        for (path, mut body) in [
            ("/v1/payments", json!({"affiliate": "jane"})),
            ("/v1/payouts", json!({"affiliate": "jane"})),
            ("/v1/affiliates/jane/adjustments", json!({"comment": "why"})),
        ] {
            body["amount"] = amount.clone();
            body["currency"] = currency.clone();
            let answer = shop.post(path, body.clone()).await;
            // Only what is given by hand may be taken away again.
            if path.ends_with("/adjustments") && (amount == json!("-1") || amount == json!(-1)) {
                answer.ok(201);
                continue;
            }
            assert_eq!((answer.status, answer.fields()), (422, vec![named.to_owned()]), "{path} {body}");
        }
    }
    for path in ["/v1/payments", "/v1/payouts"] {
        let mut named = shop.post(path, json!({"comment": "", "when": "now"})).await.fields();
        named.sort();
        assert_eq!(named, ["affiliate", "amount", "comment", "currency", "when"]);
    }
    // As a number, with an exponent, of another currency.
    for (amount, currency, told) in
        [(json!(1.5), "USD", "1.50"), (json!("1e2"), "JPY", "100"), (json!("0.001"), "BHD", "0.001")]
    {
        let body = json!({"affiliate": "jane", "amount": amount, "currency": currency});
        assert_eq!(shop.post("/v1/payments", body).await.ok(201)["amount"], told);
    }
}

#[tokio::test]
async fn an_adjustment_is_a_commission() {
    let server = server().await;
    let shop = &server.shop;
    let at = "/v1/affiliates/jane/adjustments";
    let given = json!({"program": "summer", "amount": "5", "comment": "Welcome"});
    let given = shop.post(at, given).await.ok(201);
    let told = ["kind", "status", "amount", "currency", "program", "comment"].map(|name| given[name].clone());
    assert_eq!(told, ["adjustment", "approved", "5.00", "USD", "summer", "Welcome"]);
    assert_eq!(
        (&given["final"], &given["paid"], &given["conversion"]),
        (&json!(true), &json!(false), &json!(null))
    );
    let taken = json!({"amount": "-2.50", "currency": "USD", "comment": "Counted twice"});
    let taken = shop.post(at, taken).await.ok(201);
    assert_eq!((&taken["amount"], &taken["program"]), (&json!("-2.50"), &json!(null)));
    assert_eq!(balance(shop).await, ["2.50", "2.50", "0.00"]);
    sell(&server, "o-1", "100").await;
    let adjustments = shop.all("/v1/commissions?kind=adjustment&affiliate=jane", 1).await;
    assert_eq!(adjustments, [taken.clone(), given.clone()]);
    assert_eq!(shop.all("/v1/commissions?kind=regular", 5).await.len(), 1);
    assert_eq!(shop.all("/v1/commissions?program=summer", 5).await.len(), 2);
    shop.post("/v1/payments", to_jane("5")).await.ok(201);
    let told: Vec<bool> = paid(shop).await.into_iter().map(|(_, paid)| paid).collect();
    assert_eq!(told, [true, true, false]);
    let explained = shop.get(&format!("{}/explain", path("commissions", &taken))).await.ok(200);
    assert!(explained["steps"].to_string().contains("Counted twice"), "{explained}");

    for (body, named) in [
        (json!({"amount": "1", "currency": "USD"}), "comment"),
        (json!({"amount": "1", "currency": "USD", "comment": ""}), "comment"),
        (json!({"amount": "1", "currency": "USD", "comment": "x".repeat(501)}), "comment"),
        (json!({"amount": "1", "comment": "why"}), "currency"),
        (json!({"amount": "1", "program": "winter", "currency": "USD", "comment": "why"}), "program"),
        (json!({"amount": "1", "program": 5, "currency": "USD", "comment": "why"}), "program"),
    ] {
        let refused = shop.post(at, body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]), "{body}");
    }
    assert_eq!(shop.post("/v1/affiliates/nobody/adjustments", json!({})).await.status, 404);
}

#[tokio::test]
async fn who_left_is_paid_and_gets_no_payout() {
    let server = server().await;
    let shop = &server.shop;
    sell(&server, "o-1", "100").await;
    shop.patch("/v1/affiliates/jane", json!({"suspended": true})).await.ok(200);
    assert_eq!(code(&shop.post("/v1/payouts", to_jane("1")).await), "affiliate_suspended");
    shop.post("/v1/payments", to_jane("1")).await.ok(201);
    shop.delete("/v1/affiliates/jane").await.ok(204);
    assert_eq!(code(&shop.post("/v1/payouts", to_jane("1")).await), "affiliate_deleted");
    shop.post("/v1/payments", to_jane("8")).await.ok(201);
    let rest = json!({"amount": "-1", "currency": "USD", "comment": "written off"});
    shop.post("/v1/affiliates/jane/adjustments", rest).await.ok(201);
    assert_eq!(balance(shop).await, ["0.00", "0.00", "0.00"]);
    assert_eq!(shop.all("/v1/payments?affiliate=jane", 1).await.len(), 2);
}

#[tokio::test]
async fn lists_of_payments_are_walked_to_their_end() {
    let server = server().await;
    let shop = &server.shop;
    let mut euro = program("euro");
    euro["currency"] = json!("EUR");
    shop.post("/v1/programs", euro).await.ok(201);
    for n in 1..=7 {
        shop.post("/v1/payments", to_jane(&n.to_string())).await.ok(201);
    }
    let amounts: Vec<Value> =
        shop.all("/v1/payments", 3).await.iter().map(|row| row["amount"].clone()).collect();
    assert_eq!(amounts, ["7.00", "6.00", "5.00", "4.00", "3.00", "2.00", "1.00"]);
    for (query, named) in [
        ("currency=dollar", "currency"),
        ("affiliate=nobody", "affiliate"),
        ("from=yesterday", "from"),
        ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        ("limit=0", "limit"),
        ("colour=red", "colour"),
    ] {
        for list in ["payments", "payouts"] {
            assert_eq!(shop.get(&format!("/v1/{list}?{query}")).await.fields(), [named], "{list} {query}");
        }
    }
}
