//! Metrics of the duplicate check in Redis.
//!
//! | series | meaning |
//! |---|---|
//! | `waypost_redis_requests_total{outcome}` | batches: `ok`, `timeout`, `error`, `skipped` (the breaker is open) |
//! | `waypost_redis_visits_total{outcome}` | visits: `answered` by Redis; `known`: this edge had seen it and did not ask; `unanswered`: this edge alone decided |
//! | `waypost_redis_breaker_open` | 1 while Redis is left alone |
//! | `waypost_redis_seconds` | from sending a batch to its answer, or to the time limit |

use metrics::{Counter, Gauge, Histogram};

use super::series;

const REQUESTS: &str = "waypost_redis_requests_total";
const VISITS: &str = "waypost_redis_visits_total";

/// Resolved handles of the duplicate check in Redis.
#[derive(Clone, Debug)]
pub struct RedisMetrics {
    pub ok: Counter,
    pub timeout: Counter,
    pub error: Counter,
    pub skipped: Counter,
    pub answered: Counter,
    pub known: Counter,
    pub unanswered: Counter,
    pub breaker_open: Gauge,
    pub seconds: Histogram,
}

impl RedisMetrics {
    /// Describes every series and sets it to 0.
    pub fn register() -> Self {
        let requests = |outcome: &'static str| {
            let help = "Batches of visits for the duplicate check in Redis, by outcome";
            series::counter_with(REQUESTS, help, &[("outcome", outcome)])
        };
        let visits = |outcome: &'static str| {
            let help = "Visits by who told them apart: answered (Redis), known (this edge, which had seen it), \
                        unanswered (this edge, because Redis did not)";
            series::counter_with(VISITS, help, &[("outcome", outcome)])
        };
        Self {
            ok: requests("ok"),
            timeout: requests("timeout"),
            error: requests("error"),
            skipped: requests("skipped"),
            answered: visits("answered"),
            known: visits("known"),
            unanswered: visits("unanswered"),
            breaker_open: series::gauge("waypost_redis_breaker_open", "1 while Redis is left alone"),
            seconds: series::histogram(
                "waypost_redis_seconds",
                "From sending a batch of visits to Redis to its answer, or to the time limit",
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
        metrics::with_local_recorder(&recorder, RedisMetrics::register);
        let text = recorder.handle().render();
        let mut expected =
            vec!["waypost_redis_breaker_open 0".to_owned(), "waypost_redis_seconds_count 0".to_owned()];
        for outcome in ["ok", "timeout", "error", "skipped"] {
            expected.push(format!("waypost_redis_requests_total{{outcome=\"{outcome}\"}} 0"));
        }
        for outcome in ["answered", "known", "unanswered"] {
            expected.push(format!("waypost_redis_visits_total{{outcome=\"{outcome}\"}} 0"));
        }
        for line in expected {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
