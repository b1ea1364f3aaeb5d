//! The account's lock and its journal.

use sea_orm::{DatabaseTransaction, EntityTrait, QuerySelect, Set};
use tokio::sync::Mutex;
use uuid::{Builder, Uuid};

use super::{Command, LedgerError, known::Known, programs::ProgramThen, work::Ends};
use crate::{
    domain::{
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        reason::Standing,
        time::Timestamp,
    },
    store::entities::{account, journal_entry, link},
};

/// The next place in an account's order. Nobody else applies a command to the account until the transaction ends.
pub(super) struct Entry<'a> {
    pub tx: &'a DatabaseTransaction,
    pub account: AccountId,
    pub seq: i64,
    pub at: Timestamp,
    pub ends: Ends,
    known: Mutex<Known>,
    made: u32,
    posted: i32,
    changed: i32,
}

impl<'a> Entry<'a> {
    /// Takes the account's row lock, unless a command before has.
    pub async fn begin(
        tx: &'a DatabaseTransaction,
        account: AccountId,
        at: Timestamp,
        known: Known,
        mut ends: Ends,
    ) -> Result<Self, LedgerError> {
        let last = match ends.seqs.get(&account) {
            Some((last, _)) => *last,
            None => {
                let row = account::Entity::find_by_id(account.0).lock_exclusive().one(tx).await?;
                row.ok_or(LedgerError::NotFound("account"))?.last_seq
            }
        };
        ends.seqs.entry(account).or_insert((last, false));
        let known = Mutex::new(known);
        Ok(Self { tx, account, seq: last + 1, at, ends, known, made: 0, posted: 0, changed: 0 })
    }

    /// What is kept for the next command of the transaction.
    pub fn end(self) -> (Known, Ends) {
        (self.known.into_inner(), self.ends)
    }

    /// The program of a slug, unless it was deleted.
    pub async fn program_named(&self, slug: &str) -> Result<Option<ProgramId>, LedgerError> {
        self.known.lock().await.program_named(self.tx, self.account, slug).await
    }

    /// A program as it was at a time.
    pub async fn program_at(
        &self,
        id: ProgramId,
        time: Timestamp,
    ) -> Result<Option<ProgramThen>, LedgerError> {
        self.known.lock().await.program_at(self.tx, self.account, id, time).await
    }

    /// How an affiliate stood in a program and in all programs at a time.
    pub async fn standings(
        &self,
        program: ProgramId,
        affiliate: AffiliateId,
        time: Timestamp,
    ) -> Result<(Option<Standing>, Option<Standing>), LedgerError> {
        self.known.lock().await.standings(self.tx, program, affiliate, time).await
    }

    /// A link of the account, deleted or not.
    pub async fn link(&self, id: LinkId) -> Result<Option<link::Model>, LedgerError> {
        self.known.lock().await.link(self.tx, self.account, id).await
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

    /// Puts the command at its place.
    pub fn write(&mut self, command: &Command) -> Result<(), LedgerError> {
        let command = serde_json::to_value(command.to_journal())
            .map_err(|error| LedgerError::damaged("command", error))?;
        self.ends.journal.push(journal_entry::ActiveModel {
            account_id: Set(self.account.0),
            seq: Set(self.seq),
            at: Set(self.at.0),
            command: Set(command),
        });
        self.ends.seqs.insert(self.account, (self.seq, true));
        Ok(())
    }
}
