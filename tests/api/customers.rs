//! Customers: made, found, moved, canceled, and what their status says.

use serde_json::{Value, json};

use crate::support::{Client, Server, program};

/// The shop with jane and june in it.
async fn furnished(server: &Server) -> &Client {
    let shop = &server.shop;
    shop.furnish().await;
    shop.post("/v1/affiliates", json!({"id": "june"})).await.ok(201);
    shop.put("/v1/programs/summer/affiliates/june", json!({})).await.ok(200);
    shop.post("/v1/links", json!({"affiliate": "june", "code": "june"})).await.ok(201);
    shop
}

fn path(customer: &Value) -> String {
    format!("/v1/customers/{}", customer["id"].as_str().unwrap())
}

async fn create(shop: &Client, customer_id: &str, status: &str) -> Value {
    let body = json!({"customer_id": customer_id, "referral_code": "jane", "status": status});
    shop.post("/v1/customers", body).await.ok(201)
}

async fn buy(shop: &Client, customer_id: &str, amount: &str) -> Value {
    let body = json!({"program": "summer", "customer_id": customer_id, "amount": amount});
    shop.post("/v1/conversions", body).await.ok(201)["conversion"].clone()
}

#[tokio::test]
async fn a_customer_is_made_and_buys() {
    let server = Server::start().await;
    let shop = furnished(&server).await;
    let made = create(shop, "c-1", "trial").await;
    assert_eq!((&made["program"], &made["affiliate"]), (&json!("summer"), &json!("jane")));
    assert_eq!((&made["status"], &made["first_conversion_at"]), (&json!("trial"), &Value::Null));
    assert!(made["link"].as_str().unwrap().starts_with("lnk_"));
    assert_eq!(shop.get(&path(&made)).await.ok(200), made);
    let sold = buy(shop, "c-1", "49.90").await;
    assert_eq!((&sold["customer"], &sold["resolved_by"]), (&made["id"], &json!("customer_id")));
    let now = shop.get(&path(&made)).await.ok(200);
    assert_eq!((&now["status"], &now["first_conversion_at"]), (&json!("paying"), &sold["occurred_at"]));
    let contact = shop.get("/v1/contacts/c-1/affiliate").await.ok(200);
    assert_eq!((&contact["affiliate"]["id"], &contact["customer"]), (&json!("jane"), &now));
    assert_eq!(contact["affiliate"]["email"], "jane@blog.example");
}

#[tokio::test]
async fn who_is_nobodys_is_refused() {
    let server = Server::start().await;
    let shop = furnished(&server).await;
    let refused =
        shop.post("/v1/customers", json!({"customer_id": "c-1", "coupon": "NO", "click_id": "x"})).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    let problem = refused.json();
    assert_eq!(problem["code"], "unattributed");
    assert_eq!(problem["warnings"], json!(["unknown_coupon", "unknown_click"]));
    let refused =
        shop.post("/v1/customers", json!({"customer_id": "c-1", "program": "no", "coupon": "JANE10"})).await;
    assert_eq!(
        (refused.json()["code"].as_str(), refused.fields()),
        (Some("unknown_program"), vec!["program".to_owned()])
    );
    let refused = shop.post("/v1/customers", json!({"status": "active", "sex": 1, "coupon": ""})).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.fields(), ["customer_id", "coupon", "status", "sex"]);
    create(shop, "c-1", "new").await;
    let again = shop.post("/v1/customers", json!({"customer_id": "c-1", "referral_code": "june"})).await;
    assert_eq!((again.status, again.fields()), (409, vec!["customer_id".to_owned()]));
    assert_eq!(shop.all("/v1/customers", 5).await.len(), 1);
}

#[tokio::test]
async fn a_customer_moves() {
    let server = Server::start().await;
    let shop = furnished(&server).await;
    let customer = create(shop, "c-1", "new").await;
    let links = shop.all("/v1/links?affiliate=june", 5).await;
    let (path, link) = (path(&customer), &links[0]["id"]);
    let before = buy(shop, "c-1", "10").await;
    let moved = shop.patch(&path, json!({"affiliate": "june", "link": link})).await.ok(200);
    assert_eq!((&moved["affiliate"], &moved["link"]), (&json!("june"), link));
    // Nothing that is given stays as it is.
    assert_eq!(shop.patch(&path, json!({})).await.ok(200), moved);
    assert_eq!(buy(shop, "c-1", "10").await["affiliate"], "june");
    let kept = shop.get(&format!("/v1/conversions/{}", before["id"].as_str().unwrap())).await.ok(200);
    assert_eq!(kept["affiliate"], "jane");
    assert_eq!(shop.patch(&path, json!({"affiliate": "jane"})).await.ok(200)["link"], Value::Null);

    shop.post("/v1/affiliates", json!({"id": "stranger"})).await.ok(201);
    let refused = shop.patch(&path, json!({"affiliate": "stranger"})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("not_enrolled")));
    for (body, field) in [
        (json!({"affiliate": "nobody"}), "affiliate"),
        (json!({"affiliate": null}), "affiliate"),
        (json!({"link": link}), "link"),
        (json!({"link": "lnk_1"}), "link"),
        (json!({"status": "paying"}), "status"),
    ] {
        let refused = shop.patch(&path, body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{body}");
    }
    let again = shop.patch(&path, json!({"affiliate": "june", "link": link})).await.ok(200);
    assert_eq!(again["link"], *link);
}

#[tokio::test]
async fn lists_know_every_status() {
    let server = Server::start().await;
    let shop = furnished(&server).await;
    for (customer_id, track, amounts) in [
        ("trial", "trial", vec![]),
        ("paying", "trial", vec!["5"]),
        ("lead", "lead", vec!["0"]),
        ("won", "lead", vec!["5"]),
        ("new", "new", vec![]),
        ("active", "new", vec!["0", "5"]),
        ("canceled", "new", vec!["5"]),
        ("capped", "lead", vec!["5", "5", "5"]),
        ("canceled-capped", "lead", vec!["5", "5", "5"]),
    ] {
        let made = create(shop, customer_id, track).await;
        for amount in amounts {
            buy(shop, customer_id, amount).await;
        }
        if customer_id.starts_with("canceled") {
            shop.post(&format!("{}/cancel", path(&made)), json!({})).await.ok(200);
        }
    }
    let of = async |status: &str| -> Vec<String> {
        let rows = shop.all(&format!("/v1/customers?status={status}"), 2).await;
        assert!(rows.iter().all(|row| row["status"] == status), "{status}: {rows:?}");
        rows.into_iter().map(|row| row["customer_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of("capped").await, Vec::<String>::new());
    assert_eq!(of("won").await, ["capped", "won"]);
    shop.patch("/v1/programs/summer", json!({"recurring_cap": 3})).await.ok(200);
    for status in ["trial", "paying", "lead", "won", "new", "active", "capped"] {
        assert_eq!(of(status).await, [status]);
    }
    assert_eq!(of("canceled").await, ["canceled-capped", "canceled"]);
    assert_eq!(shop.all("/v1/customers", 4).await.len(), 9);
    assert_eq!(shop.all("/v1/customers?status=capped&program=summer&affiliate=jane", 4).await.len(), 1);
    assert_eq!(shop.all("/v1/customers?affiliate=june", 4).await.len(), 0);
    let found = shop.all("/v1/customers?customer_id=canceled-capped", 4).await;
    let back = shop.post(&format!("{}/uncancel", path(&found[0])), json!({})).await.ok(200);
    assert_eq!(back["status"], "capped");
    // The cap now in force decides.
    shop.patch("/v1/programs/summer", json!({"recurring_cap": null})).await.ok(200);
    assert_eq!(of("won").await, ["canceled-capped", "capped", "won"]);
    let wrong = shop.get("/v1/customers?status=gone").await;
    assert_eq!((wrong.status, wrong.fields()), (422, vec!["status".to_owned()]));
}

#[tokio::test]
async fn a_canceled_customer_earns_nobody_anything() {
    let server = Server::start().await;
    let shop = furnished(&server).await;
    let made = create(shop, "c-1", "new").await;
    for _ in 0..2 {
        let canceled = shop.post(&format!("{}/cancel", path(&made)), json!({})).await.ok(200);
        assert_eq!(canceled["status"], "canceled");
    }
    let line = buy(shop, "c-1", "10").await["commissions"][0].clone();
    assert_eq!((&line["reason"], &line["amount"]), (&json!("customer_canceled"), &json!("0.00")));
    let back = shop.post(&format!("{}/uncancel", path(&made)), json!({})).await.ok(200);
    assert_eq!(back["status"], "active");
    assert_eq!(buy(shop, "c-1", "10").await["commissions"][0]["amount"], "1.00");
}

#[tokio::test]
async fn a_contact_of_several_programs_needs_one_named() {
    let server = Server::start().await;
    let shop = furnished(&server).await;
    shop.post("/v1/programs", program("winter")).await.ok(201);
    shop.put("/v1/programs/winter/affiliates/june", json!({})).await.ok(200);
    shop.post("/v1/links", json!({"program": "winter", "affiliate": "june", "code": "snow"})).await.ok(201);
    create(shop, "c 1/ä", "new").await;
    let body = json!({"customer_id": "c 1/ä", "referral_code": "snow"});
    shop.post("/v1/customers", body).await.ok(201);
    let contact = "/v1/contacts/c%201%2F%C3%A4/affiliate";
    let refused = shop.get(contact).await;
    assert_eq!((refused.status, refused.fields()), (422, vec!["program".to_owned()]));
    for (program, affiliate) in [("summer", "jane"), ("winter", "june")] {
        let found = shop.get(&format!("{contact}?program={program}")).await.ok(200);
        assert_eq!((&found["affiliate"]["id"], &found["contact"]), (&json!(affiliate), &json!("c 1/ä")));
    }
    assert_eq!(shop.get("/v1/contacts/c-2/affiliate").await.status, 404);
    assert_eq!(shop.get(&format!("{contact}?program=no")).await.fields(), ["program"]);
}

#[tokio::test]
async fn a_contact_is_linked_by_hand() {
    let server = Server::start().await;
    let shop = furnished(&server).await;
    let made = create(shop, "c-1", "new").await;
    let contact = "/v1/contacts/c-1/affiliate";
    let moved = shop.post(contact, json!({"affiliate": "june"})).await.ok(200);
    assert_eq!((&moved["contact"], &moved["affiliate"]["id"]), (&json!("c-1"), &json!("june")));
    let now = shop.get(&path(&made)).await.ok(200);
    assert_eq!((&now["affiliate"], &now["link"], &moved["customer"]), (&json!("june"), &Value::Null, &now));
    assert_eq!(shop.get(contact).await.ok(200), moved);
    assert_eq!(buy(shop, "c-1", "10").await["affiliate"], "june");
    // Whose it is already changes nothing.
    shop.post(contact, json!({"affiliate": "june", "program": "summer"})).await.ok(200);
    for (body, fields) in [
        (json!({}), ["affiliate"]),
        (json!({"affiliate": "nobody"}), ["affiliate"]),
        (json!({"affiliate": "jane", "program": "no"}), ["program"]),
    ] {
        let refused = shop.post(contact, body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, fields.map(str::to_owned).to_vec()), "{body}");
    }
    shop.post("/v1/affiliates", json!({"id": "stranger"})).await.ok(201);
    let refused = shop.post(contact, json!({"affiliate": "stranger"})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("not_enrolled")));
    assert_eq!(shop.post("/v1/contacts/c-2/affiliate", json!({"affiliate": "june"})).await.status, 404);

    shop.post("/v1/programs", program("winter")).await.ok(201);
    shop.put("/v1/programs/winter/affiliates/june", json!({})).await.ok(200);
    shop.post("/v1/links", json!({"program": "winter", "affiliate": "june", "code": "snow"})).await.ok(201);
    shop.post("/v1/customers", json!({"customer_id": "c-1", "referral_code": "snow"})).await.ok(201);
    let refused = shop.post(contact, json!({"affiliate": "jane"})).await;
    assert_eq!((refused.status, refused.fields()), (422, vec!["program".to_owned()]));
    let moved = shop.post(contact, json!({"affiliate": "jane", "program": "summer"})).await.ok(200);
    assert_eq!(
        (&moved["affiliate"]["id"], &moved["customer"]["program"]),
        (&json!("jane"), &json!("summer"))
    );
}
