//! Awards bonuses for intervals that have closed.
//!
//! Of each interval that somebody has to look at it asks once who reached a target, and lets the ledger decide about each
//! of them in a transaction of its own. Any number of instances may do so at once: the ledger awards once, and an
//! interval that a command touched meanwhile is looked at again.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    domain::{
        ids::{AccountId, AffiliateId},
        time::Timestamp,
    },
    ledger::{
        self, Command, Effect, LedgerError,
        bonuses::{self, OpenInterval},
    },
    store::Store,
    telemetry::bonuses::BonusMetrics,
};

/// Intervals that are read at once.
const PAGE: u64 = 100;

/// What one look at all closed intervals came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Commissions that were made.
    pub awarded: u64,
    pub decided: u64,
    /// Intervals that could not be decided: looked at again next time.
    pub open: u64,
}

/// Looks at once and then every `interval`, until `shutdown`.
pub async fn run(store: Store, interval: Duration, metrics: BonusMetrics, shutdown: CancellationToken) {
    loop {
        let passed = tokio::select! {
            // What it was about to award is awarded after the next start.
            () = shutdown.cancelled() => return,
            passed = pass(&store, Timestamp::now()) => passed,
        };
        match passed {
            Ok(pass) => tell(pass, &metrics),
            Err(error) => {
                metrics.failures.increment(1);
                warn!(%error, "bonuses could not be looked at; trying again");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(interval) => {}
        }
    }
}

fn tell(pass: Pass, metrics: &BonusMetrics) {
    if pass.awarded > 0 {
        info!(commissions = pass.awarded, "awarded bonuses");
    }
    metrics.awarded.increment(pass.awarded);
    metrics.open.set(f64::from(u32::try_from(pass.open).unwrap_or(u32::MAX)));
    let now = u64::try_from(Timestamp::now().0).unwrap_or(0);
    metrics.last_success.set(Duration::from_millis(now).as_secs_f64());
}

/// Looks at every interval that has closed by `now` and is not decided.
///
/// # Errors
/// Only where the intervals cannot be read; one that cannot be decided stays open, and the others are.
pub async fn pass(store: &Store, now: Timestamp) -> Result<Pass, LedgerError> {
    let mut pass = Pass::default();
    let mut after = None;
    loop {
        let intervals = store.in_time(bonuses::closed_and_open(store.reader(), now, after, PAGE)).await?;
        let Some(last) = intervals.last() else { return Ok(pass) };
        after = Some(*last);
        for interval in &intervals {
            match look_at(store, interval, now).await {
                Ok((awarded, decided)) => {
                    pass.awarded += awarded;
                    pass.decided += u64::from(decided);
                    pass.open += u64::from(!decided);
                }
                Err(error) => {
                    pass.open += 1;
                    warn!(%error, bonus = %interval.bonus, start = %interval.span.start, "an interval stays undecided");
                }
            }
        }
    }
}

/// Awards what an interval owes; answers how many commissions that made, and whether it is decided.
async fn look_at(store: &Store, interval: &OpenInterval, now: Timestamp) -> Result<(u64, bool), LedgerError> {
    let mut awarded = 0;
    let reached = store.in_time(bonuses::may_have_reached(store.reader(), interval)).await?;
    if let Some((account, affiliates)) = reached {
        for affiliate in affiliates {
            awarded += store.in_time(award(store, interval, account, affiliate, now)).await?;
        }
    }
    Ok((awarded, store.in_time(decide(store, interval)).await?))
}

async fn decide(store: &Store, interval: &OpenInterval) -> Result<bool, LedgerError> {
    let tx = store.begin().await?;
    let decided = bonuses::decide(&tx, interval).await?;
    tx.commit().await?;
    Ok(decided)
}

async fn award(
    store: &Store,
    interval: &OpenInterval,
    account: AccountId,
    affiliate: AffiliateId,
    now: Timestamp,
) -> Result<u64, LedgerError> {
    let command = Command::AwardBonus { bonus: interval.bonus, affiliate, interval: interval.span.start };
    let tx = store.begin().await?;
    let effect = ledger::apply(&tx, account, now, &command).await?;
    tx.commit().await?;
    match effect {
        Effect::Awarded { lines } => Ok(lines.len() as u64),
        Effect::Done
        | Effect::Settled { .. }
        | Effect::Duplicate { .. }
        | Effect::Pending { .. }
        | Effect::Held { .. }
        | Effect::Declined { .. }
        | Effect::Rejected { .. } => Ok(0),
    }
}
