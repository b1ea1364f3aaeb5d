//! HTTP itself: methods, paths, bodies, headers, limits, the end.

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use waypost::store::accounts;

use crate::support::{Server, settings};

#[tokio::test]
async fn what_cannot_be_answered_is_a_problem() {
    let server = Server::start().await;
    let shop = &server.shop;
    let plain = |method: Method, path: &str| shop.request(method, path);
    let json_type = ("content-type", "application/json");
    let post = || plain(Method::POST, "/v1/affiliates");
    let cases = vec![
        (plain(Method::GET, "/v1/nothing"), 404, "not_found"),
        (plain(Method::GET, "/v1"), 404, "not_found"),
        (plain(Method::GET, "/v1/programs/"), 404, "not_found"),
        (plain(Method::GET, "/nothing"), 404, "not_found"),
        (plain(Method::GET, "/v1/programs/%ff"), 404, "not_found"),
        (plain(Method::GET, "/v1/programs/%00"), 404, "not_found"),
        (plain(Method::GET, "/v1/programs/a%2Fb"), 404, "not_found"),
        (plain(Method::GET, "/v1/clicks/clk_00000000000000000000000000000000"), 404, "not_found"),
        (plain(Method::DELETE, "/v1/programs"), 405, "method_not_allowed"),
        (plain(Method::TRACE, "/v1/programs"), 405, "method_not_allowed"),
        (post().body("{}"), 415, "unsupported_media_type"),
        (post().header("content-type", "text/plain").body("{}"), 415, "unsupported_media_type"),
        (
            post().header("content-type", "application/json; charset=latin1").body("{}"),
            415,
            "unsupported_media_type",
        ),
        (post().json(&json!({})).header("content-encoding", "gzip"), 415, "unsupported_media_type"),
        (post().header(json_type.0, json_type.1).body("{"), 400, "invalid_json"),
        (post().header(json_type.0, json_type.1).body("[]"), 400, "invalid_json"),
        (post().header(json_type.0, json_type.1).body("null"), 400, "invalid_json"),
        (post().header(json_type.0, json_type.1).body(b"{\"id\":\"\xff\"}".to_vec()), 400, "invalid_json"),
        (post().header(json_type.0, json_type.1).body("[".repeat(60_000)), 400, "invalid_json"),
        (post().header(json_type.0, json_type.1).body("x".repeat(65_537)), 413, "body_too_large"),
    ];
    for (request, status, code) in cases {
        let described = format!("{request:?}");
        let answer = shop.send(request).await;
        assert_eq!(answer.status, status, "{described} {}", answer.text);
        let problem = answer.json();
        assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{described}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
    // Deep nesting is refused, not followed.
    let deep = format!("{{\"meta_data\": {}1{}}}", "{\"a\":".repeat(9000), "}".repeat(9000));
    let answer = shop.send(post().header(json_type.0, json_type.1).body(deep)).await;
    assert_eq!((answer.status, answer.fields()), (422, vec!["meta_data".to_owned()]));
}

#[tokio::test]
async fn head_and_options_are_answered() {
    let server = Server::start().await;
    let shop = &server.shop;
    let head = shop.send(shop.request(Method::HEAD, "/v1/programs")).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    let options = shop.send(shop.request(Method::OPTIONS, "/v1/programs")).await;
    assert_eq!(options.status, 204);
    let mut allow: Vec<&str> = options.header("allow").unwrap().split(',').collect();
    allow.sort_unstable();
    assert_eq!(allow, ["GET", "HEAD", "POST"]);
    assert_eq!(options.header("access-control-allow-origin"), None);
    let other = shop.delete("/v1/programs").await;
    assert!(other.header("allow").unwrap().contains("POST"));
}

#[tokio::test]
async fn every_answer_is_closed_to_browsers() {
    let server = Server::start().await;
    for path in ["/v1/programs", "/v1/nothing", "/openapi.json", "/nothing"] {
        let answer = server.shop.get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
        assert!(
            answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let mut settings = settings();
    settings.request_timeout_ms = 200;
    let server = Server::start_with(settings, |_| None).await;
    let mut stream = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /v1/affiliates HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{{",
        server.shop.key
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 503");
}

#[tokio::test]
async fn a_transaction_that_blocks_does_not_block_for_ever() {
    let mut settings = settings();
    settings.request_timeout_ms = 1_000;
    let server = Server::start_with(settings, |_| None).await;
    let tx = server.store.begin().await.unwrap();
    accounts::lock(&tx, [server.shop.account]).await.unwrap();
    let answer = server.shop.post("/v1/affiliates", json!({"id": "jane"})).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    drop(tx);
    assert_eq!(server.shop.get("/v1/affiliates/jane").await.status, 404);
    server.shop.post("/v1/affiliates", json!({"id": "jane"})).await.ok(201);
}

#[tokio::test]
async fn the_end_waits_for_requests_and_not_for_idle_connections() {
    let server = Server::start().await;
    let base = server.base.clone();
    let mut idle = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    assert_eq!(server.shop.get("/v1/programs").await.status, 200);
    let started = Instant::now();
    server.stop().await;
    // An idle connection is open for ten seconds.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert!(TcpStream::connect(base.trim_start_matches("http://")).await.is_err());
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
