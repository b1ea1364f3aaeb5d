//! Lists are walked to their end, whatever is written meanwhile.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn a_list_is_walked_to_its_end_while_it_grows() {
    let server = Server::start().await;
    let shop = &server.shop;
    for n in 0..11 {
        shop.post("/v1/affiliates", json!({"id": format!("before-{n}")})).await.ok(201);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/affiliates?limit=3".to_owned();
    for round in 0.. {
        let page = shop.get(&path).await.ok(200);
        seen.extend(
            page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()),
        );
        shop.post("/v1/affiliates", json!({"id": format!("between-{round}")})).await.ok(201);
        shop.delete(&format!("/v1/affiliates/{}", seen.last().unwrap())).await.ok(204);
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/affiliates?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..11).rev().map(|n| format!("before-{n}")).collect();
    assert_eq!(seen, expected);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 11);
}

#[tokio::test]
async fn a_cursor_belongs_to_its_list() {
    let server = Server::start().await;
    let shop = &server.shop;
    for n in 0..3 {
        shop.post("/v1/affiliates", json!({"id": format!("a-{n}")})).await.ok(201);
    }
    let page = shop.get("/v1/affiliates?limit=1").await.ok(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    for path in [
        format!("/v1/programs?cursor={cursor}"),
        format!("/v1/affiliates?cursor={cursor}x"),
        format!("/v1/affiliates?cursor={}", &cursor[1..]),
        "/v1/affiliates?cursor=".to_owned(),
        format!("/v1/affiliates?cursor={}", "A".repeat(5000)),
        "/v1/affiliates?cursor=%F0%9F%98%80".to_owned(),
    ] {
        let refused = shop.get(&path).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["cursor".to_owned()]), "{path}");
    }
    // The same cursor leads on as often as it is used.
    for _ in 0..2 {
        let next = shop.get(&format!("/v1/affiliates?limit=5&cursor={cursor}")).await.ok(200);
        assert_eq!(next["data"].as_array().unwrap().len(), 2);
        assert_eq!(next["next_cursor"], json!(null));
    }
}
