//! Metrics of settlement's place in its consumer groups.
//!
//! | series | meaning |
//! |---|---|
//! | `waypost_settlement_lag_events{topic}` | events of this instance's partitions that are not settled yet |
//! | `waypost_settlement_partitions{topic}` | partitions that are this instance's now |
//! | `waypost_settlement_rebalances_total{topic}` | partitions were given to this instance or taken from it |
//! | `waypost_settlement_consumer_restarts_total{topic}` | a consumer that was silent for too long was made anew |
//! | `waypost_settlement_brokers_up{topic}` | 1 while the brokers answer this consumer |

use metrics::{Counter, Gauge};

use super::series::{counter_with, gauge_with};
use crate::config::KafkaSettings;

/// Resolved handles of both consumers.
#[derive(Clone, Debug)]
pub struct KafkaConsumersMetrics {
    pub clicks: KafkaConsumerMetrics,
    pub conversions: KafkaConsumerMetrics,
}

/// The series of one consumer.
#[derive(Clone, Debug)]
pub struct KafkaConsumerMetrics {
    pub lag: Gauge,
    pub partitions: Gauge,
    pub rebalances: Counter,
    pub restarts: Counter,
    pub brokers_up: Gauge,
}

impl KafkaConsumersMetrics {
    /// Describes every series, sets it to 0 and resolves its handle. None of them is there without Kafka: an instance
    /// without partitions would look like one that was shut out.
    pub fn register(settings: &KafkaSettings) -> Option<Self> {
        settings.is_used().then(|| Self {
            clicks: KafkaConsumerMetrics::register("clicks"),
            conversions: KafkaConsumerMetrics::register("conversions"),
        })
    }
}

impl KafkaConsumerMetrics {
    fn register(topic: &'static str) -> Self {
        let label = [("topic", topic)];
        Self {
            lag: gauge_with(
                "waypost_settlement_lag_events",
                "Events in this instance's partitions that are not settled yet.",
                &label,
            ),
            partitions: gauge_with(
                "waypost_settlement_partitions",
                "Partitions that this instance settles now.",
                &label,
            ),
            rebalances: counter_with(
                "waypost_settlement_rebalances_total",
                "How often partitions were given to this instance or taken from it.",
                &label,
            ),
            restarts: counter_with(
                "waypost_settlement_consumer_restarts_total",
                "How often a consumer was made anew that heard nothing for too long.",
                &label,
            ),
            brokers_up: gauge_with(
                "waypost_settlement_brokers_up",
                "1 while the Kafka brokers answer this consumer, asked every other second.",
                &label,
            ),
        }
    }
}
