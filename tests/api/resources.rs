//! Create, read, list, change and delete of every resource.

use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Set};
use serde_json::json;
use waypost::{
    catalog::CatalogRecord,
    domain::sealed::{Sealed, SealingKeys, pixel_secret_of},
    store::{
        catalog,
        entities::program,
        pixel_secrets::{self, Resealed},
    },
};

use crate::support::{Server, program, sealing};

#[tokio::test]
async fn a_program_lives_and_dies() {
    let server = Server::start().await;
    let shop = &server.shop;
    let made = shop.post("/v1/programs", program("summer")).await.ok(201);
    assert_eq!(made["id"], "summer");
    assert_eq!(made["version"], 1);
    assert_eq!(made["cookie_time"], 30);
    assert_eq!(made["pixel"], "held");
    assert_eq!(made["default_commission_type"], "standard");
    let expected = json!([{
        "identifier": "standard", "title": "standard", "form": "percentage", "value": "10",
        "first_payment": null, "recurrence": "forever", "count_towards_cap": true,
    }]);
    assert_eq!(made["commission_types"], expected);
    assert_eq!(shop.get("/v1/programs/summer").await.ok(200), made);

    let changed = shop.patch("/v1/programs/summer", json!({"cookie_time": 7, "pixel": "open"})).await.ok(200);
    assert_eq!((&changed["cookie_time"], &changed["version"]), (&json!(7), &json!(2)));
    assert_eq!(changed["name"], "Summer sale");
    // What changes nothing makes no version.
    let same = shop.patch("/v1/programs/summer", json!({"cookie_time": 7})).await.ok(200);
    assert_eq!(same["version"], 2);
    let replaced = shop.put("/v1/programs/summer", program("summer")).await.ok(200);
    assert_eq!((&replaced["cookie_time"], &replaced["pixel"]), (&json!(30), &json!("held")));

    shop.delete("/v1/programs/summer").await.ok(204);
    assert_eq!(shop.get("/v1/programs/summer").await.status, 404);
    assert_eq!(shop.delete("/v1/programs/summer").await.status, 404);
    assert!(shop.all("/v1/programs", 10).await.is_empty());
    let again = shop.post("/v1/programs", program("summer")).await;
    assert_eq!((again.status, again.fields()), (409, vec!["id".to_owned()]));
}

#[tokio::test]
async fn fixed_values_are_of_the_currency() {
    let server = Server::start().await;
    let shop = &server.shop;
    let mut body = program("yen");
    body["currency"] = json!("JPY");
    // A number is read from its text.
    body["commission_types"] = json!([{"form": "fixed", "value": 500}]);
    let made = shop.post("/v1/programs", body).await.ok(201);
    assert_eq!(made["commission_types"][0]["value"], "500");
    let refused = shop.patch("/v1/programs/yen", json!({"currency": "USD"})).await;
    assert_eq!((refused.status, refused.fields()), (422, vec!["commission_types".to_owned()]));
    let types = json!([{"form": "fixed", "value": "5"}]);
    let changed =
        shop.patch("/v1/programs/yen", json!({"currency": "USD", "commission_types": types})).await.ok(200);
    assert_eq!(changed["commission_types"][0]["value"], "5.00");
}

#[tokio::test]
async fn the_pixel_secret_is_shown_at_one_place() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let secret = shop.get("/v1/programs/summer/pixel-secret").await.ok(200);
    let secret = secret["pixel_secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 52);
    let rotated = shop.post("/v1/programs/summer/pixel-secret/rotate", json!({})).await;
    let fresh = shop.get("/v1/programs/summer/pixel-secret").await.ok(200);
    let fresh = fresh["pixel_secret"].as_str().unwrap();
    assert_ne!(fresh, secret);
    assert_eq!(rotated.status, 200);
    for text in
        [rotated.text, shop.get("/v1/programs/summer").await.text, shop.get("/v1/programs").await.text]
    {
        assert!(!text.contains(&secret) && !text.contains(fresh) && !text.contains("pixel_secret"));
    }
    // Edges know the new one.
    let records = catalog::after(server.store.reader(), 0, 100).await.unwrap();
    let known = records.iter().any(|versioned| match &versioned.record {
        CatalogRecord::Program(program) => {
            let opened = sealing().open(&program.pixel_secret, &pixel_secret_of(program.id));
            opened.as_deref() == Ok(fresh)
        }
        _ => false,
    });
    assert!(known);
    // It is nowhere in clear text.
    let row = program::Entity::find().one(server.store.reader()).await.unwrap().unwrap();
    let records = serde_json::to_string(&records).unwrap();
    assert!(!row.pixel_secret.contains(fresh) && !records.contains(fresh) && !records.contains(&secret));
}

#[tokio::test]
async fn secrets_survive_the_roll_of_their_key() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let path = "/v1/programs/summer/pixel-secret";
    let secret = shop.get(path).await.ok(200)["pixel_secret"].as_str().unwrap().to_owned();
    let row = async || program::Entity::find().one(server.store.reader()).await.unwrap().unwrap();

    let rolled = SealingKeys::new(&[[4; 32], [3; 32]]).unwrap();
    let one = Resealed { sealed: 1, unreadable: 0 };
    let untouched = pixel_secrets::reseal(&server.store, &rolled, true).await.unwrap();
    assert_eq!(untouched, Resealed::default());
    assert_eq!(pixel_secrets::reseal(&server.store, &rolled, false).await.unwrap(), one);
    assert_eq!(pixel_secrets::reseal(&server.store, &rolled, false).await.unwrap(), Resealed::default());
    let alone = SealingKeys::new(&[[4; 32]]).unwrap();
    assert_eq!(pixel_secrets::open(&row().await, &alone).as_ref(), Ok(&secret));
    // Edges are told.
    let records = catalog::after(server.store.reader(), 0, 100).await.unwrap();
    let told = records.iter().any(|versioned| match &versioned.record {
        CatalogRecord::Program(program) => {
            alone.open(&program.pixel_secret, &pixel_secret_of(program.id)).is_ok()
        }
        _ => false,
    });
    assert!(told);

    // The server still has the old key alone: it says so, and the merchant can help themselves.
    let refused = shop.get(path).await;
    assert_eq!((refused.status, refused.json()["code"].as_str().unwrap()), (409, "pixel_secret_unreadable"));
    let lost = Resealed { sealed: 0, unreadable: 1 };
    assert_eq!(pixel_secrets::reseal(&server.store, &sealing(), false).await.unwrap(), lost);
    assert_eq!(shop.post("/v1/programs/summer/pixel-secret/rotate", json!({})).await.status, 200);
    assert_ne!(shop.get(path).await.ok(200)["pixel_secret"].as_str().unwrap(), secret);

    // What a build from before has left in clear text is sealed as it is.
    let tx = server.store.begin().await.unwrap();
    let mut clear = row().await.into_active_model();
    clear.pixel_secret = Set("in clear text".to_owned());
    clear.update(&tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(pixel_secrets::reseal(&server.store, &sealing(), true).await.unwrap(), one);
    assert!(Sealed::from_text(row().await.pixel_secret).has_form());
    assert_eq!(shop.get(path).await.ok(200)["pixel_secret"], "in clear text");
}

#[tokio::test]
async fn an_affiliate_lives_and_dies() {
    let server = Server::start().await;
    let shop = &server.shop;
    let body = json!({"first_name": "Jane", "last_name": "Doe", "meta_data": {"crm": 42}});
    let made = shop.post("/v1/affiliates", body.clone()).await.ok(201);
    assert_eq!((&made["id"], &made["suspended"]), (&json!("jane-doe"), &json!(false)));
    let other = shop.post("/v1/affiliates", body).await.ok(201);
    assert!(other["id"].as_str().unwrap().starts_with("jane-doe-"));
    let changed = shop
        .patch(
            "/v1/affiliates/jane-doe",
            json!({"email": "j@x.example", "last_name": null, "suspended": true}),
        )
        .await
        .ok(200);
    assert_eq!(changed["email"], "j@x.example");
    assert_eq!((&changed["first_name"], &changed["last_name"]), (&json!("Jane"), &json!(null)));
    assert_eq!((&changed["suspended"], &changed["meta_data"]), (&json!(true), &json!({"crm": 42})));
    let replaced = shop.put("/v1/affiliates/jane-doe", json!({"company": "Doe"})).await.ok(200);
    assert_eq!((&replaced["email"], &replaced["suspended"]), (&json!(null), &json!(false)));
    shop.delete("/v1/affiliates/jane-doe").await.ok(204);
    assert_eq!(shop.get("/v1/affiliates/jane-doe").await.status, 404);
    assert_eq!(shop.all("/v1/affiliates", 10).await.len(), 1);
    // Nothing that names a person is in the journal.
    use sea_orm::EntityTrait;
    let journal =
        waypost::store::entities::journal_entry::Entity::find().all(server.store.reader()).await.unwrap();
    assert!(!journal.is_empty());
    for entry in journal {
        let text = entry.command.to_string();
        assert!(!text.contains("j@x.example") && !text.contains("Jane") && !text.contains("crm"), "{text}");
    }
}

#[tokio::test]
async fn affiliates_stand_in_programs() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.post("/v1/programs", program("summer")).await.ok(201);
    shop.post("/v1/programs", program("winter")).await.ok(201);
    shop.post("/v1/affiliates", json!({"id": "jane"})).await.ok(201);
    assert_eq!(shop.get("/v1/programs/summer/affiliates/jane").await.status, 404);
    let put = shop.put("/v1/programs/summer/affiliates/jane", json!({"standing": "pending"})).await.ok(200);
    assert_eq!(put["standing"], "pending");
    shop.put("/v1/programs/summer/affiliates/jane", json!({})).await.ok(200);
    shop.put("/v1/programs/winter/affiliates/jane", json!({"standing": "suspended"})).await.ok(200);
    assert_eq!(shop.get("/v1/programs/summer/affiliates/jane").await.ok(200)["standing"], "approved");
    assert_eq!(shop.all("/v1/affiliates/jane/programs", 1).await.len(), 2);
    assert_eq!(shop.all("/v1/programs/winter/affiliates?standing=suspended", 1).await.len(), 1);
    assert!(shop.all("/v1/programs/winter/affiliates?standing=approved", 1).await.is_empty());
}

#[tokio::test]
async fn links_and_coupons_need_an_enrolment() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.post("/v1/programs", program("summer")).await.ok(201);
    shop.post("/v1/affiliates", json!({"id": "jane"})).await.ok(201);
    for path in ["/v1/links", "/v1/coupons"] {
        let refused = shop.post(path, json!({"program": "summer", "affiliate": "jane"})).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["affiliate".to_owned()]));
        assert!(refused.text.contains("PUT /v1/programs/summer/affiliates/jane"), "{}", refused.text);
        let refused = shop.post(path, json!({"affiliate": "jane"})).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["program".to_owned()]));
        let refused = shop.post(path, json!({"program": "no", "affiliate": "nobody"})).await;
        assert_eq!(refused.fields(), ["affiliate", "program"]);
    }
    shop.put("/v1/programs/summer/affiliates/jane", json!({"standing": "disapproved"})).await.ok(200);
    let refused = shop.post("/v1/links", json!({"program": "summer", "affiliate": "jane"})).await;
    assert!(refused.text.contains("is disapproved"), "{}", refused.text);
    shop.put("/v1/programs/summer/affiliates/jane", json!({"standing": "pending"})).await.ok(200);
    shop.post("/v1/links", json!({"program": "summer", "affiliate": "jane"})).await.ok(201);
}

#[tokio::test]
async fn a_link_lives_and_dies() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let body = json!({"source_id": "newsletter", "destination": "https://shop.example/new?c={code}"});
    let made = shop.post("/v1/affiliates/jane/links", body).await.ok(201);
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("lnk_"));
    assert_eq!((&made["program"], &made["affiliate"]), (&json!("summer"), &json!("jane")));
    let code = made["code"].as_str().unwrap();
    assert_eq!(made["url"], format!("http://edge.example/r/{code}"));
    shop.post("/v1/domains", json!({"host": "go.shop.example"})).await.ok(201);
    let path = format!("/v1/links/{id}");
    assert_eq!(shop.get(&path).await.ok(200)["url"], format!("https://go.shop.example/r/{code}"));
    let changed = shop
        .patch(&path, json!({"destination": null, "expires_at": "2030-01-01T01:00:00+01:00", "code": code}))
        .await
        .ok(200);
    assert_eq!(changed["destination"], json!(null));
    assert_eq!(changed["expires_at"], "2030-01-01T00:00:00.000Z");
    assert_eq!(changed["source_id"], "newsletter");
    let refused = shop.patch(&path, json!({"code": "x", "program": "y", "affiliate": "z"})).await;
    assert_eq!(refused.fields(), ["program", "affiliate", "code"]);
    assert_eq!(shop.all("/v1/links?affiliate=jane", 1).await.len(), 2);
    assert_eq!(shop.all("/v1/affiliates/jane/links", 1).await.len(), 2);
    assert_eq!(shop.all("/v1/links?code=jane", 5).await.len(), 1);
    shop.delete(&path).await.ok(204);
    assert_eq!(shop.get(&path).await.status, 404);
    // A code never changes hands.
    let again = shop.post("/v1/links", json!({"affiliate": "jane", "code": code})).await;
    assert_eq!((again.status, again.fields()), (409, vec!["code".to_owned()]));
}

#[tokio::test]
async fn a_coupon_lives_and_dies() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let again = shop.post("/v1/coupons", json!({"affiliate": "jane", "code": "jane10"})).await;
    assert_eq!((again.status, again.fields()), (409, vec!["code".to_owned()]));
    let coupon = &shop.all("/v1/coupons?code=jane10", 5).await[0];
    let path = format!("/v1/coupons/{}", coupon["id"].as_str().unwrap());
    assert_eq!(&shop.get(&path).await.ok(200), coupon);
    let changed = shop.patch(&path, json!({"ends_at": "2030-01-01T00:00:00Z"})).await.ok(200);
    assert_eq!(changed["ends_at"], "2030-01-01T00:00:00.000Z");
    let refused = shop.patch(&path, json!({"starts_at": "2030-01-01T00:00:00Z"})).await;
    assert_eq!(refused.fields(), ["ends_at"]);
    shop.delete(&path).await.ok(204);
    assert_eq!(shop.get(&path).await.status, 404);
    // A deleted coupon frees its code.
    shop.post("/v1/coupons", json!({"affiliate": "jane", "code": "jane10"})).await.ok(201);
}

#[tokio::test]
async fn a_domain_has_one_owner() {
    let server = Server::start().await;
    let (shop, other) = (&server.shop, server.account("other").await);
    let body = json!({"host": "go.shop.example", "cookie_domain": "shop.example"});
    shop.post("/v1/domains", body.clone()).await.ok(201);
    assert_eq!(other.post("/v1/domains", body.clone()).await.fields(), ["host"]);
    assert_eq!(other.delete("/v1/domains/go.shop.example").await.status, 404);
    assert_eq!(shop.all("/v1/domains", 1).await.len(), 1);
    shop.delete("/v1/domains/go.shop.example").await.ok(204);
    other.post("/v1/domains", body).await.ok(201);
    assert!(shop.all("/v1/domains", 1).await.is_empty());
    assert_eq!(other.all("/v1/domains", 1).await[0]["cookie_domain"], "shop.example");
    let records = catalog::after(server.store.reader(), 0, 100).await.unwrap();
    let owners: Vec<_> = records
        .iter()
        .filter_map(|versioned| match &versioned.record {
            CatalogRecord::Domain(domain) => Some((domain.account, domain.deleted)),
            _ => None,
        })
        .collect();
    assert_eq!(owners, [(other.account, false)]);
}
