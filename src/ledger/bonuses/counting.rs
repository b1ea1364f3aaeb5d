//! What affiliates brought, as a bonus counts it: for an interval by one grouped query, for all time by a measure that
//! every change of a conversion moves by its difference.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, Select,
    sea_query::{Alias, Expr, Query},
};
use uuid::Uuid;

use super::versions::InForce;
use crate::{
    domain::{
        bonuses::{BonusMeasure, BonusSettings, Counted},
        calendar::Span,
        ids::{AccountId, AffiliateId, ProgramId},
        measures::Sum,
        rates::{Fraction, StoredRate},
        reason::{LineKind, LineStatus},
        time::Timestamp,
    },
    ledger::{LedgerError, lines, measures, status},
    store::entities::{commission_line, conversion},
};

/// Sums of one affiliate by the factor of their currency.
pub(super) type Sums = BTreeMap<String, Sum>;

/// Whose conversions of which time are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection {
    pub account: AccountId,
    pub program: ProgramId,
    /// None: of everybody.
    pub affiliate: Option<AffiliateId>,
    pub span: Span,
}

/// Sums as the domain counts.
pub(super) fn counted(sums: &Sums) -> Result<Counted, LedgerError> {
    let mut counted = Counted::default();
    for (factor, sum) in sums {
        let factor: Fraction = factor.parse().map_err(|error| LedgerError::damaged("rate", error))?;
        counted.add(sum.count, sum.amount, Some(&factor));
    }
    Ok(counted)
}

/// What each affiliate brought.
pub(super) async fn sums(
    db: &impl ConnectionTrait,
    selection: Selection,
    measure: BonusMeasure,
) -> Result<BTreeMap<AffiliateId, Sums>, LedgerError> {
    use conversion::Column;
    let left = Expr::col((conversion::Entity, Column::Amount))
        .sub(Expr::col((conversion::Entity, Column::Refunded)));
    let rows: Vec<(i64, serde_json::Value, i64, Option<i64>)> = counting(selection)
        .select_only()
        .column(Column::AffiliateId)
        .column(Column::Rate)
        .column_as(Column::Id.count(), "number")
        .column_as(left.sum().cast_as("bigint"), "amount")
        .group_by(Column::AffiliateId)
        .group_by(Column::Rate)
        .into_tuple()
        .all(db)
        .await?;
    let mut sums: BTreeMap<AffiliateId, Sums> = BTreeMap::new();
    for (affiliate, rate, number, amount) in rows {
        let sum = sums.entry(AffiliateId(affiliate)).or_default().entry(factor_text(rate)?).or_default();
        sum.amount += amount.unwrap_or(0);
        match measure {
            BonusMeasure::ConversionCount | BonusMeasure::ConversionAmount => sum.count += number,
            BonusMeasure::CustomerCount => {}
        }
    }
    if measure == BonusMeasure::CustomerCount {
        for (affiliate, rate, customers) in customers(db, selection).await? {
            let sums = sums.entry(AffiliateId(affiliate)).or_default();
            sums.entry(factor_text(rate)?).or_default().count += customers;
        }
    }
    Ok(sums)
}

/// Customers whose first conversion above 0 is among those that count, by affiliate and that conversion's rate.
async fn customers(
    db: &impl ConnectionTrait,
    selection: Selection,
) -> Result<Vec<(i64, serde_json::Value, i64)>, LedgerError> {
    use conversion::Column;
    let earlier = Alias::new("earlier");
    let column = |column: Column| Expr::col((earlier.clone(), column));
    let before = Query::select()
        .expr(Expr::value(1))
        .from_as(conversion::Entity, earlier.clone())
        .and_where(column(Column::CustomerId).equals((conversion::Entity, Column::CustomerId)))
        .and_where(column(Column::Seq).lt(Expr::col((conversion::Entity, Column::Seq))))
        .and_where(column(Column::Amount).gt(0))
        .to_owned();
    let rows = counting(selection)
        .filter(Column::CustomerId.is_not_null())
        .filter(Column::Amount.gt(0))
        .filter(Expr::exists(before).not())
        .select_only()
        .column(Column::AffiliateId)
        .column(Column::Rate)
        .column_as(Column::Id.count(), "number")
        .group_by(Column::AffiliateId)
        .group_by(Column::Rate)
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows)
}

/// The conversions that count (MONEY 9).
fn counting(selection: Selection) -> Select<conversion::Entity> {
    use conversion::Column;
    let approved = commission_line::Entity::find()
        .select_only()
        .expr(Expr::value(1))
        .filter(
            Expr::col((commission_line::Entity, commission_line::Column::ConversionId))
                .equals((conversion::Entity, Column::Id)),
        )
        .filter(commission_line::Column::Kind.eq(LineKind::Regular.as_str()))
        .filter(commission_line::Column::Earned.eq(true))
        .filter(commission_line::Column::Status.eq(LineStatus::Approved.as_str()))
        .into_query();
    let mut find = of_span(selection)
        .filter(Column::Status.eq(status::SETTLED))
        .filter(Column::RefundedWhole.eq(false))
        .filter(Expr::exists(approved));
    if let Some(affiliate) = selection.affiliate {
        find = find.filter(Column::AffiliateId.eq(affiliate.0));
    }
    find
}

fn of_span(selection: Selection) -> Select<conversion::Entity> {
    use conversion::Column;
    conversion::Entity::find()
        .filter(Column::AccountId.eq(selection.account.0))
        .filter(Column::ProgramId.eq(selection.program.0))
        .filter(Column::OccurredAt.gte(selection.span.start.0))
        .filter(Column::OccurredAt.lt(selection.span.end.0))
}

/// When the first conversion of a program from a time on happened.
pub(super) async fn next_conversion(
    db: &impl ConnectionTrait,
    account: AccountId,
    program: ProgramId,
    from: Timestamp,
) -> Result<Option<Timestamp>, LedgerError> {
    use conversion::Column;
    let span = Span { start: from, end: Timestamp(i64::MAX) };
    let found: Option<i64> = of_span(Selection { account, program, affiliate: None, span })
        .select_only()
        .column(Column::OccurredAt)
        .order_by_asc(Column::OccurredAt)
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    Ok(found.map(Timestamp))
}

/// Of a stored rate, as measures are kept.
fn factor_text(rate: serde_json::Value) -> Result<String, LedgerError> {
    let rate: Option<StoredRate> =
        serde_json::from_value(rate).map_err(|error| LedgerError::damaged("rate", error))?;
    Ok(rate.map_or_else(Fraction::one, |rate| rate.factor).to_string())
}

/// What one conversion adds to a bonus, by the factor of its currency; none: it does not count.
pub(super) type Added = Option<(String, Sum)>;

/// What a conversion with these lines adds. `first`: it is its customer's first above 0.
pub(super) fn added(
    row: &conversion::Model,
    lines: &[commission_line::Model],
    settings: &BonusSettings,
    span: Option<Span>,
    first: bool,
) -> Result<Added, LedgerError> {
    let within = span.is_some_and(|span| span.contains(Timestamp(row.occurred_at)));
    if !within || row.status != status::SETTLED || row.refunded_whole {
        return Ok(None);
    }
    let mut counts = false;
    for line in lines.iter().filter(|line| line.kind == LineKind::Regular.as_str() && line.earned) {
        counts |= lines::status_of(line)? == LineStatus::Approved;
    }
    if !counts {
        return Ok(None);
    }
    let count = match settings.measure {
        BonusMeasure::ConversionCount | BonusMeasure::ConversionAmount => 1,
        BonusMeasure::CustomerCount => i64::from(first),
    };
    let factor = measures::factor_of(row)?.unwrap_or_else(Fraction::one);
    Ok(Some((factor.to_string(), Sum { count, amount: row.amount - row.refunded })))
}

/// Whether a conversion is its customer's first above 0; what the bonus does not ask for is not looked up.
pub(super) async fn is_first(
    db: &impl ConnectionTrait,
    row: &conversion::Model,
    version: InForce<'_>,
) -> Result<bool, LedgerError> {
    use conversion::Column;
    let (Some(customer), Some(seq)) = (row.customer_id, row.seq) else { return Ok(false) };
    if version.settings.measure != BonusMeasure::CustomerCount || row.amount == 0 {
        return Ok(false);
    }
    let before = above_zero(customer).filter(Column::Seq.lt(seq)).limit(1).count(db).await?;
    Ok(before == 0)
}

/// The next conversion above 0 of the same customer: the first, if this one were not.
pub(super) async fn next_above_zero(
    db: &impl ConnectionTrait,
    row: &conversion::Model,
) -> Result<Option<conversion::Model>, LedgerError> {
    use conversion::Column;
    let (Some(customer), Some(seq)) = (row.customer_id, row.seq) else { return Ok(None) };
    Ok(above_zero(customer).filter(Column::Seq.gt(seq)).order_by_asc(Column::Seq).one(db).await?)
}

fn above_zero(customer: Uuid) -> Select<conversion::Entity> {
    conversion::Entity::find()
        .filter(conversion::Column::CustomerId.eq(customer))
        .filter(conversion::Column::Amount.gt(0))
}
