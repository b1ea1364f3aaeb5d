//! Events that wait: woken by what they wait for, ended by their time.
//!
//! A load of exchange rates wakes the conversions that wait for one; so does the start, for loads that nobody saw. Those
//! of an account are tried in the order in which they arrived, all of them with the rates of one load: where another
//! comes in between, it begins with the first again. One that fails for a reason in itself is told and left for the next
//! load; it does not stand in the way of the others. Time ends nothing before settlement has read what came to the log
//! in that time (see `horizon`).

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    Select, SelectExt, sea_query::Expr,
};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::{SettlementParts, batch::BatchError, defect::contained, horizon::Horizon};
use crate::{
    domain::{
        ids::AccountId,
        reason::{Outcome, Waits},
        time::Timestamp,
    },
    ledger::{LedgerError, intake::outcome},
    store::{
        entities::{conversion, refund},
        exchange_rates,
    },
    stream::EndOfLog,
    telemetry::settlement::PendingMetrics,
};

/// How often times are looked at; clicks that arrive wake at once.
const INTERVAL: Duration = Duration::from_secs(1);

/// Rows that are read at once.
const BATCH: u64 = 500;

/// A look may take one part in so many of the time, as long as that keeps the next one waiting no longer than this:
/// clicks arrive all the time, and each may wake somebody.
const SHARE: u32 = 5;
const MOST_REST: Duration = Duration::from_secs(60);

/// Tries of one that others are in the way of, before its account is left for the next look.
const TRIES: u32 = 4;
const RETRY: Duration = Duration::from_millis(20);

/// How long what has met a defect of this program is left alone.
const DEFECT_REST: Duration = Duration::from_secs(300);

const PENDING: &str = "pending";

pub(super) async fn run<E: EndOfLog>(
    parts: SettlementParts,
    mut horizon: Horizon<E>,
    arrived: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut known = Known::default();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = arrived.notified() => {}
            () = sleep(INTERVAL) => {}
        }
        let begun = Instant::now();
        if let Err(error) = look(&parts, &mut horizon, &mut known, &shutdown).await {
            warn!(%error, "events that wait could not be looked at; trying again");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep((begun.elapsed() * (SHARE - 1)).min(MOST_REST)) => {}
        }
    }
}

/// What a conversion waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// A click or a key, for some time.
    Proof,
    /// A load of rates, however long it takes; the last one is this.
    Rates { load: i64 },
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// It settled, was rejected, or goes on waiting.
    Done,
    /// There are rates that those before it were not tried with: nothing has changed.
    Outdated,
}

/// What a look leaves for the next.
#[derive(Default)]
struct Known {
    /// The load of rates after which all that wait for one were tried.
    tried: Option<i64>,
    /// What has met a defect of this program, and when: it would meet it again.
    defective: HashMap<Uuid, Instant>,
}

impl Known {
    fn is_defective(&self, id: Uuid) -> bool {
        self.defective.get(&id).is_some_and(|met| met.elapsed() < DEFECT_REST)
    }

    fn note(&mut self, id: Uuid, error: &BatchError) {
        if error.needs_a_newer_build() {
            self.defective.retain(|_, met| met.elapsed() < DEFECT_REST);
            self.defective.insert(id, Instant::now());
        }
    }
}

/// Tries every event that waits, in the order of arrival.
async fn look<E: EndOfLog>(
    parts: &SettlementParts,
    horizon: &mut Horizon<E>,
    known: &mut Known,
    shutdown: &CancellationToken,
) -> Result<(), DbErr> {
    let now = Timestamp::now();
    if parts.store.in_time(is_due(parts, horizon.reached(), now)).await? {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            looked = horizon.look(now) => if let Err(error) = looked {
                // The brokers are away, which their own metric tells; what is due waits.
                debug!(%error, "how far settlement has read cannot be seen");
            },
        }
    }
    let read_to = horizon.reached();
    try_all(parts, For::Proof, read_to, known, shutdown).await?;
    let last = parts.store.in_time(exchange_rates::last_load(parts.store.reader())).await?;
    if known.tried != Some(last)
        && try_all(parts, For::Rates { load: last }, read_to, known, shutdown).await?
    {
        known.tried = Some(last);
    }
    look_for_conversions(parts, read_to, known, shutdown).await?;
    parts.store.in_time(observe(parts)).await
}

/// Whether all of them could be tried.
async fn try_all(
    parts: &SettlementParts,
    what: For,
    read_to: Timestamp,
    known: &mut Known,
    shutdown: &CancellationToken,
) -> Result<bool, DbErr> {
    let (mut after, mut all, mut blocked) = (None, true, None);
    loop {
        let rows = parts.store.in_time(waiting_after(parts, what, after)).await?;
        let Some(last) = rows.last() else { return Ok(all) };
        after = Some((last.account_id, last.arrived_seq));
        for row in &rows {
            if shutdown.is_cancelled() {
                return Ok(false);
            }
            if blocked == Some(row.account_id) || known.is_defective(row.id) {
                continue;
            }
            match try_patiently(parts, what, row, read_to).await {
                Ok(Tried::Done) => {}
                Ok(Tried::Outdated) => return Ok(false),
                Err(error) => {
                    known.note(row.id, &error);
                    // For its own fault it waits for the next load, and the others are not tried all the time.
                    all &= error.needs_a_newer_build() || error.blames_the_event().is_some();
                    // Those behind it would come before it.
                    blocked = error.is_transient().then_some(row.account_id);
                    warn!(%error, conversion = %row.id, "a conversion that waits could not be tried; trying again");
                }
            }
        }
    }
}

/// Tries again where somebody was in the way.
async fn try_patiently(
    parts: &SettlementParts,
    what: For,
    row: &conversion::Model,
    read_to: Timestamp,
) -> Result<Tried, BatchError> {
    let mut tries = 1;
    loop {
        match contained(parts.store.in_time(try_again(parts, what, row, read_to))).await {
            Err(error) if error.is_transient() && tries < TRIES => {
                sleep(RETRY * tries).await;
                tries += 1;
            }
            tried => return tried,
        }
    }
}

/// Whether anything's time has ended after `since`.
async fn is_due(parts: &SettlementParts, since: Timestamp, now: Timestamp) -> Result<bool, DbErr> {
    let db = parts.store.reader();
    let ended = |until: Expr| until.clone().gt(since.0).and(until.lte(now.0));
    let conversions = conversion::Entity::find().filter(ended(Expr::col(conversion::Column::WaitsUntil)));
    let refunds = refund::Entity::find().filter(ended(Expr::col(refund::Column::WaitsUntil)));
    Ok(conversions.exists(db).await? || refunds.exists(db).await?)
}

async fn waiting_after(
    parts: &SettlementParts,
    what: For,
    after: Option<(i64, i64)>,
) -> Result<Vec<conversion::Model>, DbErr> {
    use conversion::Column;
    let waiting = match what {
        For::Proof => Column::WaitsUntil.is_not_null(),
        For::Rates { .. } => Column::WaitsFor.eq(Waits::RateMissing.as_str()),
    };
    let mut query = conversion::Entity::find()
        .filter(waiting)
        .order_by_asc(Column::AccountId)
        .order_by_asc(Column::ArrivedSeq)
        .limit(BATCH);
    if let Some((account, arrived)) = after {
        let later = Column::AccountId.eq(account).and(Column::ArrivedSeq.gt(arrived));
        query = query.filter(Column::AccountId.gt(account).or(later));
    }
    query.all(parts.store.reader()).await
}

async fn try_again(
    parts: &SettlementParts,
    what: For,
    row: &conversion::Model,
    read_to: Timestamp,
) -> Result<Tried, LedgerError> {
    let at = Timestamp::now();
    let waited_out = match what {
        For::Proof => row.waits_until.is_some_and(|until| until <= read_to.0),
        // It has been past its click once: that it was passed over, or was not needed, or is gone by now, is no reason
        // to begin a wait for it that nothing would end.
        For::Rates { .. } => true,
    };
    if !waited_out && !parts.intake.may_settle(parts.store.reader(), row).await? {
        return Ok(Tried::Done);
    }
    let tx = parts.store.begin().await?;
    let tried = parts.intake.retry_pending(&tx, AccountId(row.account_id), row.id, waited_out, at).await;
    match tried {
        Ok(effect) => {
            if let For::Rates { load } = what
                && exchange_rates::last_load(&tx).await? != load
            {
                return Ok(Tried::Outdated);
            }
            tx.commit().await?;
            // What goes on waiting was counted when it began to.
            let ended = effect.map(|effect| outcome(&effect)).filter(|ended| *ended != Outcome::Pending);
            if let Some(ended) = ended {
                parts.metrics.conversions.count(ended, 1);
            }
            Ok(Tried::Done)
        }
        // Somebody else was quicker.
        Err(LedgerError::NotPossible { .. }) => Ok(Tried::Done),
        Err(error) => Err(error),
    }
}

/// Refunds whose time is over: their conversion has come, or they are given up.
async fn look_for_conversions(
    parts: &SettlementParts,
    read_to: Timestamp,
    known: &mut Known,
    shutdown: &CancellationToken,
) -> Result<(), DbErr> {
    use refund::Column;
    let mut after = None;
    loop {
        let mut query = refund::Entity::find()
            .filter(Column::WaitsUntil.lte(read_to.0))
            .order_by_asc(Column::AccountId)
            .order_by_asc(Column::ArrivedSeq)
            .limit(BATCH);
        if let Some((account, arrived)) = after {
            let later = Column::AccountId.eq(account).and(Column::ArrivedSeq.gt(arrived));
            query = query.filter(Column::AccountId.gt(account).or(later));
        }
        let rows = parts.store.in_time(query.all(parts.store.reader())).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some((last.account_id, last.arrived_seq));
        for row in &rows {
            if shutdown.is_cancelled() {
                return Ok(());
            }
            if known.is_defective(row.id) {
                continue;
            }
            if let Err(error) = contained(parts.store.in_time(give_up(parts, row))).await {
                known.note(row.id, &error);
                warn!(%error, refund = %row.id, "a refund that waits could not be tried; trying again");
            }
        }
    }
}

async fn give_up(parts: &SettlementParts, row: &refund::Model) -> Result<(), LedgerError> {
    let at = Timestamp::now();
    let tx = parts.store.begin().await?;
    match parts.intake.give_up_refund(&tx, AccountId(row.account_id), row.id, at).await {
        Ok(()) => Ok(tx.commit().await?),
        Err(LedgerError::NotPossible { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Brings the gauges up to date.
async fn observe(parts: &SettlementParts) -> Result<(), DbErr> {
    use conversion::Column;
    let db = parts.store.reader();
    let pending = conversion::Entity::find().filter(Column::Status.eq(PENDING));
    let rate_missing = || Column::WaitsFor.eq(Waits::RateMissing.as_str());
    let for_rates = waiting(db, pending.clone().filter(rate_missing()), Column::ReceivedAt).await?;
    let for_events = pending.filter(rate_missing().not().or(Column::WaitsFor.is_null()));
    let for_events = waiting(db, for_events, Column::ReceivedAt).await?;
    // One whose sale waits itself has no time of its own: the sale tells of both.
    let refunds = refund::Entity::find()
        .filter(refund::Column::Status.eq(PENDING))
        .filter(refund::Column::WaitsUntil.is_not_null());
    let refunds = waiting(db, refunds, refund::Column::ReceivedAt).await?;
    tell(&parts.metrics.pending_rates, &[for_rates]);
    tell(&parts.metrics.pending_events, &[for_events, refunds]);
    Ok(())
}

/// How many rows there are, and when the oldest was received.
async fn waiting<E: EntityTrait>(
    db: &impl ConnectionTrait,
    rows: Select<E>,
    received_at: E::Column,
) -> Result<(i64, Option<i64>), DbErr> {
    let figures = rows.select_only().expr(received_at.count()).expr(received_at.min());
    Ok(figures.into_tuple().one(db).await?.unwrap_or_default())
}

fn tell(metrics: &PendingMetrics, waiting: &[(i64, Option<i64>)]) {
    let count: i64 = waiting.iter().map(|(count, _)| count).sum();
    let oldest = waiting.iter().filter_map(|(_, oldest)| *oldest).min();
    let age = oldest.map_or(0, |oldest| Timestamp::now().0.saturating_sub(oldest));
    metrics.count.set(count as f64);
    metrics.age.set(Duration::from_millis(u64::try_from(age).unwrap_or(0)).as_secs_f64());
}
