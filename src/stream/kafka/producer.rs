//! One librdkafka producer: its settings, how a record is sent, and what becomes of the answers.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig},
};

use super::{
    batch::{Batch, Room},
    client,
    lane::Lane,
    logs::{self, ClientLog},
};
use crate::{
    config::KafkaSettings,
    stream::{Record, Topic},
    telemetry::kafka::{KafkaMetrics, ProducedMetrics},
};

/// Records of the spool that are under way at once. They find room beside as many live ones as the settings allow.
pub(super) const REPLAY_RECORDS: u64 = 2_000;

/// Room for their bytes, in KiB.
const REPLAY_KIB: u64 = 65_536;

/// The bounds of librdkafka for a limit in milliseconds.
const SOCKET_TIMEOUT_MS: (u64, u64) = (10, 300_000);
const SETUP_TIMEOUT_MS: (u64, u64) = (1_000, 300_000);

/// One connection to the brokers and the records that it has in hand.
pub(super) struct Producer {
    base: BaseProducer<Reports>,
    pub(super) room: Arc<Room>,
    /// Tells the reports of a producer that was given up from those of its successor.
    pub(super) number: u64,
}

impl Producer {
    /// Makes a producer for what travels on `topic`. Connects by and by; an error is one of the settings.
    pub(super) fn open(
        settings: &KafkaSettings,
        topic: Topic,
        number: u64,
        lane: Weak<Lane>,
        metrics: &KafkaMetrics,
    ) -> KafkaResult<Self> {
        let reports = Reports { lane, number, metrics: metrics.clone(), log: ClientLog::default() };
        let base = config(settings, topic).create_with_context(reports)?;
        Ok(Self { base, room: Arc::default(), number })
    }

    /// Queues a record. Never blocks.
    pub(super) fn send(&self, topic: &str, record: &Record, batch: &Arc<Batch>) -> KafkaResult<()> {
        let mut key = [0; KEY_BYTES];
        let to = BaseRecord::with_opaque_to(topic, Arc::clone(batch)).payload(&*record.payload);
        let sent = match record.key {
            None => self.base.send::<[u8], [u8]>(to),
            Some(account) => self.base.send::<[u8], [u8]>(to.key(decimal(account.0, &mut key))),
        };
        sent.map_err(|(error, _)| error)
    }

    /// Waits for events of the producer and handles them, for so long.
    pub(super) fn poll(&self, time: Duration) {
        self.base.poll(time);
    }

    /// Forgets what has not been answered. What was sent may be stored by the brokers all the same; what was not sent
    /// never will be.
    pub(super) fn purge(&self) {
        self.base.purge(PurgeConfig::default().queue().inflight());
    }

    /// Why it takes nothing any more.
    pub(super) fn fatal_error(&self) -> Option<String> {
        self.base.client().fatal_error().map(|(_, why)| why)
    }

    /// Asks the brokers for a topic. Blocks for so long at most.
    pub(super) fn look_for(&self, topic: &str, time: Duration) -> Result<(), Absent> {
        let found = self.base.client().fetch_metadata(Some(topic), time);
        let found = found.map_err(|error| Absent::Brokers(self.explain(&error)))?;
        match found.topics().first() {
            Some(topic) if topic.error().is_none() && !topic.partitions().is_empty() => Ok(()),
            _ => Err(Absent::Topic),
        }
    }

    fn explain(&self, error: &KafkaError) -> String {
        self.base.context().log.reasons().pop().unwrap_or_else(|| error.to_string())
    }
}

/// What keeps events from the brokers at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// No broker answers; why, as far as librdkafka says.
    Brokers(String),
    Topic,
}

/// Digits of the largest account id.
const KEY_BYTES: usize = 20;

/// Decimal digits, so that a key reads the same in every tool.
fn decimal(number: i64, digits: &mut [u8; KEY_BYTES]) -> &[u8] {
    let mut left = number.unsigned_abs();
    let mut at = KEY_BYTES;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

fn config(settings: &KafkaSettings, topic: Topic) -> ClientConfig {
    let mut config = client::connection(settings);
    logs::ask_for(&mut config);
    let within = |(least, most): (u64, u64)| settings.message_timeout_ms.clamp(least, most).to_string();
    let kib = (settings.queue_bytes / 1024 + REPLAY_KIB).min(i32::MAX.unsigned_abs().into());
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", settings.linger_ms.to_string())
        .set("queue.buffering.max.messages", (settings.queue_events + REPLAY_RECORDS).to_string())
        .set("queue.buffering.max.kbytes", kib.to_string())
        // A connection that does not answer is given up and made anew.
        .set("socket.timeout.ms", within(SOCKET_TIMEOUT_MS))
        .set("socket.connection.setup.timeout.ms", within(SETUP_TIMEOUT_MS))
        .set("api.version.request.timeout.ms", within(SETUP_TIMEOUT_MS));
    match topic {
        Topic::Clicks => config.set("message.timeout.ms", settings.message_timeout_ms.to_string()),
        // Records of librdkafka time out one by one, and what comes behind goes on: an order would be broken. These
        // are purged all together instead, at the latest after `spool_after_ms`; and a record that fails stops all
        // behind it.
        Topic::Conversions => config.set("message.timeout.ms", "0").set("enable.gapless.guarantee", "true"),
    };
    config
}

/// What librdkafka reports, on the thread that polls the producer.
struct Reports {
    lane: Weak<Lane>,
    number: u64,
    metrics: KafkaMetrics,
    log: ClientLog,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(reason);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
            && let Some(lane) = self.lane.upgrade()
        {
            lane.is_fatal(self.number, reason);
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, report: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match report {
            Ok(_) => {
                let Some(waiting) = batch.acknowledge_one() else { return };
                acknowledged(&self.metrics, &batch);
                waiting.done.resolve(Ok(crate::stream::Durability::Replicated));
            }
            Err((error, _)) => {
                if let Some(lane) = self.lane.upgrade() {
                    lane.has_failed(self.number, &batch, error);
                }
            }
        }
    }
}

fn acknowledged(metrics: &KafkaMetrics, batch: &Batch) {
    if batch.is_replay {
        return;
    }
    metrics.delivery_seconds.record(batch.since.elapsed());
    for topic in Topic::ALL {
        of_topic(metrics, topic).acknowledged.increment(batch.counts[topic.index()]);
    }
}

pub(super) fn of_topic(metrics: &KafkaMetrics, topic: Topic) -> &ProducedMetrics {
    match topic {
        Topic::Clicks => &metrics.clicks,
        Topic::Conversions => &metrics.conversions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn keys_are_decimal() {
        for number in [0, 7, 10, 1_234_567, i64::MAX, i64::MIN] {
            assert_eq!(decimal(number, &mut [0; KEY_BYTES]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn librdkafka_takes_the_settings_at_their_bounds() {
        let least = |settings: &mut KafkaSettings| {
            (settings.spool_after_ms, settings.message_timeout_ms) = (10, 100);
            (settings.linger_ms, settings.queue_events, settings.queue_bytes) = (0, 1_000, 1_048_576);
        };
        let most = |settings: &mut KafkaSettings| {
            (settings.spool_after_ms, settings.message_timeout_ms) = (60_000, 600_000);
            (settings.linger_ms, settings.queue_events) = (1_000, 10_000_000);
            settings.queue_bytes = 2_147_482_624;
        };
        let bounds: [&dyn Fn(&mut KafkaSettings); 3] = [&|_| {}, &least, &most];
        for change in bounds {
            let mut settings = Settings::default().kafka;
            settings.brokers = "127.0.0.1:1".to_owned();
            change(&mut settings);
            for topic in Topic::ALL {
                let producer: KafkaResult<BaseProducer> = config(&settings, topic).create();
                assert!(producer.is_ok(), "{:?}", producer.err());
            }
        }
    }
}
