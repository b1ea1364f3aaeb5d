//! `POST /v1/events/*`: keys, single and batch, ids, durability.

use serde_json::json;
use uuid::Uuid;
use waypost::{
    domain::{
        ids::{AccountId, LinkId, Prefix},
        reason::ConversionKind,
        traffic::TrafficClass,
    },
    events::{Authority, Body, Channel},
    stream::Topic,
};

use crate::support::{
    BROWSER, Edge, IMPORT_KEY, Mode, OTHER_KEY, PUBLIC_KEY, READ_KEY, REVOKED_KEY, Reply, SECRET_KEY,
    conversion, refund, settings,
};

fn id(reply: &Reply) -> Uuid {
    Prefix::Event.parse(reply.json()["id"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_conversion_is_taken_when_it_is_durable() {
    let edge = Edge::start();
    let body = json!({
        "program": "shop", "external_id": "o-1", "amount": 12.50, "currency": "usd", "customer_id": "c1",
        "coupon": "JANE10", "referral_code": "jane", "click_id": "clk_1", "asset_id": "a", "source_id": "s",
        "tracking_id": "t", "commission_type": "standard", "occurred_at": "2026-01-31T12:00:00+01:00",
        "commissions": [{"sub_amount": "1.5", "commission_type": "x", "comment": "y"}, {"sub_amount": 2}],
        "sub1": "1", "sub5": "5", "meta_data": {"a": [1, {"b": null}]}, "program_group": null,
    });
    let reply = edge.post("conversion", SECRET_KEY, &body.to_string()).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("waypost-durability"), Some("local"));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let answer = reply.json();
    assert_eq!((answer["status"].as_str(), answer["retry_safe"].as_bool()), (Some("accepted"), Some(true)));
    assert_eq!(answer.get("held"), None);
    let event = edge.events(1).await.remove(0);
    assert_eq!((event.id, event.origin.n), (id(&reply), 1));
    assert_eq!(event.id.get_version_num(), 8);
    let read = conversion(&event);
    assert_eq!((read.account, read.kind), (AccountId(1), ConversionKind::Conversion));
    assert_eq!((read.channel, read.authority), (Channel::Rest, Authority::Secret));
    assert_eq!(read.amount.as_ref().unwrap().as_str(), "12.5");
    assert_eq!(read.occurred_at.unwrap().to_string(), "2026-01-31T11:00:00.000Z");
    assert_eq!(read.commissions[0].sub_amount.as_str(), "1.5");
    assert_eq!(read.commissions[1].comment, None);
    assert_eq!((read.sub_ids[0].as_deref(), read.sub_ids[4].as_deref()), (Some("1"), Some("5")));
    assert_eq!(read.meta_data, *body["meta_data"].as_object().unwrap());
    let record = edge.sink.records().remove(0);
    assert_eq!((record.topic, record.key), (Topic::Conversions, Some(AccountId(1))));
    edge.metric_is("waypost_edge_events_total{outcome=\"accepted\"}", 1).await;
}

#[tokio::test]
async fn amounts_are_read_from_their_text() {
    let edge = Edge::start();
    for text in ["0.1", "12345678901234567890.12", "1e2", "-5", "0.30000000000000004"] {
        let body = format!("{{\"program\": \"shop\", \"amount\": {text}}}");
        assert_eq!(edge.post("purchase", SECRET_KEY, &body).await.status, 202);
        let event = edge.sink.events().pop().unwrap();
        assert_eq!(conversion(&event).amount.as_ref().unwrap().as_str(), text);
        assert_eq!(conversion(&event).kind, ConversionKind::Conversion);
    }
}

#[tokio::test]
async fn ids_make_repeats_known() {
    let edge = Edge::start();
    let named = r#"{"program": "shop", "external_id": "o-1"}"#;
    let bare = r#"{"external_id": "o-1"}"#;
    let first = id(&edge.post("conversion", SECRET_KEY, named).await);
    // A sale is a sale, and whatever the request's key: the same report.
    assert_eq!(id(&edge.post("purchase", IMPORT_KEY, named).await), first);
    let with_key = [("X-Api-Key", SECRET_KEY), ("Idempotency-Key", "k1")];
    assert_eq!(id(&edge.post_with("conversion", &with_key, named).await), first);
    assert_ne!(id(&edge.post("lead", SECRET_KEY, named).await), first);
    assert_ne!(id(&edge.post("conversion", OTHER_KEY, named).await), first);
    // What a page may send does not take the merchant's id.
    let held = edge.post("lead", PUBLIC_KEY, named).await;
    assert_eq!(held.json()["held"], true);
    assert_ne!(id(&held), id(&edge.post("lead", SECRET_KEY, named).await));

    let by_key = edge.post_with("conversion", &with_key, bare).await;
    assert_eq!(by_key.json()["retry_safe"], true);
    assert_eq!(id(&edge.post_with("conversion", &with_key, bare).await), id(&by_key));
    let random = edge.post("conversion", SECRET_KEY, bare).await;
    assert_eq!(random.json()["retry_safe"], false);
    assert_ne!(id(&edge.post("conversion", SECRET_KEY, bare).await), id(&random));

    let batch = edge.post_with("conversion", &with_key, &format!("[{bare}, {bare}]")).await;
    let data = batch.json()["data"].clone();
    assert_eq!(data[0]["id"].as_str(), by_key.json()["id"].as_str());
    assert_ne!(data[0]["id"], data[1]["id"]);

    let events = edge.sink.events();
    assert_eq!(conversion(&events[0]).fingerprint, conversion(&events[1]).fingerprint);
    assert_eq!(conversion(&events[1]).authority, Authority::Import);
    let changed = r#"{"program": "shop", "external_id": "o-1", "amount": 1}"#;
    assert_eq!(id(&edge.post("conversion", SECRET_KEY, changed).await), first);
    assert_ne!(
        conversion(&edge.sink.events().pop().unwrap()).fingerprint,
        conversion(&events[0]).fingerprint
    );
}

#[tokio::test]
async fn a_batch_has_a_result_for_each() {
    let edge = Edge::start();
    let good = r#"{"program": "shop", "external_id": "a"}"#;
    let all = edge.post("lead", SECRET_KEY, &format!("[{good}, {good}]")).await;
    assert_eq!((all.status, all.json()["data"][1]["index"].as_u64()), (202, Some(1)));
    let mixed = edge.post("lead", SECRET_KEY, &format!("[{good}, {{\"amount\": \"x\"}}, 5]")).await;
    assert_eq!((mixed.status, mixed.header("waypost-durability")), (207, Some("local")));
    let data = mixed.json()["data"].clone();
    assert_eq!(data[0]["status"], "accepted");
    assert_eq!((&data[1]["status"], &data[1]["problem"]["field"]), (&json!("invalid"), &json!("amount")));
    assert_eq!(data[1]["problem"]["status"], 400);
    assert_eq!(data[2]["problem"]["field"], "body");
    let none = edge.post("lead", SECRET_KEY, "[{\"amount\": \"x\"}, null]").await;
    assert_eq!((none.status, none.header("content-type")), (400, Some("application/problem+json")));
    assert_eq!(none.json()["data"][0]["problem"]["field"], "amount");
    assert_eq!(none.header("waypost-durability"), None);
    let items = vec![good; 500].join(",");
    let full = edge.post("lead", SECRET_KEY, &format!("[{items}]")).await;
    assert_eq!(full.json()["data"].as_array().unwrap().len(), 500);
    assert_eq!(edge.post("lead", SECRET_KEY, &format!("[{items},{good}]")).await.status, 400);
    assert_eq!(edge.post("lead", SECRET_KEY, "[]").await.status, 400);
    edge.events(503).await;
    edge.metric_is("waypost_edge_events_total{outcome=\"accepted\"}", 503).await;
    edge.metric_is("waypost_edge_events_total{outcome=\"invalid\"}", 4).await;
    edge.metric_is("waypost_edge_events_total{outcome=\"refused\"}", 2).await;
}

#[tokio::test]
async fn keys_may_what_their_kind_says() {
    let edge = Edge::start();
    let body = r#"{"program": "shop", "external_id": "o"}"#;
    for (key, kind, status) in [
        (SECRET_KEY, "lead", 202),
        (SECRET_KEY, "appointment", 202),
        (PUBLIC_KEY, "lead", 202),
        (PUBLIC_KEY, "appointment", 403),
        (PUBLIC_KEY, "conversion", 403),
        (PUBLIC_KEY, "purchase", 403),
        (PUBLIC_KEY, "refund", 403),
        (READ_KEY, "lead", 403),
        (REVOKED_KEY, "lead", 401),
        ("sk_nobody", "lead", 401),
        ("", "lead", 401),
    ] {
        let reply = edge.post(kind, key, body).await;
        assert_eq!(reply.status, status, "{key} {kind}");
        if status == 401 {
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(edge.post_with("lead", &[], body).await.status, 401);
    for header in [("Authorization", "Bearer sk_demo"), ("Api-Key", SECRET_KEY), ("x-api-key", SECRET_KEY)] {
        assert_eq!(edge.post_with("lead", &[header], body).await.status, 202);
    }
    for header in
        [("Authorization", "Basic sk_demo"), ("Authorization", "sk_demo"), ("Cookie", "key=sk_demo")]
    {
        assert_eq!(edge.post_with("lead", &[header], body).await.status, 401);
    }
    let held: Vec<_> = edge
        .sink
        .events()
        .iter()
        .map(|event| conversion(event).authority)
        .filter(|found| found.holds())
        .collect();
    assert_eq!(held, [Authority::Publishable]);
    // The key alone decides the account. A program that it does not have is settlement's to refuse: the catalog of
    // an edge may be behind.
    let reply = edge.post("lead", OTHER_KEY, r#"{"program": "first", "external_id": "o"}"#).await;
    assert_eq!(reply.status, 202);
    assert_eq!(conversion(&edge.sink.events().pop().unwrap()).account, AccountId(2));
}

#[tokio::test]
async fn refunds_name_their_conversion() {
    let edge = Edge::start();
    let body = r#"{"external_id": "r-1", "program": "shop", "conversion_external_id": "o-1", "amount": "3", "reason": "chargeback"}"#;
    let reply = edge.post("refund", SECRET_KEY, body).await;
    assert_eq!((reply.status, reply.json()["retry_safe"].as_bool()), (202, Some(true)));
    let event = edge.events(1).await.remove(0);
    let read = refund(&event);
    assert_eq!(read.conversion_external_id.as_deref(), Some("o-1"));
    assert_eq!((read.kind, read.reason.as_deref()), (None, Some("chargeback")));
    assert_eq!(read.fingerprint.len(), 32);
    // Its external id is the account's own, whatever else it says.
    let again = edge.post("refund", SECRET_KEY, &body.replace("\"3\"", "\"4\"")).await;
    assert_eq!(id(&again), id(&reply));
}

#[tokio::test]
async fn servers_report_clicks() {
    let edge = Edge::start();
    let body = json!({
        "referral_code": "jane", "ip": "203.0.113.7", "user_agent": BROWSER, "referrer": "https://blog.example/ü",
        "sub1": "a b&c", "source_id": "s", "asset_id": "a", "tracking_id": "t", "meta_data": {"x": 1},
        "to": "https://shop.example/p",
    });
    let reply = edge.post("click", SECRET_KEY, &body.to_string()).await;
    assert_eq!(reply.status, 202);
    let answer = reply.json();
    let token = edge.keys.verify(answer["token"].as_str().unwrap()).unwrap();
    assert_eq!(Prefix::Click.parse(answer["click_id"].as_str().unwrap()), Some(token.click_id));
    assert_eq!((token.link, answer["class"].as_str()), (LinkId(1), Some("valid")));
    assert_eq!(answer["retry_safe"], false);
    assert_eq!(
        answer["destination"].as_str().unwrap(),
        format!(
            "https://shop.example/p?source_id=s&asset_id=a&tracking_id=t&sub1=a%20b%26c&ref=jane&click_id={}",
            answer["token"].as_str().unwrap()
        )
    );
    let event = edge.events(1).await.remove(0);
    assert_eq!(event.id, token.click_id);
    assert_eq!(edge.sink.records()[0].topic, Topic::Clicks);
    let click = edge.click().await;
    assert_eq!(click.ip_prefix.as_deref(), Some("203.0.113.0/24"));
    assert_eq!((click.device.as_str(), click.user_agent.as_deref()), ("desktop", Some(BROWSER)));
    assert_eq!(click.referrer.as_deref(), Some("https://blog.example/ü"));
    assert_eq!(click.sub_ids[0].as_deref(), Some("a b&c"));
    assert_eq!(
        (click.tracking_id.as_deref(), click.deep_link.as_deref()),
        (Some("t"), Some("https://shop.example/p"))
    );
    assert_eq!(click.meta_data["x"], 1);
    // The same visitor by another way.
    let again = edge.post("click", SECRET_KEY, &body.to_string()).await;
    assert_eq!(again.json()["class"], "duplicate");
    // Nothing is known of a visitor who is not told of.
    let bare = edge.post("click", SECRET_KEY, r#"{"referral_code": "jane"}"#).await;
    assert_eq!(bare.json()["class"], "valid");
    match edge.sink.events().pop().unwrap().body {
        Body::Click(click) => assert_eq!((click.ip_prefix, click.visitor), (None, None)),
        other => panic!("{other:?}"),
    }
    for (body, field) in [
        (r#"{}"#, "referral_code"),
        (r#"{"referral_code": "olga"}"#, "referral_code"),
        (r#"{"referral_code": "jane", "ip": "localhost"}"#, "ip"),
        (r#"{"referral_code": "jane", "amount": 1}"#, "amount"),
    ] {
        let reply = edge.post("click", SECRET_KEY, body).await;
        assert_eq!((reply.status, reply.json()["field"].as_str()), (400, Some(field)), "{body}");
    }
}

#[tokio::test]
async fn pages_report_clicks_of_their_own_visitor() {
    let edge = Edge::start();
    let headers = [("X-Api-Key", PUBLIC_KEY), ("User-Agent", BROWSER)];
    let reply = edge.post_with("click", &headers, r#"{"referral_code": "jane"}"#).await;
    assert_eq!(reply.status, 202);
    let click = edge.click().await;
    assert_eq!(
        (click.ip_prefix.as_deref(), click.user_agent.as_deref()),
        (Some("127.0.0.0/24"), Some(BROWSER))
    );
    for field in ["ip", "user_agent"] {
        let body = format!("{{\"referral_code\": \"jane\", \"{field}\": \"192.0.2.1\"}}");
        let reply = edge.post_with("click", &headers, &body).await;
        assert_eq!((reply.status, reply.json()["field"].as_str()), (400, Some(field)));
    }
    let private = [("X-Api-Key", PUBLIC_KEY), ("User-Agent", BROWSER), ("Sec-GPC", "1")];
    let reply = edge.post_with("click", &private, r#"{"referral_code": "jane"}"#).await;
    let answer = reply.json();
    assert_eq!((&answer["token"], answer["class"].as_str()), (&json!(null), Some("opted_out")));
    assert_eq!(answer["destination"], "https://shop.example/landing?ref=jane");
    match edge.sink.events().pop().unwrap().body {
        Body::Click(click) => assert_eq!((click.class, click.ip_prefix), (TrafficClass::OptedOut, None)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn browsers_are_told_that_pages_may_post() {
    let edge = Edge::start();
    let reply = edge
        .send(
            "OPTIONS",
            "/v1/events/lead",
            &[("Origin", "https://shop.example"), ("Access-Control-Request-Method", "POST")],
            "",
        )
        .await;
    assert_eq!((reply.status, reply.header("access-control-allow-methods")), (204, Some("POST")));
    assert!(reply.header("access-control-allow-headers").unwrap().contains("x-api-key"));
    // A refusal can be read by the page too.
    let refused = edge.post("lead", "nobody", "{}").await;
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    assert_eq!(refused.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_log_that_refuses_is_503() {
    let edge = Edge::start();
    for (mode, code, after) in [(Mode::Full, "log_full", "5"), (Mode::Fail, "log_unavailable", "2")] {
        edge.sink.set(mode);
        for (kind, body) in [
            ("conversion", r#"{"external_id": "o"}"#),
            ("conversion", r#"[{"external_id": "o"}, {"amount": "x"}]"#),
            ("click", r#"{"referral_code": "jane"}"#),
        ] {
            let reply = edge.post(kind, SECRET_KEY, body).await;
            assert_eq!((reply.status, reply.header("retry-after")), (503, Some(after)));
            assert_eq!(reply.json()["code"], code);
            assert_eq!(reply.header("waypost-durability"), None);
        }
    }
    edge.metric_is("waypost_edge_events_total{outcome=\"not_stored\"}", 6).await;
    edge.metric_is("waypost_edge_appended_total{outcome=\"refused\"}", 6).await;
    edge.sink.set(Mode::Store);
    assert_eq!(edge.post("conversion", SECRET_KEY, r#"{"external_id": "o"}"#).await.status, 202);
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_503() {
    let mut settings = settings();
    settings.append_timeout_ms = 100;
    let edge = Edge::start_with(settings);
    edge.sink.set(Mode::Hang);
    let begun = std::time::Instant::now();
    let reply = edge.post("conversion", SECRET_KEY, r#"{"program": "shop", "external_id": "o"}"#).await;
    assert!(begun.elapsed().as_millis() >= 100, "{:?}", begun.elapsed());
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("2")));
    assert_eq!(reply.json()["code"], "log_unavailable");
    edge.metric_is("waypost_edge_events_total{outcome=\"not_stored\"}", 1).await;
    // A repeat of this one would be another lead: its sender is left to wait.
    let lead = edge.post("lead", SECRET_KEY, r#"{"referral_code": "jane"}"#);
    let mut lead = std::pin::pin!(lead);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), &mut lead).await.is_err());
    assert_eq!(edge.metric("waypost_edge_appended_total{outcome=\"stored\"}"), 0);
    // Both come to the log all the same, and are counted.
    edge.sink.release();
    assert_eq!(lead.await.status, 202);
    edge.metric_is("waypost_edge_appended_total{outcome=\"stored\"}", 2).await;
}

#[tokio::test]
async fn bodies_may_come_in_pieces() {
    let mut settings = settings();
    settings.max_body_bytes = 100;
    let edge = Edge::start_with(settings);
    let head = "POST /v1/events/lead HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Api-Key: sk_demo\r\n\
                Content-Type: application/json; charset=UTF-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    let fits = format!("{head}4\r\n{{\"ex\r\n10\r\nternal_id\": \"o\"}}\r\n0\r\n\r\n");
    assert_eq!(Reply::read(&edge.raw(fits.as_bytes()).await).status, 202);
    let large = format!("{head}65\r\n{}\r\n0\r\n\r\n", " ".repeat(101));
    let reply = Reply::read(&edge.raw(large.as_bytes()).await);
    assert_eq!((reply.status, reply.json()["code"].as_str()), (413, Some("body_too_large")));
}
