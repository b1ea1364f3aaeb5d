//! Metrics of settlement.

use metrics::{Counter, Gauge, Histogram};

use super::series::{counter_with, gauge_with, histogram_with};
use crate::domain::reason::Outcome;

/// Resolved handles of both consumers.
#[derive(Clone, Debug)]
pub struct SettlementMetrics {
    pub clicks: ConsumerMetrics,
    pub conversions: ConsumerMetrics,
    /// What waits for another event, whose time ends.
    pub pending_events: PendingMetrics,
    /// What waits for an exchange rate, however long it takes.
    pub pending_rates: PendingMetrics,
    /// Parts of settlement that a defect has ended.
    pub parts_ended: Gauge,
}

/// Conversions and refunds that wait for one kind of thing.
#[derive(Clone, Debug)]
pub struct PendingMetrics {
    pub count: Gauge,
    /// Age of the oldest.
    pub age: Gauge,
}

/// The series of one consumer.
#[derive(Clone, Debug)]
pub struct ConsumerMetrics {
    outcomes: Vec<(Outcome, Counter)>,
    /// Events whose number was seen before.
    pub redelivered: Counter,
    /// Time of one transaction, from its begin to its commit.
    pub settle: Histogram,
    /// Batches that failed and were tried again one by one.
    pub retried: Counter,
    /// Transactions that were begun again because somebody was in the way.
    pub conflicts: Counter,
    /// Batches that came too late: another instance has the partition.
    pub lost_ownership: Counter,
    /// Partitions that were begun over.
    pub begun_over: Counter,
    /// 1 while the consumer cannot go on: somebody has to look.
    pub stalled: Gauge,
    /// Time from receipt to settlement of the last event.
    pub lag: Gauge,
}

impl SettlementMetrics {
    pub fn register() -> Self {
        Self {
            clicks: ConsumerMetrics::register("clicks"),
            conversions: ConsumerMetrics::register("conversions"),
            pending_events: PendingMetrics::register("events"),
            pending_rates: PendingMetrics::register("rates"),
            parts_ended: gauge_with(
                "waypost_settlement_parts_ended",
                "Parts of settlement that a defect of this program has ended; they begin again with the process.",
                &[],
            ),
        }
    }
}

impl PendingMetrics {
    fn register(waits_for: &'static str) -> Self {
        let label = [("waits_for", waits_for)];
        Self {
            count: gauge_with("waypost_pending_events", "Conversions and refunds that wait.", &label),
            age: gauge_with(
                "waypost_pending_oldest_age_seconds",
                "Age of the oldest event that waits, in seconds.",
                &label,
            ),
        }
    }
}

impl ConsumerMetrics {
    fn register(topic: &'static str) -> Self {
        let label = [("topic", topic)];
        let outcome = |outcome: Outcome| {
            let labels = [("topic", topic), ("outcome", outcome.as_str())];
            let help = "Events by the outcome that settlement gave them.";
            (outcome, counter_with("waypost_settled_events_total", help, &labels))
        };
        Self {
            outcomes: Outcome::ALL.iter().copied().map(outcome).collect(),
            redelivered: counter_with(
                "waypost_redelivered_events_total",
                "Events whose number was seen before; they changed nothing.",
                &label,
            ),
            settle: histogram_with(
                "waypost_settle_seconds",
                "Time of one settlement transaction in seconds.",
                &label,
            ),
            retried: counter_with(
                "waypost_settle_retries_total",
                "Batches that failed and were tried again event by event.",
                &label,
            ),
            conflicts: counter_with(
                "waypost_settlement_conflicts_total",
                "Transactions that were begun again because another was in the way.",
                &label,
            ),
            lost_ownership: counter_with(
                "waypost_settlement_lost_ownership_total",
                "Batches that were given up because another instance had moved the position.",
                &label,
            ),
            begun_over: counter_with(
                "waypost_settlement_begun_over_total",
                "Partitions that were read from their beginning because their log was not the one that was settled.",
                &label,
            ),
            stalled: gauge_with(
                "waypost_settlement_stalled",
                "1 while a consumer cannot go on and somebody has to look.",
                &label,
            ),
            lag: gauge_with(
                "waypost_settlement_lag_seconds",
                "Time from receipt to settlement of the last event, in seconds.",
                &label,
            ),
        }
    }

    /// Counts events under an outcome.
    pub fn count(&self, outcome: Outcome, events: u64) {
        if let Some((_, counter)) = self.outcomes.iter().find(|(known, _)| *known == outcome) {
            counter.increment(events);
        }
    }
}
