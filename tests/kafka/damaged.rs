//! A spool that cannot be read: what is in it waits for somebody who helps, and nothing else waits with it.

use std::fs;

use waypost::stream::{Durability, EventSink, Topic};

use crate::{
    services,
    support::{Log, make_topics, open_spool, patient, record, settings},
};

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
    let path = folder.path().join("spool.db");
    let mut file = fs::read(&path).unwrap();
    let batches: Vec<usize> = (0..file.len() - 4).filter(|at| file[*at..at + 4] == *b"WPB1").collect();
    assert!(!batches.is_empty());
    for at in batches {
        file[at + 60] ^= 1;
    }
    fs::write(&path, &file).unwrap();

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
