//! `GET|HEAD /r/{code}`: answers and clicks.

use waypost::{
    config::GeoipSettings,
    domain::{
        ids::{AccountId, LinkId},
        time::Timestamp,
        token::TOKEN_CHARS,
        traffic::TrafficClass,
    },
};

use crate::geo_fixture::{Entry, database};
use crate::support::{BROWSER, Edge, HOST, Mode, OTHER_HOST, settings, until};

#[tokio::test]
async fn a_link_leads_to_its_destination_with_code_and_token() {
    let edge = Edge::start();
    let before = Timestamp::now();
    let reply = edge.get("/r/jane", &[("Referer", "https://blog.example/post")]).await;
    assert_eq!(reply.status, 302);
    assert_eq!(reply.header("cache-control"), Some("private, no-store"));
    assert_eq!(reply.header("x-robots-tag"), Some("noindex, nofollow"));
    assert_eq!(reply.header("referrer-policy"), Some("strict-origin-when-cross-origin"));
    assert_eq!(reply.header("content-length"), Some("0"));
    let query = reply.query();
    assert_eq!(query["ref"], "jane");
    let token = &query["click_id"];
    assert_eq!(token.len(), TOKEN_CHARS);
    assert_eq!(reply.location(), format!("https://shop.example/landing?ref=jane&click_id={token}"));
    let proved = edge.keys.verify(token).unwrap();
    assert_eq!((proved.link, proved.attributable, proved.review), (LinkId(1), true, false));
    let at = proved.clicked_at().unwrap();
    assert!(before <= at && at <= Timestamp::now());

    let event = edge.events(1).await.remove(0);
    assert_eq!(event.id, proved.click_id);
    assert_eq!((event.origin.n, &*event.origin.edge), (1, "test"));
    let click = edge.click().await;
    assert_eq!((click.account, click.link, click.class), (AccountId(1), LinkId(1), TrafficClass::Valid));
    assert!(click.attributable && !click.review && !click.deep_link_refused);
    assert_eq!(click.user_agent.as_deref(), Some(BROWSER));
    assert_eq!(click.referrer.as_deref(), Some("https://blog.example/post"));
    assert_eq!(click.ip_prefix.as_deref(), Some("127.0.0.0/24"));
    assert_eq!(click.visitor.as_ref().unwrap().len(), 32);
    edge.metric_is("waypost_edge_clicks_stored_total", 1).await;
    edge.metric_is("waypost_edge_redirects_total{outcome=\"attributed\"}", 1).await;
    assert_eq!(edge.metric("waypost_edge_redirect_seconds_count"), 1);
}

#[tokio::test]
async fn macros_are_filled_in_and_the_query_is_put_together() {
    let edge = Edge::start();
    let target = "/r/macros?sub1=a%2Fb+c&sub2=%22x%22&ref=evil&%63lick_id=evil&aff=evil&utm=1&utm=2&cons=1";
    let reply = edge.get(target, &[]).await;
    let query = reply.query();
    let token = &query["click_id"];
    let (ts, random) = (&query["ts"], &query["r"]);
    assert_eq!(
        reply.location(),
        format!(
            "https://shop.example/shop/a%2Fb%20c?aff=jane-doe&c=macros&src=blog&t={token}&ts={ts}&r={random}\
             &sub1=a%2Fb+c&sub2=%22x%22&utm=1&utm=2&ref=macros&click_id={token}#%22x%22"
        )
    );
    assert!((Timestamp::now().0 / 1000).abs_diff(ts.parse::<i64>().unwrap()) < 10);
    assert_eq!(random.len(), 16);
    let click = edge.click().await;
    assert_eq!(click.sub_ids[..2], [Some("a/b c".to_owned()), Some("\"x\"".to_owned())]);
    // The link's own stand before those of a query.
    assert_eq!((click.source_id.as_deref(), click.asset_id.as_deref()), (Some("blog"), Some("banner")));
}

#[tokio::test]
async fn what_a_query_says_is_written_down() {
    let edge = Edge::start();
    let reply = edge.get("/r/jane?source_id=s1&asset_id=a1&tracking_id=t1&sub5=five&x=%zz%00", &[]).await;
    assert!(reply.location().contains("source_id=s1&asset_id=a1&tracking_id=t1&sub5=five&x=%zz%00&ref=jane"));
    let click = edge.click().await;
    assert_eq!(click.source_id.as_deref(), Some("s1"));
    assert_eq!(click.asset_id.as_deref(), Some("a1"));
    assert_eq!(click.tracking_id.as_deref(), Some("t1"));
    assert_eq!(click.sub_ids[4].as_deref(), Some("five"));
}

#[tokio::test]
async fn names_policy_and_http_are_as_the_program_says() {
    let edge = Edge::start();
    let reply = edge.get("/r/names?ref=mine", &[]).await;
    let query = reply.query();
    assert!(reply.location().starts_with("http://names.example/?ref=mine&partner=names&cid="));
    assert!(edge.keys.verify(&query["cid"]).is_ok());
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    assert!(reply.cookie().unwrap().contains("; SameSite=None; "));
    let deep = edge.get("/r/names?to=http%3A%2F%2Fnames.example%2Fx", &[]).await;
    assert!(deep.location().starts_with("http://names.example/x?partner=names&cid="));
}

#[tokio::test]
async fn a_destination_that_would_choose_its_host_is_passed_over() {
    let edge = Edge::start();
    for code in ["broken?sub1=evil.example", "plain-http"] {
        let reply = edge.get(&format!("/r/{code}"), &[]).await;
        assert!(reply.location().starts_with("https://shop.example/landing?"), "{}", reply.location());
    }
}

#[tokio::test]
async fn deep_links_go_where_the_program_allows() {
    let edge = Edge::start();
    let to = "https%3A%2F%2FWWW.shop.example%2Fp%2F1%3Fa%3D1%26click_id%3Dforged%23top";
    let reply = edge.get(&format!("/r/jane?to={to}&b=2"), &[]).await;
    let token = &reply.query()["click_id"];
    assert_eq!(
        reply.location(),
        format!("https://www.shop.example/p/1?a=1&b=2&ref=jane&click_id={token}#top")
    );
    let click = edge.click().await;
    assert_eq!(click.deep_link.as_deref(), Some("https://www.shop.example/p/1?a=1&click_id=forged#top"));
    assert!(!click.deep_link_refused);
    // Braces in a deep link are text: it is the visitor's.
    let reply = edge.get("/r/jane?to=https://shop.example/%7Bclick_id%7D", &[]).await;
    assert!(reply.location().starts_with("https://shop.example/%7Bclick_id%7D?"), "{}", reply.location());
    assert_eq!(edge.metric("waypost_edge_deep_links_total{outcome=\"followed\"}"), 2);
}

#[tokio::test]
async fn opting_out_leaves_no_trace_of_the_visitor() {
    for (target, headers) in [
        ("/r/jane?tracking_id=t&sub1=s", vec![("Sec-GPC", "1")]),
        ("/r/jane?cons=0&tracking_id=t&sub1=s", vec![]),
    ] {
        let edge = Edge::start();
        let mut headers = headers;
        headers.push(("Referer", "https://blog.example/"));
        let reply = edge.get(&format!("{target}&click_id=stale"), &headers).await;
        assert_eq!(reply.location(), "https://shop.example/landing?tracking_id=t&sub1=s&ref=jane");
        assert_eq!(reply.cookie(), None);
        let click = edge.click().await;
        assert_eq!(click.class, TrafficClass::OptedOut);
        assert!(!click.attributable);
        assert_eq!((click.ip_prefix, click.visitor, click.user_agent), (None, None, None));
        assert_eq!((click.referrer, click.network, click.tracking_id), (None, None, None));
        assert_eq!(click.sub_ids[0].as_deref(), Some("s"));
        edge.metric_is("waypost_edge_redirects_total{outcome=\"unattributed\"}", 1).await;
    }
}

#[tokio::test]
async fn traffic_has_its_class() {
    for (method, headers, class, attributable) in [
        ("GET", vec![("User-Agent", BROWSER), ("Sec-Purpose", "prefetch")], TrafficClass::Prefetch, true),
        (
            "GET",
            vec![("User-Agent", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")],
            TrafficClass::Crawler,
            false,
        ),
        ("HEAD", vec![("User-Agent", BROWSER)], TrafficClass::Head, false),
        ("GET", vec![("User-Agent", BROWSER)], TrafficClass::Valid, true),
        ("GET", vec![], TrafficClass::Valid, true),
    ] {
        let edge = Edge::start();
        let reply = edge.send(method, "/r/jane", &headers, "").await;
        assert_eq!(reply.status, 302, "{class:?}");
        assert!(reply.body.is_empty());
        let token = edge.keys.verify(&reply.query()["click_id"]).unwrap();
        assert_eq!(token.attributable, attributable, "{class:?}");
        // A click that may not attribute never pushes out one that may.
        assert_eq!(reply.cookie().is_some(), attributable, "{class:?}");
        let click = edge.click().await;
        assert_eq!((click.class, click.attributable), (class, attributable));
        let series = format!("waypost_edge_clicks_total{{class=\"{}\"}}", class.as_str());
        edge.metric_is(&series, 1).await;
    }
}

#[tokio::test]
async fn the_second_click_of_a_visitor_is_a_duplicate() {
    let edge = Edge::start();
    edge.get("/r/jane", &[]).await;
    let first = edge.events(1).await.remove(0);
    edge.get("/r/jane", &[]).await;
    edge.get("/r/first", &[]).await;
    edge.get(
        "/r/jane",
        &[("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0")],
    )
    .await;
    let events = edge.events(4).await;
    let duplicates: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.body {
            waypost::events::Body::Click(click) if click.class == TrafficClass::Duplicate => Some(click),
            _ => None,
        })
        .collect();
    assert_eq!(duplicates.len(), 1);
    assert_eq!(duplicates[0].duplicate_of, Some(first.id));
    assert!(duplicates[0].attributable);
    assert_eq!(edge.metric("waypost_edge_clicks_total{class=\"duplicate\"}"), 1);
    assert_eq!(edge.metric("waypost_edge_clicks_total{class=\"valid\"}"), 3);
}

#[tokio::test]
async fn suspended_and_expired_redirect_unattributed() {
    for code in ["sue", "tom", "expired"] {
        let edge = Edge::start();
        let reply = edge.get(&format!("/r/{code}?click_id=forged&ref=forged"), &[]).await;
        assert_eq!(reply.location(), "https://shop.example/landing", "{code}");
        assert_eq!(reply.cookie(), None);
        let click = edge.click().await;
        assert_eq!((click.class, click.attributable), (TrafficClass::Valid, false), "{code}");
    }
}

#[tokio::test]
async fn an_account_knows_its_own_codes_alone() {
    let edge = Edge::start();
    assert_eq!(edge.get("/r/olga", &[("Host", OTHER_HOST)]).await.status, 302);
    // Codes of one account on the host of another: unknown there.
    let theirs = edge.get("/r/olga", &[("Host", HOST)]).await;
    assert_eq!((theirs.status, theirs.json()["code"].as_str()), (404, Some("unknown_code")));
    let ours = edge.get("/r/jane", &[("Host", OTHER_HOST)]).await;
    assert_eq!((ours.status, ours.location()), (302, "https://other.example/404?x=1"));
    assert_eq!(ours.header("cache-control"), Some("private, no-store"));
    assert_eq!(ours.cookie(), None);
    // Case matters.
    assert_eq!(edge.get("/r/Jane", &[]).await.status, 404);
    let nobody = edge.get("/r/jane", &[("Host", "nobody.example")]).await;
    assert_eq!((nobody.status, nobody.json()["code"].as_str()), (404, Some("unknown_host")));
    assert_eq!(edge.get("/r/jane", &[("Host", "GO.demo.example.:8080")]).await.status, 302);
    edge.metric_is("waypost_edge_redirects_total{outcome=\"unknown_code\"}", 2).await;
    edge.metric_is("waypost_edge_redirects_total{outcome=\"fallback\"}", 1).await;
    edge.metric_is("waypost_edge_redirects_total{outcome=\"unknown_host\"}", 1).await;
    edge.events(2).await;
}

#[tokio::test]
async fn a_default_account_serves_other_hosts() {
    let mut settings = settings();
    settings.default_account = "demo".into();
    let edge = Edge::start_with(settings);
    assert_eq!(edge.get("/r/jane", &[("Host", "localhost:8080")]).await.status, 302);
    assert_eq!(
        edge.get("/r/jane", &[("Host", OTHER_HOST)]).await.location(),
        "https://other.example/404?x=1"
    );
    assert_eq!(edge.get("/r/%6aane", &[("Host", "127.0.0.1")]).await.status, 302);
}

#[tokio::test]
async fn forwarded_addresses_count_from_trusted_proxies_alone() {
    let edge = Edge::start();
    edge.get("/r/jane", &[("X-Forwarded-For", "198.51.100.7")]).await;
    assert_eq!(edge.click().await.ip_prefix.as_deref(), Some("127.0.0.0/24"));
    let mut settings = settings();
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let edge = Edge::start_with(settings);
    edge.get("/r/jane", &[("X-Forwarded-For", "203.0.113.9, 198.51.100.7")]).await;
    assert_eq!(edge.click().await.ip_prefix.as_deref(), Some("198.51.100.0/24"));
}

#[tokio::test]
async fn hosting_networks_attribute_under_review() {
    let folder = tempfile::TempDir::new().unwrap();
    let (country, asn) = (folder.path().join("country.mmdb"), folder.path().join("asn.mmdb"));
    let networks = [("192.0.2.0/24", Entry::network(64_500)), ("198.51.100.0/24", Entry::network(64_501))];
    std::fs::write(&asn, database(&networks)).unwrap();
    std::fs::write(&country, database(&[("192.0.2.0/24", Entry::flat_country("DE"))])).unwrap();
    let geoip = GeoipSettings { country, asn, hosting_networks: vec![64_500], check_interval_ms: 60_000 };
    for (ip, class, review, country) in [
        ("192.0.2.1", TrafficClass::Datacenter, true, Some("DE")),
        ("198.51.100.1", TrafficClass::Valid, false, None),
    ] {
        let mut settings = settings();
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        let edge = Edge::start_at(settings, &geoip);
        let reply = edge.get("/r/jane", &[("X-Forwarded-For", ip)]).await;
        let token = edge.keys.verify(&reply.query()["click_id"]).unwrap();
        assert_eq!((token.attributable, token.review), (true, review), "{ip}");
        assert!(reply.cookie().is_some());
        let click = edge.click().await;
        assert_eq!((click.class, click.review, click.country.as_deref()), (class, review, country));
        assert!(click.network.is_some());
    }
}

#[tokio::test]
async fn redirects_do_not_depend_on_the_log() {
    for mode in [Mode::Full, Mode::Fail, Mode::Hang] {
        let edge = Edge::start();
        edge.sink.set(mode);
        for _ in 0..10 {
            let reply = edge.get("/r/jane", &[]).await;
            assert_eq!(reply.status, 302);
            assert!(edge.keys.verify(&reply.query()["click_id"]).is_ok());
        }
        if mode == Mode::Hang {
            until(|| edge.sink.hanging() > 0).await;
        } else {
            edge.metric_is("waypost_edge_clicks_lost_total", 10).await;
        }
        assert_eq!(edge.metric("waypost_edge_clicks_stored_total"), 0);
    }
}

#[tokio::test]
async fn numbers_have_no_gaps_and_cores_share_the_port() {
    let edge = Edge::start();
    for _ in 0..100 {
        assert_eq!(edge.get("/r/jane", &[]).await.status, 302);
    }
    let events = edge.events(100).await;
    let boot = edge.handle.boot();
    let mut last = std::collections::BTreeMap::new();
    for event in &events {
        assert_eq!(event.origin.boot, boot);
        let last = last.entry(event.origin.stream.to_string()).or_insert(0);
        assert_eq!(event.origin.n, *last + 1);
        *last = event.origin.n;
    }
    assert_eq!(last.keys().collect::<Vec<_>>(), ["clicks/0", "clicks/1"]);
}
