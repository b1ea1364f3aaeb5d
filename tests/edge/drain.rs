//! Start and stop.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use waypost::{config::EdgeSettings, edge, events::Body};

use crate::support::{DEADLINE, Edge, HOST, Mode, SECRET_KEY, settings, until};

#[tokio::test]
async fn a_port_in_use_is_told() {
    let edge = Edge::start();
    for cores in [1, 2] {
        let error = edge::bind(edge.address, cores).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
    let address = edge.address;
    edge.stop().await;
    edge::bind(address, 2).unwrap();
}

#[tokio::test]
async fn streams_end_with_their_last_number() {
    let edge = Edge::start();
    for n in 0..20 {
        assert_eq!(edge.get("/r/jane", &[]).await.status, 302);
        let body = format!("{{\"external_id\": \"{n}\"}}");
        assert_eq!(edge.post("lead", SECRET_KEY, &body).await.status, 202);
    }
    let sink = edge.stop().await;
    let mut streams = std::collections::BTreeMap::<String, Vec<(u64, bool)>>::new();
    for event in sink.events() {
        let numbers = streams.entry(event.origin.stream.to_string()).or_default();
        numbers.push((event.origin.n, matches!(event.body, Body::End)));
    }
    assert_eq!(
        streams.keys().collect::<Vec<_>>(),
        ["clicks/0", "clicks/1", "conversions/0", "conversions/1"]
    );
    let mut events = 0;
    for (stream, numbers) in streams {
        let last = numbers.len() as u64;
        let expected: Vec<(u64, bool)> = (1..=last).map(|n| (n, n == last)).collect();
        assert_eq!(numbers, expected, "{stream}");
        events += last - 1;
    }
    assert_eq!(events, 40);
}

#[tokio::test]
async fn while_it_drains_it_serves_and_says_that_it_is_not_ready() {
    let mut settings = settings();
    (settings.drain_delay_ms, settings.drain_timeout_ms) = (15_000, 60_000);
    let drain_delay = Duration::from_millis(settings.drain_delay_ms);
    let edge = Edge::start_with(settings);
    let readiness = edge.handle.readiness();
    assert!(readiness.is_ready());
    let begun = Instant::now();
    edge.shutdown.cancel();
    until(|| !readiness.is_ready()).await;
    assert_eq!(edge.get("/r/jane", &[]).await.status, 302);
    assert_eq!(edge.post("lead", SECRET_KEY, r#"{"external_id": "o"}"#).await.status, 202);
    assert!(begun.elapsed() < drain_delay, "the machine is too slow to tell");
    let address = edge.address;
    let sink = edge.stop().await;
    assert!(begun.elapsed() >= drain_delay);
    assert!(TcpStream::connect(address).await.is_err());
    // Two events and four ends.
    assert_eq!(sink.events().len(), 6);
}

#[tokio::test]
async fn requests_in_flight_are_finished() {
    // Of one core: once one connection is told, all are.
    let edge = Edge::start_with(EdgeSettings { cores: 1, ..settings() });
    edge.sink.set(Mode::Hang);
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let body = r#"{"external_id": "o"}"#;
    let request = format!(
        "POST /v1/events/lead HTTP/1.1\r\nHost: {HOST}\r\nX-Api-Key: {SECRET_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // An idle connection besides, which is closed at once.
    let mut idle = TcpStream::connect(edge.address).await.unwrap();
    idle.write_all(format!("HEAD /nothing HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let mut status = [0; 12];
    timeout(DEADLINE, idle.read_exact(&mut status)).await.unwrap().unwrap();
    assert_eq!(&status, b"HTTP/1.1 404");
    until(|| edge.sink.hanging() == 1).await;
    edge.shutdown.cancel();
    timeout(DEADLINE, idle.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    edge.sink.set(Mode::Store);
    edge.sink.release();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    edge.stop().await;
}

#[tokio::test]
async fn the_hard_timer_bounds_it_all() {
    let mut settings = settings();
    settings.drain_timeout_ms = 300;
    let edge = Edge::start_with(settings);
    edge.sink.set(Mode::Hang);
    for _ in 0..5 {
        assert_eq!(edge.get("/r/jane", &[]).await.status, 302);
    }
    let mut stuck = TcpStream::connect(edge.address).await.unwrap();
    stuck.write_all(b"GET /r/jane HT").await.unwrap();
    until(|| edge.sink.hanging() > 0).await;
    let Edge { handle, shutdown, sink, .. } = &edge;
    let _ = handle;
    let begun = Instant::now();
    shutdown.cancel();
    until(|| edge.metric("waypost_edge_clicks_lost_total") == 5).await;
    let took = begun.elapsed();
    assert!((300..5_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(sink.events().len(), 0);
    edge.stop().await;
}
