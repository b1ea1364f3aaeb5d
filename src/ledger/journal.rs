//! The account's lock and its journal.
//!
//! What a command found outside of the ledger stands beside it in the journal ([`LookedUp`]), so that a replay finds the
//! same, whatever was loaded since.

use std::{collections::BTreeSet, sync::Arc};

use sea_orm::{DatabaseTransaction, EntityTrait, QuerySelect, Set};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::{Builder, Uuid};

use super::{
    Command, LedgerError,
    bonuses::{Bonus, Touched},
    known::Known,
    programs::ProgramThen,
    work::Ends,
};
use crate::{
    domain::{
        amount::Currency,
        calendar::{Span, Zone},
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        rates::StoredRate,
        reason::Standing,
        time::Timestamp,
    },
    store::{
        entities::{account, journal_entry, link},
        exchange_rates,
    },
};

/// What a command found outside of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LookedUp {
    pub rates: Vec<LookedUpRate>,
}

/// An exchange rate that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LookedUpRate {
    pub from: Currency,
    pub to: Currency,
    /// Days since 1970-01-01 in the account's time zone.
    pub day: i32,
    /// None: there was none.
    pub rate: Option<StoredRate>,
}

/// The next place in an account's order. Nobody else applies a command to the account until the transaction ends.
pub(super) struct Entry<'a> {
    pub tx: &'a DatabaseTransaction,
    pub account: AccountId,
    pub seq: i64,
    pub at: Timestamp,
    pub ends: Ends,
    /// The account's time zone.
    pub zone: Zone,
    /// What bonuses look at after the command.
    pub touched: BTreeSet<Touched>,
    pub known: Mutex<Known>,
    looked_up: Mutex<LookedUp>,
    /// The command comes out of the journal: what it looked up is there, and nothing else is.
    replayed: bool,
    made: u32,
    awarded: i32,
    posted: i32,
    changed: i32,
}

impl<'a> Entry<'a> {
    /// Takes the account's row lock, unless a command before has.
    pub async fn begin(
        tx: &'a DatabaseTransaction,
        account: AccountId,
        at: Timestamp,
        mut known: Known,
        mut ends: Ends,
        replayed: Option<LookedUp>,
    ) -> Result<Self, LedgerError> {
        let known_already = ends.seqs.get(&account).map(|(last, _)| *last).zip(known.zone(account));
        let (last, zone) = match known_already {
            Some((last, zone)) => (last, zone),
            None => {
                let row = account::Entity::find_by_id(account.0).lock_exclusive().one(tx).await?;
                let row = row.ok_or(LedgerError::NotFound("account"))?;
                let zone = Zone::named(&row.time_zone);
                let zone = zone.map_err(|error| LedgerError::damaged("time zone", error))?;
                let last = ends.seqs.get(&account).map_or(row.last_seq, |(last, _)| *last);
                (last, known.remember_zone(account, zone))
            }
        };
        ends.seqs.entry(account).or_insert((last, false));
        let is_replayed = replayed.is_some();
        Ok(Self {
            tx,
            account,
            seq: last + 1,
            at,
            ends,
            zone,
            touched: BTreeSet::new(),
            known: Mutex::new(known),
            looked_up: Mutex::new(replayed.unwrap_or_default()),
            replayed: is_replayed,
            made: 0,
            awarded: 0,
            posted: 0,
            changed: 0,
        })
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

    /// The bonuses of a program, deleted or not.
    pub async fn bonuses(&self, program: ProgramId) -> Result<Arc<[Bonus]>, LedgerError> {
        self.known.lock().await.bonuses(self.tx, program).await
    }

    /// Whether nobody has opened this interval of a bonus in the transaction before.
    pub fn note_opened(&mut self, bonus: Uuid, span: Span) -> bool {
        self.known.get_mut().note_opened(bonus, span)
    }

    /// The command changed rules: what was known of them is no longer so.
    pub fn forget_rules(&mut self) {
        *self.known.get_mut() = Known::default();
    }

    /// A link of the account, deleted or not.
    pub async fn link(&self, id: LinkId) -> Result<Option<link::Model>, LedgerError> {
        self.known.lock().await.link(self.tx, self.account, id).await
    }

    /// How amounts of one currency become amounts of another at a time; none where the table has no rate for it.
    pub async fn rate(
        &self,
        from: Currency,
        to: Currency,
        time: Timestamp,
    ) -> Result<Option<StoredRate>, LedgerError> {
        let day = self.zone.day_of(time);
        let mut looked_up = self.looked_up.lock().await;
        let same = |one: &&LookedUpRate| (one.from, one.to, one.day) == (from, to, day);
        if let Some(found) = looked_up.rates.iter().find(same) {
            return Ok(found.rate.clone());
        }
        if self.replayed {
            return Ok(None);
        }
        let rate = exchange_rates::find(self.tx, from, to, day).await?;
        looked_up.rates.push(LookedUpRate { from, to, day, rate: rate.clone() });
        Ok(rate)
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

    /// The number of the next line that is awarded at this place, from 1.
    pub fn next_award(&mut self) -> i32 {
        self.awarded += 1;
        self.awarded
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
        let looked_up = self.looked_up.get_mut();
        let looked_up = match looked_up.rates.is_empty() {
            true => serde_json::Value::Null,
            false => serde_json::to_value(looked_up).map_err(|e| LedgerError::damaged("rates", e))?,
        };
        self.ends.journal.push(journal_entry::ActiveModel {
            account_id: Set(self.account.0),
            seq: Set(self.seq),
            at: Set(self.at.0),
            command: Set(command),
            looked_up: Set(looked_up),
        });
        self.ends.seqs.insert(self.account, (self.seq, true));
        Ok(())
    }
}
