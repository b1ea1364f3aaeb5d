//! A consumer that hears nothing of what the brokers have: another client takes its place.

use std::{collections::BTreeMap, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rdkafka::{
    mocking::{MockCluster, MockCoordinator},
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::time::{Instant, sleep};
use waypost::{
    config::KafkaSettings,
    stream::{
        EventSource, Topic,
        kafka::{KafkaSource, Left, client},
    },
    telemetry::kafka_consumer::KafkaConsumersMetrics,
};

use crate::{
    refusals::pretended,
    support::{Log, PARTITIONS, SOON, eventually},
};

/// Longer than a group that begins waits for more members.
const SESSION: Duration = Duration::from_secs(4);

/// The least that makes a client silent, and what its looks at the brokers add.
const SILENT: Duration = Duration::from_secs(15 + 6);

/// Settlement's place in the group of conversions, as far as records go.
struct Reader {
    source: KafkaSource,
    left: Left,
    recorder: PrometheusHandle,
    /// The next offset of each partition.
    next: BTreeMap<i32, i64>,
    generation: u64,
}

impl Reader {
    fn join(settings: &KafkaSettings) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = metrics::with_local_recorder(&recorder, || KafkaConsumersMetrics::register(settings));
        let (source, left) =
            KafkaSource::join(settings, Topic::Conversions, metrics.unwrap().conversions).unwrap();
        let generation = source.assignment().generation;
        Self { source, left, recorder: recorder.handle(), next: BTreeMap::new(), generation }
    }

    /// One look: partitions that were given are begun where they stand.
    async fn poll(&mut self) -> usize {
        let assignment = self.source.assignment();
        if assignment.generation != self.generation {
            for partition in &assignment.partitions {
                let offset = *self.next.entry(*partition).or_default();
                self.source.seek(*partition, offset).await.unwrap();
            }
            self.generation = assignment.generation;
        }
        let found = self.source.poll(100, Duration::from_millis(50)).await.unwrap();
        for delivery in &found {
            let next = self.next.entry(delivery.partition).or_default();
            assert_eq!(delivery.offset, *next, "in order, none twice");
            *next += 1;
        }
        found.len()
    }

    /// Until so many records have come in all.
    async fn reads(&mut self, wanted: i64) {
        let deadline = Instant::now() + SOON;
        while self.next.values().sum::<i64>() < wanted {
            assert!(Instant::now() < deadline, "waited for {wanted}: {:?}", self.next);
            self.poll().await;
        }
    }

    async fn leave(self) {
        let begun = Instant::now();
        drop(self.source);
        self.left.wait(SOON).await;
        assert!(begun.elapsed() < SOON, "the group is not left");
    }

    fn restarts(&self) -> u64 {
        let series = "waypost_settlement_consumer_restarts_total{topic=\"conversions\"} ";
        let text = self.recorder.render();
        text.lines().find_map(|line| line.strip_prefix(series)).unwrap().parse().unwrap()
    }
}

/// A cluster, an edge's log on it and a reader of what it appends, which has the first conversion.
/// All of it is the first broker's.
async fn read_from_the_first(brokers: i32) -> (MockCluster<'static, DefaultProducerContext>, Log, Reader) {
    let (cluster, mut settings) = pretended(brokers);
    let group = format!("{}waypost-settlement-conversions", settings.prefix);
    cluster.coordinator(MockCoordinator::Group(group), 1).unwrap();
    for topic in Topic::ALL {
        for partition in 0..PARTITIONS {
            cluster.partition_leader(&client::topic(&settings, topic), partition, Some(1)).unwrap();
        }
    }
    settings.session_timeout_ms = u64::try_from(SESSION.as_millis()).unwrap();
    let log = Log::connected(settings.clone()).await;
    let mut reader = Reader::join(&settings);
    log.conversion(1, 0).await.unwrap();
    log.drained().await;
    reader.reads(1).await;
    (cluster, log, reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_hears_nothing_is_made_anew_and_goes_on_where_it_stood() {
    let (cluster, log, mut reader) = read_from_the_first(1).await;
    let generation = reader.generation;
    // The brokers say where the log ends, and bring nothing of it.
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 100_000];
    cluster.request_errors(RDKafkaApiKey::Fetch, &refused);
    log.conversion(1, 1).await.unwrap();
    log.drained().await;
    let deadline = Instant::now() + SOON;
    while reader.restarts() == 0 {
        assert!(Instant::now() < deadline, "it stays silent");
        assert_eq!(reader.poll().await, 0);
    }
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    reader.reads(2).await;
    assert!(reader.generation > generation, "its partitions are begun anew");
    assert_eq!(reader.source.assignment().partitions.len(), usize::try_from(PARTITIONS).unwrap());
    reader.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_do_not_answer_are_asked_by_another_client_by_and_by() {
    let (cluster, log, mut reader) = read_from_the_first(1).await;
    cluster.broker_down(1).unwrap();
    eventually("another client", || reader.restarts() > 0).await;
    assert_eq!(reader.poll().await, 0);
    cluster.broker_up(1).unwrap();
    log.conversion(1, 1).await.unwrap();
    reader.reads(2).await;
    log.drained().await;
    reader.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_nothing_comes_for_or_that_is_not_asked_is_not_silent() {
    let (_cluster, log, mut reader) = read_from_the_first(1).await;
    let quiet = Instant::now() + SILENT;
    while Instant::now() < quiet {
        assert_eq!(reader.poll().await, 0);
    }
    // Settlement's own delay.
    log.conversion(1, 1).await.unwrap();
    log.drained().await;
    let unasked = Instant::now() + SILENT;
    while Instant::now() < unasked {
        assert_eq!(reader.restarts(), 0);
        sleep(Duration::from_millis(50)).await;
    }
    reader.reads(2).await;
    reader.leave().await;
}

/// What others do not answer is no reason to disturb what comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_and_questions_without_an_answer_are_no_silence() {
    let (cluster, log, mut reader) = read_from_the_first(2).await;
    let topic = client::topic(&log.settings, Topic::Conversions);
    let (&own, _) = reader.next.iter().find(|(_, next)| **next == 1).unwrap();
    cluster.partition_leader(&topic, (own + 1) % PARTITIONS, Some(2)).unwrap();
    cluster.broker_down(2).unwrap();
    let mut count = 1;
    for _ in ["the broker", "the questions"] {
        let until = Instant::now() + SILENT;
        while Instant::now() < until {
            log.conversion(1, count).await.unwrap();
            count += 1;
            reader.reads(i64::try_from(count).unwrap()).await;
        }
        assert_eq!(reader.restarts(), 0);
        let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT; 100_000];
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &refused);
    }
    log.drained().await;
    reader.leave().await;
}
