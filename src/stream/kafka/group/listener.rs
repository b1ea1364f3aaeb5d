//! What librdkafka says of the group, noted where it arrives.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tracing::debug;

use super::lock;
use crate::stream::kafka::logs::ClientLog;

/// What librdkafka said that is not acted upon yet.
#[derive(Debug)]
pub(super) enum News {
    Given(Vec<i32>),
    Taken(Vec<i32>),
}

/// Notes what librdkafka says.
#[derive(Debug, Default)]
pub(in crate::stream::kafka) struct Listener {
    pub(super) news: Mutex<Vec<News>>,
    pub(super) log: ClientLog,
    /// Nobody reads `news` any more: partitions are given back on the spot.
    pub(super) leaving: AtomicBool,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.line(level, facility, message);
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.log.error(reason);
    }
}

impl ConsumerContext for Listener {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, word: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|element| element.partition()).collect();
        let given = matches!(word, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        if self.leaving.load(Ordering::Acquire) {
            // The last word before the end, which may come when the consumer is dropped.
            let answered = if given {
                consumer.incremental_assign(&TopicPartitionList::new())
            } else {
                give_back(consumer, list)
            };
            if let Err(error) = answered {
                debug!(%error, "partitions could not be given back");
            }
            return;
        }
        let news = if given { News::Given(partitions) } else { News::Taken(partitions) };
        lock(&self.news).push(news);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        // For tools that show lag; our own place is in the store.
        if let Err(error) = result {
            debug!(%error, "the group could not be told where settlement stands");
        }
    }
}

/// Stops fetching those of `list` that are fetched. librdkafka waits for this answer even if there are none.
pub(super) fn give_back(consumer: &BaseConsumer<Listener>, list: &TopicPartitionList) -> KafkaResult<()> {
    let fetched = consumer.assignment()?;
    let mut ours = TopicPartitionList::new();
    for element in list.elements() {
        if fetched.find_partition(element.topic(), element.partition()).is_some() {
            ours.add_partition(element.topic(), element.partition());
        }
    }
    consumer.incremental_unassign(&ours)
}
