//! Commission lines: made when a conversion settles, changed by review and refunds. Each change posts its
//! difference and is kept as a line change, so that a line's story can be told.

use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set};
use uuid::Uuid;

use super::{Applied, Effect, LedgerError, journal::Entry, posting::post, programs::ProgramThen};
use crate::{
    domain::{
        amount::Currency,
        ids::{AffiliateId, ProgramId},
        postings,
        pricing::{self, Amounts, Pricing},
        program::CommissionType,
        reason::LineStatus,
        refunds::RefundedLine,
        review::{self, Decision, ReviewError},
        time::Timestamp,
    },
    store::{
        INSERT_ROWS,
        entities::{commission_line, line_change},
    },
};

/// The only kind of line that this version makes.
const REGULAR: &str = "regular";

/// What the lines of one conversion are made from.
pub(super) struct NewLines<'a> {
    pub conversion: Uuid,
    pub occurred_at: Timestamp,
    pub affiliate: AffiliateId,
    pub review: bool,
    pub program: &'a ProgramThen,
    pub amounts: &'a Amounts,
    /// One for each entry of the amounts.
    pub types: &'a [CommissionType],
}

pub(super) async fn create(entry: &mut Entry<'_>, new: &NewLines<'_>) -> Result<(), LedgerError> {
    let settings = &new.program.settings;
    let mut rows = Vec::with_capacity(new.types.len());
    let mut sides = Vec::with_capacity(new.types.len());
    for (number, (part, kind)) in (1..).zip(new.amounts.entries.iter().zip(new.types)) {
        let line = pricing::price(
            &kind.price,
            new.program.version,
            &kind.identifier,
            part.sub_amount,
            new.amounts.amount,
            new.amounts.currency,
            new.program.currency,
        );
        let status = review::start_status(settings.auto_approve_commissions, new.review, false);
        let approved_at = (status == LineStatus::Approved).then_some(entry.at);
        let final_at = approved_at.map(|at| review::final_at(at, new.occurred_at, settings.payout_delay));
        let id = entry.new_id();
        sides.push((id, postings::started(status, new.affiliate, line.currency, line.amount)));
        rows.push(commission_line::ActiveModel {
            id: Set(id),
            account_id: Set(entry.account.0),
            conversion_id: Set(Some(new.conversion)),
            program_id: Set(new.program.id.0),
            affiliate_id: Set(new.affiliate.0),
            number: Set(number),
            kind: Set(REGULAR.to_owned()),
            commission_type: Set(kind.identifier.clone()),
            amount: Set(line.amount),
            sub_amount: Set(part.sub_amount),
            currency: Set(line.currency.code().to_owned()),
            status: Set(status.as_str().to_owned()),
            reason: Set(None),
            earned: Set(line.earned()),
            comment: Set(part.comment.clone()),
            pricing: Set(serde_json::to_value(&line.pricing).map_err(|e| LedgerError::damaged("pricing", e))?),
            occurred_at: Set(new.occurred_at.0),
            approved_at: Set(approved_at.map(|at| at.0)),
            final_at: Set(final_at.map(|at| at.0)),
            created_at: Set(entry.at.0),
            created_seq: Set(entry.seq),
        });
    }
    while !rows.is_empty() {
        let chunk = rows.drain(..rows.len().min(INSERT_ROWS));
        commission_line::Entity::insert_many(chunk).exec_without_returning(entry.tx).await?;
    }
    post(entry, &sides);
    Ok(())
}

/// The lines of a conversion in their order.
pub(super) async fn of_conversion(
    entry: &Entry<'_>,
    conversion: Uuid,
) -> Result<Vec<commission_line::Model>, LedgerError> {
    let rows = commission_line::Entity::find()
        .filter(commission_line::Column::AccountId.eq(entry.account.0))
        .filter(commission_line::Column::ConversionId.eq(conversion))
        .order_by_asc(commission_line::Column::Number)
        .all(entry.tx)
        .await?;
    Ok(rows)
}

/// A line's stored words as types.
pub(super) struct Read {
    pub currency: Currency,
    pub status: LineStatus,
    pub pricing: Pricing,
}

pub(super) fn read(row: &commission_line::Model) -> Result<Read, LedgerError> {
    Ok(Read {
        currency: row.currency.parse().map_err(|error| LedgerError::damaged("currency", error))?,
        status: LineStatus::parse(&row.status).ok_or_else(|| LedgerError::damaged("status", &row.status))?,
        pricing: serde_json::from_value(row.pricing.clone())
            .map_err(|e| LedgerError::damaged("pricing", e))?,
    })
}

/// Approves or disapproves one line.
pub(super) async fn review(
    entry: &mut Entry<'_>,
    line: Uuid,
    decision: Decision,
) -> Result<Applied, LedgerError> {
    let row = commission_line::Entity::find_by_id(line)
        .filter(commission_line::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("commission"))?;
    let Read { currency, status: before, .. } = read(&row)?;
    let after = review::decide(before, row.reason.is_some(), decision).map_err(|error| {
        let code = match error {
            ReviewError::Already(_) => "already_so",
            ReviewError::Stopped => "stopped",
        };
        LedgerError::NotPossible { code, message: error.to_string() }
    })?;
    let affiliate = AffiliateId(row.affiliate_id);
    let sides = postings::reviewed(before, after, affiliate, currency, row.amount);
    let occurred_at = Timestamp(row.occurred_at);
    let (approved_at, final_at) = if after == LineStatus::Approved {
        let program = entry.program_at(ProgramId(row.program_id), occurred_at).await?;
        let delay = program.map_or(0, |program| program.settings.payout_delay);
        (Some(entry.at), Some(review::final_at(entry.at, occurred_at, delay)))
    } else {
        (None, None)
    };
    let change = line_change::ActiveModel {
        line_id: Set(line),
        seq: Set(entry.seq),
        number: Set(entry.next_change()),
        account_id: Set(entry.account.0),
        at: Set(entry.at.0),
        what: Set(after.as_str().to_owned()),
        amount_before: Set(row.amount),
        amount_after: Set(row.amount),
        status_before: Set(before.as_str().to_owned()),
        status_after: Set(after.as_str().to_owned()),
        refund_id: Set(None),
    };
    let mut row = row.into_active_model();
    row.status = Set(after.as_str().to_owned());
    row.approved_at = Set(approved_at.map(|at| at.0));
    row.final_at = Set(final_at.map(|at| at.0));
    row.update(entry.tx).await?;
    line_change::Entity::insert(change).exec_without_returning(entry.tx).await?;
    post(entry, &[(line, sides)]);
    Ok(Applied::changed(Effect::Done))
}

/// Takes a refund off a line.
pub(super) async fn refund(
    entry: &mut Entry<'_>,
    row: commission_line::Model,
    refund: Uuid,
    after: RefundedLine,
) -> Result<(), LedgerError> {
    let Read { currency, status, .. } = read(&row)?;
    let sides = postings::amount_changed(
        status,
        AffiliateId(row.affiliate_id),
        currency,
        row.amount,
        after.amount,
        true,
    );
    let line = row.id;
    let change = line_change::ActiveModel {
        line_id: Set(line),
        seq: Set(entry.seq),
        number: Set(entry.next_change()),
        account_id: Set(entry.account.0),
        at: Set(entry.at.0),
        what: Set("refunded".to_owned()),
        amount_before: Set(row.amount),
        amount_after: Set(after.amount),
        status_before: Set(row.status.clone()),
        status_after: Set(row.status.clone()),
        refund_id: Set(Some(refund)),
    };
    let mut row = row.into_active_model();
    row.amount = Set(after.amount);
    row.sub_amount = Set(after.sub_amount);
    row.update(entry.tx).await?;
    line_change::Entity::insert(change).exec_without_returning(entry.tx).await?;
    post(entry, &[(line, sides)]);
    Ok(())
}
