//! How many conversions of a customer earned what recurrence looks at (MONEY 6). Only a recalculation ever takes one
//! back.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, JoinType,
    QueryFilter, QuerySelect, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{LedgerError, journal::Entry, status};
use crate::{
    domain::{ids::AccountId, reason::LineKind},
    store::{
        bulk,
        entities::{commission_line, conversion, customer_count},
    },
};

/// The subject of lines of types that count towards the customer's cap.
const CAP: &str = "cap";

/// What the commands of a transaction have added, written at its end.
pub(super) type Moved = BTreeMap<(AccountId, Uuid, String), i64>;

/// What the conversions of a customer have earned, by subject.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(BTreeMap<String, i64>);

impl Counts {
    /// Conversions that earned a line of this type.
    pub fn of_type(&self, identifier: &str) -> u32 {
        self.of(&subject(identifier))
    }

    /// Conversions that earned a line of a type that counts towards the cap.
    pub fn towards_cap(&self) -> u32 {
        self.of(CAP)
    }

    fn of(&self, subject: &str) -> u32 {
        self.0.get(subject).map_or(0, |count| u32::try_from(*count).unwrap_or(0))
    }
}

fn subject(commission_type: &str) -> String {
    format!("type:{commission_type}")
}

/// The subjects that one conversion counts for: by commission type and whether it counts towards the cap, of its earned
/// regular lines.
pub(super) fn counted_by<'a>(earned: impl Iterator<Item = (&'a str, bool)>) -> BTreeSet<String> {
    let mut subjects = BTreeSet::new();
    for (commission_type, counts_towards_cap) in earned {
        subjects.insert(subject(commission_type));
        if counts_towards_cap {
            subjects.insert(CAP.to_owned());
        }
    }
    subjects
}

/// Notes what a conversion counts for now and did not before, and the other way round.
pub(super) fn move_on(
    entry: &mut Entry<'_>,
    customer: Uuid,
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
) {
    for (subjects, by) in [(after.difference(before), 1), (before.difference(after), -1)] {
        for subject in subjects {
            *entry.ends.counts.entry((entry.account, customer, subject.clone())).or_default() += by;
        }
    }
}

/// What the settled conversions of a customer have earned.
pub(super) async fn read(entry: &Entry<'_>, customer: Uuid) -> Result<Counts, LedgerError> {
    let rows = customer_count::Entity::find()
        .filter(customer_count::Column::CustomerId.eq(customer))
        .all(entry.tx)
        .await?;
    let mut counts: BTreeMap<String, i64> =
        rows.into_iter().map(|row| (row.subject, row.conversions)).collect();
    let all = (entry.account, customer, String::new())..;
    for ((_, of, subject), by) in entry.ends.counts.range(all) {
        if *of != customer {
            break;
        }
        *counts.entry(subject.clone()).or_default() += by;
    }
    Ok(Counts(counts))
}

/// What the conversions of a customer before a place in the order have earned, as they are now.
pub(super) async fn read_before(entry: &Entry<'_>, customer: Uuid, seq: i64) -> Result<Counts, LedgerError> {
    let before = Condition::all()
        .add(conversion::Column::CustomerId.eq(customer))
        .add(conversion::Column::Seq.lt(seq));
    let counts = sums(entry.tx, before).await?;
    Ok(Counts(counts.into_iter().map(|((_, subject), count)| (subject, count)).collect()))
}

/// What conversions of customers have earned, by customer and subject, added up from their lines.
pub(super) async fn sums(
    db: &impl ConnectionTrait,
    conversions: Condition,
) -> Result<BTreeMap<(Uuid, String), i64>, LedgerError> {
    use commission_line::Column;
    let conversion_of = commission_line::Entity::belongs_to(conversion::Entity)
        .from(Column::ConversionId)
        .to(conversion::Column::Id);
    let earned: Vec<(Uuid, Uuid, String, bool)> = commission_line::Entity::find()
        .join(JoinType::InnerJoin, conversion_of.into())
        .filter(conversions)
        .filter(conversion::Column::CustomerId.is_not_null())
        .filter(conversion::Column::Status.is_in([status::SETTLED, status::DELETED]))
        .filter(Column::Kind.eq(LineKind::Regular.as_str()))
        .filter(Column::Earned.eq(true))
        .select_only()
        .column(conversion::Column::CustomerId)
        .column(Column::ConversionId)
        .column(Column::CommissionType)
        .column(Column::CountsTowardsCap)
        .into_tuple()
        .all(db)
        .await?;
    let mut conversions: BTreeMap<(Uuid, Uuid), Vec<(&str, bool)>> = BTreeMap::new();
    for (customer, conversion, commission_type, counts) in &earned {
        conversions.entry((*customer, *conversion)).or_default().push((commission_type, *counts));
    }
    let mut sums = BTreeMap::new();
    for ((customer, _), lines) in conversions {
        for subject in counted_by(lines.into_iter()) {
            *sums.entry((customer, subject)).or_default() += 1;
        }
    }
    Ok(sums)
}

/// Writes what was noted, in the order of the keys, as everybody does.
pub(super) async fn write(tx: &DatabaseTransaction, moved: Moved) -> Result<(), LedgerError> {
    use customer_count::Column;
    // Also what came to nothing in the end: which commands share a transaction makes no difference.
    let rows: Vec<_> = moved
        .into_iter()
        .map(|((account, customer, subject), by)| customer_count::ActiveModel {
            customer_id: Set(customer),
            subject: Set(subject),
            account_id: Set(account.0),
            conversions: Set(by),
        })
        .collect();
    let sum = Expr::col((customer_count::Entity, Column::Conversions))
        .add(Expr::col(("excluded", Column::Conversions)));
    for mut insert in bulk::inserts(tx, &rows)? {
        insert.on_conflict(
            OnConflict::columns([Column::CustomerId, Column::Subject])
                .value(Column::Conversions, sum.clone())
                .to_owned(),
        );
        tx.execute(&insert).await?;
    }
    Ok(())
}
