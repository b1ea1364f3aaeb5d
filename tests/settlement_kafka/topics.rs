//! Topics of a test's own, and the events in them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use uuid::Uuid;
use waypost::{
    domain::traffic::TrafficClass,
    events::Event,
    store::{Store, streams},
    stream::Topic,
};

use crate::fixtures::{Numbered, PATIENCE, World, eventually};

pub const PARTITIONS: i32 = 4;

/// What one question to the brokers may take before it is asked again.
const ANSWER: Duration = Duration::from_secs(10);

/// Counts what the brokers have acknowledged.
#[derive(Clone, Default)]
struct Acknowledged(Arc<AtomicUsize>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The topics of one test.
pub struct Topics {
    pub brokers: String,
    pub prefix: String,
    producer: BaseProducer<Acknowledged>,
    acknowledged: Acknowledged,
    watcher: BaseConsumer,
}

impl Topics {
    /// Names alone; [`make`](Self::make) makes them.
    pub fn named(brokers: String) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &brokers).set("message.timeout.ms", "30000");
        let acknowledged = Acknowledged::default();
        let producer = BaseProducer::from_config_and_context(&config, acknowledged.clone()).unwrap();
        let watcher = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let prefix = format!("t{}.", Uuid::now_v7().simple());
        Self { brokers, prefix, producer, acknowledged, watcher }
    }

    pub async fn create(brokers: String) -> Self {
        let topics = Self::named(brokers);
        topics.make().await;
        topics
    }

    /// The same topics, for somebody who puts records there at the same time.
    pub fn beside(&self) -> Self {
        Self { prefix: self.prefix.clone(), ..Self::named(self.brokers.clone()) }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap()
    }

    pub fn name(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    pub async fn make(&self) {
        for topic in Topic::ALL {
            let name = self.name(topic);
            let new = [NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1))];
            // One of the same name that was just removed may take a moment to go.
            eventually("a new topic", async || {
                let made = self.admin().create_topics(&new, &AdminOptions::new()).await.unwrap();
                made.iter().all(Result::is_ok)
            })
            .await;
        }
        // Known to everybody, leaders included.
        for topic in Topic::ALL {
            eventually("a topic", async || (0..PARTITIONS).all(|at| self.ends_of(topic, at).is_some())).await;
        }
    }

    /// Forgets what is before `offset`.
    pub async fn forget(&self, topic: Topic, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name(topic), partition, Offset::Offset(offset)).unwrap();
        self.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    pub async fn remove(&self) {
        let names = Topic::ALL.map(|topic| self.name(topic));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        drop(self.admin().delete_topics(&names, &AdminOptions::new()).await);
    }

    /// Puts records into one partition, in order; `None`: a record without a payload.
    pub async fn put(&self, topic: Topic, partition: i32, payloads: &[Option<Vec<u8>>]) {
        let name = self.name(topic);
        let wanted = self.acknowledged.0.load(Ordering::Relaxed) + payloads.len();
        for payload in payloads {
            let mut record = BaseRecord::<[u8], [u8]>::to(&name).partition(partition);
            if let Some(payload) = payload {
                record = record.payload(payload);
            }
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(PATIENCE).unwrap();
        assert_eq!(self.acknowledged.0.load(Ordering::Relaxed), wanted);
    }

    pub async fn put_event(&self, topic: Topic, partition: i32, event: &Event) {
        self.put(topic, partition, &[Some(event.encode())]).await;
    }

    /// Spreads events over all partitions, as a producer without keys does.
    pub async fn spread(&self, topic: Topic, events: &[Event]) {
        for partition in 0..PARTITIONS {
            let ours = events.iter().skip(usize::try_from(partition).unwrap());
            let payloads: Vec<_> =
                ours.step_by(PARTITIONS as usize).map(|event| Some(event.encode())).collect();
            self.put(topic, partition, &payloads).await;
        }
    }

    fn ends_of(&self, topic: Topic, partition: i32) -> Option<i64> {
        self.watcher.fetch_watermarks(&self.name(topic), partition, ANSWER).ok().map(|(_, ends)| ends)
    }

    /// The offset behind the last record of each partition.
    pub async fn ends(&self, topic: Topic) -> BTreeMap<i32, i64> {
        let mut ends = BTreeMap::new();
        for partition in 0..PARTITIONS {
            eventually("the end of a partition", async || {
                ends.extend(self.ends_of(topic, partition).map(|end| (partition, end)));
                ends.contains_key(&partition)
            })
            .await;
        }
        ends
    }

    /// Waits until settlement stands at the end of `topic`.
    pub async fn settled(&self, store: &Store, topic: Topic) {
        let ends = self.ends(topic).await;
        let what = format!("the end of {}: {ends:?}", topic.name());
        eventually(&what, async || positions(store, topic).await == ends).await;
    }

    pub async fn all_settled(&self, store: &Store) {
        for topic in Topic::ALL {
            self.settled(store, topic).await;
        }
    }
}

/// Where settlement stands.
pub async fn positions(store: &Store, topic: Topic) -> BTreeMap<i32, i64> {
    let mut positions = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let position = streams::position(store.reader(), topic.name(), partition).await.unwrap();
        positions.insert(partition, position);
    }
    positions
}

/// Sales of 10.00 at 10 % and clicks, numbered as one boot of an edge does, in all partitions.
pub struct Load {
    boot: u128,
    sales: Numbered,
    clicks: Numbered,
    pub count: i64,
}

impl Load {
    pub fn new(boot: u128) -> Self {
        Self {
            boot,
            sales: Numbered::new(boot, "conversions/0"),
            clicks: Numbered::new(boot, "clicks/0"),
            count: 0,
        }
    }

    /// `events` more of both.
    pub async fn more(&mut self, world: &World, topics: &Topics, events: i64) {
        let mut of_sales = Vec::new();
        let mut of_clicks = Vec::new();
        for _ in 0..events {
            self.count += 1;
            of_sales.push(self.sales.sale(world.sale(&format!("{}-{}", self.boot, self.count), "10")));
            of_clicks.push(self.clicks.click(world.click(TrafficClass::Valid, Some("DE"), "desktop")));
        }
        topics.spread(Topic::Conversions, &of_sales).await;
        topics.spread(Topic::Clicks, &of_clicks).await;
    }

    /// Everything has had its effect, once.
    pub async fn assert_settled(&self, world: &World) {
        let outcomes = world.outcomes().await;
        assert_eq!((outcomes["settled"], outcomes["stored"]), (self.count, self.count), "{outcomes:?}");
        for twice in ["duplicate", "duplicate_delivery"] {
            assert_eq!(outcomes.get(twice), None, "{outcomes:?}");
        }
        assert_eq!(world.balances().await[&(1, "accrued".to_owned())], -100 * self.count);
        let reconciled = world.reconcile().await;
        assert!(reconciled.streams.iter().all(|stream| stream.missing() == 0), "{reconciled:?}");
        world.assert_sound().await;
    }
}
