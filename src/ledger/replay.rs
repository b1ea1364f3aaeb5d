//! Applies the journal to an empty store and compares everything that is money.
//!
//! The journal alone must rebuild every version of the rules, conversion, refund, claim, customer, line, change, posting,
//! balance, payment, payout minimum and kept sum, ids included: whatever differs was written past the ledger, or a rule
//! has changed without a version.

use std::{cmp::Ordering, pin::pin};

use futures_util::TryStreamExt;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel,
    Iterable, ModelTrait, PrimaryKeyToColumn, QueryFilter, QueryOrder, QuerySelect, Select, Set, StreamTrait,
    Value,
};
use uuid::Uuid;

use super::{Command, LedgerError, Work, journal::LookedUp};
use crate::{
    domain::{ids::AccountId, time::Timestamp},
    store::{
        Store, accounts,
        entities::{
            account, affiliate_group, balance, bonus, bonus_award, bonus_version, cancellation, claim,
            commission_line, conversion, customer, customer_count, journal_entry, line_change, measure,
            membership, override_rule, override_version, payment, payout_minimum, posting, program_version,
            refund, standing, upline,
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

/// Replays the journal of `original` into `copy`, which must be empty, and compares. While others write, hand over a
/// transaction: it sees one state of the store.
pub async fn replay<C>(original: &C, copy: &Store) -> Result<Replay, LedgerError>
where
    C: ConnectionTrait + StreamTrait,
{
    let mut report = Replay::default();
    for row in accounts::list(original).await? {
        report.accounts += 1;
        replay_account(original, copy, row, &mut report).await?;
    }
    compare::<conversion::Entity>(original, copy, "conversion", &mut report).await?;
    compare::<claim::Entity>(original, copy, "claim", &mut report).await?;
    compare::<program_version::Entity>(original, copy, "program version", &mut report).await?;
    compare::<standing::Entity>(original, copy, "standing", &mut report).await?;
    compare::<affiliate_group::Entity>(original, copy, "group", &mut report).await?;
    compare::<membership::Entity>(original, copy, "membership", &mut report).await?;
    compare::<upline::Entity>(original, copy, "upline", &mut report).await?;
    compare::<override_rule::Entity>(original, copy, "override", &mut report).await?;
    compare::<override_version::Entity>(original, copy, "override version", &mut report).await?;
    compare::<refund::Entity>(original, copy, "refund", &mut report).await?;
    compare::<customer::Entity>(original, copy, "customer", &mut report).await?;
    compare::<customer_count::Entity>(original, copy, "customer count", &mut report).await?;
    compare::<cancellation::Entity>(original, copy, "cancellation", &mut report).await?;
    compare::<commission_line::Entity>(original, copy, "commission line", &mut report).await?;
    compare::<line_change::Entity>(original, copy, "line change", &mut report).await?;
    compare::<posting::Entity>(original, copy, "posting", &mut report).await?;
    compare::<bonus::Entity>(original, copy, "bonus", &mut report).await?;
    compare::<bonus_version::Entity>(original, copy, "bonus version", &mut report).await?;
    compare::<bonus_award::Entity>(original, copy, "bonus award", &mut report).await?;
    compare::<balance::Entity>(original, copy, "balance", &mut report).await?;
    compare::<payment::Entity>(original, copy, "payment", &mut report).await?;
    compare::<payout_minimum::Entity>(original, copy, "payout minimum", &mut report).await?;
    compare::<measure::Entity>(original, copy, "measure", &mut report).await?;
    Ok(report)
}

async fn replay_account(
    original: &impl ConnectionTrait,
    copy: &Store,
    row: account::Model,
    report: &mut Replay,
) -> Result<(), LedgerError> {
    let id = AccountId(row.id);
    let last = row.last_seq;
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
            .all(original)
            .await?;
        if entries.is_empty() {
            if seq != last {
                report
                    .differ(format!("account {id}: the journal ends at {seq}, the account stands at {last}"));
            }
            return Ok(());
        }
        let tx = copy.begin().await?;
        for entry in entries {
            if entry.seq != seq + 1 {
                report
                    .differ(format!("account {id}: the journal has nothing between {seq} and {}", entry.seq));
            }
            seq = entry.seq;
            report.commands += 1;
            let command: Command = serde_json::from_value(entry.command)
                .map_err(|error| LedgerError::damaged("command", error))?;
            if let Err(error) = again(&tx, id, Timestamp(entry.at), &command, entry.looked_up).await {
                report.differ(format!("account {id}, seq {seq}: the command fails on replay: {error}"));
            }
        }
        tx.commit().await?;
    }
}

async fn again(
    tx: &DatabaseTransaction,
    account: AccountId,
    at: Timestamp,
    command: &Command,
    looked_up: serde_json::Value,
) -> Result<(), LedgerError> {
    let looked_up: Option<LookedUp> =
        serde_json::from_value(looked_up).map_err(|error| LedgerError::damaged("rates", error))?;
    let mut work = Work::new(tx);
    work.apply_again(account, at, command, looked_up.unwrap_or_default()).await?;
    work.finish().await
}

impl Replay {
    fn differ(&mut self, sentence: String) {
        self.differing += 1;
        if self.differences.len() < SHOWN {
            self.differences.push(sentence);
        }
    }
}

/// Compares two tables row by row. Both are read in the order of their primary key, one row of each at a time.
async fn compare<E>(
    original: &(impl ConnectionTrait + StreamTrait),
    copy: &Store,
    what: &str,
    report: &mut Replay,
) -> Result<(), DbErr>
where
    E: EntityTrait,
    E::Model: ModelTrait<Entity = E> + Compared + PartialEq + std::fmt::Debug + Send + Sync,
{
    let mut left = pin!(ordered::<E>().stream(original).await?);
    let mut right = pin!(ordered::<E>().stream(copy.reader()).await?);
    let (mut stored, mut again) = (left.try_next().await?, right.try_next().await?);
    loop {
        let order = match (&stored, &again) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(stored), Some(again)) => key(stored).cmp(&key(again)),
        };
        report.rows += u64::from(order.is_le());
        match (order, &stored, &again) {
            (Ordering::Less, Some(stored), _) => report
                .differ(format!("{what} {} is stored and does not follow from the journal", name(stored))),
            (Ordering::Greater, _, Some(again)) => {
                report.differ(format!("{what} {} follows from the journal and is not stored", name(again)));
            }
            (_, Some(stored), Some(again)) => {
                let (stored, again) = (stored.clone().compared(), again.clone().compared());
                if stored != again {
                    let name = name(&stored);
                    report.differ(format!(
                        "{what} {name} is stored as {stored:?}, the journal gives {again:?}"
                    ));
                }
            }
            _ => {}
        }
        if order.is_le() {
            stored = left.try_next().await?;
        }
        if order.is_ge() {
            again = right.try_next().await?;
        }
    }
}

fn ordered<E: EntityTrait>() -> Select<E> {
    E::PrimaryKey::iter().fold(E::find(), |select, part| select.order_by_asc(part.into_column()))
}

/// A part of a primary key, in the order in which databases sort it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum KeyPart {
    Number(i64),
    Id(Uuid),
    /// By its bytes, as the schema sorts every text.
    Text(String),
}

fn key<M: ModelTrait>(row: &M) -> Vec<KeyPart> {
    let part = |part: <M::Entity as EntityTrait>::PrimaryKey| match row.get(part.into_column()) {
        Value::BigInt(Some(number)) => KeyPart::Number(number),
        Value::Int(Some(number)) => KeyPart::Number(number.into()),
        Value::Uuid(Some(id)) => KeyPart::Id(id),
        other => KeyPart::Text(other.to_string().trim_matches('\'').to_owned()),
    };
    <M::Entity as EntityTrait>::PrimaryKey::iter().map(part).collect()
}

fn name<M: ModelTrait>(row: &M) -> String {
    let parts = <M::Entity as EntityTrait>::PrimaryKey::iter();
    parts.map(|part| row.get(part.into_column()).to_string()).collect::<Vec<_>>().join("/")
}

/// A row as far as the journal knows it.
trait Compared: Clone {
    #[must_use]
    fn compared(self) -> Self {
        self
    }
}

impl Compared for customer::Model {}
impl Compared for cancellation::Model {}
impl Compared for claim::Model {}
impl Compared for commission_line::Model {}
impl Compared for line_change::Model {}
impl Compared for posting::Model {}
impl Compared for balance::Model {}
impl Compared for payment::Model {}
impl Compared for payout_minimum::Model {}
impl Compared for bonus::Model {}
impl Compared for bonus_version::Model {}
impl Compared for bonus_award::Model {}
impl Compared for program_version::Model {}
impl Compared for standing::Model {}
impl Compared for affiliate_group::Model {}
impl Compared for membership::Model {}
impl Compared for upline::Model {}
impl Compared for override_rule::Model {}
impl Compared for override_version::Model {}
impl Compared for customer_count::Model {}
impl Compared for measure::Model {}

impl Compared for conversion::Model {
    fn compared(mut self) -> Self {
        forget_meta_data(&mut self.input);
        self
    }
}

impl Compared for refund::Model {
    fn compared(mut self) -> Self {
        forget_meta_data(&mut self.input);
        self
    }
}

/// It is not in the journal, and may be erased.
fn forget_meta_data(input: &mut serde_json::Value) {
    if let Some(input) = input.as_object_mut() {
        input.remove("meta_data");
    }
}
