//! Adds the store up from time to time, as `waypost reconcile` and `waypost ledger verify` do, and says in metrics
//! whether everything does.
//!
//! It reads one state of the store and writes nothing. Every instance of settlement does it for itself: they come to
//! the same answer, and one that is stuck leaves the others to tell.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    domain::time::Timestamp,
    ledger::{LedgerError, verify},
    settlement::reconcile::{self, StreamReport},
    store::Store,
    telemetry::audit::AuditMetrics,
};

/// An audit takes one part in so many of the time at most, however large the store has become.
const SHARE: u32 = 10;

/// Differences that are written to the log; the commands tell them all.
const TOLD: usize = 5;

/// What an audit came to.
#[derive(Debug)]
pub struct Audit {
    /// Sentences, one for each sum of events that does not add up.
    pub events: Vec<String>,
    /// Numbers of events that are under way, were refused with 503, or are lost.
    pub missing: i64,
    /// Sentences, one for each sum of money that does not add up.
    pub money: Vec<String>,
}

/// Audits at once and then every `interval`, until `shutdown`.
pub async fn run(store: Store, interval: Duration, metrics: AuditMetrics, shutdown: CancellationToken) {
    loop {
        let begun = Instant::now();
        let audited = tokio::select! {
            () = shutdown.cancelled() => return,
            audited = audit(&store) => audited,
        };
        match audited {
            Ok(audit) => tell(&audit, &metrics),
            Err(error) => {
                metrics.failures.increment(1);
                warn!(%error, "the store could not be added up; trying again");
            }
        }
        let pause = interval.max(begun.elapsed() * (SHARE - 1));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Adds up one state of the store.
pub async fn audit(store: &Store) -> Result<Audit, LedgerError> {
    let snapshot = store.long_snapshot().await?;
    let events = reconcile::reconcile(&snapshot).await?;
    let money = verify::verify(&snapshot).await?;
    snapshot.rollback().await?;
    Ok(Audit {
        missing: events.streams.iter().map(StreamReport::missing).sum(),
        events: events.differences,
        money: money.differences,
    })
}

fn tell(audit: &Audit, metrics: &AuditMetrics) {
    for difference in audit.events.iter().chain(&audit.money).take(TOLD) {
        error!(difference, "the store does not add up");
    }
    let balanced = |differences: &[String]| if differences.is_empty() { 1.0 } else { 0.0 };
    metrics.reconcile_balanced.set(balanced(&audit.events));
    metrics.ledger_balanced.set(balanced(&audit.money));
    metrics.missing_events.set(f64::from(u32::try_from(audit.missing).unwrap_or(u32::MAX)));
    let now = u64::try_from(Timestamp::now().0).unwrap_or(0);
    metrics.last_success.set(Duration::from_millis(now).as_secs_f64());
}
