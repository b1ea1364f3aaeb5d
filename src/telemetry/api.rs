//! Metrics of `api`.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

const REQUESTS: &str = "waypost_api_requests_total";
const SECONDS: &str = "waypost_api_request_seconds";
const UNAUTHORIZED: &str = "waypost_api_unauthorized_total";
const RATE_LIMITED: &str = "waypost_api_rate_limited_total";
const REPLAYED: &str = "waypost_api_idempotent_replays_total";
const PANICS: &str = "waypost_api_panics_total";
const CONNECTIONS: &str = "waypost_api_connections";

/// The management API.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    /// Answers by the hundred of their status, 1xx to 5xx.
    requests: [Counter; 5],
    /// From the request's head to the answer's.
    pub seconds: Histogram,
    pub unauthorized: Counter,
    pub rate_limited: Counter,
    /// Answers that were given again for the same `Idempotency-Key`.
    pub replayed: Counter,
    /// Requests that ended in a panic: a bug, each of them.
    pub panics: Counter,
    pub connections: Gauge,
}

impl ApiMetrics {
    /// Describes every series and sets it to 0.
    pub fn register() -> Self {
        describe_counter!(REQUESTS, Unit::Count, "Requests to the management API, by class of status");
        describe_histogram!(SECONDS, Unit::Seconds, "Time from a request's head to its answer's");
        describe_counter!(UNAUTHORIZED, Unit::Count, "Requests without a valid key");
        describe_counter!(RATE_LIMITED, Unit::Count, "Requests above the limit of their key");
        describe_counter!(REPLAYED, Unit::Count, "Answers given again for the same Idempotency-Key");
        describe_counter!(PANICS, Unit::Count, "Requests that ended in a panic; each is a bug");
        describe_gauge!(CONNECTIONS, Unit::Count, "Open connections of the management API");
        let requests = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| counter!(REQUESTS, "status" => class));
        let metrics = Self {
            requests,
            seconds: histogram!(SECONDS),
            unauthorized: counter!(UNAUTHORIZED),
            rate_limited: counter!(RATE_LIMITED),
            replayed: counter!(REPLAYED),
            panics: counter!(PANICS),
            connections: gauge!(CONNECTIONS),
        };
        for series in &metrics.requests {
            series.increment(0);
        }
        for series in [&metrics.unauthorized, &metrics.rate_limited, &metrics.replayed, &metrics.panics] {
            series.increment(0);
        }
        metrics.connections.set(0.0);
        metrics
    }

    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.requests[class].increment(1);
    }
}
