//! A spool that cannot be read: what is in it waits for somebody who helps, and nothing else waits with it.

use std::{collections::BTreeSet, fs, ops::Range, path::Path};

use waypost::stream::{Durability, EventSink, Topic};

use crate::{
    commands::spool_of,
    services,
    support::{
        Log, eventually, first_of, make_topics, open_spool, patient, read_all, record, settings,
        until_replicated,
    },
};

/// Changes a byte in each batch of the folder's spool that is chosen by its topic and its first offset.
fn garble(folder: &Path, chosen: impl Fn(Topic, u64) -> bool) {
    let path = folder.join("spool.db");
    let mut file = fs::read(&path).unwrap();
    let mut garbled = 0;
    for at in 0..file.len() - 61 {
        if file[at..at + 4] == *b"WPB1" {
            let first = u64::from_le_bytes(file[at + 12..at + 20].try_into().unwrap());
            if chosen(Topic::ALL[usize::from(file[at + 8])], first) {
                file[at + 60] ^= 1;
                garbled += 1;
            }
        }
    }
    assert!(garbled > 0);
    fs::write(&path, &file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_go_to_kafka_past_clicks_that_cannot_be_read() {
    let settings = patient(settings(&services::kafka()));
    make_topics(&settings).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = open_spool(folder.path(), 1 << 30);
    let clicks = (0..20).map(|n| record(Topic::Clicks, 1, n)).collect();
    assert_eq!(spool.sink().append(clicks).await, Ok(Durability::Local));
    spool.close();
    drop(spool);
    garble(folder.path(), |_, _| true);

    let log = Log::open_in(settings, folder, 1 << 30).await;
    log.goes_to_kafka("clicks").await;
    assert_eq!(log.click(20).await, Ok(Durability::Replicated));
    // It is not given up.
    assert_eq!(log.waiting(Topic::Clicks), 20);
    // Nor are conversions, which are read by themselves.
    log.goes_to_kafka("conversions").await;
    assert_eq!(log.conversion(1, 0).await, Ok(Durability::Replicated));
    drop(log.close().await);
}

/// They keep their order, so all of them wait until somebody has saved what can be read.
#[tokio::test(flavor = "multi_thread")]
async fn conversions_behind_one_that_cannot_be_read_are_rescued_by_hand() {
    let settings = settings(&services::kafka());
    make_topics(&settings).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = open_spool(folder.path(), 1 << 30);
    let conversions = |numbers: Range<u64>| numbers.map(|n| record(Topic::Conversions, 1, n)).collect();
    for batch in 0..4 {
        let append = spool.sink().append(conversions(batch * 10..batch * 10 + 10));
        assert_eq!(append.await, Ok(Durability::Local));
    }
    // More clicks than are saved at once, in batches that lie across.
    for batch in 0..4 {
        let clicks = (batch * 700..batch * 700 + 700).map(|n| record(Topic::Clicks, 1, n)).collect();
        assert_eq!(spool.sink().append(clicks).await, Ok(Durability::Local));
    }
    spool.close();
    drop(spool);
    garble(folder.path(), |topic, first| first == if topic == Topic::Clicks { 0 } else { 10 });

    let log = Log::open_in(settings.clone(), folder, 1 << 30).await;
    eventually("what can be read to go", || log.waiting(Topic::Conversions) == 30).await;
    // What comes now stands behind them.
    assert_eq!(log.conversion(1, 40).await, Ok(Durability::Local));
    let folder = log.close().await;

    let (code, out, err) = spool_of(folder.path(), &["inspect"], &settings);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("cannot be read: the event log is damaged at offset 10"), "{out}");
    let (code, _, err) = spool_of(folder.path(), &["replay", "--patience", "1"], &settings);
    assert_eq!(code, 65, "{err}");
    assert!(err.contains("damaged at offset 0") && err.contains("waypost spool rescue"), "{err}");
    let (path, aside) = (folder.path().join("spool.db"), folder.path().join("damaged.db"));
    let (code, _, err) = spool_of(folder.path(), &["rescue", path.to_str().unwrap()], &settings);
    assert_eq!(code, 64, "{err}");

    fs::rename(path, &aside).unwrap();
    let (code, out, err) = spool_of(folder.path(), &["rescue", aside.to_str().unwrap()], &settings);
    assert_eq!(code, 1, "{err}");
    assert!(out.contains("waypost.clicks.v1: 2100 events are saved\n"), "{out}");
    assert!(out.contains("waypost.clicks.v1: 700 events are lost, offsets 0 to 699\n"), "{out}");
    assert!(out.contains("waypost.conversions.v1: 21 events are saved\n"), "{out}");
    assert!(out.contains("waypost.conversions.v1: 10 events are lost, offsets 10 to 19\n"), "{out}");
    let (code, _, err) = spool_of(folder.path(), &["rescue", aside.to_str().unwrap()], &settings);
    assert_eq!(code, 73, "what is there is not stored once more: {err}");

    let log = Log::open_in(settings.clone(), folder, 1 << 30).await;
    log.drained().await;
    let end = until_replicated(&log, Topic::Conversions, 41).await;
    drop(log.close().await);
    let numbers = first_of(&read_all(&settings, Topic::Conversions), Topic::Conversions, 1);
    assert_eq!(numbers, (0..10).chain(20..end).collect::<Vec<_>>());
    let clicks = first_of(&read_all(&settings, Topic::Clicks), Topic::Clicks, 1);
    assert_eq!(clicks.into_iter().collect::<BTreeSet<_>>(), (700..2_800).collect());
}

/// Nothing stands where reading should begin: visitors are served all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_beginning_is_missing_opens() {
    let settings = settings(&services::kafka());
    make_topics(&settings).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = open_spool(folder.path(), 1 << 30);
    for n in 0..2 {
        let append = spool.sink().append(vec![record(Topic::Conversions, 1, n), record(Topic::Clicks, 1, n)]);
        assert_eq!(append.await, Ok(Durability::Local));
    }
    spool.close();
    drop(spool);
    let connection = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    for table in ["batch_clicks", "batch_conversions"] {
        connection.execute(&format!("DELETE FROM {table} WHERE first_offset = 0"), []).unwrap();
    }
    drop(connection);
    let log = Log::open_in(settings, folder, 1 << 30).await;
    log.goes_to_kafka("clicks").await;
    assert!(log.click(2).await.is_ok());
    assert_eq!(log.conversion(1, 2).await, Ok(Durability::Local));
    assert_eq!((log.waiting(Topic::Clicks), log.waiting(Topic::Conversions)), (2, 3));
    drop(log.close().await);
}
