//! Metrics of the event log.
//!
//! | series | meaning |
//! |---|---|
//! | `waypost_spool_append_seconds` | from the hand-over of records to their durability, refused ones left out |
//! | `waypost_spool_commits_total{outcome}` | transactions that were tried, to append or to forget; `failed` pages |
//! | `waypost_spool_events_total{topic,outcome}` | what became of the events that were handed over |
//! | `waypost_spool_events{topic}` | events stored and not yet forgotten |
//! | `waypost_spool_bytes{topic}` | their compressed bytes |
//! | `waypost_spool_max_bytes` | the bound of the bytes of all topics |
//! | `waypost_spool_oldest_age_seconds{topic}` | age of the oldest batch that is kept; 0 without one |

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// Bounds of `waypost_spool_append_seconds`: from a fast disk's sync to a caller's patience.
pub const APPEND_SECONDS_BUCKETS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// The name that [`APPEND_SECONDS_BUCKETS`] belong to.
pub const APPEND_SECONDS: &str = "waypost_spool_append_seconds";

const COMMITS: &str = "waypost_spool_commits_total";
const EVENTS_TOTAL: &str = "waypost_spool_events_total";
const EVENTS: &str = "waypost_spool_events";
const BYTES: &str = "waypost_spool_bytes";
const MAX_BYTES: &str = "waypost_spool_max_bytes";
const OLDEST_AGE: &str = "waypost_spool_oldest_age_seconds";

/// Resolved handles of the event log.
#[derive(Clone, Debug)]
pub struct StreamMetrics {
    pub append_seconds: Histogram,
    pub commits: Counter,
    pub failed_commits: Counter,
    pub max_bytes: Gauge,
    pub clicks: TopicMetrics,
    pub conversions: TopicMetrics,
}

/// The series of one topic.
#[derive(Clone, Debug)]
pub struct TopicMetrics {
    pub stored: Counter,
    pub full: Counter,
    pub stalled: Counter,
    pub failed: Counter,
    pub closed: Counter,
    pub events: Gauge,
    pub bytes: Gauge,
    pub oldest_age_seconds: Gauge,
}

impl StreamMetrics {
    /// Describes every series, sets it to 0 and resolves its handle, all with the recorder of this moment.
    pub fn register() -> Self {
        describe_histogram!(APPEND_SECONDS, "Seconds from the hand-over of records to their durability.");
        describe_counter!(COMMITS, "Transactions of the event log by outcome.");
        describe_counter!(EVENTS_TOTAL, "Events handed to the event log by topic and outcome.");
        describe_gauge!(EVENTS, "Events that the log keeps because they are not settled yet.");
        describe_gauge!(BYTES, "Compressed bytes of the events that the log keeps.");
        describe_gauge!(MAX_BYTES, "Compressed bytes that the log may keep.");
        describe_gauge!(OLDEST_AGE, "Seconds since the oldest batch that the log keeps was written.");
        let metrics = Self {
            append_seconds: histogram!(APPEND_SECONDS),
            commits: zero(counter!(COMMITS, "outcome" => "committed")),
            failed_commits: zero(counter!(COMMITS, "outcome" => "failed")),
            max_bytes: gauge!(MAX_BYTES),
            clicks: TopicMetrics::register("clicks"),
            conversions: TopicMetrics::register("conversions"),
        };
        metrics.max_bytes.set(0.0);
        metrics
    }
}

impl TopicMetrics {
    fn register(topic: &'static str) -> Self {
        let outcome =
            |outcome: &'static str| zero(counter!(EVENTS_TOTAL, "topic" => topic, "outcome" => outcome));
        let metrics = Self {
            stored: outcome("stored"),
            full: outcome("full"),
            stalled: outcome("stalled"),
            failed: outcome("failed"),
            closed: outcome("closed"),
            events: gauge!(EVENTS, "topic" => topic),
            bytes: gauge!(BYTES, "topic" => topic),
            oldest_age_seconds: gauge!(OLDEST_AGE, "topic" => topic),
        };
        for gauge in [&metrics.events, &metrics.bytes, &metrics.oldest_age_seconds] {
            gauge.set(0.0);
        }
        metrics
    }
}

fn zero(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn every_series_is_there_from_the_start() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, StreamMetrics::register);
        let text = recorder.handle().render();
        let mut expected = vec![
            "waypost_spool_append_seconds_count 0".to_owned(),
            "waypost_spool_commits_total{outcome=\"committed\"} 0".to_owned(),
            "waypost_spool_commits_total{outcome=\"failed\"} 0".to_owned(),
            "waypost_spool_max_bytes 0".to_owned(),
        ];
        for topic in ["clicks", "conversions"] {
            for outcome in ["stored", "full", "stalled", "failed", "closed"] {
                expected
                    .push(format!("waypost_spool_events_total{{topic=\"{topic}\",outcome=\"{outcome}\"}} 0"));
            }
            for gauge in ["events", "bytes", "oldest_age_seconds"] {
                expected.push(format!("waypost_spool_{gauge}{{topic=\"{topic}\"}} 0"));
            }
        }
        for line in expected {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
