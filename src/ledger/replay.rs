//! Applies the journal to an empty store and compares everything that is money.
//!
//! The journal alone must rebuild every conversion, refund, customer, line, change, posting and balance, ids
//! included: whatever differs was written past the ledger, or a rule has changed without a version.

use std::collections::BTreeMap;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, ModelTrait,
    PrimaryKeyToColumn, QueryFilter, QueryOrder, QuerySelect, Set,
};

use super::{Command, LedgerError, apply};
use crate::{
    domain::{ids::AccountId, time::Timestamp},
    store::{
        Store, accounts,
        entities::{
            account, balance, commission_line, conversion, customer, journal_entry, line_change, posting,
            refund,
        },
    },
};

/// Journal entries that are read at once, and applied in one transaction.
const PAGE: u64 = 500;

/// Differences that are written out; the rest is only counted.
const SHOWN: usize = 20;

/// What was applied and compared.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    pub accounts: u64,
    pub commands: u64,
    /// Rows compared.
    pub rows: u64,
    /// Rows that differ.
    pub differing: u64,
    /// Sentences about the first of them.
    pub differences: Vec<String>,
}

/// Replays the journal of `original` into `copy`, which must be empty, and compares.
pub async fn replay(original: &Store, copy: &Store) -> Result<Replay, LedgerError> {
    let mut report = Replay::default();
    for row in accounts::list(original.reader()).await? {
        report.accounts += 1;
        replay_account(original, copy, row, &mut report).await?;
    }
    let (left, right) = (original.reader(), copy.reader());
    compare::<conversion::Entity>(left, right, "conversion", &mut report).await?;
    compare::<refund::Entity>(left, right, "refund", &mut report).await?;
    compare::<customer::Entity>(left, right, "customer", &mut report).await?;
    compare::<commission_line::Entity>(left, right, "commission line", &mut report).await?;
    compare::<line_change::Entity>(left, right, "line change", &mut report).await?;
    compare::<posting::Entity>(left, right, "posting", &mut report).await?;
    compare::<balance::Entity>(left, right, "balance", &mut report).await?;
    Ok(report)
}

async fn replay_account(
    original: &Store,
    copy: &Store,
    row: account::Model,
    report: &mut Replay,
) -> Result<(), LedgerError> {
    let id = AccountId(row.id);
    let tx = copy.begin().await?;
    let mut new = row.into_active_model().reset_all();
    new.last_seq = Set(0);
    account::Entity::insert(new).exec_without_returning(&tx).await?;
    tx.commit().await?;
    let mut seq = 0;
    loop {
        let entries = journal_entry::Entity::find()
            .filter(journal_entry::Column::AccountId.eq(id.0))
            .filter(journal_entry::Column::Seq.gt(seq))
            .order_by_asc(journal_entry::Column::Seq)
            .limit(PAGE)
            .all(original.reader())
            .await?;
        if entries.is_empty() {
            return Ok(());
        }
        let tx = copy.begin().await?;
        for entry in entries {
            seq = entry.seq;
            report.commands += 1;
            let command: Command = serde_json::from_value(entry.command)
                .map_err(|error| LedgerError::damaged("command", error))?;
            if let Err(error) = apply(&tx, id, Timestamp(entry.at), &command).await {
                report.differ(format!("account {id}, seq {seq}: the command fails on replay: {error}"));
            }
        }
        tx.commit().await?;
    }
}

impl Replay {
    fn differ(&mut self, sentence: String) {
        self.differing += 1;
        if self.differences.len() < SHOWN {
            self.differences.push(sentence);
        }
    }
}

/// Compares two tables row by row, by primary key.
async fn compare<E>(
    left: &impl ConnectionTrait,
    right: &impl ConnectionTrait,
    what: &str,
    report: &mut Replay,
) -> Result<(), DbErr>
where
    E: EntityTrait,
    E::Model: ModelTrait<Entity = E> + PartialEq + std::fmt::Debug + Sync,
{
    let left = load::<E>(left).await?;
    let mut right = load::<E>(right).await?;
    report.rows += left.len() as u64;
    for (key, row) in left {
        match right.remove(&key) {
            None => report.differ(format!("{what} {key} is stored and does not follow from the journal")),
            Some(again) if again != row => {
                report.differ(format!("{what} {key} is stored as {row:?}, the journal gives {again:?}"));
            }
            Some(_) => {}
        }
    }
    for key in right.keys() {
        report.differ(format!("{what} {key} follows from the journal and is not stored"));
    }
    Ok(())
}

async fn load<E>(db: &impl ConnectionTrait) -> Result<BTreeMap<String, E::Model>, DbErr>
where
    E: EntityTrait,
    E::Model: ModelTrait<Entity = E> + Sync,
{
    use sea_orm::Iterable;
    let rows = E::find().all(db).await?;
    let key = |row: &E::Model| {
        let parts = E::PrimaryKey::iter().map(|part| format!("{}", row.get(part.into_column())));
        parts.collect::<Vec<_>>().join("/")
    };
    Ok(rows.into_iter().map(|row| (key(&row), row)).collect())
}
