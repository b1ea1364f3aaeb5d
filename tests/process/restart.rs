//! `waypost dev` goes on where it was, whether it was stopped or killed; and it stops in good order.

use std::time::Duration;

use reqwest::StatusCode;
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use waypost::store::entities::conversion;

use crate::{
    folder::{ANY, Folder},
    running::{Waypost, client, eventually},
};

fn order(id: &str, token: &str) -> Value {
    json!({"program": "demo-shop", "external_id": id, "amount": "50.00", "click_id": token})
}

async fn settled(folder: &Folder, orders: usize) {
    let store = folder.store().await;
    eventually("orders to settle", async || {
        let rows = conversion::Entity::find().all(store.reader()).await.unwrap();
        assert!(rows.len() <= orders, "{rows:?}");
        (rows.iter().filter(|row| row.status == "settled").count() == orders).then_some(())
    })
    .await;
}

#[tokio::test]
async fn goes_on_where_it_was() {
    let folder = Folder::new();
    let first = folder.dev().await;
    let (keys, pages) =
        ((first.at.secret_key.clone(), first.at.publishable_key.clone()), first.at.api.clone());
    let followed = first.follow("jane").await;
    assert!(followed.location.starts_with(&format!("{pages}/demo?ref=jane&click_id=")), "{followed:?}");
    first.accepted("conversion", &order("before", &followed.token)).await;
    first.stop().await;
    folder.assert_adds_up();

    let mut second = folder.dev().await;
    assert_eq!((&second.at.secret_key, &second.at.publishable_key), (&keys.0, &keys.1));
    assert_ne!(second.at.api, pages);
    let again = second.follow("jane").await;
    assert!(
        again.location.starts_with(&format!("{}/demo?", second.at.api)),
        "the program follows: {again:?}"
    );
    // A click of the process before proves itself in this one.
    second.accepted("conversion", &order("after a stop", &followed.token)).await;
    second.kill();

    let third = folder.dev().await;
    assert_eq!((&third.at.secret_key, &third.at.publishable_key), (&keys.0, &keys.1));
    third.accepted("conversion", &order("after a kill", &again.token)).await;
    settled(&folder, 3).await;
    third.stop().await;
    folder.assert_adds_up();
    folder.assert_log_is_discreet();

    // The two that were stopped say that they had ended, the one that was killed cannot.
    let report: Value = serde_json::from_str(&folder.ok(&["reconcile", "--json"])).unwrap();
    let mut ended = std::collections::BTreeMap::<String, bool>::new();
    for stream in report["streams"].as_array().unwrap() {
        let boot = ended.entry(stream["boot"].as_str().unwrap().to_owned()).or_insert(true);
        *boot &= stream["ended"].as_bool().unwrap();
    }
    assert_eq!(ended.into_values().collect::<Vec<_>>(), [true, false, true], "{report}");
}

#[tokio::test]
async fn a_program_that_was_sent_elsewhere_stays_there() {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let elsewhere = json!({"destination": "https://shop.example/"});
    let answer = client()
        .patch(format!("{}/v1/programs/demo-shop", waypost.at.api))
        .bearer_auth(waypost.at.secret_key.as_deref().unwrap())
        .json(&elsewhere)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    waypost.stop().await;
    let waypost = folder.dev().await;
    assert!(waypost.follow("jane").await.location.starts_with("https://shop.example/?"));
    waypost.stop().await;
    folder.assert_adds_up();
}

/// A report whose body is not complete yet.
async fn begin_report(waypost: &Waypost, event: &Value) -> (TcpStream, String) {
    let body = event.to_string();
    let mut stream = TcpStream::connect(waypost.at.edge.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /v1/events/conversion HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: \
         application/json\r\ncontent-length: {}\r\n\r\n",
        waypost.at.secret_key.as_deref().unwrap(),
        body.len()
    );
    let (now, later) = body.split_at(10);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(now.as_bytes()).await.unwrap();
    (stream, later.to_owned())
}

#[tokio::test]
async fn a_stop_finishes_what_has_begun() {
    const DRAIN_DELAY: Duration = Duration::from_secs(15);
    let folder = Folder::new();
    let delay = format!("edge.drain_delay_ms={}", DRAIN_DELAY.as_millis());
    let mut arguments = vec!["dev", "--edge-listen", ANY, "--api-listen", ANY];
    // Nothing but the delay ends what is asked here.
    for setting in [&*delay, "edge.drain_timeout_ms=120000", "edge.body_read_timeout_ms=120000"] {
        arguments.extend(["--set", setting]);
    }
    let mut waypost = folder.start(&arguments).await;
    let token = waypost.follow("jane").await.token;
    assert_eq!(waypost.admin("/readyz").await.0, StatusCode::OK);
    let (mut in_flight, rest) = begin_report(&waypost, &order("in flight", &token)).await;

    let told = Instant::now();
    waypost.terminate();
    let not_ready = eventually("readiness to go", async || {
        let (status, text) = waypost.admin("/readyz").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(text)
    })
    .await;
    assert!(not_ready.contains("not_draining"), "{not_ready}");
    assert_eq!(waypost.admin("/healthz").await.0, StatusCode::OK);
    // Whoever has not heard of it yet is still served.
    waypost.accepted("conversion", &order("during the drain", &token)).await;
    assert!(told.elapsed() < DRAIN_DELAY, "this machine is too slow to see the drain delay");

    let edge = waypost.at.edge.trim_start_matches("http://").to_owned();
    eventually("the listener to close", async || TcpStream::connect(&edge).await.is_err().then_some(()))
        .await;
    assert!(told.elapsed() >= DRAIN_DELAY);
    // The connection is open although nobody can connect any more.
    in_flight.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    in_flight.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");

    assert_eq!(waypost.ended().await, 0);
    settled(&folder, 2).await;
    let report = folder.ok(&["reconcile"]);
    assert!(!report.contains("no marker of its end"), "{report}");
    folder.assert_adds_up();
    folder.assert_log_is_discreet();
}

#[tokio::test]
async fn who_never_finishes_is_cut_when_the_time_is_over() {
    let folder = Folder::new();
    let timeout = ["--set", "edge.drain_timeout_ms=1500"];
    let mut waypost =
        folder.start(&[&["dev", "--edge-listen", ANY, "--api-listen", ANY][..], &timeout].concat()).await;
    let token = waypost.follow("jane").await.token;
    let (mut in_flight, _) = begin_report(&waypost, &order("never", &token)).await;
    waypost.accepted("conversion", &order("done", &token)).await;
    let told = Instant::now();
    waypost.terminate();
    assert_eq!(waypost.ended().await, 0);
    // A quarter of the time is kept for what has to be written down behind the connections.
    assert!(told.elapsed() >= Duration::from_millis(1_125), "it was given its time: {:?}", told.elapsed());
    assert!(told.elapsed() < Duration::from_secs(20), "and not more: {:?}", told.elapsed());
    let mut answer = String::new();
    let _ = in_flight.read_to_string(&mut answer).await;
    assert!(!answer.contains(" 202 "), "{answer}");
    settled(&folder, 1).await;
    folder.assert_adds_up();
}
