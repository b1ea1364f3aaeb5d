//! With the brokers there: what was answered is on the topics as it was sent.

use std::collections::{BTreeMap, BTreeSet};

use waypost::stream::{AppendError, Durability, EventSink, Topic};

use crate::{
    services,
    support::{Log, SOON, make_topics, patient, payload, read_all, record, settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_on_the_topics_by_account_and_in_order() {
    let settings = patient(settings(&services::kafka()));
    make_topics(&settings).await;
    let log = Log::connected(settings).await;
    let mut answers = Vec::new();
    for n in 0..40 {
        for account in [7, 8, 123_456_789_012] {
            answers.push(log.sink.append(vec![record(Topic::Conversions, account, n)]));
        }
        answers.push(log.sink.append((0..25).map(|k| record(Topic::Clicks, 7, n * 25 + k)).collect()));
    }
    for answer in answers {
        assert_eq!(answer.await, Ok(Durability::Replicated));
    }

    let conversions = read_all(&log.settings, Topic::Conversions);
    assert_eq!(conversions.len(), 120);
    for account in [7_i64, 8, 123_456_789_012] {
        let key = Some(account.to_string().into_bytes());
        let of_account: Vec<_> = conversions.iter().filter(|read| read.key == key).collect();
        let partitions: BTreeSet<_> = of_account.iter().map(|read| read.partition).collect();
        assert_eq!(partitions.len(), 1, "an account has one partition");
        let expected: Vec<_> = (0..40).map(|n| payload(Topic::Conversions, account, n)).collect();
        assert!(of_account.iter().map(|read| &read.payload).eq(&expected));
    }
    let clicks = read_all(&log.settings, Topic::Clicks);
    assert!(clicks.iter().all(|read| read.key.is_none()));
    let mut found = BTreeMap::new();
    for read in &clicks {
        *found.entry(read.payload.clone()).or_insert(0) += 1;
    }
    assert_eq!(found, (0..1_000).map(|n| (payload(Topic::Clicks, 7, n), 1)).collect());

    let produced = |topic, outcome| {
        log.metric(&format!("waypost_kafka_produced_total{{topic=\"{topic}\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((produced("conversions", "acknowledged"), produced("clicks", "acknowledged")), (120, 1_000));
    assert_eq!((produced("conversions", "spooled"), produced("clicks", "spooled")), (0, 0));
    assert_eq!(log.metric("waypost_kafka_delivery_seconds_count"), 160);
    assert_eq!(log.metric("waypost_kafka_producer_up{topic=\"clicks\"}"), 1);
    assert_eq!(log.spool.stats().topics.map(|topic| topic.next_offset), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_append_may_have_both_topics() {
    let settings = patient(settings(&services::kafka()));
    make_topics(&settings).await;
    let log = Log::connected(settings).await;
    let mixed = vec![record(Topic::Clicks, 1, 1), record(Topic::Conversions, 1, 2)];
    assert_eq!(log.append(mixed).await, Ok(Durability::Replicated));
    assert_eq!(log.append(Vec::new()).await, Ok(Durability::Replicated));
    assert_eq!(read_all(&log.settings, Topic::Clicks).len(), 1);
    assert_eq!(read_all(&log.settings, Topic::Conversions).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_answers_what_is_under_way_and_takes_nothing_more() {
    let settings = patient(settings(&services::kafka()));
    make_topics(&settings).await;
    let log = Log::connected(settings.clone()).await;
    let answers: Vec<_> = (0..500).map(|n| log.sink.append(vec![record(Topic::Conversions, 1, n)])).collect();
    let sink = log.sink.clone();
    assert!(log.sink.close(SOON).await, "with brokers that answer a producer ends at once");
    for answer in answers {
        assert_eq!(answer.await, Ok(Durability::Replicated));
    }
    let late = sink.append(vec![record(Topic::Conversions, 1, 500)]).await;
    assert_eq!(late, Err(AppendError::Closed));
    assert_eq!(read_all(&settings, Topic::Conversions).len(), 500);
}
