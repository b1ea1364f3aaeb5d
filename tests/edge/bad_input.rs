//! Malformed requests: each gets a 4xx, none a 5xx, none hangs, and the edge serves on.

use crate::support::{Edge, Reply, settings};

/// The body of a request with a good key.
fn event(kind: &str, body: &str) -> Vec<u8> {
    event_bytes(kind, body.as_bytes())
}

fn event_bytes(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let mut request = with_key(kind, &head, "");
    request.extend_from_slice(body);
    request
}

fn with_key(kind: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/events/{kind} HTTP/1.1\r\nHost: go.demo.example\r\nConnection: close\r\nX-Api-Key: sk_demo\r\n\
         {headers}\r\n{body}"
    )
    .into_bytes()
}

fn get(target: &str) -> Vec<u8> {
    get_with(target, "Host: go.demo.example\r\n")
}

fn get_with(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

fn method(method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: go.demo.example\r\nConnection: close\r\n\r\n").into_bytes()
}

/// The connection is closed without a word: the client speaks another protocol.
const CLOSED: u16 = 0;

/// What is wrong, the request, the status, and the field that is named where a document is sent.
type Case = (&'static str, Vec<u8>, u16, Option<&'static str>);

#[expect(clippy::too_many_lines, reason = "it is a table")]
fn cases() -> Vec<Case> {
    let json = "Content-Type: application/json\r\n";
    let deep = format!("{{\"meta_data\": {}{}}}", "{\"a\":".repeat(5000), "1");
    let nested = format!("{{\"meta_data\": {}1{}}}", "{\"a\":".repeat(500), "}".repeat(500));
    let long_id = format!("{{\"external_id\": \"{}\"}}", "x".repeat(256));
    let many = format!("{{{}}}", (0..200).map(|n| format!("\"f{n}\":1")).collect::<Vec<_>>().join(","));
    let parts = format!("{{\"commissions\": [{}]}}", vec!["{\"sub_amount\":1}"; 51].join(","));
    let mut cases: Vec<Case> = vec![
        // Paths.
        ("root", get("/"), 404, None),
        ("unknown path", get("/favicon.ico"), 404, None),
        ("no code", get("/r/"), 404, None),
        ("code with a slash", get("/r/a/b"), 404, None),
        ("doubled slash", get("//r/jane"), 404, None),
        ("climbing path", get("/r/../../etc/passwd"), 404, None),
        ("encoded slash", get("/r/a%2Fb"), 404, Some("code")),
        ("unknown code", get("/r/nobody"), 404, Some("code")),
        ("code of another account", get("/r/olga"), 404, Some("code")),
        ("unknown event", method("POST", "/v1/events/sale"), 404, None),
        ("asterisk", method("OPTIONS", "*"), 404, None),
        ("path of another case", get("/R/jane"), 404, None),
        // Percent-encoding.
        ("bare percent", get("/r/%"), 400, Some("code")),
        ("half a byte", get("/r/a%2"), 400, Some("code")),
        ("no hex", get("/r/%zz"), 400, Some("code")),
        ("encoded NUL", get("/r/%00"), 400, Some("code")),
        ("encoded CRLF", get("/r/jane%0d%0aX:1"), 400, Some("code")),
        ("no UTF-8", get("/r/%ff%fe"), 400, Some("code")),
        ("overlong UTF-8", get("/r/%c0%af"), 400, Some("code")),
        // Hosts.
        ("no host", get_with("/r/jane", ""), 400, Some("host")),
        ("empty host", get_with("/r/jane", "Host:\r\n"), 400, Some("host")),
        ("two hosts", get_with("/r/jane", "Host: a\r\nHost: b\r\n"), 400, Some("host")),
        ("host with a space", get_with("/r/jane", "Host: a b\r\n"), 400, Some("host")),
        ("host with a path", get_with("/r/jane", "Host: a/b\r\n"), 400, Some("host")),
        ("host with a user", get_with("/r/jane", "Host: u@a\r\n"), 400, Some("host")),
        ("port out of range", get_with("/r/jane", "Host: a:99999\r\n"), 400, Some("host")),
        ("unknown host", get_with("/r/jane", "Host: evil.example\r\n"), 404, Some("host")),
        ("absolute target elsewhere", get("http://evil.example/r/jane"), 404, Some("host")),
        // Methods.
        ("POST to a link", method("POST", "/r/jane"), 405, None),
        ("DELETE of a link", method("DELETE", "/r/jane"), 405, None),
        ("TRACE", method("TRACE", "/r/jane"), 405, None),
        ("lower-case method", method("get", "/r/jane"), 405, None),
        ("POST to a pixel", method("POST", "/pixel/shop.gif"), 405, None),
        ("GET of events", get("/v1/events/lead"), 405, None),
        ("PUT of events", method("PUT", "/v1/events/lead"), 405, None),
        ("CONNECT", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(), 404, None),
        // HTTP itself.
        ("not HTTP", b"hello\r\n\r\n".to_vec(), 400, None),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400, None),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), CLOSED, None),
        ("unknown version", b"GET /r/jane HTTP/9.9\r\nHost: a\r\n\r\n".to_vec(), 400, None),
        ("space in the target", b"GET /r/ja ne HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, None),
        ("NUL in the target", b"GET /r/\0 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, None),
        ("header without a colon", get_with("/r/jane", "Host: a\r\nNonsense\r\n"), 400, None),
        ("space in a header's name", get_with("/r/jane", "Host: a\r\nX Y: 1\r\n"), 400, None),
        ("bare CR in a header", get_with("/r/jane", "Host: a\r\nX: 1\rSet-Cookie: a=b\r\n"), 400, None),
        ("NUL in a header", get_with("/r/jane", "Host: a\r\nX: \0\r\n"), 400, None),
        ("folded header", get_with("/r/jane", "Host: a\r\n X: 1\r\n"), 400, None),
        (
            "header too large",
            get_with("/r/jane", &format!("Host: a\r\nX: {}\r\n", "x".repeat(70_000))),
            431,
            None,
        ),
        (
            "too many headers",
            get_with("/r/jane", &format!("Host: a\r\n{}", "X: 1\r\n".repeat(200))),
            431,
            None,
        ),
        ("target too large", get(&format!("/r/jane?{}", "x".repeat(70_000))), 431, None),
        (
            "two lengths",
            with_key("lead", &format!("{json}Content-Length: 2\r\nContent-Length: 3\r\n"), "{}"),
            400,
            None,
        ),
        ("length of words", with_key("lead", &format!("{json}Content-Length: two\r\n"), "{}"), 400, None),
        ("negative length", with_key("lead", &format!("{json}Content-Length: -1\r\n"), "{}"), 400, None),
        (
            "huge length",
            with_key("lead", &format!("{json}Content-Length: 99999999999999999999\r\n"), "{}"),
            400,
            None,
        ),
        ("unknown coding", with_key("lead", &format!("{json}Transfer-Encoding: gzip\r\n"), "{}"), 400, None),
        (
            "chunk without a size",
            with_key("lead", &format!("{json}Transfer-Encoding: chunked\r\n"), "zz\r\n{}\r\n"),
            400,
            Some("body"),
        ),
        // Bodies.
        ("no body", with_key("lead", json, ""), 400, Some("body")),
        (
            "body too large",
            with_key("lead", &format!("{json}Content-Length: 70000\r\n"), ""),
            413,
            Some("body"),
        ),
        ("no media type", with_key("lead", "Content-Length: 2\r\n", "{}"), 415, Some("content-type")),
        (
            "form",
            with_key(
                "lead",
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 2\r\n",
                "{}",
            ),
            415,
            Some("content-type"),
        ),
        (
            "other charset",
            with_key("lead", "Content-Type: application/json; charset=latin1\r\nContent-Length: 2\r\n", "{}"),
            415,
            Some("content-type"),
        ),
        (
            "gzip",
            with_key("lead", &format!("{json}Content-Encoding: gzip\r\nContent-Length: 2\r\n"), "{}"),
            415,
            Some("content-type"),
        ),
        ("no UTF-8 in the body", event_bytes("lead", b"{\"external_id\": \"\xff\"}"), 400, Some("body")),
        ("UTF-16", event_bytes("lead", b"\xff\xfe{\0}\0"), 400, Some("body")),
        ("byte order mark", event_bytes("lead", b"\xef\xbb\xbf{}"), 400, Some("body")),
        ("cut-off JSON", event("lead", "{\"external_id\": \"o"), 400, Some("body")),
        ("text after JSON", event("lead", "{} x"), 400, Some("body")),
        ("not JSON", event("lead", "external_id=1"), 400, Some("body")),
        ("single quotes", event("lead", "{'a': 1}"), 400, Some("body")),
        ("a number", event("lead", "5"), 400, Some("body")),
        ("null", event("lead", "null"), 400, Some("body")),
        ("a string", event("lead", "\"x\""), 400, Some("body")),
        ("an empty array", event("lead", "[]"), 400, Some("body")),
        ("arrays in an array", event("lead", "[[{}]]"), 400, Some("body")),
        ("a name twice", event("lead", "{\"amount\": 1, \"amount\": 2}"), 400, Some("body")),
        ("thousands of levels", event("lead", &deep), 400, Some("body")),
        ("hundreds of levels", event("lead", &nested), 400, Some("meta_data")),
        ("hundreds of names", event("lead", &many), 400, Some("body")),
        // Fields.
        ("unknown field", event("lead", "{\"ammount\": 1}"), 400, Some("ammount")),
        ("amount of true", event("lead", "{\"amount\": true}"), 400, Some("amount")),
        ("amount of NaN", event("lead", "{\"amount\": \"NaN\"}"), 400, Some("amount")),
        ("bare NaN", event("lead", "{\"amount\": NaN}"), 400, Some("body")),
        ("amount of infinity", event("lead", "{\"amount\": \"Infinity\"}"), 400, Some("amount")),
        ("amount of hex", event("lead", "{\"amount\": \"0x10\"}"), 400, Some("amount")),
        ("amount with a comma", event("lead", "{\"amount\": \"1,50\"}"), 400, Some("amount")),
        ("amount of a list", event("lead", "{\"amount\": [1]}"), 400, Some("amount")),
        ("huge exponent", event("lead", "{\"amount\": 1e999999999}"), 400, Some("amount")),
        (
            "too many digits",
            event("lead", &format!("{{\"amount\": {}}}", "9".repeat(1000))),
            400,
            Some("amount"),
        ),
        ("currency of words", event("lead", "{\"currency\": \"dollar\"}"), 400, Some("currency")),
        ("currency of a number", event("lead", "{\"currency\": 840}"), 400, Some("currency")),
        ("id of a number", event("lead", "{\"external_id\": 5}"), 400, Some("external_id")),
        ("id of nothing", event("lead", "{\"external_id\": \"\"}"), 400, Some("external_id")),
        ("id too long", event("lead", &long_id), 400, Some("external_id")),
        ("id with NUL", event("lead", "{\"external_id\": \"a\\u0000\"}"), 400, Some("external_id")),
        ("id with CRLF", event("lead", "{\"external_id\": \"a\\r\\nX: 1\"}"), 400, Some("external_id")),
        ("half a surrogate", event("lead", "{\"external_id\": \"\\ud800\"}"), 400, Some("external_id")),
        ("program that is no slug", event("lead", "{\"program\": \"../x\"}"), 400, Some("program")),
        ("code that is none", event("lead", "{\"referral_code\": \"a b\"}"), 400, Some("referral_code")),
        (
            "click id too long",
            event("lead", &format!("{{\"click_id\": \"{}\"}}", "a".repeat(52))),
            400,
            Some("click_id"),
        ),
        ("time of words", event("lead", "{\"occurred_at\": \"yesterday\"}"), 400, Some("occurred_at")),
        ("time of a number", event("lead", "{\"occurred_at\": 1700000000}"), 400, Some("occurred_at")),
        (
            "time that is none",
            event("lead", "{\"occurred_at\": \"2026-02-30T00:00:00Z\"}"),
            400,
            Some("occurred_at"),
        ),
        ("parts that are none", event("lead", "{\"commissions\": {}}"), 400, Some("commissions")),
        (
            "part without an amount",
            event("lead", "{\"commissions\": [{}]}"),
            400,
            Some("commissions[0].sub_amount"),
        ),
        ("too many parts", event("lead", &parts), 400, Some("commissions")),
        ("meta data of a list", event("lead", "{\"meta_data\": []}"), 400, Some("meta_data")),
        (
            "meta data too large",
            event("lead", &format!("{{\"meta_data\": {{\"a\": \"{}\"}}}}", "x".repeat(9000))),
            400,
            Some("meta_data"),
        ),
        ("sub id of an object", event("lead", "{\"sub3\": {}}"), 400, Some("sub3")),
        ("refund of nothing", event("refund", "{}"), 400, Some("conversion_id")),
        (
            "refund without a program",
            event("refund", "{\"conversion_external_id\": \"o\"}"),
            400,
            Some("program"),
        ),
        ("refund of no id", event("refund", "{\"conversion_id\": \"1 OR 1=1\"}"), 400, Some("conversion_id")),
        ("click without a code", event("click", "{}"), 400, Some("referral_code")),
        (
            "click of an unknown code",
            event("click", "{\"referral_code\": \"nobody\"}"),
            400,
            Some("referral_code"),
        ),
        (
            "click from nowhere",
            event("click", "{\"referral_code\": \"jane\", \"ip\": \"300.1.1.1\"}"),
            400,
            Some("ip"),
        ),
        // Keys.
        ("no key", method("POST", "/v1/events/lead"), 401, Some("authorization")),
        ("key too long", with_long_key(), 401, Some("authorization")),
        (
            "two keys",
            with_key("lead", &format!("{json}Api-Key: other\r\nContent-Length: 2\r\n"), "{}"),
            400,
            Some("authorization"),
        ),
    ];
    for (what, value) in [("empty idempotency key", ""), ("idempotency key beyond ASCII", "ä")] {
        let headers = format!("{json}Idempotency-Key: {value}\r\nContent-Length: 2\r\n");
        cases.push((what, with_key("lead", &headers, "{}"), 400, Some("idempotency-key")));
    }
    let headers = format!("{json}Idempotency-Key: {}\r\nContent-Length: 2\r\n", "k".repeat(256));
    cases.push(("idempotency key too long", with_key("lead", &headers, "{}"), 400, Some("idempotency-key")));
    cases
}

fn with_long_key() -> Vec<u8> {
    format!(
        "POST /v1/events/lead HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}",
        "k".repeat(5000)
    )
    .into_bytes()
}

#[tokio::test]
async fn malformed_requests_get_their_status() {
    let edge = Edge::start();
    let cases = cases();
    assert!(cases.len() >= 60);
    println!("{:<32} {:>6}  field", "malformed request", "status");
    for (what, request, status, field) in &cases {
        let answer = edge.raw(request).await;
        if *status == CLOSED {
            println!("{what:<32} closed");
            assert!(answer.is_empty(), "{what}");
            continue;
        }
        let reply = Reply::read(&answer);
        println!("{what:<32} {:>6}  {}", reply.status, field.unwrap_or_default());
        assert_eq!(reply.status, *status, "{what}: {}", String::from_utf8_lossy(&answer));
        assert_eq!(reply.header("set-cookie"), None, "{what}");
        // hyper refuses what is no HTTP before there is a request to answer.
        if let Some(field) = field {
            assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what}");
            let problem = reply.json();
            assert_eq!(problem["field"], *field, "{what}: {problem}");
            assert_eq!(problem["status"], *status, "{what}");
            assert!(!problem["detail"].as_str().unwrap().is_empty());
        }
    }
    println!("{} malformed requests, none above 4xx", cases.len());
    assert_eq!(edge.sink.records().len(), 0);
    assert_eq!(edge.get("/r/jane", &[]).await.status, 302);
    assert_eq!(edge.events(1).await[0].origin.n, 1);
}

/// A body that ends too early: the client closes its half and waits.
#[tokio::test]
async fn cut_off_bodies_are_no_events() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut settings = settings();
    settings.body_read_timeout_ms = 300;
    let edge = Edge::start_with(settings);
    for framing in
        ["Content-Length: 100\r\n\r\n{\"external_id\"", "Transfer-Encoding: chunked\r\n\r\n5\r\n{}"]
    {
        let request = with_key("lead", &format!("Content-Type: application/json\r\n{framing}"), "");
        let request = &request[..request.len() - 2];
        let mut stream = tokio::net::TcpStream::connect(edge.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(crate::support::DEADLINE, stream.read_to_end(&mut answer)).await;
        let _ = read.expect("the edge has to close");
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(edge.sink.records().len(), 0);
    assert_eq!(edge.get("/r/jane", &[]).await.status, 302);
}
