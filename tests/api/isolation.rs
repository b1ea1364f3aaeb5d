//! What belongs to another account answers exactly as what does not exist, on every route there is.

use axum::http::Method;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::{Value, json};
use uuid::Uuid;
use waypost::{
    domain::{
        calendar::parse_day,
        ids::Prefix,
        rates::{RateRow, parse_rate},
        time::Timestamp,
    },
    ledger::Effect,
    store::{
        entities::{click, click_rollup, link, rejected_event},
        exchange_rates, partitions,
    },
};

use crate::{
    document::{document, operations},
    support::{Client, Server},
};

/// One of everything, in the account `shop`.
pub struct World {
    link: String,
    coupon: String,
    group: String,
    own_price: String,
    bonus: String,
    click: String,
    conversion: String,
    held: String,
    commission: String,
    payment: String,
    payout: String,
    rejected: String,
    refund: String,
    customer: String,
}

impl World {
    /// A path with the ids of these things.
    pub fn fill(&self, path: &str) -> String {
        let conversion = if path.starts_with("/v1/held") { &self.held } else { &self.conversion };
        path.replace("{program}", "summer")
            .replace("{affiliate}", "jane")
            .replace("{host}", "go.shop.example")
            .replace("{link}", &self.link)
            .replace("{coupon}", &self.coupon)
            .replace("{group}", &self.group)
            .replace("{override}", &self.own_price)
            .replace("{bonus}", &self.bonus)
            .replace("{click}", &self.click)
            .replace("{conversion}", conversion)
            .replace("{commission}", &self.commission)
            .replace("{payment}", &self.payment)
            .replace("{payout}", &self.payout)
            .replace("{currency}", "USD")
            .replace("{rejected}", &self.rejected)
            .replace("{refund}", &self.refund)
            .replace("{customer}", &self.customer)
            .replace("{contact}", "c-1")
    }

    /// A path with ids of the same form that nobody has.
    fn fill_with_nothing(path: &str) -> String {
        let id = |prefix: Prefix| prefix.format(Uuid::now_v7());
        path.replace("{program}", "nothing")
            .replace("{affiliate}", "nobody")
            .replace("{host}", "no.where.example")
            .replace("{link}", &id(Prefix::Link))
            .replace("{coupon}", &id(Prefix::Coupon))
            .replace("{group}", &id(Prefix::Group))
            .replace("{override}", &id(Prefix::Override))
            .replace("{bonus}", &id(Prefix::Bonus))
            .replace("{click}", &id(Prefix::Click))
            .replace("{conversion}", &id(Prefix::Conversion))
            .replace("{commission}", &id(Prefix::Commission))
            .replace("{payment}", &id(Prefix::Payment))
            .replace("{payout}", &id(Prefix::Payout))
            .replace("{currency}", "JPY")
            .replace("{rejected}", &id(Prefix::Rejected))
            .replace("{refund}", &id(Prefix::Refund))
            .replace("{customer}", &id(Prefix::Customer))
            .replace("{contact}", "c-0")
    }
}

/// Stores a click and its count, as settlement does.
pub async fn click(server: &Server, client: &Client, country: &str, class: &str, clicks: i64) -> Uuid {
    let reader = server.store.reader();
    let find = link::Entity::find().filter(link::Column::AccountId.eq(client.account.0));
    let link = find.one(reader).await.unwrap().unwrap();
    let id = Uuid::now_v7();
    let at = Timestamp::of_uuid(id).unwrap();
    let row = click::Model {
        day: at.day(),
        id,
        account_id: link.account_id,
        link_id: link.id,
        program_id: link.program_id,
        affiliate_id: link.affiliate_id,
        class: class.to_owned(),
        attributable: true,
        review: false,
        clicked_at: at.0,
        ip_prefix: Some("203.0.113.0/24".to_owned()),
        visitor: None,
        user_agent: None,
        device: "desktop".to_owned(),
        os: "Linux".to_owned(),
        browser: "Firefox".to_owned(),
        country: Some(country.to_owned()),
        network: None,
        referrer: None,
        source_id: None,
        asset_id: None,
        tracking_id: None,
        details: json!({}),
        duplicate_of: None,
    };
    let rollup = click_rollup::Model {
        link_id: link.id,
        day: at.day(),
        class: class.to_owned(),
        country: country.to_owned(),
        device: "desktop".to_owned(),
        partition: 0,
        account_id: link.account_id,
        program_id: link.program_id,
        affiliate_id: link.affiliate_id,
        clicks,
    };
    let tx = server.store.begin().await.unwrap();
    partitions::ensure(&tx, &[row.day].into()).await.unwrap();
    row.into_active_model().insert(&tx).await.unwrap();
    rollup.into_active_model().insert(&tx).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// A group with jane in it, her parent anna, her child carl, and her override. The ids of the group and the override.
async fn relations(shop: &Client) -> (String, String) {
    for slug in ["anna", "carl"] {
        shop.post("/v1/affiliates", json!({"id": slug})).await.ok(201);
    }
    shop.put("/v1/affiliates/jane/parent", json!({"parent": "anna"})).await.ok(200);
    shop.put("/v1/affiliates/carl/parent", json!({"parent": "jane"})).await.ok(200);
    let group = shop.post("/v1/groups", json!({"slug": "vip", "title": "VIP"})).await.ok(201);
    let group = group["id"].as_str().unwrap().to_owned();
    shop.put("/v1/affiliates/jane/group", json!({"group": group})).await.ok(200);
    let own =
        json!({"affiliate": "jane", "commission_type": "standard", "form": "percentage", "value": "10"});
    let own = shop.post("/v1/programs/summer/overrides", own).await.ok(201);
    (group, own["id"].as_str().unwrap().to_owned())
}

/// Loads exchange rates: `2026-01-02 EUR USD 1.0825`.
pub async fn rates(server: &Server, rates: &[&str]) {
    let row = |text: &&str| {
        let words: Vec<&str> = text.split(' ').collect();
        let [day, base, quote, rate] = words[..] else { panic!("{text}") };
        RateRow {
            day: parse_day(day).unwrap(),
            base: base.parse().unwrap(),
            quote: quote.parse().unwrap(),
            rate: parse_rate(rate).unwrap(),
        }
    };
    let tx = server.store.begin().await.unwrap();
    exchange_rates::load(&tx, rates.iter().map(row).collect(), Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// A bonus that was awarded.
async fn bonus(server: &Server) -> String {
    let shop = &server.shop;
    let rules = json!({
        "identifier": "gold", "interval": "alltime", "target_type": "conversion_count", "form": "fixed",
        "targets": [{"target": 1, "value": "5"}],
    });
    let made = shop.post("/v1/programs/summer/bonuses", rules).await.ok(201);
    let sale = json!({"program": "summer", "external_id": "o-4", "amount": "1", "coupon": "JANE10"});
    assert!(matches!(server.receive(shop.account, "conversion", sale).await, Effect::Settled { .. }));
    let newest = shop.all("/v1/commissions", 5).await[0]["id"].as_str().unwrap().to_owned();
    shop.post(&format!("/v1/commissions/{newest}/approve"), json!({})).await.ok(200);
    made["id"].as_str().unwrap().to_owned()
}

/// Furnishes `shop` with one of everything.
pub async fn world(server: &Server) -> World {
    let shop = &server.shop;
    shop.furnish().await;
    shop.post("/v1/domains", json!({"host": "go.shop.example"})).await.ok(201);
    let (group, own_price) = relations(shop).await;
    let click = click(server, shop, "DE", "valid", 1).await;
    let sale = json!({
        "program": "summer", "external_id": "o-1", "amount": "49.90", "coupon": "JANE10", "customer_id": "c-1",
    });
    let Effect::Settled { id, .. } = server.receive(shop.account, "conversion", sale).await else {
        panic!("not settled");
    };
    let refund =
        json!({"external_id": "r-1", "program": "summer", "conversion_external_id": "o-1", "amount": "9.90"});
    assert!(matches!(server.receive(shop.account, "refund", refund).await, Effect::Settled { .. }));
    let held = json!({"program": "summer", "external_id": "o-2", "amount": "5", "coupon": "JANE10",
        "authority": "held_pixel"});
    let Effect::Held { id: held } = server.receive(shop.account, "conversion", held).await else {
        panic!("not held");
    };
    let lost = json!({"program": "summer", "external_id": "o-3", "amount": "5", "coupon": "NOBODY"});
    assert!(matches!(server.receive(shop.account, "conversion", lost).await, Effect::Rejected { .. }));
    let rejected = rejected_event::Entity::find().one(server.store.reader()).await.unwrap().unwrap();
    rates(server, &["2026-01-02 EUR USD 1.0825"]).await;
    let given = json!({"amount": "5", "currency": "USD", "comment": "a gift"});
    shop.post("/v1/affiliates/jane/adjustments", given).await.ok(201);
    let one = json!({"affiliate": "jane", "amount": "1", "currency": "USD"});
    shop.post("/v1/payments", one.clone()).await.ok(201);
    shop.post("/v1/payouts", one).await.ok(201);
    shop.put("/v1/payout-minimums/USD", json!({"amount": "1"})).await.ok(200);
    let first = |rows: Vec<Value>| rows[0]["id"].as_str().unwrap().to_owned();
    World {
        link: first(shop.all("/v1/links", 5).await),
        coupon: first(shop.all("/v1/coupons", 5).await),
        group,
        own_price,
        refund: first(shop.all("/v1/refunds", 5).await),
        customer: first(shop.all("/v1/customers", 5).await),
        commission: first(shop.all("/v1/commissions?kind=regular", 5).await),
        payment: first(shop.all("/v1/payments", 5).await),
        payout: first(shop.all("/v1/payouts", 5).await),
        bonus: bonus(server).await,
        click: Prefix::Click.format(click),
        conversion: Prefix::Conversion.format(id),
        held: Prefix::Conversion.format(held),
        rejected: Prefix::Rejected.format(rejected.id),
    }
}

#[tokio::test]
async fn another_account_finds_nothing() {
    let server = Server::start().await;
    let document = document(&server).await;
    let world = world(&server).await;
    let thief = server.account("thief").await;
    let before = everything(&server, &document, &world).await;
    let mut compared = 0;
    for (method, path, _) in operations(&document) {
        // A minimum is set for a currency, whether there is one or not.
        if !path.contains('{') || (method == Method::PUT && path == "/v1/payout-minimums/{currency}") {
            continue;
        }
        let real = thief.with(method.clone(), &world.fill(&path), &json!({})).await;
        let unreal = thief.with(method.clone(), &World::fill_with_nothing(&path), &json!({})).await;
        assert_eq!(real.status, 404, "{method} {path} {}", real.text);
        assert_eq!((unreal.status, &unreal.text), (404, &real.text), "{method} {path}");
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
    for (method, path, _) in operations(&document) {
        if method == Method::GET && !path.contains('{') {
            let page = thief.get(&path).await.ok(200);
            // Rates are nobody's own.
            assert_eq!(page["data"] == json!([]), path != "/v1/rates", "{path}");
        }
    }
    assert_eq!(everything(&server, &document, &world).await, before);
}

/// All that the account sees of itself.
async fn everything(server: &Server, document: &Value, world: &World) -> Vec<String> {
    let mut texts = Vec::new();
    for (method, path, _) in operations(document) {
        if method == Method::GET {
            let answer = server.shop.get(&world.fill(&path)).await;
            assert_eq!(answer.status, 200, "{path} {}", answer.text);
            texts.push(answer.text);
        }
    }
    texts
}

#[tokio::test]
async fn names_in_bodies_and_filters_stay_inside_the_account() {
    let server = Server::start().await;
    let world = world(&server).await;
    let thief = server.account("thief").await;
    thief.post("/v1/programs", crate::support::program("mine")).await.ok(201);
    thief.post("/v1/affiliates", json!({"id": "me"})).await.ok(201);
    assert_eq!(thief.put("/v1/programs/summer/affiliates/me", json!({})).await.status, 404);
    assert_eq!(thief.put("/v1/programs/mine/affiliates/jane", json!({})).await.status, 404);
    for path in ["/v1/links", "/v1/coupons"] {
        for (program, affiliate) in [("summer", "me"), ("mine", "jane"), ("summer", "jane")] {
            let real = thief.post(path, json!({"program": program, "affiliate": affiliate})).await;
            assert_eq!(real.status, 422, "{path} {program} {affiliate}");
            let no = |name: &str| {
                if ["summer", "jane"].contains(&name) { "no".to_owned() } else { name.to_owned() }
            };
            let unreal = thief.post(path, json!({"program": no(program), "affiliate": no(affiliate)})).await;
            assert_eq!(real.text, unreal.text);
        }
    }
    for (real, unreal) in [
        ("/v1/clicks?program=summer".to_owned(), "/v1/clicks?program=no"),
        ("/v1/links?affiliate=jane".to_owned(), "/v1/links?affiliate=no"),
        (format!("/v1/clicks?link={}", world.link), "/v1/clicks?link=lnk_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
        (
            format!("/v1/commissions?conversion={}", world.conversion),
            "/v1/commissions?conversion=cnv_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f",
        ),
        ("/v1/conversions?external_id=o-1".to_owned(), "/v1/conversions?external_id=no"),
        ("/v1/coupons?code=JANE10".to_owned(), "/v1/coupons?code=no"),
        ("/v1/payments?affiliate=jane".to_owned(), "/v1/payments?affiliate=no"),
        ("/v1/payouts?affiliate=jane".to_owned(), "/v1/payouts?affiliate=no"),
    ] {
        let (real, unreal) = (thief.get(&real).await, thief.get(unreal).await);
        assert_eq!((real.status, real.text), (unreal.status, unreal.text));
    }
    let price = |field: &str, value: &str| json!({field: value, "commission_type": "standard", "form": "percentage", "value": "10"});
    let nothing = "grp_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f";
    for (method, path, real, unreal) in [
        (Method::PUT, "/v1/affiliates/me/parent", json!({"parent": "jane"}), json!({"parent": "no"})),
        (Method::PUT, "/v1/affiliates/me/group", json!({"group": world.group}), json!({"group": nothing})),
        (
            Method::POST,
            "/v1/programs/mine/overrides",
            price("affiliate", "jane"),
            price("affiliate", "nobody"),
        ),
        (Method::POST, "/v1/programs/mine/overrides", price("group", &world.group), price("group", nothing)),
    ] {
        let real = thief.with(method.clone(), path, &real).await;
        let unreal = thief.with(method, path, &unreal).await;
        assert_eq!((real.status, &real.text), (422, &unreal.text), "{path}");
    }
    // The same slugs may be used again: they are each account's own.
    thief.furnish().await;
}
