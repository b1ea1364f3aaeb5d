//! Whatever is changed behind the ledger's back is found by one of the three proofs, which says what it is.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rusqlite::Connection;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::folder::Folder;

/// A store with a bit of everything, in which all adds up.
async fn healthy() -> Folder {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let order = |id: &str, token: Option<&str>| json!({"program": "demo-shop", "external_id": id, "amount": "50.00", "click_id": token});
    for id in ["one", "two"] {
        let token = waypost.follow("jane").await.token;
        for _ in 0..2 {
            waypost.accepted("conversion", &order(id, Some(&token))).await;
        }
    }
    waypost.accepted("conversion", &order("three", None)).await;
    let refund = json!({"program": "demo-shop", "conversion_external_id": "two", "amount": "10.00"});
    waypost.accepted("refund", &refund).await;
    folder.settled().await;
    waypost.stop().await;
    folder.assert_adds_up();
    folder
}

fn change(store: &Path, sql: &str) {
    let connection = Connection::open(store).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    let changed = connection.execute(sql, []).unwrap();
    assert_eq!(changed, 1, "{sql}");
}

const RECONCILE: &[&str] = &["reconcile"];
const VERIFY: &[&str] = &["ledger", "verify"];
const REPLAY: &[&str] = &["replay"];

#[tokio::test]
async fn every_change_behind_the_ledger_is_found_and_told() {
    let folder = healthy().await;
    /// What is done, and who has to find it with which words.
    type Case<'a> = (&'a str, &'a [(&'a [&'a str], &'a [&'a str])]);
    let cases: &[Case<'_>] = &[
        (
            "UPDATE balances SET amount = amount + 1 WHERE ledger_account = 'accrued'",
            &[
                (VERIFY, &["accrued in USD is kept as -899, its postings add up to -900"]),
                (REPLAY, &["DIFFERENCE  balance", "amount: -899", "amount: -900"]),
            ],
        ),
        (
            "DELETE FROM balances WHERE ledger_account = 'expense'",
            &[
                (VERIFY, &["expense in USD is kept as 0, its postings add up to 900"]),
                (REPLAY, &["DIFFERENCE  balance", "follows from the journal and is not stored"]),
            ],
        ),
        (
            "DELETE FROM postings WHERE rowid = (SELECT max(rowid) FROM postings)",
            &[
                (VERIFY, &["the postings in USD add up to", "not 0", "is kept as"]),
                (REPLAY, &["DIFFERENCE  posting", "follows from the journal and is not stored"]),
            ],
        ),
        (
            "UPDATE postings SET amount = amount * 2 WHERE rowid = (SELECT min(rowid) FROM postings)",
            &[(VERIFY, &["the postings in USD add up to"]), (REPLAY, &["DIFFERENCE  posting"])],
        ),
        (
            "UPDATE commission_lines SET amount = 501 WHERE amount = 500",
            &[
                (VERIFY, &["the line comes to 501 accrued in USD (minor units), its postings to 500"]),
                (REPLAY, &["DIFFERENCE  commission line", "amount: 501", "amount: 500"]),
            ],
        ),
        (
            "UPDATE commission_lines SET status = 'approved' WHERE amount = 500",
            &[
                (VERIFY, &["the line comes to 500 payable in USD (minor units), its postings to 0"]),
                (REPLAY, &["DIFFERENCE  commission line", "approved"]),
            ],
        ),
        (
            "DELETE FROM commission_lines WHERE amount = 500",
            &[
                (VERIFY, &["2 postings belong to lines that are not stored"]),
                (REPLAY, &["DIFFERENCE  commission line"]),
            ],
        ),
        (
            "UPDATE conversions SET amount = 1 WHERE external_id = 'one'",
            &[(REPLAY, &["DIFFERENCE  conversion", "amount: 1,", "amount: 5000"])],
        ),
        (
            "DELETE FROM conversions WHERE external_id = 'one'",
            &[
                (RECONCILE, &["events ended as settled, the store has"]),
                (REPLAY, &["DIFFERENCE  conversion", "follows from the journal and is not stored"]),
            ],
        ),
        (
            "DELETE FROM refunds",
            &[(RECONCILE, &["events ended as settled, the store has"]), (REPLAY, &["DIFFERENCE  refund"])],
        ),
        (
            "DELETE FROM rejected_events",
            &[(RECONCILE, &["1 events ended as rejected, the store has 0 rows of them"])],
        ),
        (
            "DELETE FROM stream_outcomes WHERE rowid = (SELECT min(rowid) FROM stream_outcomes WHERE outcome = 'stored')",
            &[(RECONCILE, &["clicks/", "events were seen", "have an outcome"])],
        ),
        (
            "UPDATE stream_outcomes SET events = events + 1 WHERE outcome = 'rejected'",
            &[(RECONCILE, &["conversions/", "events were seen", "ended as rejected"])],
        ),
        (
            "DELETE FROM seen_ranges WHERE rowid = (SELECT min(rowid) FROM seen_ranges)",
            &[(RECONCILE, &["0 events were seen"])],
        ),
        (
            "UPDATE click_rollups SET clicks = clicks - 1 WHERE rowid = (SELECT min(rowid) FROM click_rollups)",
            &[(RECONCILE, &["2 clicks were stored, 1 are counted per day"])],
        ),
        (
            "DELETE FROM clicks WHERE id = (SELECT min(id) FROM clicks)",
            &[(RECONCILE, &["1 clicks are stored of", "2 are counted"])],
        ),
        (
            "DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)",
            &[(REPLAY, &["DIFFERENCE  refund", "is stored and does not follow from the journal"])],
        ),
        (
            "UPDATE journal SET command = replace(command, '\"50.00\"', '\"60.00\"') \
             WHERE command LIKE '%\"external_id\":\"one\"%'",
            &[(REPLAY, &["DIFFERENCE  conversion", "amount: 6000"])],
        ),
    ];
    for (sql, found_by) in cases {
        let damaged = Folder::copy_of(&folder);
        change(&damaged.data().join("store.db"), sql);
        for proof in [RECONCILE, VERIFY, REPLAY] {
            let ended = damaged.run(proof);
            let words = found_by.iter().find(|(by, _)| *by == proof).map(|(_, words)| *words);
            match words {
                None => assert_eq!(ended.code, 0, "{sql}: {proof:?} finds what it should not: {ended:?}"),
                Some(words) => {
                    assert_eq!(ended.code, 1, "{sql}: {proof:?} does not find it: {ended:?}");
                    for text in words {
                        assert!(
                            ended.out.contains(text),
                            "{sql}: {proof:?} does not say {text:?}: {}",
                            ended.out
                        );
                    }
                    assert!(!ended.err.is_empty(), "{sql}: {proof:?} ends without a word");
                }
            }
        }
    }
    folder.assert_adds_up();
    let left = fs::read_dir(folder.data()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(
        left.into_iter().all(|name| !name.to_string_lossy().starts_with("replay")),
        "replays are cleaned up"
    );
}

#[tokio::test]
async fn reconcile_tells_machines_the_same() {
    let folder = healthy().await;
    let report: serde_json::Value = serde_json::from_str(&folder.ok(&["reconcile", "--json"])).unwrap();
    assert_eq!(report["differences"], json!([]));
    let streams = report["streams"].as_array().unwrap();
    assert!(streams.iter().all(|stream| stream["ended"] == true && stream["gaps"] == json!([])), "{report}");
    let seen: i64 = streams.iter().map(|stream| stream["seen"].as_i64().unwrap()).sum();
    let markers: usize = streams.len();
    assert_eq!(seen, 2 + 6 + i64::try_from(markers).unwrap(), "clicks, reports and one marker per stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proofs_hold_while_work_goes_on() {
    const PROOFS: usize = 2;
    let folder = Folder::new();
    let waypost = Arc::new(folder.dev().await);
    let token = waypost.follow("jane").await.token;
    let (stop, sent) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let work = {
        let (waypost, stop, sent) = (waypost.clone(), stop.clone(), sent.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                let id = format!("order-{}", sent.load(Ordering::Relaxed));
                let event =
                    json!({"program": "demo-shop", "external_id": id, "amount": "50.00", "click_id": token});
                waypost.accepted("conversion", &event).await;
                sent.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    for _ in 0..PROOFS {
        let before = sent.load(Ordering::Relaxed);
        tokio::task::block_in_place(|| folder.assert_adds_up());
        assert!(sent.load(Ordering::Relaxed) > before, "work went on");
    }
    stop.cancel();
    work.await.unwrap();
    folder.settled().await;
    Arc::into_inner(waypost).unwrap().stop().await;
    folder.assert_adds_up();
}
