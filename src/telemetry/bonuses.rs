//! Metrics of the bonus job.

use metrics::{Counter, Gauge};

use super::series::{counter, gauge};

/// Resolved handles.
#[derive(Clone, Debug)]
pub struct BonusMetrics {
    pub awarded: Counter,
    pub open: Gauge,
    pub last_success: Gauge,
    pub failures: Counter,
}

impl BonusMetrics {
    /// Describes every series and resolves its handle.
    pub fn register() -> Self {
        Self {
            awarded: counter(
                "waypost_bonuses_awarded_total",
                "Commissions that were made for closed intervals of bonuses.",
            ),
            open: gauge(
                "waypost_bonus_intervals_open",
                "Closed intervals of bonuses that the last look left undecided.",
            ),
            last_success: gauge(
                "waypost_bonuses_last_success_timestamp_seconds",
                "When closed intervals of bonuses were last looked at, in seconds since 1970; 0 before.",
            ),
            failures: counter(
                "waypost_bonuses_failures_total",
                "Looks at closed intervals of bonuses that could not read the store.",
            ),
        }
    }
}
