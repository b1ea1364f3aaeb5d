//! The event log of an edge: Kafka with the spool behind it, or the spool alone.

use std::{sync::Arc, time::Duration};

use super::{
    data_dir::DataDir,
    exit::{Code, Failure},
    parts,
};
use crate::{
    config::Settings,
    events,
    stream::{
        EventSink,
        kafka::{KafkaSink, KafkaSinkError},
        spool::Spool,
    },
    telemetry::kafka::KafkaMetrics,
};

/// How long the end waits for Kafka. What is not acknowledged then stays in the spool.
const FLUSH: Duration = Duration::from_secs(1);

/// An open event log.
#[derive(Debug)]
pub struct EventLog {
    pub spool: Arc<Spool>,
    pub kafka: Option<Arc<KafkaSink>>,
}

impl EventLog {
    /// Opens the spool, and Kafka where there are brokers. Brokers that are away only make it slower.
    pub async fn open(folder: &DataDir, settings: &Settings) -> Result<Self, Failure> {
        let spool = Arc::new(parts::open_spool(folder, settings)?);
        if !settings.kafka.is_used() {
            return Ok(Self { spool, kafka: None });
        }
        let metrics = KafkaMetrics::register();
        let key_of = |payload: &bytes::Bytes| events::order_key(payload);
        let kafka = KafkaSink::open(&settings.kafka, Arc::clone(&spool), key_of, metrics).await;
        let kafka = Arc::new(kafka.map_err(|error| failed(&error))?);
        Ok(Self { spool, kafka: Some(kafka) })
    }

    pub fn sink(&self) -> Arc<dyn EventSink> {
        match &self.kafka {
            Some(kafka) => Arc::clone(kafka) as Arc<dyn EventSink>,
            None => self.spool.sink(),
        }
    }

    /// Makes everything durable that was handed over, and answers it.
    pub async fn close(self) {
        if let Some(kafka) = &self.kafka {
            kafka.close(FLUSH).await;
        }
        self.spool.close();
    }
}

fn failed(error: &KafkaSinkError) -> Failure {
    let message = format!("events cannot go to Kafka: {error}");
    match error {
        KafkaSinkError::Settings(_) => Failure::new(Code::Config, message)
            .with_hint("Check the section `kafka` of the settings, and that its files can be read."),
        KafkaSinkError::Spool(_) => Failure::new(Code::Data, message).with_hint(parts::DAMAGED),
        KafkaSinkError::Thread(_) => Failure::new(Code::Unavailable, message),
    }
}
