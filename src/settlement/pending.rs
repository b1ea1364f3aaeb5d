//! Events that wait: woken by what they wait for, ended by their time.

use std::{sync::Arc, time::Duration};

use sea_orm::{ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::SettlementParts;
use crate::{
    domain::{ids::AccountId, reason::Waits, time::Timestamp},
    ledger::LedgerError,
    store::entities::{conversion, refund},
};

/// How often times are looked at; clicks that arrive wake at once.
const INTERVAL: Duration = Duration::from_secs(1);

/// Rows of one look.
const BATCH: u64 = 500;

const PENDING: &str = "pending";

pub(super) async fn run(parts: SettlementParts, arrived: Arc<Notify>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = arrived.notified() => {}
            () = sleep(INTERVAL) => {}
        }
        if let Err(error) = look(&parts, &shutdown).await {
            warn!(%error, "events that wait could not be looked at; trying again");
        }
    }
}

/// Tries every event that waits, in the order of arrival.
async fn look(parts: &SettlementParts, shutdown: &CancellationToken) -> Result<(), LedgerError> {
    let mut after = None;
    loop {
        let mut query = conversion::Entity::find()
            .filter(conversion::Column::Status.eq(PENDING))
            .filter(conversion::Column::WaitsFor.ne(Waits::RateMissing.as_str()))
            .order_by_asc(conversion::Column::Id)
            .limit(BATCH);
        if let Some(id) = after {
            query = query.filter(conversion::Column::Id.gt(id));
        }
        let rows = query.all(parts.store.reader()).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
        for row in &rows {
            if shutdown.is_cancelled() {
                return Ok(());
            }
            try_again(parts, row).await?;
        }
    }
    give_up_refunds(parts).await?;
    observe(parts).await?;
    Ok(())
}

async fn try_again(parts: &SettlementParts, row: &conversion::Model) -> Result<(), LedgerError> {
    let at = Timestamp::now();
    let waited_out = row.waits_until.is_some_and(|until| until <= at.0);
    if !waited_out && !parts.intake.may_settle(parts.store.reader(), row).await? {
        return Ok(());
    }
    let tx = parts.store.begin().await?;
    let tried = parts.intake.retry_pending(&tx, AccountId(row.account_id), row.id, waited_out, at).await;
    match tried {
        Ok(_) => Ok(tx.commit().await?),
        // Somebody else was quicker.
        Err(LedgerError::NotPossible { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn give_up_refunds(parts: &SettlementParts) -> Result<(), LedgerError> {
    let at = Timestamp::now();
    let rows = refund::Entity::find()
        .filter(refund::Column::Status.eq(PENDING))
        .filter(refund::Column::WaitsUntil.lte(at.0))
        .order_by_asc(refund::Column::Id)
        .limit(BATCH)
        .all(parts.store.reader())
        .await?;
    for row in rows {
        let tx = parts.store.begin().await?;
        match parts.intake.give_up_refund(&tx, AccountId(row.account_id), row.id, at).await {
            Ok(()) => tx.commit().await?,
            Err(LedgerError::NotPossible { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Brings the gauges up to date.
async fn observe(parts: &SettlementParts) -> Result<(), DbErr> {
    let db = parts.store.reader();
    let conversions = conversion::Entity::find().filter(conversion::Column::Status.eq(PENDING));
    let refunds = refund::Entity::find().filter(refund::Column::Status.eq(PENDING));
    let count = conversions.clone().count(db).await? + refunds.clone().count(db).await?;
    let oldest = [
        conversions.order_by_asc(conversion::Column::ReceivedAt).one(db).await?.map(|row| row.received_at),
        refunds.order_by_asc(refund::Column::ReceivedAt).one(db).await?.map(|row| row.received_at),
    ];
    let age = match oldest.into_iter().flatten().min() {
        Some(received_at) => Timestamp::now().0.saturating_sub(received_at).max(0),
        None => 0,
    };
    parts.metrics.pending.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    parts.metrics.pending_age.set(Duration::from_millis(age.unsigned_abs()).as_secs_f64());
    Ok(())
}
