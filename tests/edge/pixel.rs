//! `GET /pixel/{program}.gif`: trust, signatures, time.

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use waypost::{
    domain::{ids::AccountId, reason::ConversionKind, time::Timestamp},
    events::{Authority, Channel},
    stream::Topic,
};

use crate::support::{Edge, Mode, OTHER_HOST, PIXEL_SECRET, Reply, conversion, settings, until};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The recipe of the design, written a second time.
fn signed(program: &str, pairs: &[(&str, &str)], secret: &str) -> String {
    let mut encoded: Vec<String> = Vec::new();
    let mut sorted = pairs.to_vec();
    sorted.sort();
    for (name, value) in sorted {
        let encode = |text| utf8_percent_encode(text, UNRESERVED).to_string();
        encoded.push(format!("{}={}", encode(name), encode(value)));
    }
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("v1\n{program}\n{}", encoded.join("&")).as_bytes());
    data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
}

fn now() -> String {
    (Timestamp::now().0 / 1000).to_string()
}

fn target(program: &str, pairs: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("/pixel/{program}.gif?{query}")
}

fn is_gif(reply: &Reply) {
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body.len(), 43);
    assert!(reply.body.starts_with(b"GIF89a") && reply.body.ends_with(b";"));
    assert_eq!(reply.header("content-type"), Some("image/gif"));
    assert_eq!(reply.header("cache-control"), Some("private, no-store"));
}

fn result(reply: &Reply) -> &str {
    is_gif(reply);
    reply.header("waypost-result").unwrap()
}

#[tokio::test]
async fn an_open_pixel_is_taken_as_it_comes() {
    let edge = Edge::start();
    let reply = edge
        .get(
            "/pixel/shop.gif?kind=lead&external_id=o-1&amount=12.50&currency=USD&customer_id=c+1&coupon=&sub1=s\
             &commissions=%5B%7B%22sub_amount%22%3A1%7D%5D&meta_data=%7B%22a%22%3A1%7D&gclid=x&_=123",
            &[],
        )
        .await;
    assert_eq!(result(&reply), "accepted");
    assert_eq!(reply.header("waypost-reason"), None);
    let event = edge.events(1).await.remove(0);
    let read = conversion(&event);
    assert_eq!((read.account, read.kind, read.channel), (AccountId(1), ConversionKind::Lead, Channel::Pixel));
    assert_eq!(read.authority, Authority::OpenPixel);
    assert_eq!(read.program.as_deref(), Some("shop"));
    assert_eq!(read.external_id.as_deref(), Some("o-1"));
    assert_eq!(read.amount.as_ref().unwrap().as_str(), "12.50");
    assert_eq!(read.customer_id.as_deref(), Some("c 1"));
    assert_eq!((read.coupon.as_deref(), read.sub_ids[0].as_deref()), (None, Some("s")));
    assert_eq!(read.commissions.len(), 1);
    assert_eq!(read.meta_data["a"], 1);
    assert_eq!(&*event.origin.stream.replace(['0', '1'], "n"), "conversions/n");
    let record = edge.sink.records().remove(0);
    assert_eq!((record.topic, record.key), (Topic::Conversions, Some(AccountId(1))));
    edge.metric_is("waypost_edge_pixels_total{outcome=\"accepted\"}", 1).await;
    edge.metric_is("waypost_edge_appended_total{outcome=\"stored\"}", 1).await;
}

#[tokio::test]
async fn the_cookie_stands_in_for_a_click() {
    let edge = Edge::start();
    let cookie = edge.get("/r/jane", &[]).await;
    let token = cookie.cookie_token().unwrap();
    until(|| edge.sink.records().len() == 1).await;
    let header = format!("wp_first=other; wp_shop={token}");
    edge.get("/pixel/shop.gif?external_id=1", &[("Cookie", &header)]).await;
    edge.get("/pixel/shop.gif?external_id=1", &[]).await;
    edge.get("/pixel/shop.gif?external_id=2&click_id=given", &[("Cookie", &header)]).await;
    edge.get("/pixel/shop.gif?external_id=3", &[("Cookie", "wp_shop=junk; wp_first=x")]).await;
    let events = edge.events(5).await;
    let clicks: Vec<_> = events[1..].iter().map(|event| conversion(event).click_id.as_deref()).collect();
    assert_eq!(clicks, [Some(token), None, Some("given"), None]);
    // The cookie is not what the page said: the same report, by id and by fingerprint.
    assert_eq!(events[1].id, events[2].id);
    assert_eq!(conversion(&events[1]).fingerprint, conversion(&events[2]).fingerprint);
    assert_ne!(events[1].id, events[3].id);
}

#[tokio::test]
async fn trust_is_as_the_program_says() {
    let edge = Edge::start();
    let ts = now();
    let pairs = [("external_id", "ö 1&=+"), ("amount", "9"), ("ts", ts.as_str()), ("extra", "covered")];
    for (program, result_signed, result_unsigned, authority) in [
        ("shop", "accepted", "accepted", Some(Authority::OpenPixel)),
        ("held", "accepted", "held", Some(Authority::HeldPixel)),
        ("signed", "accepted", "rejected", None),
    ] {
        let signature = signed(program, &pairs, PIXEL_SECRET);
        let mut given = pairs.to_vec();
        given.push(("sig", &signature));
        let before = edge.sink.records().len();
        assert_eq!(result(&edge.get(&target(program, &given), &[]).await), result_signed);
        let event = edge.sink.events().pop().unwrap();
        assert_eq!(conversion(&event).authority, Authority::SignedPixel);
        assert_eq!(conversion(&event).external_id.as_deref(), Some("ö 1&=+"));
        let reply = edge.get(&target(program, &pairs), &[]).await;
        assert_eq!(result(&reply), result_unsigned, "{program}");
        let after = edge.sink.events();
        match authority {
            Some(authority) => {
                let unsigned = after.last().unwrap();
                assert_eq!(conversion(unsigned).authority, authority);
                // What is held must not take the id of what is not.
                assert_eq!(unsigned.id == event.id, !authority.holds());
            }
            None => {
                assert_eq!(after.len(), before + 1);
                assert!(reply.header("waypost-reason").unwrap().contains("field=sig"));
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_checked_is_held() {
    let edge = Edge::start();
    let ts = now();
    let pairs = [("external_id", "1"), ("amount", "9"), ("ts", ts.as_str())];
    let signature = signed("unreadable", &pairs, PIXEL_SECRET);
    let mut given = pairs.to_vec();
    given.push(("sig", &signature));
    assert_eq!(result(&edge.get(&target("unreadable", &given), &[]).await), "held");
    let event = edge.sink.events().pop().unwrap();
    assert_eq!(conversion(&event).authority, Authority::HeldPixel);
    assert_eq!(edge.metric("waypost_edge_pixel_secrets_unreadable_total"), 1);
    // Without a signature nothing had to be checked.
    assert_eq!(result(&edge.get(&target("unreadable", &pairs), &[]).await), "rejected");
    assert_eq!(edge.metric("waypost_edge_pixel_secrets_unreadable_total"), 1);
}

#[tokio::test]
async fn wrong_signatures_are_refused_whatever_the_setting() {
    let edge = Edge::start();
    let ts = now();
    let old = (Timestamp::now().0 / 1000 - 86_500).to_string();
    let early = (Timestamp::now().0 / 1000 + 86_500).to_string();
    let good = [("external_id", "1"), ("amount", "9"), ("ts", ts.as_str())];
    let sign = |pairs: &[(&str, &str)]| signed("shop", pairs, PIXEL_SECRET);
    let stale = [("external_id", "1"), ("ts", old.as_str())];
    let future = [("external_id", "1"), ("ts", early.as_str())];
    let (no_ts, no_id) = ([("external_id", "1")], [("ts", ts.as_str())]);
    for (pairs, signature, field) in [
        (&good[..], signed("shop", &good, "other"), "sig"),
        (&good[..], signed("held", &good, PIXEL_SECRET), "sig"),
        (&good[..], sign(&good[..2]), "sig"),
        (&good[..], "00".into(), "sig"),
        (&good[..], "no hex".into(), "sig"),
        (&stale[..], sign(&stale), "ts"),
        (&future[..], sign(&future), "ts"),
        (&no_ts[..], sign(&no_ts), "ts"),
        (&no_id[..], sign(&no_id), "external_id"),
    ] {
        let mut given = pairs.to_vec();
        given.push(("sig", &signature));
        let reply = edge.get(&target("shop", &given), &[]).await;
        assert_eq!(result(&reply), "rejected", "{pairs:?}");
        let reason = reply.header("waypost-reason").unwrap();
        assert!(reason.contains(&format!("field={field};")), "{pairs:?}: {reason}");
    }
    // A name given twice would make two readings of one signature.
    let signature = sign(&good);
    let mut twice = good.to_vec();
    twice.extend([("sig", signature.as_str()), ("amount", "9")]);
    assert_eq!(result(&edge.get(&target("shop", &twice), &[]).await), "rejected");
    assert_eq!(edge.sink.records().len(), 0);
    assert_eq!(edge.metric("waypost_edge_pixels_total{outcome=\"rejected\"}"), 10);
}

#[tokio::test]
async fn bad_pixels_get_the_gif_and_a_reason() {
    let edge = Edge::start();
    for (target, host, field) in [
        ("/pixel/nothing.gif", None, "program"),
        ("/pixel/%00.gif", None, "program"),
        ("/pixel/shop.gif", Some("nobody.example"), "host"),
        ("/pixel/shop.gif?amount=NaN", None, "amount"),
        ("/pixel/shop.gif?amount=1,5", None, "amount"),
        ("/pixel/shop.gif?currency=DOLLAR", None, "currency"),
        ("/pixel/shop.gif?kind=click", None, "kind"),
        ("/pixel/shop.gif?kind=refund", None, "kind"),
        ("/pixel/shop.gif?click_id=a%20b", None, "click_id"),
        ("/pixel/shop.gif?external_id=%00", None, "external_id"),
        ("/pixel/shop.gif?occurred_at=now", None, "occurred_at"),
        ("/pixel/shop.gif?meta_data=%5B%5D", None, "meta_data"),
        ("/pixel/shop.gif?commissions=1", None, "commissions"),
        ("/pixel/shop.gif?amount=1&amount=2", None, "query"),
    ] {
        let headers: Vec<_> = host.map(|host| ("Host", host)).into_iter().collect();
        let reply = edge.get(target, &headers).await;
        assert_eq!(result(&reply), "rejected", "{target}");
        let reason = reply.header("waypost-reason").unwrap();
        assert!(reason.contains(&format!("field={field};")), "{target}: {reason}");
    }
    let long = format!("/pixel/shop.gif?external_id={}", "x".repeat(256));
    assert_eq!(result(&edge.get(&long, &[]).await), "rejected");
    assert_eq!(edge.sink.records().len(), 0);
    // The host decides whose program it is.
    let other = edge.get("/pixel/shop.gif?external_id=1", &[("Host", OTHER_HOST)]).await;
    assert_eq!(result(&other), "accepted");
    assert_eq!(conversion(&edge.sink.events()[0]).account, AccountId(2));
    assert_eq!(result(&edge.get("/pixel/first.gif", &[("Host", OTHER_HOST)]).await), "rejected");
}

#[tokio::test]
async fn a_pixel_waits_for_the_log_but_not_for_ever() {
    let mut settings = settings();
    settings.pixel_wait_ms = 100;
    let edge = Edge::start_with(settings);
    edge.sink.set(Mode::Hang);
    let begun = std::time::Instant::now();
    assert_eq!(result(&edge.get("/pixel/shop.gif?external_id=1", &[]).await), "unconfirmed");
    let took = begun.elapsed();
    assert!((100..5_000).contains(&took.as_millis()), "{took:?}");
    edge.metric_is("waypost_edge_pixels_total{outcome=\"unconfirmed\"}", 1).await;
    assert_eq!(edge.metric("waypost_edge_appended_total{outcome=\"stored\"}"), 0);
    // Nobody waits any more, and it is counted all the same.
    edge.sink.release();
    edge.metric_is("waypost_edge_appended_total{outcome=\"stored\"}", 1).await;
    for mode in [Mode::Full, Mode::Fail] {
        edge.sink.set(mode);
        assert_eq!(result(&edge.get("/pixel/shop.gif?external_id=1", &[]).await), "not_stored");
    }
    edge.metric_is("waypost_edge_pixels_total{outcome=\"not_stored\"}", 2).await;
    edge.metric_is("waypost_edge_appended_total{outcome=\"refused\"}", 2).await;
}
