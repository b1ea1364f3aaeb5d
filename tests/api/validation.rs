//! Every wrong value is named, and nothing wrong is taken.

use serde_json::{Value, json};

use crate::support::{Server, program};

fn long(chars: usize) -> String {
    "x".repeat(chars)
}

#[tokio::test]
async fn wrong_settings_of_a_program_are_named() {
    let server = Server::start().await;
    let kind = |value: Value| json!([value]);
    let one = |form: &str, value: Value| kind(json!({"form": form, "value": value}));
    let twice = json!([{"form": "fixed", "value": 1}, {"form": "fixed", "value": 2}]);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("id", json!("Upper"), "id"),
        ("id", json!("-x"), "id"),
        ("id", json!(long(65)), "id"),
        ("id", json!(5), "id"),
        ("name", json!(""), "name"),
        ("name", json!(long(201)), "name"),
        ("name", json!("a\nb"), "name"),
        ("name", json!(null), "name"),
        ("name", json!([]), "name"),
        ("currency", json!("XAU"), "currency"),
        ("currency", json!("dollar"), "currency"),
        ("destination", json!("http://shop.example/"), "destination"),
        ("destination", json!("//shop.example/"), "destination"),
        ("destination", json!("/shop"), "destination"),
        ("destination", json!("javascript:alert(1)"), "destination"),
        ("destination", json!("https://user@shop.example/"), "destination"),
        ("destination", json!("https://{code}.example/"), "destination"),
        ("destination", json!("https://shop.example/{nope}"), "destination"),
        ("destination", json!("https://shop.example/\r\nX: y"), "destination"),
        ("destination", json!(format!("https://shop.example/{}", long(2048))), "destination"),
        ("deep_link_hosts", json!("shop.example"), "deep_link_hosts"),
        ("deep_link_hosts", json!(["https://shop.example"]), "deep_link_hosts"),
        ("deep_link_hosts", json!(["*.com"]), "deep_link_hosts"),
        ("deep_link_hosts", json!(["*"]), "deep_link_hosts"),
        ("deep_link_hosts", json!(vec!["a.example"; 101]), "deep_link_hosts"),
        ("allow_http", json!("yes"), "allow_http"),
        ("referral_parameter", json!("a b"), "referral_parameter"),
        ("referral_parameter", json!("click_id"), "click_parameter"),
        ("click_parameter", json!(""), "click_parameter"),
        ("cookie_time", json!(0), "cookie_time"),
        ("cookie_time", json!(3651), "cookie_time"),
        ("cookie_time", json!(1.5), "cookie_time"),
        ("cookie_time", json!("30"), "cookie_time"),
        ("cookie_time", json!(-1), "cookie_time"),
        ("override_max_cookie_time", json!(1), "override_max_cookie_time"),
        ("cookie_same_site", json!("strict"), "cookie_same_site"),
        ("attribution_model", json!("linear"), "attribution_model"),
        ("referrer_policy", json!("always"), "referrer_policy"),
        ("pixel", json!("free"), "pixel"),
        ("duplicate_window_ms", json!(86_400_001), "duplicate_window_ms"),
        ("commission_types", json!([]), "commission_types"),
        ("commission_types", json!({}), "commission_types"),
        ("commission_types", json!([1]), "commission_types[0]"),
        ("commission_types", one("graded", json!("1")), "commission_types[0].form"),
        ("commission_types", kind(json!({"form": "tiered"})), "commission_types[0].tiers"),
        ("commission_types", kind(json!({"form": "fixed"})), "commission_types[0].value"),
        ("commission_types", kind(json!({"value": "1"})), "commission_types[0].form"),
        ("commission_types", one("fixed", json!("1.005")), "commission_types[0].value"),
        ("commission_types", one("fixed", json!(1.005)), "commission_types[0].value"),
        ("commission_types", one("fixed", json!("-1")), "commission_types[0].value"),
        ("commission_types", one("fixed", json!("1e16")), "commission_types[0].value"),
        ("commission_types", one("fixed", json!(true)), "commission_types[0].value"),
        ("commission_types", one("percentage", json!("100.00000001")), "commission_types[0].value"),
        ("commission_types", one("percentage", json!("0.123456789")), "commission_types[0].value"),
        ("commission_types", one("percentage", json!("NaN")), "commission_types[0].value"),
        ("commission_types", twice, "commission_types[1].identifier"),
        ("commission_types", kind(json!({"form": "fixed", "value": 1, "cap": 2})), "commission_types[0].cap"),
        ("default_commission_type", json!("premium"), "default_commission_type"),
        ("auto_approve_commissions", json!("true"), "auto_approve_commissions"),
        ("payout_delay", json!(3651), "payout_delay"),
        ("refund_policy", json!("maybe"), "refund_policy"),
        ("program_group", json!("A B"), "program_group"),
        ("colour", json!("red"), "colour"),
    ];
    for (field, value, named) in cases {
        let mut body = program("summer");
        body[field] = value.clone();
        let refused = server.shop.post("/v1/programs", body).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]), "{field} {value}");
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        assert_eq!(refused.json()["code"], "invalid_request");
    }
    assert!(server.shop.all("/v1/programs", 5).await.is_empty());
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    let server = Server::start().await;
    let refused = server.shop.post("/v1/programs", json!({"cookie_time": "x", "pixel": 1, "what": 2})).await;
    let mut named = refused.fields();
    named.sort();
    let expected = ["commission_types", "cookie_time", "currency", "destination", "name", "pixel", "what"];
    assert_eq!(named, expected);
}

#[tokio::test]
async fn wrong_values_of_the_other_resources_are_named() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    let jane = |field: &str, value: Value| json!({"affiliate": "jane", field: value});
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/v1/affiliates", json!({"id": "a b"}), "id"),
        ("/v1/affiliates", json!({"email": "nobody"}), "email"),
        ("/v1/affiliates", json!({"first_name": long(201)}), "first_name"),
        ("/v1/affiliates", json!({"company": ""}), "company"),
        ("/v1/affiliates", json!({"meta_data": []}), "meta_data"),
        ("/v1/affiliates", json!({"meta_data": {"a": long(9000)}}), "meta_data"),
        ("/v1/affiliates", json!({"suspended": "no"}), "suspended"),
        ("/v1/links", json!({}), "affiliate"),
        ("/v1/links", jane("code", json!("a/b")), "code"),
        ("/v1/links", jane("code", json!("..")), "code"),
        ("/v1/links", jane("code", json!(long(65))), "code"),
        ("/v1/links", jane("destination", json!("http://shop.example/")), "destination"),
        ("/v1/links", jane("destination", json!("https://a@b/")), "destination"),
        ("/v1/links", jane("source_id", json!(long(201))), "source_id"),
        ("/v1/links", jane("expires_at", json!("tomorrow")), "expires_at"),
        ("/v1/links", jane("expires_at", json!(1_700_000_000)), "expires_at"),
        ("/v1/links", jane("program", json!("winter")), "program"),
        ("/v1/coupons", jane("code", json!("10 %")), "code"),
        ("/v1/coupons", jane("starts_at", json!("2026-01-01")), "starts_at"),
        ("/v1/domains", json!({}), "host"),
        ("/v1/domains", json!({"host": "127.0.0.1"}), "host"),
        ("/v1/domains", json!({"host": "localhost"}), "host"),
        ("/v1/domains", json!({"host": "1.0x7f.1"}), "host"),
        ("/v1/domains", json!({"host": "go.shop:8080"}), "host"),
        (
            "/v1/domains",
            json!({"host": "go.shop.example", "cookie_domain": "other.example"}),
            "cookie_domain",
        ),
        ("/v1/domains", json!({"host": "go.shop.example", "cookie_domain": "example"}), "cookie_domain"),
        ("/v1/domains", json!({"host": "go.shop.example", "cookie_domain": "hop.example"}), "cookie_domain"),
    ];
    for (path, body, named) in cases {
        let refused = shop.post(path, body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]), "{path} {body}");
    }
    let refused = shop.put("/v1/programs/summer/affiliates/jane", json!({"standing": "great"})).await;
    assert_eq!(refused.fields(), ["standing"]);
}

#[tokio::test]
async fn wrong_queries_are_named() {
    let server = Server::start().await;
    let cases = [
        ("/v1/programs?limit=0", "limit"),
        ("/v1/programs?limit=101", "limit"),
        ("/v1/programs?limit=5&limit=6", "limit"),
        ("/v1/programs?cursor=abc", "cursor"),
        ("/v1/programs?page=2", "page"),
        ("/v1/clicks?program=nope", "program"),
        ("/v1/clicks?affiliate=nope", "affiliate"),
        ("/v1/clicks?link=lnk_1", "link"),
        ("/v1/clicks?class=odd", "class"),
        ("/v1/clicks?from=yesterday", "from"),
        ("/v1/conversions?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        ("/v1/conversions?status=done", "status"),
        ("/v1/conversions?kind=gift", "kind"),
        ("/v1/commissions?conversion=5", "conversion"),
        ("/v1/balances?currency=XXX", "currency"),
        ("/v1/rejected?reason=bad", "reason"),
        ("/v1/rejected?retried=maybe", "retried"),
        ("/v1/statistics/clicks?group_by=moon", "group_by"),
        ("/v1/statistics/clicks?from=2026-13-01", "from"),
        ("/v1/statistics/clicks?from=2020-01-01&to=2026-01-01", "from"),
        ("/v1/statistics/clicks?from=2026-01-02&to=2026-01-01", "to"),
        ("/v1/statistics/clicks?limit=1001", "limit"),
    ];
    for (path, named) in cases {
        let refused = server.shop.get(path).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named.to_owned()]), "{path}");
    }
}

#[tokio::test]
async fn a_destination_may_be_http_only_where_the_program_says_so() {
    let server = Server::start().await;
    let shop = &server.shop;
    let mut body = program("dev");
    body["destination"] = json!("http://127.0.0.1:8081/demo");
    body["allow_http"] = json!(true);
    shop.post("/v1/programs", body).await.ok(201);
    let refused = shop.patch("/v1/programs/dev", json!({"allow_http": false})).await;
    assert_eq!(refused.fields(), ["allow_http"]);
    let destination = "https://shop.example/";
    shop.patch("/v1/programs/dev", json!({"allow_http": false, "destination": destination})).await.ok(200);
}
