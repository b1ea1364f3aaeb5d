//! Brokers that stop, are killed and come back: every answer comes in time, nothing that was answered is lost, and
//! conversions keep their order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};
use waypost::stream::{Durability, EventSink, Topic};

use crate::{
    broker::Broker,
    support::{LATE, Log, eventually, first_of, make_topics, read_all, record, settings, until_replicated},
};

/// One conversion of an account after the other, each with its answer and its time.
fn report(log: &Arc<Log>, account: i64, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<(Durability, Duration)>> {
    let (log, stop) = (Arc::clone(log), Arc::clone(stop));
    tokio::spawn(async move {
        let mut answers = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let begin = Instant::now();
            let answer = log.conversion(account, answers.len() as u64).await.unwrap();
            answers.push((answer, begin.elapsed()));
            sleep(Duration::from_millis(2)).await;
        }
        answers
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn conversions_keep_their_order_across_frozen_and_killed_brokers() {
    let broker = Broker::start();
    let settings = settings(&broker.address);
    make_topics(&settings).await;
    let log = Arc::new(Log::open(settings).await);
    let stop = Arc::new(AtomicBool::new(false));
    let accounts = [1, 2, 3, 4];
    let reports = accounts.map(|account| report(&log, account, &stop));
    let replayed = || log.metric("waypost_spool_replayed_events_total{topic=\"conversions\"}");
    for outage in 0..3 {
        log.goes_to_kafka("conversions").await;
        let before = replayed();
        if outage == 1 {
            broker.kill()
        } else {
            broker.freeze()
        }
        eventually("events to be spooled", || log.waiting(Topic::Conversions) > 200).await;
        if outage == 1 {
            broker.start_again()
        } else {
            broker.thaw()
        }
        eventually("events to be replayed", || replayed() > before + 200).await;
    }
    log.goes_to_kafka("conversions").await;
    let acknowledged =
        || log.metric("waypost_kafka_produced_total{topic=\"conversions\",outcome=\"acknowledged\"}");
    let before = acknowledged();
    eventually("new events to be acknowledged", || acknowledged() > before).await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    for report in reports {
        sent.push(report.await.unwrap());
    }
    log.drained().await;

    let read = read_all(&log.settings, Topic::Conversions);
    for (account, answers) in accounts.into_iter().zip(&sent) {
        let expected: Vec<u64> = (0..answers.len() as u64).collect();
        assert_eq!(first_of(&read, Topic::Conversions, account), expected, "account {account}");
        let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
        assert!(slowest < LATE, "an answer took {slowest:?}");
        assert!(answers.iter().any(|(answer, _)| *answer == Durability::Local));
    }
    let total: usize = sent.iter().map(Vec::len).sum();
    let spooled = log.metric("waypost_kafka_produced_total{topic=\"conversions\",outcome=\"spooled\"}");
    assert_eq!(acknowledged() + spooled, total as u64);
    assert_eq!(replayed(), spooled);
    assert_eq!(log.metric("waypost_kafka_produced_total{topic=\"conversions\",outcome=\"refused\"}"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_waits_for_a_frozen_broker() {
    let broker = Broker::start();
    let settings = settings(&broker.address);
    make_topics(&settings).await;
    let log = Log::open(settings).await;
    // A broker that was just started takes its time with its first events.
    let mut sent = [0, 0];
    for topic in Topic::ALL {
        sent[topic.index()] = until_replicated(&log, topic, 0).await;
    }
    log.drained().await;

    broker.freeze();
    let mut quickest = LATE;
    for topic in Topic::ALL {
        let n = sent[topic.index()];
        let begin = Instant::now();
        let first = log.sink.append(vec![record(topic, 1, n)]);
        let second = log.sink.append(vec![record(topic, 1, n + 1)]);
        assert_eq!(first.await, Ok(Durability::Local));
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(500) && took < LATE, "{topic:?} took {took:?}");
        quickest = quickest.min(took);
        assert_eq!(second.await, Ok(Durability::Local));
        let begin = Instant::now();
        for n in n + 2..n + 22 {
            assert_eq!(log.append(vec![record(topic, 1, n)]).await, Ok(Durability::Local));
        }
        let took = begin.elapsed();
        // Had each waited for itself, it would be ten seconds.
        assert!(took < Duration::from_secs(8), "20 appends to the spool took {took:?}");
        assert_eq!(log.metric(&format!("waypost_kafka_producer_up{{topic=\"{}\"}}", word(topic))), 0);
        sent[topic.index()] += 22;
    }
    assert!(quickest < Duration::from_secs(5), "of both the quicker took {quickest:?}");
    broker.thaw();
    for topic in Topic::ALL {
        sent[topic.index()] = until_replicated(&log, topic, sent[topic.index()]).await;
    }
    log.drained().await;
    for topic in Topic::ALL {
        let mut read = first_of(&read_all(&log.settings, topic), topic, 1);
        if topic == Topic::Clicks {
            read.sort_unstable();
        }
        assert_eq!(read, (0..sent[topic.index()]).collect::<Vec<_>>(), "{topic:?}");
    }
}

fn word(topic: Topic) -> &'static str {
    match topic {
        Topic::Clicks => "clicks",
        Topic::Conversions => "conversions",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_brokers_serves_and_the_next_start_replays() {
    let broker = Broker::start();
    let settings = settings(&broker.address);
    make_topics(&settings).await;
    broker.freeze();
    let begin = Instant::now();
    let log = Log::open(settings.clone()).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "the start took {:?}", begin.elapsed());
    let begin = Instant::now();
    for n in 0..50 {
        assert_eq!(log.conversion(1, n).await, Ok(Durability::Local));
        assert_eq!(log.click(n).await, Ok(Durability::Local));
    }
    // Half a second each otherwise.
    assert!(begin.elapsed() < Duration::from_secs(15), "nothing waits for brokers that were never there");
    let begin = Instant::now();
    let dir = log.close().await;
    assert!(begin.elapsed() < Duration::from_secs(10), "the end took {:?}", begin.elapsed());

    broker.thaw();
    let log = Log::open_in(settings, dir, 1 << 30).await;
    let n = until_replicated(&log, Topic::Conversions, 50).await;
    log.drained().await;
    let read = read_all(&log.settings, Topic::Conversions);
    assert_eq!(first_of(&read, Topic::Conversions, 1), (0..n).collect::<Vec<_>>());
    assert_eq!(first_of(&read_all(&log.settings, Topic::Clicks), Topic::Clicks, 1).len(), 50);
}
