//! Payments, payouts and the least that a payout may be (MONEY 10).
//!
//! A payment is a record of money that was sent, whatever the balance. A payout asks for money to be sent: it sets aside
//! what is available and no more, so two of them can never share it.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, IntoActiveModel,
    QueryFilter, QueryOrder, QuerySelect, Select, Set, StreamTrait, sea_query::OnConflict,
};
use uuid::Uuid;

use super::{
    LedgerError,
    command::{Pay, PayoutEnd},
    journal::Entry,
    posting::post_payment,
};
use crate::{
    domain::{
        amount::{Currency, MAX_MINOR},
        ids::{AccountId, AffiliateId},
        payments::Coverage,
        postings,
        reason::{LedgerAccount, LineStatus, PaymentKind, PaymentStatus, Rejection},
        time::Timestamp,
    },
    store::entities::{affiliate, balance, commission_line, payment, payout_minimum},
};

/// Records money that was sent. It may be more than the balance, and the affiliate may be deleted.
pub(super) async fn record(entry: &mut Entry<'_>, pay: &Pay) -> Result<(), LedgerError> {
    find_affiliate(entry, pay.affiliate).await?;
    check_amount(pay.amount)?;
    create(entry, pay, PaymentKind::Payment).await
}

pub(super) async fn cancel(entry: &mut Entry<'_>, payment: Uuid) -> Result<(), LedgerError> {
    advance(entry, PaymentKind::Payment, payment, PaymentStatus::Cancelled).await
}

/// Sets money aside to be sent.
pub(super) async fn create_payout(entry: &mut Entry<'_>, pay: &Pay) -> Result<(), LedgerError> {
    let row = find_affiliate(entry, pay.affiliate).await?;
    if row.deleted_at.is_some() {
        return Err(refused("affiliate_deleted", "the affiliate is deleted"));
    }
    if row.suspended {
        return Err(refused("affiliate_suspended", "the affiliate is suspended"));
    }
    check_amount(pay.amount)?;
    let money = |minor| format!("{} {}", pay.currency.format(minor), pay.currency);
    if let Some(least) = minimum(entry, pay.currency).await?.filter(|least| pay.amount < least.amount) {
        let message = format!("a payout must be at least {}", money(least.amount));
        return Err(LedgerError::NotPossible { code: "below_minimum_payout", message });
    }
    let available = available(entry, pay.affiliate, pay.currency).await?;
    if pay.amount > available {
        let message = format!("the payout is more than the {} that are available", money(available));
        return Err(LedgerError::NotPossible { code: "exceeds_available", message });
    }
    create(entry, pay, PaymentKind::Payout).await
}

pub(super) async fn end_payout(
    entry: &mut Entry<'_>,
    payout: Uuid,
    end: PayoutEnd,
) -> Result<(), LedgerError> {
    let to = match end {
        PayoutEnd::Paid => PaymentStatus::Paid,
        PayoutEnd::Failed => PaymentStatus::Failed,
        PayoutEnd::Cancelled => PaymentStatus::Cancelled,
    };
    advance(entry, PaymentKind::Payout, payout, to).await
}

/// The least that a payout in a currency may be from now on; none: any.
pub(super) async fn set_minimum(
    entry: &Entry<'_>,
    currency: Currency,
    amount: Option<i64>,
) -> Result<(), LedgerError> {
    use payout_minimum::Column;
    let Some(amount) = amount else {
        let known = minimum(entry, currency).await?.ok_or(LedgerError::NotFound("payout minimum"))?;
        known.into_active_model().delete(entry.tx).await?;
        return Ok(());
    };
    check_amount(amount)?;
    let row = payout_minimum::ActiveModel {
        account_id: Set(entry.account.0),
        currency: Set(currency.code().to_owned()),
        amount: Set(amount),
        updated_at: Set(entry.at.0),
    };
    payout_minimum::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([Column::AccountId, Column::Currency])
                .update_columns([Column::Amount, Column::UpdatedAt])
                .to_owned(),
        )
        .exec_without_returning(entry.tx)
        .await?;
    Ok(())
}

async fn create(entry: &mut Entry<'_>, pay: &Pay, kind: PaymentKind) -> Result<(), LedgerError> {
    let (status, event) = kind.start();
    let row = payment::ActiveModel {
        id: Set(pay.id),
        account_id: Set(entry.account.0),
        affiliate_id: Set(pay.affiliate.0),
        kind: Set(kind.as_str().to_owned()),
        status: Set(status.as_str().to_owned()),
        currency: Set(pay.currency.code().to_owned()),
        amount: Set(pay.amount),
        comment: Set(pay.comment.clone()),
        created_at: Set(entry.at.0),
        created_seq: Set(entry.seq),
        updated_at: Set(entry.at.0),
    };
    payment::Entity::insert(row)
        .exec_without_returning(entry.tx)
        .await
        .map_err(|error| LedgerError::unique("id", error))?;
    post_payment(entry, pay.id, &postings::paid(event, pay.affiliate, pay.currency, pay.amount));
    Ok(())
}

/// Leads a payment or payout to another status.
async fn advance(
    entry: &mut Entry<'_>,
    kind: PaymentKind,
    id: Uuid,
    to: PaymentStatus,
) -> Result<(), LedgerError> {
    let row = payment::Entity::find_by_id(id)
        .filter(payment::Column::AccountId.eq(entry.account.0))
        .filter(payment::Column::Kind.eq(kind.as_str()))
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound(kind.as_str()))?;
    let status = read_status(&row)?;
    let event = status.step(to).ok_or_else(|| LedgerError::NotPossible {
        code: if status == to { "already_so" } else { "has_ended" },
        message: format!("the {kind} is {status} already"),
    })?;
    let currency = row.currency.parse().map_err(|error| LedgerError::damaged("currency", error))?;
    let sides = postings::paid(event, AffiliateId(row.affiliate_id), currency, row.amount);
    let mut row = row.into_active_model();
    row.status = Set(to.as_str().to_owned());
    row.updated_at = Set(entry.at.0);
    row.update(entry.tx).await?;
    post_payment(entry, id, &sides);
    Ok(())
}

fn read_status(row: &payment::Model) -> Result<PaymentStatus, LedgerError> {
    PaymentStatus::parse(&row.status).ok_or_else(|| LedgerError::damaged("status", &row.status))
}

fn refused(code: &'static str, message: &str) -> LedgerError {
    LedgerError::NotPossible { code, message: message.to_owned() }
}

fn check_amount(amount: i64) -> Result<(), LedgerError> {
    if (1..=MAX_MINOR).contains(&amount) {
        return Ok(());
    }
    Err(refused("amount_invalid", "the amount must be above 0 and at most 10^15 minor units"))
}

/// An affiliate of the account, deleted or not: what it is owed stays.
pub(super) async fn find_affiliate(
    entry: &Entry<'_>,
    id: AffiliateId,
) -> Result<affiliate::Model, LedgerError> {
    let find = affiliate::Entity::find_by_id(id.0).filter(affiliate::Column::AccountId.eq(entry.account.0));
    find.one(entry.tx).await?.ok_or(LedgerError::NotFound("affiliate"))
}

async fn minimum(
    entry: &Entry<'_>,
    currency: Currency,
) -> Result<Option<payout_minimum::Model>, LedgerError> {
    let key = (entry.account.0, currency.code().to_owned());
    Ok(payout_minimum::Entity::find_by_id(key).one(entry.tx).await?)
}

/// What an affiliate may withdraw now, in minor units: its balance less what is not final. It may be below 0.
async fn available(
    entry: &Entry<'_>,
    affiliate: AffiliateId,
    currency: Currency,
) -> Result<i64, LedgerError> {
    let name = LedgerAccount::Payable.as_str().to_owned();
    let key = (entry.account.0, affiliate.0, currency.code().to_owned(), name);
    let stored = balance::Entity::find_by_id(key.clone()).one(entry.tx).await?.map_or(0, |row| row.amount);
    // Commands before in the same transaction have not written theirs.
    let unwritten = entry.ends.balances.get(&key).copied().unwrap_or(0);
    let waiting: Option<i64> = waiting_lines(entry.account, &[affiliate.0], entry.at)
        .filter(commission_line::Column::Currency.eq(currency.code()))
        .into_tuple()
        .one(entry.tx)
        .await?
        .flatten();
    // A credit balance: what is owed is below zero.
    let available = -(i128::from(stored) + unwritten) - i128::from(waiting.unwrap_or(0));
    i64::try_from(available).map_err(|_| LedgerError::Rejected(Rejection::AmountTooLarge))
}

/// What is approved and not final at a time, by affiliate and currency, in minor units.
pub async fn not_final(
    db: &impl ConnectionTrait,
    account: AccountId,
    affiliates: &[i64],
    at: Timestamp,
) -> Result<BTreeMap<(i64, String), i64>, DbErr> {
    use commission_line::Column;
    let sums: Vec<(i64, i64, String)> = waiting_lines(account, affiliates, at)
        .columns([Column::AffiliateId, Column::Currency])
        .group_by(Column::AffiliateId)
        .group_by(Column::Currency)
        .into_tuple()
        .all(db)
        .await?;
    Ok(sums.into_iter().map(|(amount, affiliate, currency)| ((affiliate, currency), amount)).collect())
}

/// The sum of the lines that are approved and not final at a time.
fn waiting_lines(account: AccountId, affiliates: &[i64], at: Timestamp) -> Select<commission_line::Entity> {
    use commission_line::Column;
    commission_line::Entity::find()
        .select_only()
        // A sum of integers of 64 bits is wider in PostgreSQL.
        .column_as(Column::Amount.sum().cast_as("bigint"), "amount")
        .filter(Column::AccountId.eq(account.0))
        .filter(Column::AffiliateId.is_in(affiliates.iter().copied()))
        .filter(Column::Status.eq(LineStatus::Approved.as_str()))
        .filter(Column::FinalAt.gt(at.0))
}

/// The place of a line in the order of making: its command, then those of a conversion before those that a command makes
/// besides.
type Made = (i64, bool, i32, Uuid);

fn made(line: &commission_line::Model) -> Made {
    (line.created_seq, line.conversion_id.is_none(), line.number, line.id)
}

/// Which lines of an affiliate are paid in one currency, at a time.
#[derive(Clone, Copy, Debug)]
pub struct PaidLines {
    at: Timestamp,
    /// The first final line that is not covered; none: all are.
    open: Option<Made>,
}

impl PaidLines {
    /// Works it out from all payments and payouts that stand: see [`Coverage`]. Hand over a transaction that sees one
    /// state of the store.
    pub async fn load(
        db: &(impl ConnectionTrait + StreamTrait),
        account: AccountId,
        affiliate: i64,
        currency: &str,
        at: Timestamp,
    ) -> Result<Self, LedgerError> {
        use commission_line::Column;
        let payments = payment::Entity::find()
            .filter(payment::Column::AccountId.eq(account.0))
            .filter(payment::Column::AffiliateId.eq(affiliate))
            .filter(payment::Column::Currency.eq(currency))
            .all(db)
            .await?;
        let payments: Vec<_> = payments
            .iter()
            .map(|row| Ok((read_status(row)?, row.amount)))
            .collect::<Result<_, LedgerError>>()?;
        let mut coverage = Coverage::by(payments);
        let mut lines = commission_line::Entity::find()
            .select_only()
            .column(Column::CreatedSeq)
            .column_as(Column::ConversionId.is_null(), "besides")
            .columns([Column::Number, Column::Id, Column::Amount])
            .filter(Column::AccountId.eq(account.0))
            .filter(Column::AffiliateId.eq(affiliate))
            .filter(Column::Currency.eq(currency))
            .filter(Column::Status.eq(LineStatus::Approved.as_str()))
            .filter(Column::FinalAt.lte(at.0))
            .order_by_asc(Column::CreatedSeq)
            .order_by_asc(Column::ConversionId.is_null())
            .order_by_asc(Column::Number)
            .order_by_asc(Column::Id)
            .into_tuple::<(i64, bool, i32, Uuid, i64)>()
            .stream(db)
            .await?;
        while let Some((seq, besides, number, id, amount)) = lines.try_next().await? {
            if !coverage.covers(amount) {
                return Ok(Self { at, open: Some((seq, besides, number, id)) });
            }
        }
        Ok(Self { at, open: None })
    }

    /// Whether a line of that affiliate and currency is paid.
    pub fn include(&self, line: &commission_line::Model) -> bool {
        Self::may_include(line, self.at) && self.open.is_none_or(|open| made(line) < open)
    }

    /// Whether a line is final at a time; no other is ever paid.
    pub fn may_include(line: &commission_line::Model, at: Timestamp) -> bool {
        let approved = line.status == LineStatus::Approved.as_str();
        approved && line.final_at.is_some_and(|final_at| final_at <= at.0)
    }
}
