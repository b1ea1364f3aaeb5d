//! Conversions and refunds: each through the ledger's intake, those of an account in the order of the log.

use std::sync::Arc;

use sea_orm::DatabaseTransaction;

use super::{
    batch::{BatchError, Read, Tally, decode, see},
    consumer::TakeBatch,
};
use crate::{
    domain::{ids::AccountId, reason::Outcome, time::Timestamp},
    ledger::{Intake, intake::outcome},
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
        let mut events = see(tx, decode(batch)?, tally).await?;
        // Consumers that meet on several accounts lock them in one order. An account's events keep theirs.
        events.sort_by_key(|read| match read {
            Read::Event { event, .. } => event.account().unwrap_or(NOBODY),
            Read::Unreadable { .. } => NOBODY,
        });
        for read in events {
            match read {
                Read::Event { event, .. } => {
                    let effect = self.intake.receive_among(tx, &event, at, &mut tally.counts).await?;
                    tally.add(outcome(&effect));
                }
                Read::Unreadable { text, detail } => {
                    self.intake.refuse(tx, NOBODY, Err(&text), detail, at, &mut tally.counts).await?;
                    tally.add(Outcome::Rejected);
                }
            }
        }
        Ok(())
    }

    async fn refuse(
        &mut self,
        tx: &DatabaseTransaction,
        delivery: &Delivery,
        detail: String,
        at: Timestamp,
        tally: &mut Tally,
    ) -> Result<(), BatchError> {
        refuse(&self.intake, tx, delivery, detail, at, tally).await
    }
}

/// Keeps one event that cannot take effect.
pub(super) async fn refuse(
    intake: &Intake,
    tx: &DatabaseTransaction,
    delivery: &Delivery,
    detail: String,
    at: Timestamp,
    tally: &mut Tally,
) -> Result<(), BatchError> {
    for read in see(tx, decode(std::slice::from_ref(delivery))?, tally).await? {
        match read {
            Read::Event { event, .. } => {
                let account = event.account().unwrap_or(NOBODY);
                intake.refuse(tx, account, Ok(&event), detail.clone(), at, &mut tally.counts).await?;
            }
            Read::Unreadable { text, .. } => {
                intake.refuse(tx, NOBODY, Err(&text), detail.clone(), at, &mut tally.counts).await?;
            }
        }
        tally.add(Outcome::Rejected);
    }
    Ok(())
}
