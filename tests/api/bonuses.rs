//! Bonuses over the API: set, refused where they make no sense, versions, awards.

use axum::http::Method;
use serde_json::{Value, json};
use waypost::ledger::Effect;

use crate::support::Server;

const LIST: &str = "/v1/programs/summer/bonuses";

/// What suffices for a bonus.
fn bonus() -> Value {
    json!({
        "identifier": "gold", "interval": "calmo", "target_type": "conversion_count", "form": "fixed",
        "targets": [{"target": 10, "value": "50"}, {"target": "25", "value": 200}],
    })
}

#[tokio::test]
async fn a_bonus_lives_and_dies() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let made = shop.post(LIST, bonus()).await.ok(201);
    let path = format!("/v1/bonuses/{}", made["id"].as_str().unwrap());
    for (field, expected) in [
        ("program", json!("summer")),
        ("version", json!(1)),
        ("title", json!("gold")),
        ("targets", json!([{"target": "10", "value": "50.00"}, {"target": "25", "value": "200.00"}])),
        ("start_date", json!(null)),
        ("active", json!(true)),
    ] {
        assert_eq!(made[field], expected, "{field}");
    }
    assert_eq!(shop.get(&path).await.ok(200), made);
    assert_eq!(shop.all(LIST, 1).await, std::slice::from_ref(&made));

    // What is not given stays; what changes nothing makes no version.
    let same = shop.patch(&path, json!({"title": "gold"})).await.ok(200);
    assert_eq!(same["version"], 1);
    let change = json!({"title": "Gold rush", "start_date": "2026-03-01", "end_date": "2026-03-31"});
    let changed = shop.patch(&path, change).await.ok(200);
    assert_eq!((&changed["version"], &changed["title"]), (&json!(2), &json!("Gold rush")));
    assert_eq!((&changed["end_date"], &changed["targets"]), (&json!("2026-03-31"), &made["targets"]));
    // Replaced, it has its defaults again.
    let mut amounts = bonus();
    amounts["target_type"] = json!("conversion_amount");
    amounts["form"] = json!("percentage");
    amounts["targets"] = json!([{"target": "1000.50", "value": "2.5"}]);
    amounts["from"] = json!("2026-01-01T00:00:00Z");
    let replaced = shop.put(&path, amounts).await.ok(200);
    // In force is still what began later.
    assert_eq!((&replaced["version"], &replaced["title"]), (&json!(3), &json!("Gold rush")));
    let versions = shop.all(&format!("{path}/versions"), 2).await;
    let numbers: Vec<&Value> = versions.iter().map(|version| &version["version"]).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(versions[0]["from"], "2026-01-01T00:00:00.000Z");
    assert_eq!(versions[0]["targets"], json!([{"target": "1000.50", "value": "2.5"}]));
    assert_eq!(versions[0]["end_date"], json!(null));

    let taken = shop.post(LIST, bonus()).await;
    assert_eq!((taken.status, taken.fields()), (409, vec!["identifier".to_owned()]));
    shop.delete(&path).await.ok(204);
    for gone in [path.clone(), format!("{path}/versions"), format!("{path}/awards")] {
        assert_eq!(shop.get(&gone).await.status, 404, "{gone}");
    }
    assert_eq!(shop.delete(&path).await.status, 404);
    assert!(shop.all(LIST, 5).await.is_empty());
    shop.post(LIST, bonus()).await.ok(201);
}

#[tokio::test]
async fn settings_without_sense_are_refused_by_name() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let one = |target: Value, value: Value| json!([{"target": target, "value": value}]);
    let two =
        |first: Value, second: Value| json!([{"target": first, "value": 1}, {"target": second, "value": 1}]);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("identifier", json!("Gold"), "identifier"),
        ("identifier", json!(null), "identifier"),
        ("title", json!(""), "title"),
        ("interval", json!("weekly"), "interval"),
        ("interval", json!(7), "interval"),
        ("target_type", json!("clicks"), "target_type"),
        ("form", json!("tiered"), "form"),
        ("targets", json!([]), "targets"),
        ("targets", json!({}), "targets"),
        ("targets", json!(null), "targets"),
        ("targets", json!([5]), "targets[0]"),
        ("targets", json!(vec![json!({"target": 1, "value": 1}); 51]), "targets"),
        ("targets", one(json!(0), json!(1)), "targets[0].target"),
        ("targets", one(json!(1.5), json!(1)), "targets[0].target"),
        ("targets", one(json!("NaN"), json!(1)), "targets[0].target"),
        ("targets", one(json!(1_000_000_001), json!(1)), "targets[0].target"),
        ("targets", one(json!(1), json!("-1")), "targets[0].value"),
        ("targets", one(json!(1), json!("1.005")), "targets[0].value"),
        ("targets", json!([{"target": 1}]), "targets[0].value"),
        ("targets", json!([{"target": 1, "value": 1, "form": "fixed"}]), "targets[0].form"),
        ("targets", two(json!(5), json!(5)), "targets[1].target"),
        ("targets", two(json!(5), json!(4)), "targets[1].target"),
        ("start_date", json!("2026-02-30"), "start_date"),
        ("end_date", json!("2026-02-01T00:00:00Z"), "end_date"),
        ("active", json!("yes"), "active"),
        ("from", json!("2999-01-01T00:00:00Z"), "from"),
        ("from", json!("2026-01-01"), "from"),
        ("colour", json!("gold"), "colour"),
    ];
    for (field, value, named) in cases {
        let mut body = bonus();
        body[field] = value.clone();
        let refused = shop.post(LIST, body).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]), "{field} {value}");
    }
    let mut dates = bonus();
    dates["start_date"] = json!("2026-03-02");
    dates["end_date"] = json!("2026-03-01");
    assert_eq!(shop.post(LIST, dates).await.fields(), ["end_date"]);
    let mut percents = bonus();
    percents["form"] = json!("percentage");
    percents["targets"] = one(json!(1), json!("100.1"));
    assert_eq!(shop.post(LIST, percents).await.fields(), ["targets[0].value"]);
    let mut amounts = bonus();
    amounts["target_type"] = json!("conversion_amount");
    amounts["targets"] = one(json!("0.001"), json!(1));
    assert_eq!(shop.post(LIST, amounts).await.fields(), ["targets[0].target"]);
    let mut all = shop.post(LIST, json!({"what": 1})).await.fields();
    all.sort();
    assert_eq!(all, ["form", "identifier", "interval", "target_type", "targets", "what"]);
    assert!(shop.all(LIST, 5).await.is_empty());

    // Targets of another kind have to be told anew.
    let made = shop.post(LIST, bonus()).await.ok(201);
    let path = format!("/v1/bonuses/{}", made["id"].as_str().unwrap());
    for change in [json!({"form": "percentage"}), json!({"target_type": "conversion_amount"})] {
        let refused = shop.patch(&path, change).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["targets".to_owned()]));
    }
    shop.patch(&path, json!({"target_type": "customer_count"})).await.ok(200);
    assert_eq!(shop.patch(&path, json!({"program": "other"})).await.fields(), ["program"]);
    assert_eq!(shop.post("/v1/programs/winter/bonuses", bonus()).await.status, 404);
    assert_eq!(shop.get("/v1/bonuses/bon_1").await.status, 404);
}

#[tokio::test]
async fn a_repeat_under_the_same_key_makes_one_bonus() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let send = || shop.request(Method::POST, LIST).header("Idempotency-Key", "gold-1").json(&bonus());
    let first = shop.send(send()).await.ok(201);
    let again = shop.send(send()).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(201), first);
    assert_eq!(shop.all(LIST, 5).await.len(), 1);
}

#[tokio::test]
async fn awards_are_listed_with_their_commission() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let rules = json!({
        "identifier": "gold", "interval": "alltime", "target_type": "conversion_amount", "form": "percentage",
        "targets": [{"target": "20", "value": "5"}, {"target": "40", "value": "10"}],
    });
    let made = shop.post(LIST, rules).await.ok(201);
    let path = format!("/v1/bonuses/{}/awards", made["id"].as_str().unwrap());
    assert!(shop.all(&path, 5).await.is_empty());
    for order in ["o-1", "o-2"] {
        let sale = json!({"program": "summer", "external_id": order, "amount": "20.10", "coupon": "JANE10"});
        assert!(matches!(server.receive(shop.account, "conversion", sale).await, Effect::Settled { .. }));
        let newest = shop.all("/v1/commissions?status=pending", 5).await;
        let regular = newest.iter().find(|row| row["kind"] == "regular").unwrap();
        let approve = format!("/v1/commissions/{}/approve", regular["id"].as_str().unwrap());
        shop.post(&approve, json!({})).await.ok(200);
    }
    // 5 % of 20.10 and then 10 % of 40.20 less that: half a cent is even at 1.00.
    let awards = shop.all(&path, 5).await;
    assert_eq!(awards.len(), 1);
    let commission = awards[0]["commission"].as_str().unwrap().to_owned();
    let expected = json!({
        "affiliate": "jane", "from": null, "to": null, "target": "40.00", "amount": "4.02", "currency": "USD",
        "commission": commission,
    });
    assert_eq!(awards[0], expected);
    let line = shop.get(&format!("/v1/commissions/{commission}")).await.ok(200);
    assert_eq!((&line["kind"], &line["commission_type"]), (&json!("bonus"), &json!("gold")));
    assert_eq!((&line["amount"], &line["conversion"]), (&json!("3.02"), &json!(null)));
    let steps = shop.get(&format!("/v1/commissions/{commission}/explain")).await.ok(200);
    assert!(steps.to_string().contains("40.20 USD"), "{steps}");
    assert_eq!(shop.all(&format!("{path}?affiliate=jane"), 1).await, awards);
    assert_eq!(shop.get(&format!("{path}?affiliate=nobody")).await.fields(), ["affiliate"]);
}

#[tokio::test]
async fn awards_come_page_by_page() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    for name in ["anne", "bob"] {
        shop.post("/v1/affiliates", json!({"id": name})).await.ok(201);
        shop.put(&format!("/v1/programs/summer/affiliates/{name}"), json!({})).await.ok(200);
        shop.post("/v1/coupons", json!({"affiliate": name, "code": name})).await.ok(201);
    }
    shop.patch("/v1/programs/summer", json!({"auto_approve_commissions": true})).await.ok(200);
    for code in ["JANE10", "anne", "bob"] {
        let sale = json!({"program": "summer", "amount": "10", "coupon": code});
        assert!(matches!(server.receive(shop.account, "conversion", sale).await, Effect::Settled { .. }));
    }
    // All three at once, when the bonus is made.
    let mut rules = bonus();
    rules["interval"] = json!("alltime");
    rules["targets"] = json!([{"target": 1, "value": 5}]);
    let made = shop.post(LIST, rules).await.ok(201);
    let path = format!("/v1/bonuses/{}/awards", made["id"].as_str().unwrap());
    let names = async |limit| {
        let awards = shop.all(&path, limit).await;
        awards.iter().map(|award| award["affiliate"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(1).await, ["jane", "anne", "bob"]);
    assert_eq!(names(2).await, names(3).await);
}
