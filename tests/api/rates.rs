//! Exchange rates are listed to every account as they were loaded.

use serde_json::{Value, json};

use crate::{isolation::rates, support::Server};

fn shown(rows: &[Value]) -> Vec<String> {
    let text = |row: &Value| {
        ["day", "base", "quote", "rate"].map(|name| row[name].as_str().unwrap().to_owned()).join(" ")
    };
    rows.iter().map(text).collect()
}

#[tokio::test]
async fn rates_are_listed_page_by_page_and_filtered() {
    let server = Server::start().await;
    let loaded = [
        "2026-01-03 EUR JPY 165.2",
        "2026-01-03 EUR USD 1.0825",
        "2026-01-03 USD JPY 152.5",
        "2026-01-02 EUR JPY 164",
        "2026-01-02 EUR USD 1.08",
        "1999-01-04 EUR USD 1.1789",
    ];
    rates(&server, &loaded).await;
    let all = server.shop.all("/v1/rates", 100).await;
    assert_eq!(shown(&all), loaded);
    for limit in [1, 2, 3, 6] {
        assert_eq!(server.shop.all("/v1/rates", limit).await, all, "{limit}");
    }
    for (filter, found) in [
        ("base=USD", &loaded[2..3]),
        ("quote=usd&from=2026-01-01", &[loaded[1], loaded[4]]),
        ("base=EUR&quote=JPY&to=2026-01-02", &loaded[3..4]),
        ("from=2026-01-02&to=2026-01-02", &loaded[3..5]),
        ("base=GBP", &[]),
    ] {
        assert_eq!(shown(&server.shop.all(&format!("/v1/rates?{filter}"), 1).await), found, "{filter}");
    }
    // They are replaced by a load that has others, and left alone by one that has the same.
    rates(&server, &["2026-01-03 EUR USD 1.1", "2026-01-03 EUR JPY 165.20"]).await;
    let again = server.shop.all("/v1/rates", 100).await;
    assert_eq!(shown(&again[..2]), [loaded[0], "2026-01-03 EUR USD 1.1"]);
    assert_eq!(again[0], all[0]);
    assert_eq!(server.account("other").await.all("/v1/rates", 4).await, again);
}

#[tokio::test]
async fn wrong_filters_are_named() {
    let server = Server::start().await;
    for (query, field) in [
        ("base=DOLLAR", "base"),
        ("quote=XAU", "quote"),
        ("from=2026-1-2", "from"),
        ("from=2026-01-02&to=2026-01-01", "to"),
        ("day=2026-01-01", "day"),
        ("cursor=AAAA", "cursor"),
    ] {
        let refused = server.shop.get(&format!("/v1/rates?{query}")).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{query}");
    }
    assert_eq!(server.shop.post("/v1/rates", json!({})).await.status, 405);
}
