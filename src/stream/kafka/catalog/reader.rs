//! Reads the topic, and knows when everything that there is was read.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
};
use serde::Deserialize;

use super::{IDENTITY_KEY, Identity, POSITION_KEY, TopicPosition, VERSION_HEADER};
use crate::{
    config::KafkaSettings,
    stream::kafka::{
        client,
        logs::{self, ClientLog},
    },
};

/// What a question to the brokers may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long one look for a record waits.
const LOOK: Duration = Duration::from_millis(100);

/// How often the client library says how it stands.
const STATISTICS: Duration = Duration::from_secs(1);

/// An answer of the brokers that is older says nothing of now: a fetch is answered every half second.
const SILENCE: Duration = Duration::from_secs(2);

/// How far before the end of partition 0 the last position is looked for first.
const TAIL: i64 = 1_000;

/// Why nothing can be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error("there is no topic {0}; `waypost topics create` makes it")]
    NoTopic(String),
    /// What was to come next is gone, or was never there: only from the beginning it can go on.
    #[error("the catalog's topic does not have offset {0:?} any more")]
    OffsetGone(Option<i64>),
    /// No broker answers; the client goes on trying by itself.
    #[error("no broker answers: {0}")]
    Away(String),
    /// A broker does not answer; the client goes on by itself, with others or later.
    #[error("a broker does not answer: {0}")]
    Disturbed(String),
    #[error("the catalog's topic cannot be read: {0}")]
    Failed(String),
}

impl From<KafkaError> for ReadError {
    fn from(error: KafkaError) -> Self {
        use RDKafkaErrorCode::*;
        match error.rdkafka_error_code() {
            Some(OffsetOutOfRange | AutoOffsetReset) => Self::OffsetGone(None),
            Some(AllBrokersDown) => Self::Away(client::describe(&error)),
            Some(
                BrokerTransportFailure
                | OperationTimedOut
                | RequestTimedOut
                | Resolve
                | NetworkException
                | TimedOutQueue
                | Authentication
                | SSL,
            ) => Self::Disturbed(client::describe(&error)),
            _ => Self::Failed(client::describe(&error)),
        }
    }
}

/// What comes from the topic.
#[derive(Debug)]
pub enum Incoming<'a> {
    Record {
        partition: i32,
        offset: i64,
        key: &'a [u8],
        /// None: removed, as of `version`.
        value: Option<&'a [u8]>,
        /// Said by the header; of a value it stands inside.
        version: Option<i64>,
    },
    /// How far the publisher was when it wrote this.
    Position { offset: i64, position: TopicPosition },
    /// About the topic, and nothing that this build needs.
    Other { partition: i32, offset: i64 },
    /// Everything of this partition was read.
    End(i32),
}

/// When every partition was last known to be read to its end.
#[derive(Debug, Default)]
struct AtEnd {
    topic: String,
    since: Mutex<Option<Instant>>,
    log: ClientLog,
}

impl ClientContext for AtEnd {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes this way too, and is no error.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.log.error(reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else { return };
        if statistics.at_end(&self.topic) {
            *self.since.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

impl ConsumerContext for AtEnd {}

/// The little of the client library's statistics that is needed.
#[derive(Deserialize)]
struct Statistics {
    brokers: BTreeMap<String, BrokerState>,
    topics: BTreeMap<String, TopicState>,
}

#[derive(Deserialize)]
struct BrokerState {
    nodeid: i32,
    state: String,
    /// Microseconds since something came.
    rxidle: i64,
}

#[derive(Deserialize)]
struct TopicState {
    partitions: BTreeMap<i32, PartitionState>,
}

#[derive(Deserialize)]
struct PartitionState {
    partition: i32,
    leader: i32,
    fetch_state: String,
    eof_offset: i64,
    ls_offset: i64,
}

impl Statistics {
    /// Whether the leader of each partition has just said that there is no more than was read.
    fn at_end(&self, topic: &str) -> bool {
        let Some(topic) = self.topics.get(topic) else { return false };
        let silence = i64::try_from(SILENCE.as_micros()).unwrap_or(i64::MAX);
        let answers = |id: i32| {
            let mut leaders = self.brokers.values().filter(|broker| broker.nodeid == id);
            leaders.any(|broker| broker.state == "UP" && (0..silence).contains(&broker.rxidle))
        };
        let mut partitions =
            topic.partitions.values().filter(|partition| partition.partition >= 0).peekable();
        partitions.peek().is_some()
            && partitions.all(|partition| {
                partition.fetch_state == "active"
                    && partition.eof_offset >= 0
                    && partition.eof_offset == partition.ls_offset
                    && answers(partition.leader)
            })
    }
}

/// Which topic it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicIdentity {
    cluster: String,
    id: Option<String>,
}

impl TopicIdentity {
    /// What tells this topic from every other; `None`: nobody has published on it yet.
    pub fn text(&self) -> Option<String> {
        self.id.as_deref().map(|id| self.text_with(id))
    }

    /// The same, once it has been given this id.
    pub fn text_with(&self, id: &str) -> String {
        format!("{}/{id}", self.cluster)
    }
}

/// A reader of all partitions, in no consumer group: every edge reads everything.
pub struct CatalogReader {
    consumer: BaseConsumer<AtEnd>,
    topic: String,
    partitions: Vec<i32>,
}

impl std::fmt::Debug for CatalogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogReader")
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl CatalogReader {
    /// Connects and looks what partitions there are. Blocks for some seconds at most.
    ///
    /// # Errors
    /// No broker answers, or there is no such topic.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, ReadError> {
        let topic = client::catalog_topic(settings);
        let context = AtEnd { topic: topic.clone(), ..AtEnd::default() };
        let mut config = client::connection(settings);
        logs::ask_for(&mut config);
        let consumer: BaseConsumer<AtEnd> = config
            // Needed by the client library; nothing is ever committed and nobody is joined.
            .set("group.id", format!("{}waypost-catalog-reader", settings.prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            .set("statistics.interval.ms", STATISTICS.as_millis().to_string())
            // What is read ahead takes memory.
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "10")
            .create_with_context(context)?;
        let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let mut partitions: Vec<i32> =
            found.into_iter().flat_map(|found| found.partitions()).map(|partition| partition.id()).collect();
        if partitions.is_empty() {
            return Err(ReadError::NoTopic(topic));
        }
        partitions.sort_unstable();
        Ok(Self { consumer, topic, partitions })
    }

    pub fn partitions(&self) -> &[i32] {
        &self.partitions
    }

    /// Which topic it is, in which cluster. Ends what was followed.
    ///
    /// # Errors
    /// No broker answers in time.
    pub fn identity(&self) -> Result<TopicIdentity, ReadError> {
        let cluster = self.consumer.client().fetch_cluster_id(ANSWER);
        let cluster = cluster.ok_or_else(|| ReadError::Away("no broker says its cluster".to_owned()))?;
        let id = self.look(Offset::Beginning, |message| {
            (message.key() == Some(IDENTITY_KEY.as_bytes()))
                .then(|| serde_json::from_slice::<Identity>(message.payload().unwrap_or_default()).ok())
                .flatten()
        })?;
        Ok(TopicIdentity { cluster, id: id.map(|identity| identity.id) })
    }

    /// What the publisher said last; `None`: nothing. Ends what was followed.
    ///
    /// # Errors
    /// No broker answers in time.
    pub fn position(&self) -> Result<Option<TopicPosition>, ReadError> {
        let (low, high) = self.consumer.fetch_watermarks(&self.topic, 0, ANSWER)?;
        let mut last = None;
        let near = high.saturating_sub(TAIL);
        if near > low {
            self.last_position(Offset::Offset(near), &mut last)?;
        }
        if last.is_none() {
            self.last_position(Offset::Beginning, &mut last)?;
        }
        Ok(last)
    }

    fn last_position(&self, from: Offset, last: &mut Option<TopicPosition>) -> Result<(), ReadError> {
        self.look::<()>(from, |message| {
            if message.key() == Some(POSITION_KEY.as_bytes())
                && let Ok(position) = serde_json::from_slice(message.payload().unwrap_or_default())
            {
                *last = Some(position);
            }
            None
        })?;
        Ok(())
    }

    /// Goes through partition 0 until `find` has found, or to its end.
    fn look<T>(
        &self,
        from: Offset,
        mut find: impl FnMut(&BorrowedMessage<'_>) -> Option<T>,
    ) -> Result<Option<T>, ReadError> {
        self.assign(&[(0, from)])?;
        let mut deadline = Instant::now() + ANSWER;
        let found = loop {
            match self.consumer.poll(LOOK) {
                Some(Ok(message)) => {
                    if let Some(found) = find(&message) {
                        break Some(found);
                    }
                    deadline = Instant::now() + ANSWER;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break None,
                Some(Err(error)) => return Err(error.into()),
                None if Instant::now() > deadline => {
                    return Err(ReadError::Away("partition 0 is not handed out".to_owned()));
                }
                None => {}
            }
        };
        self.consumer.unassign()?;
        Ok(found)
    }

    /// Hands out every partition from these offsets on; one that is not named, from its beginning.
    ///
    /// # Errors
    /// The client library refuses.
    pub fn follow(&self, offsets: &BTreeMap<i32, i64>) -> Result<(), ReadError> {
        let from =
            |partition: &i32| offsets.get(partition).map_or(Offset::Beginning, |at| Offset::Offset(*at));
        let from: Vec<(i32, Offset)> = self.partitions.iter().map(|p| (*p, from(p))).collect();
        self.assign(&from)
    }

    fn assign(&self, from: &[(i32, Offset)]) -> Result<(), ReadError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in from {
            list.add_partition_offset(&self.topic, *partition, *offset)?;
        }
        Ok(self.consumer.assign(&list)?)
    }

    /// Hands what comes next to `take`; `None`: nothing came in time.
    ///
    /// # Errors
    /// As [`ReadError`] says. After [`ReadError::Away`] and [`ReadError::Disturbed`] it goes on by itself.
    pub fn poll<T>(
        &self,
        wait: Duration,
        take: impl FnOnce(Incoming<'_>) -> T,
    ) -> Result<Option<T>, ReadError> {
        match self.consumer.poll(wait) {
            Some(Ok(message)) => Ok(Some(take(incoming(&message)))),
            Some(Err(KafkaError::PartitionEOF(partition))) => Ok(Some(take(Incoming::End(partition)))),
            Some(Err(error)) => Err(error.into()),
            None => Ok(None),
        }
    }

    /// When every partition was last known to be read to its end.
    pub fn at_end(&self) -> Option<Instant> {
        *self.consumer.context().since.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn incoming<'a>(message: &'a BorrowedMessage<'_>) -> Incoming<'a> {
    let (partition, offset) = (message.partition(), message.offset());
    let key = message.key().unwrap_or_default();
    if key.starts_with(super::META.as_bytes()) {
        let position = (key == POSITION_KEY.as_bytes())
            .then(|| serde_json::from_slice(message.payload().unwrap_or_default()).ok())
            .flatten();
        return match position {
            Some(position) => Incoming::Position { offset, position },
            None => Incoming::Other { partition, offset },
        };
    }
    let headers = message.headers();
    let version = headers.and_then(|headers| {
        let mut values = headers.iter().filter(|header| header.key == VERSION_HEADER);
        std::str::from_utf8(values.next()?.value?).ok()?.parse().ok()
    });
    Incoming::Record { partition, offset, key, value: message.payload(), version }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(state: &str, rxidle: i64, eof: i64, end: i64) -> Statistics {
        let text = format!(
            r#"{{"brokers": {{"b": {{"nodeid": 1, "state": "{state}", "rxidle": {rxidle}, "tx": 1}}}},
                "topics": {{"t": {{"partitions": {{
                    "0": {{"partition": 0, "leader": 1, "fetch_state": "active", "eof_offset": {eof}, "ls_offset": {end}}},
                    "-1": {{"partition": -1, "leader": 0, "fetch_state": "none", "eof_offset": -1001, "ls_offset": -1001}}
                }}}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_end_is_known_while_the_leader_says_so() {
        assert!(statistics("UP", 500_000, 7, 7).at_end("t"));
        assert!(!statistics("UP", 500_000, 7, 7).at_end("other"));
        assert!(!statistics("UP", 500_000, 6, 7).at_end("t"));
        assert!(!statistics("UP", 500_000, -1001, -1001).at_end("t"));
        assert!(!statistics("UP", 3_000_000, 7, 7).at_end("t"));
        assert!(!statistics("UP", -1, 7, 7).at_end("t"));
        assert!(!statistics("DOWN", 500_000, 7, 7).at_end("t"));
    }
}
