//! Hostile deep links: none is followed, all are told of.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::{Edge, until};

/// What `?to=` must not lead to. The allowed hosts are `shop.example` and `*.shop.example`, over https.
const HOSTILE: &[&str] = &[
    // Other hosts, spelled to look like ours.
    "https://evil.example/",
    "https://evil.example",
    "https://shop.example.evil.example/",
    "https://evilshop.example/",
    "https://shop.examplee/",
    "https://shop.example-evil.example/",
    "https://xshop.example/",
    "https://sho\u{440}.example/",
    "https://shop。example.evil.example/",
    "https://evil.example/shop.example",
    "https://evil.example?shop.example",
    "https://evil.example#shop.example",
    "https://evil.example/?x=https://shop.example/",
    // User information.
    "https://shop.example@evil.example/",
    "https://shop.example:443@evil.example/",
    "https://shop.example%40evil.example/",
    "https://user:pass@shop.example/",
    "https://user@shop.example/",
    "https://@shop.example/",
    "https://:@shop.example/",
    "https://evil.example\\@shop.example/",
    "https://shop.example\\.evil.example/",
    "https://evil.example\\shop.example/",
    // Other schemes.
    "http://shop.example/",
    "javascript:alert(1)",
    "javascript://shop.example/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "file:///etc/passwd",
    "ftp://shop.example/",
    "blob:https://shop.example/x",
    "intent://shop.example#Intent;scheme=https;end",
    "https:shop.example/",
    "https:/shop.example/",
    "https:///shop.example/",
    "https:\\\\shop.example/",
    "https://\\shop.example/",
    "//shop.example/",
    "///evil.example/",
    "/\\evil.example/",
    "/evil",
    "shop.example",
    "https://",
    "https:// shop.example/",
    // Whitespace, control characters, what is not seen.
    " https://shop.example/",
    "https://shop.example/ ",
    "\thttps://shop.example/",
    "java\tscript:alert(1)",
    "ht\ntps://shop.example/",
    "https://shop.example/\r\nSet-Cookie: a=b",
    "https://shop.example/%0d%0aSet-Cookie:%20a=b",
    "https://shop.example/\u{0}",
    "https://shop.example/%00",
    "https://sh\u{ad}op.example/",
    "https://shop.example\u{200b}/",
    "https://shop.example/\u{202e}gnp.exe",
    "https://shop\t.example/",
    // Hosts written another way.
    "https://shop%2eexample/",
    "https://%73hop.example/",
    "https://shop.example%00.evil.example/",
    "https://shop.example./",
    "https://.shop.example/",
    "https://a..shop.example/",
    "https://*.shop.example/",
    "https://shop.example:8443/",
    "https://shop.example:80/",
    "https://shop.example:99999/",
    "https://shop.example:evil/",
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://localhost/",
];

#[tokio::test]
async fn no_hostile_deep_link_is_followed() {
    assert!(HOSTILE.len() >= 40);
    let edge = Edge::start();
    for hostile in HOSTILE {
        let encoded = utf8_percent_encode(hostile, NON_ALPHANUMERIC).to_string();
        let reply = edge.get(&format!("/r/jane?to={encoded}"), &[]).await;
        assert_eq!(reply.status, 302, "{hostile:?}");
        let location = reply.location();
        assert!(
            location.starts_with("https://shop.example/landing?ref=jane&click_id="),
            "{hostile:?}: {location}"
        );
        assert_eq!(reply.headers.len(), 8, "{hostile:?}: {:?}", reply.headers);
    }
    // Asked twice, nobody knows which was meant.
    let twice = "/r/jane?to=https://shop.example/a&to=https://shop.example/b";
    assert!(edge.get(twice, &[]).await.location().starts_with("https://shop.example/landing?"));
    let count = HOSTILE.len() + 1;
    for event in edge.events(count).await {
        match event.body {
            waypost::events::Body::Click(click) => {
                assert!(click.deep_link_refused && click.deep_link.is_none(), "{click:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(edge.metric("waypost_edge_deep_links_total{outcome=\"refused\"}"), count as u64);
    println!("{count} hostile deep links, none followed");
}

/// The same by the raw bytes of the request line, where an encoding is skipped or doubled.
#[tokio::test]
async fn odd_spellings_of_the_parameter_do_not_help() {
    let edge = Edge::start();
    for query in [
        "to=//evil.example",
        "to=https%253A%252F%252Fevil.example",
        "%74o=https://evil.example/",
        "to=https://evil.example/&to=https://shop.example/",
        "TO=https://evil.example/",
        "to[]=https://evil.example/",
        "to=https://shop.example%5c@evil.example/",
        "to=https://shop.example/%E0%A4%A",
        "to=%ff%fehttps://shop.example/",
        "ref=https://evil.example/",
        "sub1=//evil.example/..%2f..",
    ] {
        let reply = edge.get(&format!("/r/jane?{query}"), &[]).await;
        let url = url::Url::parse(reply.location()).unwrap();
        assert_eq!(url.host_str(), Some("shop.example"), "{query}");
    }
    until(|| edge.sink.records().len() == 11).await;
}
