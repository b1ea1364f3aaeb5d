//! Conversions and refunds: each through the ledger's intake, in the order of the log.

use std::sync::Arc;

use sea_orm::DatabaseTransaction;

use super::{
    batch::{BatchError, Fault, Notes, Read, Tally, decode, fresh},
    consumer::TakeBatch,
};
use crate::{
    domain::{ids::AccountId, reason::Outcome, time::Timestamp},
    ledger::{Intake, Work, intake::outcome},
    store::accounts,
    stream::Delivery,
};

/// Whose events the unreadable ones are: nobody's.
const NOBODY: AccountId = AccountId(0);

pub(super) struct ConversionBatches {
    intake: Arc<Intake>,
}

impl ConversionBatches {
    pub fn new(intake: Arc<Intake>) -> Self {
        Self { intake }
    }
}

impl TakeBatch for ConversionBatches {
    async fn take(
        &mut self,
        tx: &DatabaseTransaction,
        batch: &[Delivery],
        at: Timestamp,
        tally: &mut Tally,
    ) -> Result<(), BatchError> {
        let batch = decode(batch)?;
        // All of them before anything else, in the order in which everybody takes them.
        accounts::lock(tx, batch.iter().filter_map(account_of)).await?;
        let (batch, mut notes) = fresh(tx, batch, tally).await?;
        let mut work = Work::new(tx);
        for read in batch {
            if let Read::Event { event, .. } = &read {
                let counts = &mut notes.counts;
                let effect = self.intake.receive_counted(tx, event, at, &mut work, counts).await?;
                tally.add(outcome(&effect), 1);
            } else {
                keep(&self.intake, tx, &read, None, at, &mut notes, tally).await?;
            }
        }
        work.finish().await?;
        notes.write(tx, at).await
    }

    async fn refuse(
        &mut self,
        tx: &DatabaseTransaction,
        delivery: &Delivery,
        fault: Fault,
        at: Timestamp,
        tally: &mut Tally,
    ) -> Result<(), BatchError> {
        refuse(&self.intake, tx, delivery, fault, at, tally).await
    }
}

fn account_of(read: &Read) -> Option<AccountId> {
    match read {
        Read::Event { event, .. } => event.account(),
        Read::Refused { .. } | Read::Unreadable { .. } => None,
    }
}

/// Keeps one event that cannot take effect.
pub(super) async fn refuse(
    intake: &Intake,
    tx: &DatabaseTransaction,
    delivery: &Delivery,
    fault: Fault,
    at: Timestamp,
    tally: &mut Tally,
) -> Result<(), BatchError> {
    let (batch, mut notes) = fresh(tx, decode(std::slice::from_ref(delivery))?, tally).await?;
    for read in &batch {
        keep(intake, tx, read, Some(&fault), at, &mut notes, tally).await?;
    }
    notes.write(tx, at).await
}

/// Keeps a record as rejected; `why`: for another reason than what it holds.
pub(super) async fn keep(
    intake: &Intake,
    tx: &DatabaseTransaction,
    read: &Read,
    why: Option<&Fault>,
    at: Timestamp,
    notes: &mut Notes,
    tally: &mut Tally,
) -> Result<(), BatchError> {
    let (account, event, detail) = match read {
        Read::Event { event, .. } => (event.account().unwrap_or(NOBODY), Ok(&**event), ""),
        Read::Refused { event, detail } => (event.account().unwrap_or(NOBODY), Ok(&**event), detail.as_str()),
        Read::Unreadable { text, detail } => (NOBODY, Err(text.as_str()), detail.as_str()),
    };
    let Fault { reason, detail } = why.cloned().unwrap_or_else(|| Fault::malformed(detail));
    intake.refuse(tx, account, event, (reason, detail), at, &mut notes.counts).await?;
    tally.add(Outcome::Rejected, 1);
    Ok(())
}
