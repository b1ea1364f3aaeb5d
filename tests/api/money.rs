//! Conversions, commissions, balances, what is held and what was rejected.

use serde_json::{Value, json};
use waypost::ledger::Effect;

use crate::{isolation::click, support::Server};

fn sale(external_id: &str, amount: &str) -> Value {
    json!({"program": "summer", "external_id": external_id, "amount": amount, "coupon": "JANE10"})
}

#[tokio::test]
async fn a_commission_is_reviewed_and_explained() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    server.receive(shop.account, "conversion", sale("o-1", "49.90")).await;
    let conversion = &shop.all("/v1/conversions?external_id=o-1&kind=purchase&program=summer", 5).await[0];
    assert_eq!((&conversion["status"], &conversion["amount"]), (&json!("settled"), &json!("49.90")));
    assert_eq!((&conversion["resolved_by"], &conversion["affiliate"]), (&json!("coupon"), &json!("jane")));
    assert_eq!(conversion["reported"]["coupon"], "JANE10");
    let path = format!("/v1/conversions/{}", conversion["id"].as_str().unwrap());
    let detail = shop.get(&path).await.ok(200);
    let commission = &detail["commissions"][0];
    assert_eq!((&commission["amount"], &commission["status"]), (&json!("4.99"), &json!("pending")));
    assert_eq!(&shop.all("/v1/affiliates/jane/commissions?status=pending", 5).await[0], commission);
    let balance = shop.get("/v1/affiliates/jane/balance").await.ok(200);
    let entry = |balance: &str, available: &str, accrued: &str| {
        json!({"affiliate": "jane", "currency": "USD", "balance": balance, "available": available,
            "accrued": accrued, "reserved": "0.00"})
    };
    assert_eq!(balance["balances"], json!([entry("0.00", "0.00", "4.99")]));

    let path = format!("/v1/commissions/{}", commission["id"].as_str().unwrap());
    let approved = shop.post(&format!("{path}/approve"), json!({})).await.ok(200);
    assert_eq!((&approved["status"], &approved["final"]), (&json!("approved"), &json!(false)));
    assert_eq!(shop.get(&path).await.ok(200), approved);
    // The payout delay has not passed.
    assert_eq!(shop.all("/v1/balances?currency=USD", 5).await, [entry("4.99", "0.00", "0.00")]);
    let again = shop.post(&format!("{path}/approve"), json!({})).await;
    assert_eq!(again.status, 409, "{}", again.text);

    let explanation = shop.get(&format!("{path}/explain")).await.ok(200);
    let steps = explanation["steps"].as_array().unwrap();
    let kinds: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    for kind in ["attribution", "rule", "calculation", "result"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }

    let postings = shop.all("/v1/affiliates/jane/postings", 1).await;
    let told: Vec<String> = postings
        .iter()
        .map(|one| {
            ["event", "ledger_account", "side", "amount"].map(|name| one[name].as_str().unwrap()).join(" ")
        })
        .collect();
    assert_eq!(
        told,
        ["approved payable credit 4.99", "approved accrued debit 4.99", "earned accrued credit 4.99"]
    );

    shop.post(&format!("{path}/disapprove"), json!({})).await.ok(200);
    assert_eq!(shop.all("/v1/balances", 5).await, [entry("0.00", "0.00", "0.00")]);
}

#[tokio::test]
async fn what_is_final_is_available() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    shop.patch("/v1/programs/summer", json!({"payout_delay": 0, "auto_approve_commissions": true}))
        .await
        .ok(200);
    server.receive(shop.account, "conversion", sale("o-1", "100")).await;
    let balance = &shop.all("/v1/balances", 5).await[0];
    assert_eq!((&balance["balance"], &balance["available"]), (&json!("10.00"), &json!("10.00")));
    assert_eq!(shop.all("/v1/commissions", 5).await[0]["final"], true);
}

#[tokio::test]
async fn balances_are_listed_page_by_page() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let mut euro = crate::support::program("euro");
    euro["currency"] = json!("EUR");
    shop.post("/v1/programs", euro).await.ok(201);
    for name in ["june", "joan"] {
        shop.post("/v1/affiliates", json!({"id": name})).await.ok(201);
        for program in ["summer", "euro"] {
            shop.put(&format!("/v1/programs/{program}/affiliates/{name}"), json!({})).await.ok(200);
            let coupon = json!({"program": program, "affiliate": name, "code": format!("{name}-{program}")});
            shop.post("/v1/coupons", coupon).await.ok(201);
            let sale = json!({"amount": "10", "coupon": format!("{name}-{program}")});
            server.receive(shop.account, "conversion", sale).await;
        }
    }
    server.receive(shop.account, "conversion", sale("o-1", "10")).await;
    let told: Vec<String> = shop
        .all("/v1/balances", 2)
        .await
        .iter()
        .map(|one| format!("{} {}", one["affiliate"].as_str().unwrap(), one["currency"].as_str().unwrap()))
        .collect();
    assert_eq!(told, ["joan USD", "joan EUR", "june USD", "june EUR", "jane USD"]);
}

#[tokio::test]
async fn a_held_conversion_is_accepted_or_refused() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    for n in ["o-1", "o-2", "o-3"] {
        let mut held = sale(n, "20");
        held["authority"] = json!("held_pixel");
        if n == "o-3" {
            held["coupon"] = json!("NOBODY");
        }
        assert!(matches!(server.receive(shop.account, "conversion", held).await, Effect::Held { .. }));
    }
    assert_eq!(shop.all("/v1/held", 1).await.len(), 3);
    let at = async |external_id: &str| {
        let rows = shop.all(&format!("/v1/held?external_id={external_id}"), 5).await;
        format!("/v1/held/{}", rows[0]["id"].as_str().unwrap())
    };
    let (first, second, third) = (at("o-1").await, at("o-2").await, at("o-3").await);
    assert_eq!(shop.get(&first).await.ok(200)["reported"]["amount"], "20");
    let accepted = shop.post(&format!("{first}/accept"), json!({})).await.ok(200);
    assert_eq!(accepted["outcome"], "settled");
    assert_eq!(accepted["id"].as_str().unwrap(), first.strip_prefix("/v1/held/").unwrap());
    assert_eq!(shop.post(&format!("{second}/refuse"), json!({})).await.ok(200)["outcome"], "declined");
    let impossible = shop.post(&format!("{third}/accept"), json!({})).await;
    assert_eq!((impossible.status, &impossible.json()["code"]), (409, &json!("unattributed")));
    for path in [&first, &second] {
        assert_eq!(shop.get(path).await.status, 404);
        assert_eq!(shop.post(&format!("{path}/accept"), json!({})).await.status, 409);
    }
    assert_eq!(shop.all("/v1/held", 5).await.len(), 1);
    assert_eq!(shop.all("/v1/commissions", 5).await.len(), 1);
}

#[tokio::test]
async fn a_rejected_event_is_sent_again() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let mut lost = sale("o-1", "20");
    lost["coupon"] = json!("JUNE10");
    server.receive(shop.account, "conversion", lost).await;
    let rejected = shop.all("/v1/rejected?reason=unattributed&retried=false", 5).await;
    assert_eq!(
        (&rejected[0]["reason"], &rejected[0]["warnings"]),
        (&json!("unattributed"), &json!(["unknown_coupon"]))
    );
    assert_eq!(rejected[0]["reported"]["external_id"], "o-1");
    let path = format!("/v1/rejected/{}", rejected[0]["id"].as_str().unwrap());
    let still = shop.post(&format!("{path}/retry"), json!({})).await.ok(200);
    assert_eq!((&still["outcome"], &still["reason"]), (&json!("rejected"), &json!("unattributed")));
    shop.post("/v1/coupons", json!({"affiliate": "jane", "code": "JUNE10"})).await.ok(201);
    let taken = shop.post(&format!("{path}/retry"), json!({})).await.ok(200);
    assert_eq!(taken["outcome"], "settled");
    assert!(shop.get(&path).await.ok(200)["retried_at"].is_string());
    assert!(shop.all("/v1/rejected?retried=false", 5).await.is_empty());
    let conversion = shop.get(&format!("/v1/conversions/{}", taken["id"].as_str().unwrap())).await.ok(200);
    assert_eq!(conversion["commissions"][0]["amount"], "2.00");
    assert_eq!(shop.post(&format!("{path}/retry"), json!({})).await.status, 409);
}

#[tokio::test]
async fn a_currency_stays_once_there_is_a_conversion() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    shop.patch("/v1/programs/summer", json!({"currency": "EUR"})).await.ok(200);
    server.receive(shop.account, "conversion", sale("o-1", "20")).await;
    let refused = shop.patch("/v1/programs/summer", json!({"currency": "USD"})).await;
    assert_eq!((refused.status, refused.fields()), (409, vec!["currency".to_owned()]));
}

#[tokio::test]
async fn clicks_are_counted_by_group() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    click(&server, shop, "DE", "valid", 5).await;
    click(&server, shop, "DE", "crawler", 3).await;
    click(&server, shop, "", "valid", 2).await;
    let by = async |query: &str| shop.get(&format!("/v1/statistics/clicks?{query}")).await.ok(200);
    let country = by("group_by=country").await;
    let group =
        |key: Value, clicks: i64, counted: i64| json!({"key": key, "clicks": clicks, "counted": counted});
    assert_eq!(country["data"], json!([group(json!("DE"), 8, 5), group(json!(null), 2, 2)]));
    assert_eq!(country["total"], json!({"clicks": 10, "counted": 7}));
    let class = by("group_by=class&program=summer").await;
    assert_eq!(class["data"], json!([group(json!("valid"), 7, 7), group(json!("crawler"), 3, 0)]));
    assert_eq!(by("group_by=device").await["data"], json!([group(json!("desktop"), 10, 7)]));
    assert_eq!(by("group_by=affiliate&class=crawler").await["data"], json!([group(json!("jane"), 3, 0)]));
    let link = &shop.all("/v1/links", 5).await[0]["id"];
    assert_eq!(by("group_by=link").await["data"], json!([group(link.clone(), 10, 7)]));
    let day = by("").await;
    assert_eq!((&day["group_by"], &day["data"][0]["key"]), (&json!("day"), &day["to"]));
    let cut = by("group_by=country&limit=1").await;
    assert_eq!((&cut["cut"], cut["data"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(cut["total"]["clicks"], 10);
    assert_eq!(by("from=2020-01-01&to=2020-01-31").await["total"]["clicks"], 0);
    assert_eq!(shop.all("/v1/clicks?country=DE&class=crawler&affiliate=jane", 1).await.len(), 1);
    assert!(shop.all("/v1/clicks?to=2020-01-01T00:00:00Z", 1).await.is_empty());
    assert_eq!(shop.all("/v1/clicks?from=2020-01-01T00:00:00Z", 1).await.len(), 3);
}
