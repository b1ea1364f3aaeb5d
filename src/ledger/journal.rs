//! The account's lock and its journal.

use sea_orm::{ActiveModelTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QuerySelect, Set};
use uuid::{Builder, Uuid};

use super::{Command, LedgerError};
use crate::{
    domain::{ids::AccountId, time::Timestamp},
    store::entities::{account, journal_entry},
};

/// The next place in an account's order. Nobody else applies a command to the account until the transaction ends.
pub(super) struct Entry<'a> {
    pub tx: &'a DatabaseTransaction,
    pub account: AccountId,
    pub seq: i64,
    pub at: Timestamp,
    made: u32,
    posted: i32,
    changed: i32,
}

impl<'a> Entry<'a> {
    /// Takes the account's row lock.
    pub async fn begin(
        tx: &'a DatabaseTransaction,
        account: AccountId,
        at: Timestamp,
    ) -> Result<Self, LedgerError> {
        let row = account::Entity::find_by_id(account.0).lock_exclusive().one(tx).await?;
        let row = row.ok_or(LedgerError::NotFound("account"))?;
        Ok(Self { tx, account, seq: row.last_seq + 1, at, made: 0, posted: 0, changed: 0 })
    }

    /// A new id that a replay of the journal makes again: a UUIDv7 whose random part is a hash of its place.
    pub fn new_id(&mut self) -> Uuid {
        self.made += 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.account.0.to_be_bytes());
        hasher.update(&self.seq.to_be_bytes());
        hasher.update(&self.made.to_be_bytes());
        let mut random = [0_u8; 10];
        random.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
        Builder::from_unix_timestamp_millis(u64::try_from(self.at.0).unwrap_or(0), &random).into_uuid()
    }

    /// The number of the next posting of this place, from 1.
    pub fn next_posting(&mut self) -> i32 {
        self.posted += 1;
        self.posted
    }

    /// The number of the next change of a line at this place, from 1.
    pub fn next_change(&mut self) -> i32 {
        self.changed += 1;
        self.changed
    }

    /// Writes the command at its place.
    pub async fn write(self, command: &Command) -> Result<i64, LedgerError> {
        write_entry(self.tx, self.account, self.seq, self.at, command).await?;
        account::ActiveModel { id: Set(self.account.0), last_seq: Set(self.seq), ..Default::default() }
            .update(self.tx)
            .await?;
        Ok(self.seq)
    }
}

async fn write_entry(
    tx: &impl ConnectionTrait,
    account: AccountId,
    seq: i64,
    at: Timestamp,
    command: &Command,
) -> Result<(), LedgerError> {
    let command =
        serde_json::to_value(command.to_journal()).map_err(|error| LedgerError::damaged("command", error))?;
    let row = journal_entry::ActiveModel {
        account_id: Set(account.0),
        seq: Set(seq),
        at: Set(at.0),
        command: Set(command),
    };
    journal_entry::Entity::insert(row).exec_without_returning(tx).await?;
    Ok(())
}
