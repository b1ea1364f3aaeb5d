//! Keys, scopes and the rate limit.

use axum::http::Method;
use serde_json::json;
use waypost::{
    catalog::{KeyKind, Scope},
    domain::{ids::AccountId, time::Timestamp},
    store::keys,
};

use crate::support::{Server, settings};

#[tokio::test]
async fn a_key_is_taken_from_three_headers() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let url = format!("{}/v1/programs", server.base);
    let key = &server.shop.key;
    let headers =
        [("Authorization", format!("Bearer {key}")), ("X-Api-Key", key.clone()), ("Api-Key", key.clone())];
    for (name, value) in headers {
        assert_eq!(http.get(&url).header(name, value).send().await.unwrap().status(), 200, "{name}");
    }
    for (name, value) in
        [("Authorization", format!("Basic {key}")), ("Api-Key", format!("{key}x")), ("X", key.clone())]
    {
        let refused = http.get(&url).header(name, value).send().await.unwrap();
        assert_eq!(refused.status(), 401, "{name}");
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
        assert!(refused.headers().contains_key("x-ratelimit-remaining"));
    }
}

#[tokio::test]
async fn a_key_opens_what_its_kind_and_scopes_say() {
    let server = Server::start().await;
    let shop = &server.shop;
    let reader = server.key(shop, KeyKind::Secret, &[Scope::Read]).await;
    let writer = server.key(shop, KeyKind::Secret, &[Scope::Write]).await;
    let events = server.key(shop, KeyKind::Secret, &[Scope::Events]).await;
    let publishable = server.key(shop, KeyKind::Publishable, &Scope::ALL).await;
    shop.furnish().await;
    let body = json!({"id": "june"});
    assert_eq!(reader.get("/v1/affiliates").await.status, 200);
    assert_eq!(reader.post("/v1/affiliates", body.clone()).await.status, 403);
    assert_eq!(reader.delete("/v1/affiliates/jane").await.status, 403);
    assert_eq!(reader.get("/v1/programs/summer/pixel-secret").await.status, 403);
    assert_eq!(writer.get("/v1/affiliates").await.status, 403);
    let host = json!({"host": "go.rival.example"});
    assert_eq!(writer.post("/v1/domains", host.clone()).await.status, 403);
    shop.post("/v1/domains", host).await.ok(201);
    assert_eq!(writer.delete("/v1/domains/go.rival.example").await.status, 403);
    assert_eq!(writer.post("/v1/affiliates", body).await.status, 201);
    assert_eq!(events.get("/v1/affiliates").await.status, 403);
    assert_eq!(publishable.get("/v1/affiliates").await.status, 401);
    assert_eq!(reader.post("/v1/affiliates", json!({})).await.json()["code"], "forbidden");
}

#[tokio::test]
async fn a_revoked_key_stops_at_once() {
    let server = Server::start().await;
    let key = server.key(&server.shop, KeyKind::Secret, &[Scope::Read]).await;
    assert_eq!(key.get("/v1/programs").await.status, 200);
    let tx = server.store.begin().await.unwrap();
    let AccountId(account) = key.account;
    let rows = keys::list(&tx, AccountId(account)).await.unwrap();
    keys::revoke(&tx, key.account, rows.last().unwrap().id, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(key.get("/v1/programs").await.status, 401);
    assert_eq!(server.shop.get("/v1/programs").await.status, 200);
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let mut settings = settings();
    settings.rate_limit_per_minute = 3;
    let server = Server::start_with(settings, |_| None).await;
    let shop = &server.shop;
    let other = server.account("other").await;
    for left in ["2", "1", "0"] {
        let answer = shop.get("/v1/programs").await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, Some(left)));
        assert_eq!(answer.header("x-ratelimit-limit"), Some("3"));
        let reset: i64 = answer.header("x-ratelimit-reset").unwrap().parse().unwrap();
        let now = Timestamp::now().0 / 1000;
        assert!((now..=now + 61).contains(&reset));
    }
    let refused = shop.send(shop.request(Method::DELETE, "/v1/programs/none")).await;
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (429, Some("0")));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    assert_eq!(refused.json()["code"], "rate_limited");
    assert_eq!(other.get("/v1/programs").await.status, 200);
    // Guessing keys has a limit too.
    let guess = crate::support::Client { key: "wp_sk_guess".to_owned(), ..shop.clone() };
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(guess.get("/v1/programs").await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429]);
}
