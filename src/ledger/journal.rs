//! The account's lock and its journal.

use std::sync::{Mutex, PoisonError};

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect, Set,
    sea_query::Expr,
};
use uuid::{Builder, Uuid};

use super::{
    Command, LedgerError,
    programs::{self, ProgramThen},
};
use crate::{
    domain::{
        ids::{AccountId, ProgramId},
        time::Timestamp,
    },
    store::entities::{account, journal_entry},
};

/// The next place in an account's order. Nobody else applies a command to the account until the transaction ends.
pub(super) struct Entry<'a> {
    pub tx: &'a DatabaseTransaction,
    pub account: AccountId,
    pub seq: i64,
    pub at: Timestamp,
    /// Programs as they were, looked up for this command before.
    programs: Mutex<Vec<(Timestamp, ProgramThen)>>,
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
        Ok(Self {
            tx,
            account,
            seq: row.last_seq + 1,
            at,
            programs: Mutex::default(),
            made: 0,
            posted: 0,
            changed: 0,
        })
    }

    /// A program as it was at a time, asked once for a command: nothing that needs it twice changes programs.
    pub async fn program_at(
        &self,
        id: ProgramId,
        time: Timestamp,
    ) -> Result<Option<ProgramThen>, LedgerError> {
        let find = |known: &[(Timestamp, ProgramThen)]| {
            known
                .iter()
                .find(|(at, program)| *at == time && program.id == id)
                .map(|(_, program)| program.clone())
        };
        if let Some(known) = find(&self.programs.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(known));
        }
        let program = programs::at(self.tx, self.account, id, time).await?;
        if let Some(program) = &program {
            self.programs.lock().unwrap_or_else(PoisonError::into_inner).push((time, program.clone()));
        }
        Ok(program)
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
        account::Entity::update_many()
            .col_expr(account::Column::LastSeq, Expr::value(self.seq))
            .filter(account::Column::Id.eq(self.account.0))
            .exec(self.tx)
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
