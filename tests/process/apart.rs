//! `edge`, `settle` and `api` as processes of their own on one data folder.

use std::fs;

use reqwest::StatusCode;
use rusqlite::Connection;
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use waypost::{store::entities::conversion, stream::spool::inspect};

use crate::{
    folder::{ANY, Folder},
    running::{Waypost, client, eventually, follow, report},
};

const EDGE: &[&str] = &[
    "edge",
    "--listen",
    ANY,
    "--set",
    "edge.default_account=demo",
    "--set",
    "edge.trusted_proxies=[\"127.0.0.0/8\"]",
    "--set",
    "edge.drain_delay_ms=0",
];
const SETTLE: &[&str] = &["settle"];
const API: &[&str] = &["api", "--listen", ANY];

/// A folder with the demo, and its secret key.
async fn with_demo() -> (Folder, String) {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let key = waypost.at.secret_key.clone().unwrap();
    waypost.stop().await;
    (folder, key)
}

/// An order with a click of its own.
async fn buy(edge: &Waypost, key: &str, order: &str) {
    let client = client();
    let token = follow(&client, &edge.at.edge, "jane", 7).await.unwrap().unwrap().token;
    let event = json!({"program": "demo-shop", "external_id": order, "amount": "50.00", "click_id": token});
    let answer = report(&client, &edge.at.edge, key, "conversion", &event).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

async fn orders(folder: &Folder, expected: usize) {
    let store = folder.store().await;
    eventually("orders to settle", async || {
        let rows = conversion::Entity::find().all(store.reader()).await.unwrap();
        assert!(rows.len() <= expected, "{rows:?}");
        (rows.iter().filter(|row| row.status == "settled").count() == expected).then_some(())
    })
    .await;
}

async fn get(api: &Waypost, key: &str, path: &str) -> Value {
    let answer = client().get(format!("{}{path}", api.at.api)).bearer_auth(key).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.json().await.unwrap()
}

#[tokio::test]
async fn three_processes_do_what_one_does() {
    let (folder, key) = with_demo().await;
    let edge = folder.start(EDGE).await;
    let settle = folder.start(SETTLE).await;
    let api = folder.start(API).await;
    buy(&edge, &key, "one").await;
    orders(&folder, 1).await;

    let commissions = get(&api, &key, "/v1/commissions").await;
    assert_eq!(commissions["data"].as_array().unwrap().len(), 1, "{commissions}");
    assert_eq!(commissions["data"][0]["amount"], "5.00", "{commissions}");
    // A link that the API makes works at the edge.
    let link = json!({"program": "demo-shop", "affiliate": "jane", "code": "from-the-api"});
    let links = format!("{}/v1/links", api.at.api);
    let made = client().post(links).bearer_auth(&key).json(&link).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let client = client();
    eventually("the link to work", async || {
        follow(&client, &edge.at.edge, "from-the-api", 8).await.unwrap().ok()
    })
    .await;

    for process in [&edge, &settle, &api] {
        assert_eq!(process.admin("/readyz").await.0, StatusCode::OK);
        assert_eq!(process.admin("/healthz").await.0, StatusCode::OK);
    }
    // The edge first, then what reads its events.
    edge.stop().await;
    folder.settled().await;
    settle.stop().await;
    api.stop().await;
    let report = folder.ok(&["reconcile"]);
    assert!(!report.contains("no marker of its end"), "{report}");
    folder.assert_adds_up();
    folder.assert_log_is_discreet();
}

#[tokio::test]
async fn an_edge_goes_on_without_settlement() {
    let (folder, key) = with_demo().await;
    let edge = folder.start(EDGE).await;
    let mut settle = folder.start(SETTLE).await;
    buy(&edge, &key, "settled").await;
    orders(&folder, 1).await;
    settle.kill();

    for number in 0..20 {
        buy(&edge, &key, &format!("waiting-{number}")).await;
    }
    assert_eq!(edge.admin("/readyz").await.0, StatusCode::OK);
    let kept = inspect(&folder.data().join("spool.db")).unwrap();
    let waiting: i64 = kept.iter().map(|topic| topic.next_offset - topic.consumed).sum();
    assert!(waiting >= 20, "the log keeps what nobody has read: {kept:?}");
    folder.ok(&[
        "link",
        "add",
        "--account",
        "demo",
        "--program",
        "demo-shop",
        "--affiliate",
        "jane",
        "--code",
        "new",
    ]);
    let client = client();
    eventually("the link to work", async || follow(&client, &edge.at.edge, "new", 9).await.unwrap().ok())
        .await;
    edge.stop().await;
    orders(&folder, 1).await;

    // Settlement alone, with nobody writing: it reads the rest, and stops when told to.
    let settle = folder.start(SETTLE).await;
    orders(&folder, 21).await;
    folder.settled().await;
    settle.stop().await;
    folder.assert_adds_up();
}

#[tokio::test]
async fn settlement_may_come_first() {
    let (folder, key) = with_demo().await;
    for file in ["spool.db", "spool.db-wal", "spool.db-shm"] {
        let _ = std::fs::remove_file(folder.data().join(file));
    }
    let settle = folder.start(SETTLE).await;
    let edge = folder.start(EDGE).await;
    buy(&edge, &key, "one").await;
    orders(&folder, 1).await;
    edge.stop().await;
    settle.stop().await;
    folder.assert_adds_up();

    // And may go again when there never was an edge.
    let folder = Folder::new();
    let settle = folder.start(SETTLE).await;
    assert!(settle.admin("/metrics").await.1.contains("waypost_settlement_stalled{topic=\"clicks\"} 0"));
    settle.stop().await;
}

#[tokio::test]
async fn each_role_is_held_once() {
    let (folder, _) = with_demo().await;
    let running = [folder.start(EDGE).await, folder.start(SETTLE).await, folder.start(API).await];
    for (role, process) in [EDGE, SETTLE, API].into_iter().zip(&running) {
        let ended = folder.run(&[role, &["--admin-listen", ANY]].concat());
        assert_eq!(ended.code, 75, "{ended:?}");
        let holder = format!("process {}, `", process.id());
        assert!(
            ended.err.contains(&holder) && ended.err.contains(&format!("runs its {}", role[0])),
            "{ended:?}"
        );
    }
    let dev = folder.run(&["dev", "--edge-listen", ANY, "--api-listen", ANY, "--admin-listen", ANY]);
    assert_eq!(dev.code, 75, "{dev:?}");
    for process in running {
        process.stop().await;
    }
}

/// Until settlement of conversions says whether it cannot go on.
async fn stalled(settle: &Waypost, value: u8) {
    let series = format!("waypost_settlement_stalled{{topic=\"conversions\"}} {value}\n");
    eventually("settlement to say so", async || {
        settle.admin("/metrics").await.1.contains(&series).then_some(())
    })
    .await;
}

/// What is damaged stops settlement until somebody has saved the rest, which takes effect.
#[tokio::test]
async fn a_log_that_is_damaged_is_rescued_by_hand() {
    let (folder, key) = with_demo().await;
    let edge = folder.start(EDGE).await;
    for number in 0..4 {
        buy(&edge, &key, &format!("order-{number}")).await;
    }
    edge.stop().await;
    // Each order was answered, so each is a batch; the second can no longer be read.
    let spool = folder.data().join("spool.db");
    let connection = Connection::open(&spool).unwrap();
    let damage = "UPDATE batch_conversions SET frame = substr(frame, 1, 60) WHERE first_offset = \
                  (SELECT first_offset FROM batch_conversions ORDER BY first_offset LIMIT 1 OFFSET 1)";
    assert_eq!(connection.execute(damage, []).unwrap(), 1);
    drop(connection);

    let settle = folder.start(SETTLE).await;
    orders(&folder, 1).await;
    stalled(&settle, 1).await;
    settle.stop().await;
    let aside = folder.beside("damaged.db");
    for suffix in ["", "-wal", "-shm"] {
        let part = folder.data().join(format!("spool.db{suffix}"));
        if part.exists() {
            fs::rename(part, folder.beside(&format!("damaged.db{suffix}"))).unwrap();
        }
    }
    let rescue = folder.run(&["spool", "rescue", aside.to_str().unwrap()]);
    assert_eq!(rescue.code, 1, "{rescue:?}");
    assert!(rescue.out.contains("waypost.conversions.v1: 1 events are lost"), "{rescue:?}");

    // The log is another one now, and is read from its beginning.
    let settle = folder.start(SETTLE).await;
    orders(&folder, 3).await;
    folder.settled().await;
    settle.stop().await;
    // What is gone is told by its number.
    let sums: Value = serde_json::from_str(&folder.ok(&["reconcile", "--json"])).unwrap();
    let gaps: usize =
        sums["streams"].as_array().unwrap().iter().map(|s| s["gaps"].as_array().unwrap().len()).sum();
    assert_eq!(gaps, 1, "{sums}");
    folder.assert_adds_up();
}
