//! Groups, who is in them, and who stands above whom.

use axum::http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Client, Server};

async fn affiliates(shop: &Client, slugs: &[&str]) {
    for slug in slugs {
        shop.post("/v1/affiliates", json!({"id": slug})).await.ok(201);
    }
}

fn names(rows: Vec<Value>) -> Vec<String> {
    rows.into_iter().map(|row| row["affiliate"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_group_lives_and_dies() {
    let server = Server::start().await;
    let shop = &server.shop;
    let made = shop.post("/v1/groups", json!({"title": "Those who sell most"})).await.ok(201);
    assert_eq!(made["slug"], "those-who-sell-most");
    let path = format!("/v1/groups/{}", made["id"].as_str().unwrap());
    assert_eq!(shop.get(&path).await.ok(200), made);
    let vip = shop.post("/v1/groups", json!({"slug": "vip", "title": "VIP"})).await.ok(201);
    assert_eq!(shop.all("/v1/groups", 1).await, [vip.clone(), made.clone()]);
    assert_eq!(shop.all("/v1/groups?slug=vip", 5).await, std::slice::from_ref(&vip));
    let changed = shop.patch(&path, json!({"title": "Others", "slug": "those-who-sell-most"})).await.ok(200);
    assert_eq!((&changed["title"], &changed["slug"]), (&json!("Others"), &made["slug"]));
    for (body, named) in [
        (json!({}), "title"),
        (json!({"title": ""}), "title"),
        (json!({"title": "x", "slug": "A B"}), "slug"),
        (json!({"title": "x", "colour": "red"}), "colour"),
    ] {
        let refused = shop.post("/v1/groups", body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]), "{body}");
    }
    let refused = shop.patch(&path, json!({"slug": "other"})).await;
    assert_eq!((refused.status, refused.fields()), (422, vec!["slug".to_owned()]));
    let taken = shop.post("/v1/groups", json!({"slug": "vip", "title": "Again"})).await;
    assert_eq!((taken.status, taken.fields()), (409, vec!["slug".to_owned()]));
    shop.delete(&path).await.ok(204);
    assert_eq!(shop.get(&path).await.status, 404);
    assert_eq!(shop.delete(&path).await.status, 404);
    // Its slug is free again.
    shop.post("/v1/groups", json!({"slug": "those-who-sell-most", "title": "New"})).await.ok(201);
}

#[tokio::test]
async fn an_affiliate_is_in_one_group_at_a_time() {
    let server = Server::start().await;
    let shop = &server.shop;
    affiliates(shop, &["jane", "anna", "bert"]).await;
    let mut groups = Vec::new();
    for slug in ["vip", "pro"] {
        let made = shop.post("/v1/groups", json!({"slug": slug, "title": slug})).await.ok(201);
        groups.push(made["id"].as_str().unwrap().to_owned());
    }
    let members = async |n: usize| names(shop.all(&format!("/v1/groups/{}/affiliates", groups[n]), 1).await);
    assert_eq!(shop.get("/v1/affiliates/jane/group").await.status, 404);
    for slug in ["jane", "anna", "bert"] {
        let path = format!("/v1/affiliates/{slug}/group");
        let put = shop.put(&path, json!({"group": groups[0]})).await.ok(200);
        assert_eq!(shop.get(&path).await.ok(200), put);
        // Again: it stays since when it was.
        assert_eq!(shop.put(&path, json!({"group": groups[0]})).await.ok(200), put);
    }
    assert_eq!(members(0).await, ["bert", "anna", "jane"]);
    shop.put("/v1/affiliates/anna/group", json!({"group": groups[1]})).await.ok(200);
    shop.delete("/v1/affiliates/bert/group").await.ok(204);
    shop.delete("/v1/affiliates/bert/group").await.ok(204);
    assert_eq!((members(0).await, members(1).await), (vec!["jane".to_owned()], vec!["anna".to_owned()]));
    for (body, named) in [
        (json!({}), "group"),
        (json!({"group": "vip"}), "group"),
        (json!({"group": "grp_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"}), "group"),
    ] {
        let refused = shop.put("/v1/affiliates/jane/group", body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]), "{body}");
    }
    assert_eq!(shop.put("/v1/affiliates/nobody/group", json!({"group": groups[0]})).await.status, 404);
    // A deleted affiliate is in no list, a deleted group has nobody.
    shop.delete("/v1/affiliates/anna").await.ok(204);
    assert!(members(1).await.is_empty());
    shop.delete(&format!("/v1/groups/{}", groups[0])).await.ok(204);
    assert_eq!(shop.get("/v1/affiliates/jane/group").await.status, 404);
    assert_eq!(shop.put("/v1/affiliates/jane/group", json!({"group": groups[0]})).await.fields(), ["group"]);
}

#[tokio::test]
async fn parents_and_children() {
    let server = Server::start().await;
    let shop = &server.shop;
    affiliates(shop, &["anna", "jane", "carl", "dora"]).await;
    assert_eq!(shop.get("/v1/affiliates/jane/parent").await.status, 404);
    for (child, parent) in [("jane", "anna"), ("carl", "anna"), ("dora", "carl")] {
        let path = format!("/v1/affiliates/{child}/parent");
        let put = shop.put(&path, json!({"parent": parent})).await.ok(200);
        assert_eq!((&put["affiliate"], &put["parent"]), (&json!(child), &json!(parent)));
        assert_eq!(shop.get(&path).await.ok(200), put);
        assert_eq!(shop.put(&path, json!({"parent": parent})).await.ok(200), put);
    }
    assert_eq!(names(shop.all("/v1/affiliates/anna/children", 1).await), ["carl", "jane"]);
    assert!(shop.all("/v1/affiliates/jane/children", 5).await.is_empty());
    for (child, parent, status) in
        [("anna", "anna", 409), ("anna", "dora", 409), ("carl", "dora", 409), ("jane", "nobody", 422)]
    {
        let refused = shop.put(&format!("/v1/affiliates/{child}/parent"), json!({"parent": parent})).await;
        assert_eq!(
            (refused.status, refused.fields()),
            (status, vec!["parent".to_owned()]),
            "{child} {parent}"
        );
    }
    for body in [json!({}), json!({"parent": null}), json!({"parent": 5})] {
        let refused = shop.put("/v1/affiliates/jane/parent", body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["parent".to_owned()]), "{body}");
    }
    shop.put("/v1/affiliates/carl/parent", json!({"parent": "jane"})).await.ok(200);
    assert_eq!(names(shop.all("/v1/affiliates/anna/children", 5).await), ["jane"]);
    // Who was deleted still stands there; others see it, and may be led past it.
    shop.delete("/v1/affiliates/carl").await.ok(204);
    assert!(shop.all("/v1/affiliates/jane/children", 5).await.is_empty());
    assert_eq!(shop.get("/v1/affiliates/dora/parent").await.ok(200)["parent"], "carl");
    assert_eq!(shop.put("/v1/affiliates/anna/parent", json!({"parent": "dora"})).await.status, 409);
    assert_eq!(shop.put("/v1/affiliates/dora/parent", json!({"parent": "carl"})).await.fields(), ["parent"]);
    shop.delete("/v1/affiliates/dora/parent").await.ok(204);
    shop.delete("/v1/affiliates/dora/parent").await.ok(204);
    assert_eq!(shop.get("/v1/affiliates/dora/parent").await.status, 404);
    shop.put("/v1/affiliates/anna/parent", json!({"parent": "dora"})).await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_requests_at_once_close_no_circle() {
    let server = Server::start().await;
    let shop = &server.shop;
    affiliates(shop, &["jane", "anna"]).await;
    for _ in 0..10 {
        let mut tasks = JoinSet::new();
        for (child, parent) in [("jane", "anna"), ("anna", "jane")] {
            let shop = shop.clone();
            tasks.spawn(async move {
                let path = format!("/v1/affiliates/{child}/parent");
                shop.with(Method::PUT, &path, &json!({"parent": parent})).await.status
            });
        }
        let mut statuses = tasks.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        for child in ["jane", "anna"] {
            shop.delete(&format!("/v1/affiliates/{child}/parent")).await.ok(204);
        }
    }
}
