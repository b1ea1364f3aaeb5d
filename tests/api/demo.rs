//! The demo shop of `waypost dev`.

use data_encoding::BASE64;
use serde_json::json;
use sha2::{Digest, Sha256};
use waypost::{api::DemoPage, domain::ids::ProgramId};

use crate::support::{Server, program, settings};

async fn shop() -> Server {
    let server = Server::start_with(settings(), |account| {
        Some(DemoPage {
            account,
            program: ProgramId(1),
            program_slug: "summer".to_owned(),
            edge_url: "http://127.0.0.1:8080".to_owned(),
            link_code: "\"><script>".to_owned(),
        })
    })
    .await;
    server.shop.furnish().await;
    server
}

#[tokio::test]
async fn the_page_runs_only_its_own_script() {
    let server = shop().await;
    let page = reqwest::get(format!("{}/demo?click_id=x&ref=jane", server.base)).await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let html = page.text().await.unwrap();
    let between =
        |from: &str, to: &str| html.split(from).nth(1).unwrap().split(to).next().unwrap().to_owned();
    for (kind, text) in
        [("script", between("<script>", "</script>")), ("style", between("<style>", "</style>"))]
    {
        let hash = BASE64.encode(&Sha256::digest(text.as_bytes()));
        assert!(policy.contains(&format!("{kind}-src 'sha256-{hash}'")), "{policy}");
    }
    assert!(policy.contains("img-src http://127.0.0.1:8080;") && policy.contains("default-src 'none'"));
    assert!(html.contains("data-code=\"&quot;&gt;&lt;script&gt;\""));
    assert!(html.contains("data-program=\"summer\"") && !html.contains("{{"));
    assert_eq!(html.matches("<script>").count(), 1);
    for outside in ["https://", "src=\"http", "innerHTML", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[tokio::test]
async fn an_order_is_shown_with_its_explanation() {
    let server = shop().await;
    let get = async |id: &str| reqwest::get(format!("{}/demo/orders/{id}", server.base)).await.unwrap();
    assert_eq!(get("demo-1").await.status(), 404);
    let body = json!({"program": "summer", "external_id": "demo-1", "amount": "49.90", "coupon": "JANE10"});
    server.receive(server.shop.account, "conversion", body).await;
    let answer = get("demo-1").await;
    assert_eq!(answer.status(), 200);
    let order: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(order["conversion"]["affiliate"], "jane");
    assert_eq!(order["commissions"][0]["commission"]["amount"], "4.99");
    assert!(!order["commissions"][0]["explanation"]["steps"].as_array().unwrap().is_empty());
    // Other programs are none of its business.
    let shop = &server.shop;
    shop.post("/v1/programs", program("private")).await.ok(201);
    shop.put("/v1/programs/private/affiliates/jane", json!({})).await.ok(200);
    shop.post("/v1/coupons", json!({"program": "private", "affiliate": "jane", "code": "P"})).await.ok(201);
    let body = json!({"program": "private", "external_id": "demo-2", "amount": "1", "coupon": "P"});
    server.receive(shop.account, "conversion", body).await;
    assert_eq!(shop.all("/v1/conversions?external_id=demo-2", 5).await.len(), 1);
    assert_eq!(get("demo-2").await.status(), 404);
    assert_eq!(get(&format!("demo-{}", "x".repeat(60))).await.status(), 404);
}

#[tokio::test]
async fn there_is_no_demo_where_nobody_asked_for_it() {
    let server = Server::start().await;
    for path in ["/demo", "/demo/orders/demo-1"] {
        assert_eq!(reqwest::get(format!("{}{path}", server.base)).await.unwrap().status(), 404, "{path}");
    }
}
