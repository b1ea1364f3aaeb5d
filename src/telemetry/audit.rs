//! Metrics of the audit: the store adds itself up from time to time.

use metrics::{Counter, Gauge};

use super::series::{counter, gauge};

/// Resolved handles.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    pub reconcile_balanced: Gauge,
    pub missing_events: Gauge,
    pub ledger_balanced: Gauge,
    pub last_success: Gauge,
    pub failures: Counter,
}

impl AuditMetrics {
    /// Describes every series and resolves its handle. Balanced until proven otherwise: an alert must not wait for the
    /// first audit, nor fire before it.
    pub fn register() -> Self {
        let metrics = Self {
            reconcile_balanced: gauge(
                "waypost_reconcile_balanced",
                "0 while the events that were seen and those that have an outcome differ; 1 until the first audit.",
            ),
            missing_events: gauge(
                "waypost_reconcile_missing_events",
                "Numbers missing among the events that were seen: under way, refused with 503, or lost.",
            ),
            ledger_balanced: gauge(
                "waypost_ledger_balanced",
                "0 while balances, commission lines or kept sums differ from what they are made of; 1 until the first audit.",
            ),
            last_success: gauge(
                "waypost_audit_last_success_timestamp_seconds",
                "When the store was last added up, in seconds since 1970; 0 before.",
            ),
            failures: counter(
                "waypost_audit_failures_total",
                "Audits that could not read the store to its end.",
            ),
        };
        metrics.reconcile_balanced.set(1.0);
        metrics.ledger_balanced.set(1.0);
        metrics
    }
}
