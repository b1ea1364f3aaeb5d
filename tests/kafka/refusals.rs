//! Brokers that refuse, queues and spools that are full: everything ends acknowledged, spooled or refused.

use std::time::{Duration, Instant};

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use waypost::{
    config::KafkaSettings,
    stream::{AppendError, Durability, EventSink, Topic, kafka::client},
};

use crate::support::{
    LATE, Log, PARTITIONS, eventually, first_of, patient, read_all, record, settings, until_replicated,
};

/// A cluster in this process that has the topics and can be told to answer with errors.
pub fn pretended(brokers: i32) -> (MockCluster<'static, DefaultProducerContext>, KafkaSettings) {
    let cluster = MockCluster::new(brokers).unwrap();
    let settings = settings(&cluster.bootstrap_servers());
    for topic in Topic::ALL {
        cluster.create_topic(&client::topic(&settings, topic), PARTITIONS, 1).unwrap();
    }
    (cluster, settings)
}

/// Settings as given, for refusals that are to be counted: all that there is goes in one request, so no producer meets
/// two of them, and what is refused is not late before.
fn in_one_request(settings: KafkaSettings) -> KafkaSettings {
    KafkaSettings { linger_ms: 500, ..patient(settings) }
}

fn series(topic: &str, outcome: &str) -> String {
    format!("waypost_kafka_produced_total{{topic=\"{topic}\",outcome=\"{outcome}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_tried_again_is_and_is_acknowledged() {
    let (cluster, settings) = pretended(1);
    let log = Log::open(settings).await;
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    ];
    for n in 0..2 {
        cluster.request_errors(RDKafkaApiKey::Produce, &errors[..1]);
        let conversion = log.conversion(1, n).await;
        cluster.request_errors(RDKafkaApiKey::Produce, &errors[1..]);
        let click = log.click(n).await;
        // The pause before the second try counts into the time after which it is spooled.
        assert!(conversion.is_ok() && click.is_ok(), "{conversion:?} {click:?}");
    }
    log.drained().await;
    assert_eq!(first_of(&read_all(&log.settings, Topic::Conversions), Topic::Conversions, 1), [0, 1]);
    assert_eq!(first_of(&read_all(&log.settings, Topic::Clicks), Topic::Clicks, 1).len(), 2);
    for topic in ["clicks", "conversions"] {
        let ended = log.metric(&series(topic, "acknowledged")) + log.metric(&series(topic, "spooled"));
        assert_eq!(ended, 2, "{topic}");
        assert_eq!(
            log.metric(&format!(
                "waypost_kafka_producer_restarts_total{{topic=\"{topic}\",reason=\"fatal\"}}"
            )),
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_spooled_and_the_producer_is_made_anew() {
    let (cluster, settings) = pretended(1);
    let log = Log::open(in_one_request(settings)).await;
    let first = until_replicated(&log, Topic::Conversions, 0).await;
    log.drained().await;
    // A gap in what the brokers have would break the order: librdkafka stops for good.
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    let begin = Instant::now();
    let refused = first..first + 19;
    let answers: Vec<_> =
        refused.clone().map(|n| log.sink.append(vec![record(Topic::Conversions, 1, n)])).collect();
    // The last may be behind the refusal, and find a new producer.
    for (answer, n) in answers.into_iter().zip(refused.clone()) {
        let answer = answer.await.unwrap();
        assert!(n > first || answer == Durability::Local, "the first was refused");
    }
    assert!(begin.elapsed() < LATE, "{:?}", begin.elapsed());
    let restarts = "waypost_kafka_producer_restarts_total{topic=\"conversions\",reason=\"fatal\"}";
    // It is counted behind the answers.
    eventually("the producer to be given up", || log.metric(restarts) > 0).await;
    let n = until_replicated(&log, Topic::Conversions, refused.end).await;
    log.drained().await;
    assert_eq!(log.metric(restarts), 1);
    let read = first_of(&read_all(&log.settings, Topic::Conversions), Topic::Conversions, 1);
    assert_eq!(read, (0..n).collect::<Vec<_>>());

    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    assert_eq!(log.click(0).await, Ok(Durability::Local));
    let clicks = until_replicated(&log, Topic::Clicks, 1).await;
    log.drained().await;
    assert_eq!(first_of(&read_all(&log.settings, Topic::Clicks), Topic::Clicks, 1).len() as u64, clicks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_refused_again_and_again_goes_on_where_it_was() {
    let (cluster, settings) = pretended(1);
    let log = Log::open(in_one_request(settings)).await;
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD; 4];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    let answers: Vec<_> = (0..10).map(|n| log.sink.append(vec![record(Topic::Conversions, 1, n)])).collect();
    // The last may be behind the refusals, and find a producer that is not refused.
    for (answer, n) in answers.into_iter().zip(0..) {
        let answer = answer.await.unwrap();
        assert!(n > 0 || answer == Durability::Local, "the first was refused");
    }
    log.drained().await;
    let restarts = "waypost_kafka_producer_restarts_total{topic=\"conversions\",reason=\"fatal\"}";
    assert_eq!(log.metric(restarts), 4);
    let read = first_of(&read_all(&log.settings, Topic::Conversions), Topic::Conversions, 1);
    assert_eq!(read, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_on_the_way_to_the_brokers_is_spooled_at_once() {
    let (cluster, mut settings) = pretended(1);
    settings.queue_events = 1_000;
    // Long enough to tell what is late from what had no room.
    settings.spool_after_ms = 5_000;
    let log = Log::connected(settings).await;
    let mut sent = [0, 0];
    for topic in Topic::ALL {
        sent[topic.index()] = until_replicated(&log, topic, 0).await;
    }
    log.drained().await;
    cluster.broker_round_trip_time(-1, Duration::from_secs(10)).unwrap();
    let begin = Instant::now();
    let append = |topic: Topic, n: u64| {
        let first = sent[topic.index()] + n * 400;
        log.sink.append((first..first + 400).map(|n| record(topic, 1, n)).collect())
    };
    let [first, second, third] = [0, 1, 2].map(|n| append(Topic::Clicks, n));
    assert_eq!(third.await, Ok(Durability::Local));
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(4), "1,200 clicks do not fit: the last 400 took {took:?}");
    assert_eq!((first.await, second.await), (Ok(Durability::Local), Ok(Durability::Local)));
    let begin = Instant::now();
    // With the last of them all are spooled, or the last would be before the others.
    for answer in [0, 1, 2].map(|n| append(Topic::Conversions, n)) {
        assert_eq!(answer.await, Ok(Durability::Local));
    }
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    cluster.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    log.drained().await;
    for topic in Topic::ALL {
        let mut read = first_of(&read_all(&log.settings, topic), topic, 1);
        if topic == Topic::Clicks {
            read.sort_unstable();
        }
        assert_eq!(read, (0..sent[topic.index()] + 1_200).collect::<Vec<_>>(), "{topic:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_spool_and_no_brokers_events_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open_in(settings("127.0.0.1:1"), dir, 1 << 20).await;
    let noise = |n: u64| {
        let mut bytes = vec![0; 50_000];
        blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes::Bytes::from(bytes)
    };
    for topic in Topic::ALL {
        let mut taken = 0;
        let refused = loop {
            let event = waypost::stream::Record { payload: noise(taken), ..record(topic, 1, 0) };
            match log.append(vec![event]).await {
                Ok(durability) => assert_eq!(durability, Durability::Local),
                Err(error) => break error,
            }
            taken += 1;
            assert!(taken < 50, "a spool of 1 MiB took {taken} events of 50 kB");
        };
        assert_eq!(refused, AppendError::Full);
        let name = if topic == Topic::Clicks { "clicks" } else { "conversions" };
        assert_eq!(log.metric(&series(name, "spooled")), taken);
        assert_eq!(log.metric(&series(name, "refused")), 1);
        assert!(taken > 0, "clicks leave room to conversions");
    }
}
