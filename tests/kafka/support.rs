//! A log as an edge opens it, and the topics as a reader sees them.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Message,
};
use tempfile::TempDir;
use waypost::{
    config::{KafkaSettings, Settings, SpoolSettings},
    domain::ids::AccountId,
    events,
    stream::{
        AppendError, Durability, EventSink, Record, Topic,
        kafka::{KafkaSink, admin::Admin, client, topics},
        spool::Spool,
    },
    telemetry::{kafka::KafkaMetrics, stream::StreamMetrics},
};

/// What anything may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Partitions of clicks and conversions.
pub const PARTITIONS: i32 = 6;

/// `kafka.spool_after_ms` and what a busy machine adds: a tick, a sync, and the others on its cores. Far below
/// `kafka.message_timeout_ms`, which must not be what ends the wait.
pub const LATE: Duration = Duration::from_secs(20);

pub type Answer = Result<Durability, AppendError>;

/// Settings with topics of their own at `brokers`.
pub fn settings(brokers: &str) -> KafkaSettings {
    let mut settings = Settings::default().kafka;
    settings.brokers = brokers.to_owned();
    settings.prefix = format!("test-{}-", uuid::Uuid::now_v7().simple());
    settings.message_timeout_ms = 60_000;
    settings
}

/// Settings as above for where the time of an answer is not the point: a busy machine may take its time.
pub fn patient(settings: KafkaSettings) -> KafkaSettings {
    KafkaSettings { spool_after_ms: 20_000, ..settings }
}

/// Makes the topics.
pub async fn make_topics(settings: &KafkaSettings) {
    let admin = Admin::connect(settings).await.unwrap();
    let wanted = topics::Wanted {
        partitions: PARTITIONS,
        catalog_partitions: 1,
        replication: 1,
        min_insync: 1,
        click_retention_days: 7,
        conversion_retention_days: 14,
    };
    let plans = topics::plans(settings, &wanted);
    for plan in &plans {
        assert!(admin.create(plan).await.unwrap(), "{} was there", plan.name);
    }
    admin.until_known(&plans).await.unwrap();
}

/// An event of an account, as far as the log looks into it.
pub fn payload(topic: Topic, account: i64, n: u64) -> Bytes {
    let kind = match topic {
        Topic::Clicks => "click",
        Topic::Conversions => "conversion",
    };
    let text = format!(r#"{{"v":1,"n":{n},"body":{{"{kind}":{{"account":{account},"amount":"49.90"}}}}}}"#);
    Bytes::from(text)
}

pub fn record(topic: Topic, account: i64, n: u64) -> Record {
    let key = (topic == Topic::Conversions).then_some(AccountId(account));
    Record { topic, key, payload: payload(topic, account, n) }
}

/// An edge's event log.
pub struct Log {
    pub settings: KafkaSettings,
    pub spool: Arc<Spool>,
    pub sink: Arc<KafkaSink>,
    recorder: PrometheusHandle,
    dir: Folder,
}

/// The folder of a spool.
enum Folder {
    Own(TempDir),
    Given,
}

impl Log {
    /// Over a new spool.
    pub async fn open(settings: KafkaSettings) -> Self {
        Self::open_in(settings, tempfile::tempdir().unwrap(), 1 << 30).await
    }

    /// Over a new spool, once events go to Kafka: a start waits only a moment for brokers that are slow to answer.
    pub async fn connected(settings: KafkaSettings) -> Self {
        let log = Self::open(settings).await;
        for topic in ["clicks", "conversions"] {
            log.goes_to_kafka(topic).await;
        }
        log
    }

    /// Over the spool of a folder, which keeps `max_bytes` at most.
    pub async fn open_in(settings: KafkaSettings, dir: TempDir, max_bytes: u64) -> Self {
        let path = dir.path().to_owned();
        Self { dir: Folder::Own(dir), ..Self::open_at_size(settings, &path, max_bytes).await }
    }

    /// Over the spool of a folder that stays.
    pub async fn open_at(settings: KafkaSettings, path: PathBuf) -> Self {
        Self::open_at_size(settings, &path, 1 << 30).await
    }

    async fn open_at_size(settings: KafkaSettings, path: &Path, max_bytes: u64) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = metrics::with_local_recorder(&recorder, KafkaMetrics::register);
        let spool = Arc::new(open_spool(path, max_bytes));
        let key_of = |payload: &Bytes| events::order_key(payload);
        let sink = KafkaSink::open(&settings, Arc::clone(&spool), key_of, metrics).await.unwrap();
        Self { settings, spool, sink: Arc::new(sink), recorder: recorder.handle(), dir: Folder::Given }
    }

    pub async fn append(&self, records: Vec<Record>) -> Answer {
        self.sink.append(records).await
    }

    pub async fn conversion(&self, account: i64, n: u64) -> Answer {
        self.append(vec![record(Topic::Conversions, account, n)]).await
    }

    pub async fn click(&self, n: u64) -> Answer {
        self.append(vec![record(Topic::Clicks, 1, n)]).await
    }

    /// The value of a series, by its name and labels as Prometheus writes them.
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.recorder.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} is missing in\n{text}")).parse().unwrap()
    }

    /// Until events of a topic go to Kafka.
    pub async fn goes_to_kafka(&self, topic: &str) {
        let up = format!("waypost_kafka_producer_up{{topic=\"{topic}\"}}");
        eventually("events to go to Kafka", || self.metric(&up) == 1).await;
    }

    /// Events in the spool that are not with Kafka.
    pub fn waiting(&self, topic: Topic) -> i64 {
        let stats = self.spool.stats().topics[topic.index()];
        stats.next_offset - stats.consumed
    }

    /// Until nothing is left in the spool.
    pub async fn drained(&self) {
        eventually("the spool to be empty", || Topic::ALL.iter().all(|topic| self.waiting(*topic) == 0))
            .await;
    }

    /// Ends it as an edge does, and gives its folder for the next.
    pub async fn close(self) -> TempDir {
        self.sink.close(Duration::from_secs(1)).await;
        self.spool.close();
        match self.dir {
            Folder::Own(dir) => dir,
            Folder::Given => panic!("the folder is not ours to give"),
        }
    }
}

pub fn open_spool(dir: &Path, max_bytes: u64) -> Spool {
    let settings = SpoolSettings { path: PathBuf::new(), max_bytes, commit_events: 1_000, commit_ms: 5 };
    Spool::open(&settings, &dir.join("spool.db"), StreamMetrics::register()).unwrap()
}

pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "waited {SOON:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Appends events of account 1 from number `n` on until one is replicated; answers with the next number.
pub async fn until_replicated(log: &Log, topic: Topic, mut n: u64) -> u64 {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = log.append(vec![record(topic, 1, n)]).await.unwrap();
        n += 1;
        if answer == Durability::Replicated {
            return n;
        }
        assert!(Instant::now() < deadline, "waited {SOON:?} for an event to be replicated");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A record as a topic has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub payload: Bytes,
}

/// All that a topic has now, in order within each partition.
pub fn read_all(settings: &KafkaSettings, topic: Topic) -> Vec<Read> {
    let name = client::topic(settings, topic);
    let mut config = client::connection(settings);
    config.set("group.id", "test").set("enable.partition.eof", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut ends = BTreeMap::new();
    let mut assigned = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let (begin, end) = consumer.fetch_watermarks(&name, partition, SOON).unwrap();
        if end > begin {
            ends.insert(partition, end);
            assigned.add_partition_offset(&name, partition, Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&assigned).unwrap();
    let (mut found, deadline) = (Vec::new(), Instant::now() + SOON);
    while !ends.is_empty() {
        assert!(Instant::now() < deadline, "{name} is not read to its ends {ends:?}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        if ends.get(&message.partition()).is_some_and(|end| *end <= message.offset() + 1) {
            ends.remove(&message.partition());
        }
        found.push(Read {
            partition: message.partition(),
            key: message.key().map(<[u8]>::to_vec),
            payload: Bytes::copy_from_slice(message.payload().unwrap()),
        });
    }
    found
}

/// The numbers of an account's events in the order in which each came first.
pub fn first_of(read: &[Read], topic: Topic, account: i64) -> Vec<u64> {
    let mut seen = HashSet::new();
    let mut numbers = Vec::new();
    for read in read {
        let json: serde_json::Value = serde_json::from_slice(&read.payload).unwrap();
        let n = json["n"].as_u64().unwrap();
        if read.payload == payload(topic, account, n) && seen.insert(n) {
            numbers.push(n);
        }
    }
    numbers
}
