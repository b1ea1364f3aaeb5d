//! Metrics of the producing side of Kafka.
//!
//! | series | meaning |
//! |---|---|
//! | `waypost_kafka_produced_total{topic,outcome}` | events by what became of them: `acknowledged` by the brokers, `spooled`, `refused` by the spool too |
//! | `waypost_kafka_delivery_seconds` | from the hand-over of a batch to its acknowledgement by the brokers |
//! | `waypost_kafka_producer_queue_events{topic}` | events that are on their way to the brokers |
//! | `waypost_kafka_producer_up{topic}` | 1 while events go to the brokers, 0 while they go to the spool |
//! | `waypost_kafka_producer_restarts_total{topic,reason}` | producers that were given up and made anew |
//! | `waypost_spool_replayed_events_total{topic}` | events that went from the spool to the brokers |

use metrics::{Counter, Gauge, Histogram};

use super::series;

/// Resolved handles.
#[derive(Clone, Debug)]
pub struct KafkaMetrics {
    pub delivery_seconds: Histogram,
    pub clicks: ProducedMetrics,
    pub conversions: ProducedMetrics,
}

/// The series of one topic.
#[derive(Clone, Debug)]
pub struct ProducedMetrics {
    pub acknowledged: Counter,
    pub spooled: Counter,
    pub refused: Counter,
    pub queue_events: Gauge,
    pub up: Gauge,
    /// librdkafka cannot go on with its state.
    pub restarts_fatal: Counter,
    /// What was under way went to the spool and must not overtake it.
    pub restarts_outage: Counter,
    pub replayed: Counter,
}

impl KafkaMetrics {
    /// Describes every series, sets it to 0 and resolves its handle.
    pub fn register() -> Self {
        Self {
            delivery_seconds: series::histogram(
                "waypost_kafka_delivery_seconds",
                "Seconds from the hand-over of a batch of events to its acknowledgement by the brokers.",
            ),
            clicks: ProducedMetrics::register("clicks"),
            conversions: ProducedMetrics::register("conversions"),
        }
    }
}

impl ProducedMetrics {
    fn register(topic: &'static str) -> Self {
        let produced = |outcome| {
            series::counter_with(
                "waypost_kafka_produced_total",
                "Events by topic and by what became of them.",
                &[("topic", topic), ("outcome", outcome)],
            )
        };
        let restarts = |reason| {
            series::counter_with(
                "waypost_kafka_producer_restarts_total",
                "Producers that were given up and made anew.",
                &[("topic", topic), ("reason", reason)],
            )
        };
        Self {
            acknowledged: produced("acknowledged"),
            spooled: produced("spooled"),
            refused: produced("refused"),
            queue_events: series::gauge_with(
                "waypost_kafka_producer_queue_events",
                "Events that are on their way to the brokers.",
                &[("topic", topic)],
            ),
            up: series::gauge_with(
                "waypost_kafka_producer_up",
                "1 while events go to the brokers, 0 while they go to the spool.",
                &[("topic", topic)],
            ),
            restarts_fatal: restarts("fatal"),
            restarts_outage: restarts("outage"),
            replayed: series::counter_with(
                "waypost_spool_replayed_events_total",
                "Events that went from the spool to the brokers.",
                &[("topic", topic)],
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn every_series_is_there_from_the_start() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, KafkaMetrics::register);
        let text = recorder.handle().render();
        let mut expected = vec!["waypost_kafka_delivery_seconds_count 0".to_owned()];
        for topic in ["clicks", "conversions"] {
            for outcome in ["acknowledged", "spooled", "refused"] {
                expected.push(format!(
                    "waypost_kafka_produced_total{{topic=\"{topic}\",outcome=\"{outcome}\"}} 0"
                ));
            }
            for reason in ["fatal", "outage"] {
                expected.push(format!(
                    "waypost_kafka_producer_restarts_total{{topic=\"{topic}\",reason=\"{reason}\"}} 0"
                ));
            }
            for name in ["kafka_producer_queue_events", "kafka_producer_up", "spool_replayed_events_total"] {
                expected.push(format!("waypost_{name}{{topic=\"{topic}\"}} 0"));
            }
        }
        for line in expected {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
