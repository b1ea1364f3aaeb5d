//! Prices of one affiliate or group.

use serde_json::{Value, json};
use waypost::{
    domain::time::{MS_PER_DAY, Timestamp},
    ledger::Effect,
};

use crate::support::{Client, Server};

fn days_ago(days: i64) -> String {
    Timestamp(Timestamp::now().0 - days * MS_PER_DAY).to_string()
}

const LIST: &str = "/v1/programs/summer/overrides";

fn fixed(value: &str) -> Value {
    json!({"affiliate": "jane", "commission_type": "standard", "form": "fixed", "value": value})
}

async fn group(shop: &Client) -> String {
    let made = shop.post("/v1/groups", json!({"slug": "vip", "title": "VIP"})).await.ok(201);
    made["id"].as_str().unwrap().to_owned()
}

fn path_of(made: &Value) -> String {
    format!("/v1/overrides/{}", made["id"].as_str().unwrap())
}

/// What jane earns by a sale of 10.00.
async fn earned(server: &Server) -> String {
    let sale = json!({"program": "summer", "amount": "10", "referral_code": "jane"});
    let Effect::Settled { .. } = server.receive(server.shop.account, "conversion", sale).await else {
        panic!("not settled");
    };
    let lines = server.shop.get("/v1/commissions?limit=1").await.ok(200);
    lines["data"][0]["amount"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_override_lives_and_dies() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let group = group(shop).await;
    let made = shop.post(LIST, fixed("3")).await.ok(201);
    let shown = json!({
        "program": "summer", "affiliate": "jane", "group": null, "commission_type": "standard", "level": null,
        "version": 1, "form": "fixed", "value": "3.00", "first_payment": null,
    });
    for (name, value) in shown.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    let path = path_of(&made);
    assert_eq!(shop.get(&path).await.ok(200), made);
    assert_eq!(earned(&server).await, "3.00");
    let tiers = json!({
        "measure": "count", "period": "day", "mode": "whole",
        "brackets": [{"from": "0", "form": "percentage", "value": "1"}],
    });
    let shared = json!({"group": group, "commission_type": "standard", "form": "tiered", "tiers": tiers});
    let shared = shop.post(LIST, shared).await.ok(201);
    assert_eq!((&shared["group"], &shared["tiers"]), (&json!(group), &tiers));
    let level = json!({
        "affiliate": "jane", "level": 2, "form": "percentage", "value": "1",
        "first_payment": {"form": "percentage", "value": "2"},
    });
    let level = shop.post(LIST, level).await.ok(201);
    assert_eq!((&level["level"], &level["first_payment"]["value"]), (&json!(2), &json!("2")));
    assert_eq!(shop.all(LIST, 1).await, [level.clone(), shared.clone(), made.clone()]);
    assert_eq!(shop.all(&format!("{LIST}?affiliate=jane"), 5).await, [level, made.clone()]);
    assert_eq!(shop.all(&format!("{LIST}?group={group}"), 5).await, [shared]);

    let replaced = shop.put(&path, json!({"form": "percentage", "value": "40"})).await.ok(200);
    assert_eq!((&replaced["version"], &replaced["value"]), (&json!(2), &json!("40")));
    assert_eq!(earned(&server).await, "4.00");
    // What changes nothing makes no version.
    assert_eq!(shop.put(&path, json!({"form": "percentage", "value": "40"})).await.ok(200), replaced);
    let taken = shop.post(LIST, fixed("5")).await;
    assert_eq!((taken.status, taken.fields()), (409, vec!["commission_type".to_owned()]));

    shop.delete(&path).await.ok(204);
    assert_eq!(shop.get(&path).await.status, 404);
    assert_eq!(shop.delete(&path).await.status, 404);
    assert_eq!(shop.put(&path, json!({"form": "percentage", "value": "40"})).await.status, 404);
    assert_eq!(shop.all(LIST, 5).await.len(), 2);
    assert_eq!(earned(&server).await, "1.00");
    // It comes back as the same, with its history.
    let before = shop
        .post(
            LIST,
            json!({"effective_from": days_ago(1), "affiliate": "jane",
        "commission_type": "standard", "form": "fixed", "value": "5"}),
        )
        .await;
    assert_eq!((before.status, before.fields()), (422, vec!["effective_from".to_owned()]));
    let again = shop.post(LIST, fixed("6")).await.ok(201);
    assert_eq!((&again["id"], &again["version"]), (&made["id"], &json!(4)));
    let versions = shop.all(&format!("{path}/versions"), 2).await;
    let told = |version: &Value| json!([version["version"], version["in_force"], version["rule"]["value"]]);
    assert_eq!(
        versions.iter().map(told).collect::<Vec<_>>(),
        [
            json!([4, true, "6.00"]),
            json!([3, false, null]),
            json!([2, false, "40"]),
            json!([1, false, "3.00"])
        ]
    );
    assert!(versions[1]["rule"].is_null());
}

#[tokio::test]
async fn a_version_may_begin_in_the_past() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let mut first = fixed("3");
    first["effective_from"] = json!(days_ago(5));
    let made = shop.post(LIST, first).await.ok(201);
    let path = path_of(&made);
    // One that ended where the next began: what is in force stays.
    let earlier = json!({"form": "fixed", "value": "2", "effective_from": days_ago(9)});
    let answer = shop.put(&path, earlier).await.ok(200);
    assert_eq!((&answer["version"], &answer["value"]), (&json!(1), &json!("3.00")));
    let later = json!({"form": "fixed", "value": "4", "effective_from": days_ago(2)});
    assert_eq!(shop.put(&path, later).await.ok(200)["version"], 3);
    let versions = shop.all(&format!("{path}/versions"), 5).await;
    assert_eq!(versions.iter().map(|one| one["in_force"] == true).collect::<Vec<_>>(), [true, false, false]);
    let future =
        shop.put(&path, json!({"form": "fixed", "value": "4", "effective_from": days_ago(-1)})).await;
    assert_eq!((future.status, future.fields()), (422, vec!["effective_from".to_owned()]));
}

#[tokio::test]
async fn what_makes_no_sense_is_named() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let group = group(shop).await;
    let base = |field: &str, value: Value| {
        let mut body = fixed("1");
        body[field] = value;
        body
    };
    let without = |name: &str| {
        let mut body = fixed("1");
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let tiered = json!({
        "affiliate": "jane", "level": 2, "form": "tiered",
        "tiers": {"measure": "count", "period": "day", "brackets": [{"from": 0, "form": "fixed", "value": 1}]},
    });
    let cases = [
        (without("affiliate"), "affiliate"),
        (base("affiliate", json!("nobody")), "affiliate"),
        (base("affiliate", json!(5)), "affiliate"),
        (base("group", json!(group)), "group"),
        (json!({"group": "vip", "commission_type": "standard", "form": "fixed", "value": 1}), "group"),
        (
            json!({"group": "grp_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f", "level": 2, "form": "fixed", "value": 1}),
            "group",
        ),
        (without("commission_type"), "commission_type"),
        (base("commission_type", json!("gift")), "commission_type"),
        (base("level", json!(2)), "level"),
        (json!({"affiliate": "jane", "level": 1, "form": "fixed", "value": 1}), "level"),
        (json!({"affiliate": "jane", "level": 22, "form": "fixed", "value": 1}), "level"),
        (tiered, "form"),
        (without("form"), "form"),
        (without("value"), "value"),
        (base("value", json!("1.005")), "value"),
        (base("first_payment", json!({"form": "fixed"})), "first_payment.value"),
        (base("first_payment", json!({"form": "fixed", "value": 1, "cap": 1})), "first_payment.cap"),
        (base("effective_from", json!(days_ago(-1))), "effective_from"),
        (base("colour", json!("red")), "colour"),
    ];
    for (body, named) in cases {
        let refused = shop.post(LIST, body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]), "{body}");
    }
    assert!(shop.all(LIST, 5).await.is_empty());
    assert_eq!(shop.post("/v1/programs/winter/overrides", fixed("1")).await.status, 404);
    for (filter, named) in [("affiliate=nobody", "affiliate"), ("group=vip", "group")] {
        let refused = shop.get(&format!("{LIST}?{filter}")).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]));
    }
    let made = shop.post(LIST, fixed("1")).await.ok(201);
    for (field, value) in [
        ("affiliate", json!("anna")),
        ("group", json!(group)),
        ("commission_type", json!("other")),
        ("level", json!(2)),
    ] {
        let refused = shop.put(&path_of(&made), json!({field: value, "form": "fixed", "value": 1})).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]));
    }
    // What it is may be repeated.
    shop.put(&path_of(&made), fixed("2")).await.ok(200);
}

#[tokio::test]
async fn overrides_end_with_their_group_and_their_program() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let group = group(shop).await;
    shop.put("/v1/affiliates/jane/group", json!({"group": group})).await.ok(200);
    let shared = json!({"group": group, "commission_type": "standard", "form": "fixed", "value": "7"});
    let shared = shop.post(LIST, shared).await.ok(201);
    let own = shop
        .post(LIST, json!({"affiliate": "jane", "level": 2, "form": "fixed", "value": "7"}))
        .await
        .ok(201);
    assert_eq!(earned(&server).await, "7.00");
    shop.delete(&format!("/v1/groups/{group}")).await.ok(204);
    assert_eq!(shop.get(&path_of(&shared)).await.status, 404);
    assert_eq!(shop.get(&format!("{}/versions", path_of(&shared))).await.status, 200);
    assert_eq!(earned(&server).await, "1.00");
    shop.delete("/v1/programs/summer").await.ok(204);
    assert_eq!(shop.get(&path_of(&own)).await.status, 404);
}
