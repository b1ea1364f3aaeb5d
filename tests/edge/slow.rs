//! Clients that hold on to a connection, and too many of them.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{DEADLINE, Edge, HOST, Reply, settings};

fn strict() -> Edge {
    let mut settings = settings();
    settings.header_read_timeout_ms = 300;
    settings.body_read_timeout_ms = 300;
    Edge::start_with(settings)
}

/// With time for heads, where they are not the point.
fn strict_with_bodies() -> Edge {
    let mut settings = settings();
    settings.body_read_timeout_ms = 300;
    Edge::start_with(settings)
}

/// Writes `drip` again and again until the edge closes; says what it answered and how long it took.
async fn drip(edge: &Edge, first: &str, drip: &str) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let (mut read, mut write) = TcpStream::connect(edge.address).await.unwrap().into_split();
    write.write_all(first.as_bytes()).await.unwrap();
    let drip = drip.to_owned();
    let dripping = tokio::spawn(async move {
        while write.write_all(drip.as_bytes()).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, read.read_to_end(&mut answer)).await.expect("the edge has to cut this");
    let took = begun.elapsed();
    dripping.abort();
    (answer, took)
}

#[tokio::test]
async fn a_slow_head_is_cut() {
    let edge = strict();
    for (first, more) in
        [("", ""), ("G", ""), ("GET /r/jane HTTP/1.1\r\n", "X-Drip: 1\r\n"), ("GET /r/", "a")]
    {
        let (answer, took) = drip(&edge, first, more).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{first:?}");
        assert!((250..5_000).contains(&took.as_millis()), "{first:?}: {took:?}");
    }
    edge.metric_is("waypost_edge_connections_total{outcome=\"cut\"}", 4).await;
}

#[tokio::test]
async fn a_slow_body_is_cut_with_an_answer() {
    let edge = strict_with_bodies();
    let head = "POST /v1/events/lead HTTP/1.1\r\nHost: x\r\nX-Api-Key: sk_demo\r\nContent-Type: application/json\r\n";
    for (framing, more) in [
        ("Content-Length: 1000\r\n\r\n{", " "),
        ("Content-Length: 1000\r\n\r\n", ""),
        ("Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "1\r\n \r\n"),
    ] {
        let (answer, took) = drip(&edge, &format!("{head}{framing}"), more).await;
        let reply = Reply::read(&answer);
        assert_eq!((reply.status, reply.json()["code"].as_str()), (408, Some("body_timeout")), "{framing:?}");
        assert!((250..5_000).contains(&took.as_millis()), "{framing:?}: {took:?}");
    }
    assert_eq!(edge.sink.records().len(), 0);
}

/// A link has no body to wait for: it is answered, and what drips in afterwards is not waited for either.
#[tokio::test]
async fn a_body_that_nobody_wants_holds_nothing() {
    let edge = strict();
    let head = format!("GET /r/jane HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n");
    for more in ["", "x"] {
        let (answer, took) = drip(&edge, &head, more).await;
        assert!(answer.starts_with(b"HTTP/1.1 302"), "{more:?}");
        assert!(took.as_millis() < 5_000, "{more:?}: {took:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_cut() {
    let edge = strict();
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let begun = Instant::now();
    stream.write_all(format!("GET /r/jane HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 302"));
    assert!((250..5_000).contains(&begun.elapsed().as_millis()));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut() {
    let edge = strict();
    let stream = TcpStream::connect(edge.address).await.unwrap();
    let (read, mut write) = stream.into_split();
    let request = format!("GET /r/jane HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(100);
    let writing = async {
        // Ends when the buffers are full both ways and the edge gives up.
        while write.write_all(request.as_bytes()).await.is_ok() {}
    };
    timeout(DEADLINE, writing).await.expect("the edge has to cut this");
    drop(read);
    edge.metric_is("waypost_edge_connections_total{outcome=\"cut\"}", 1).await;
}

#[tokio::test]
async fn connections_are_bounded() {
    let mut settings = settings();
    settings.cores = 1;
    settings.max_connections = 2;
    let edge = Edge::start_with(settings);
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(edge.address).await.unwrap();
        stream.write_all(format!("GET /r/jane HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
        let mut first = [0; 12];
        timeout(DEADLINE, stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"HTTP/1.1 302");
        open.push(stream);
    }
    assert_eq!(edge.metric("waypost_edge_connections"), 2);
    // The third waits in the system's queue until one of the two leaves.
    let mut third = TcpStream::connect(edge.address).await.unwrap();
    third.write_all(format!("GET /r/jane HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let mut first = [0; 12];
    assert!(timeout(Duration::from_millis(200), third.read_exact(&mut first)).await.is_err());
    assert_eq!(edge.metric("waypost_edge_connections_total{outcome=\"full\"}"), 1);
    open.pop();
    timeout(DEADLINE, third.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 302");
}
