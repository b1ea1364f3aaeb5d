//! Writes batches of records, each in a transaction that a successor can shut out.

use std::time::Duration;

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};

use super::{IDENTITY_KEY, Identity, POSITION_KEY, TopicPosition, VERSION_HEADER};
use crate::{
    config::KafkaSettings,
    stream::kafka::{
        client,
        logs::{self, ClientLog},
    },
};

/// What the brokers may take for a transaction before they end it themselves: until then readers wait behind it.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// What one step may take. The end of a transaction has to be known, so it is waited for longer.
const STEP: Duration = Duration::from_secs(15);

/// A record as it is sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub key: String,
    pub version: i64,
    /// None: removed.
    pub value: Option<Vec<u8>>,
}

/// Why a batch is not on the topic, or not known to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// A later publisher has taken over: this one can write nothing any more.
    #[error("another publisher has taken over the catalog's topic")]
    Fenced,
    /// Too large for the brokers; it has to change before anything goes on.
    #[error("the record {key} is too large for the topic ({bytes} bytes)")]
    TooLarge { key: String, bytes: usize },
    #[error("the catalog cannot be published: {0}")]
    Failed(String),
}

impl From<KafkaError> for PublishError {
    fn from(error: KafkaError) -> Self {
        let fenced = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::Fenced
                    | RDKafkaErrorCode::ProducerFenced
                    | RDKafkaErrorCode::InvalidProducerEpoch
            )
        );
        if fenced { Self::Fenced } else { Self::Failed(client::describe(&error)) }
    }
}

/// What the client library says. How deliveries end is told by the transaction.
#[derive(Default)]
struct Says(ClientLog);

impl ClientContext for Says {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.line(level, facility, message);
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.0.error(reason);
    }
}

impl ProducerContext for Says {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// The one writer of the topic, as long as no later one was made.
pub struct CatalogProducer {
    producer: Option<ThreadedProducer<Says>>,
    topic: String,
}

impl Drop for CatalogProducer {
    /// The client library's end waits for brokers; whoever lets go must not.
    fn drop(&mut self) {
        let producer = self.producer.take();
        std::thread::spawn(move || drop(producer));
    }
}

impl std::fmt::Debug for CatalogProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogProducer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl CatalogProducer {
    /// Connects and shuts out every publisher before this one. Blocks.
    ///
    /// # Errors
    /// The brokers cannot be reached or refuse.
    pub fn take_over(settings: &KafkaSettings) -> Result<Self, PublishError> {
        let producer: ThreadedProducer<Says> = config(settings).create_with_context(Says::default())?;
        producer.init_transactions(STEP)?;
        Ok(Self { producer: Some(producer), topic: client::catalog_topic(settings) })
    }

    /// Sends records in their order, and then how far that is, all of it or nothing. With `identity` it is the first
    /// of a new topic. Blocks until it is known how it ended.
    ///
    /// # Errors
    /// After any error the producer is of no use any more: nothing, or all of it, may be on the topic.
    pub fn publish(
        &self,
        identity: Option<&str>,
        records: &[Outgoing],
        position: TopicPosition,
    ) -> Result<(), PublishError> {
        let producer = self.producer()?;
        producer.begin_transaction()?;
        if let Some(id) = identity {
            self.send_meta(IDENTITY_KEY, &Identity { id: id.to_owned() })?;
        }
        for record in records {
            let version = record.version.to_string();
            let mut message: BaseRecord<'_, str, [u8]> = BaseRecord::to(&self.topic).key(&record.key);
            match &record.value {
                Some(value) => message = message.payload(value),
                None => {
                    let header = Header { key: VERSION_HEADER, value: Some(&version) };
                    message = message.headers(OwnedHeaders::new().insert(header));
                }
            }
            producer.send(message).map_err(|(error, _)| {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
                    let bytes = record.value.as_ref().map_or(0, Vec::len);
                    return PublishError::TooLarge { key: record.key.clone(), bytes };
                }
                error.into()
            })?;
        }
        self.send_meta(POSITION_KEY, &position)?;
        Ok(producer.commit_transaction(STEP)?)
    }

    fn send_meta(&self, key: &str, value: &impl serde::Serialize) -> Result<(), PublishError> {
        let value = serde_json::to_vec(value).map_err(|error| PublishError::Failed(error.to_string()))?;
        let message: BaseRecord<'_, str, [u8]> =
            BaseRecord::to(&self.topic).key(key).partition(0).payload(&value);
        self.producer()?.send(message).map_err(|(error, _)| error.into())
    }

    /// There is one until the end.
    fn producer(&self) -> Result<&ThreadedProducer<Says>, PublishError> {
        self.producer.as_ref().ok_or_else(|| PublishError::Failed("the producer is closed".to_owned()))
    }
}

fn config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = client::connection(settings);
    logs::ask_for(&mut config);
    config
        .set("transactional.id", format!("{}waypost-catalog", settings.prefix))
        .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        // A change is to be everywhere within a second.
        .set("linger.ms", "5")
        .set("message.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
    config
}
