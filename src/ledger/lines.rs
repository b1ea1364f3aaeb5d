//! Commission lines: made when a conversion settles, changed by review, refunds and corrections. Each change posts its
//! difference and is kept as a line change, so that a line's story can be told.

use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set};
use uuid::Uuid;

use super::{Applied, Effect, LedgerError, journal::Entry, measures, posting::post, status};
use crate::{
    domain::{
        amount::Currency,
        ids::{AffiliateId, ProgramId},
        lines::MadeLine,
        postings,
        pricing::Pricing,
        reason::{LineKind, LineStatus, Stop},
        refunds::SetLine,
        review::{self, Decision, ReviewError},
        time::Timestamp,
    },
    store::{
        INSERT_ROWS,
        entities::{commission_line, conversion, line_change},
    },
};

/// What the lines of one conversion are made from.
pub(super) struct NewLines<'a> {
    pub conversion: Uuid,
    pub occurred_at: Timestamp,
    pub review: bool,
    pub program: ProgramId,
    /// By the rules that price them.
    pub auto_approve: bool,
    /// Days, as in force when the conversion happened.
    pub payout_delay: u32,
    pub made: &'a [MadeLine],
    /// The number of the first.
    pub first_number: i32,
}

/// Writes new lines, and posts what they are worth.
pub(super) async fn create(entry: &mut Entry<'_>, new: &NewLines<'_>) -> Result<(), LedgerError> {
    let mut rows = Vec::with_capacity(new.made.len());
    let mut sides = Vec::with_capacity(new.made.len());
    for (number, made) in (new.first_number..).zip(new.made) {
        let status = review::start_status(new.auto_approve, new.review, made.stop.is_some());
        let approved_at = (status == LineStatus::Approved).then_some(entry.at);
        let final_at = approved_at.map(|at| review::final_at(at, new.occurred_at, new.payout_delay));
        let id = entry.new_id();
        let MadeLine { affiliate, line, .. } = made;
        sides.push((id, postings::started(status, *affiliate, line.currency, line.amount)));
        rows.push(commission_line::ActiveModel {
            id: Set(id),
            account_id: Set(entry.account.0),
            conversion_id: Set(Some(new.conversion)),
            program_id: Set(new.program.0),
            affiliate_id: Set(affiliate.0),
            number: Set(number),
            kind: Set(made.kind.as_str().to_owned()),
            commission_type: Set(line.pricing.commission_type.clone()),
            amount: Set(line.amount),
            sub_amount: Set(made.sub_amount),
            currency: Set(line.currency.code().to_owned()),
            status: Set(status.as_str().to_owned()),
            reason: Set(made.stop.map(|stop| stop.as_str().to_owned())),
            earned: Set(made.earned),
            comment: Set(made.comment.clone()),
            pricing: Set(to_json(&line.pricing)?),
            occurred_at: Set(new.occurred_at.0),
            approved_at: Set(approved_at.map(|at| at.0)),
            final_at: Set(final_at.map(|at| at.0)),
            created_at: Set(entry.at.0),
            created_seq: Set(entry.seq),
            entry: Set(made.entry),
            level: Set(i32::try_from(made.level).unwrap_or(i32::MAX)),
            counts_towards_cap: Set(made.counts_towards_cap),
            set_amount: Set(None),
            set_left: Set(None),
        });
    }
    while !rows.is_empty() {
        let chunk = rows.drain(..rows.len().min(INSERT_ROWS));
        commission_line::Entity::insert_many(chunk).exec_without_returning(entry.tx).await?;
    }
    post(entry, &sides);
    Ok(())
}

pub(super) fn to_json(pricing: &Pricing) -> Result<serde_json::Value, LedgerError> {
    serde_json::to_value(pricing).map_err(|error| LedgerError::damaged("pricing", error))
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

/// What the price of a stored line follows from.
pub(super) struct Read {
    pub pricing: Pricing,
    pub set: Option<SetLine>,
}

pub(super) fn read(row: &commission_line::Model) -> Result<Read, LedgerError> {
    Ok(Read {
        pricing: serde_json::from_value(row.pricing.clone())
            .map_err(|e| LedgerError::damaged("pricing", e))?,
        set: row.set_amount.zip(row.set_left).map(|(amount, left)| SetLine { amount, left }),
    })
}

pub(super) fn currency_of(row: &commission_line::Model) -> Result<Currency, LedgerError> {
    row.currency.parse().map_err(|error| LedgerError::damaged("currency", error))
}

pub(super) fn status_of(row: &commission_line::Model) -> Result<LineStatus, LedgerError> {
    LineStatus::parse(&row.status).ok_or_else(|| LedgerError::damaged("status", &row.status))
}

/// A line of the account, with its conversion where it has one, which must not be deleted.
async fn find(
    entry: &Entry<'_>,
    line: Uuid,
) -> Result<(commission_line::Model, Option<conversion::Model>), LedgerError> {
    let row = commission_line::Entity::find_by_id(line)
        .filter(commission_line::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("commission"))?;
    let conversion = match row.conversion_id {
        Some(id) => conversion::Entity::find_by_id(id).one(entry.tx).await?,
        None => None,
    };
    if conversion.as_ref().is_some_and(|conversion| conversion.status == status::DELETED) {
        let message = "the conversion of this commission was deleted".to_owned();
        return Err(LedgerError::NotPossible { code: "conversion_deleted", message });
    }
    Ok((row, conversion))
}

/// Approves, disapproves or reopens one line.
pub(super) async fn review(
    entry: &mut Entry<'_>,
    line: Uuid,
    decision: Decision,
) -> Result<Applied, LedgerError> {
    let (row, conversion) = find(entry, line).await?;
    let status_before = status_of(&row)?;
    let after = review::decide(status_before, row.reason.is_some(), decision).map_err(|error| {
        let code = match error {
            ReviewError::Already(_) => "already_so",
            ReviewError::Stopped => "stopped",
        };
        LedgerError::NotPossible { code, message: error.to_string() }
    })?;
    let before = match &conversion {
        Some(conversion) => Some((conversion.id, measures::before(entry, conversion).await?)),
        None => None,
    };
    let change = Change { status: after, ..Change::of(&row)? };
    apply(entry, row, change).await?;
    if let Some((conversion, before)) = before {
        measures::follow(entry, conversion, before).await?;
    }
    Ok(Applied::changed(Effect::Done))
}

/// Somebody sets what a line is worth.
pub(super) async fn edit(
    entry: &mut Entry<'_>,
    line: Uuid,
    amount: i64,
    comment: Option<&str>,
) -> Result<Applied, LedgerError> {
    let (row, conversion) = find(entry, line).await?;
    if row.reason.is_some() {
        let message = "a rule stopped this commission: it earns nothing".to_owned();
        return Err(LedgerError::NotPossible { code: "stopped", message });
    }
    let mut change =
        Change { amount, what: "edited", comment: comment.map(str::to_owned), ..Change::of(&row)? };
    let Some(conversion) = conversion else {
        apply(entry, row, change).await?;
        return Ok(Applied::changed(Effect::Done));
    };
    let before = measures::before(entry, &conversion).await?;
    let left = conversion.amount - conversion.refunded;
    change.set = Some(SetLine { amount, left });
    change.left = Some(left);
    apply(entry, row, change).await?;
    measures::follow(entry, conversion.id, before).await?;
    Ok(Applied::changed(Effect::Done))
}

/// What a line is after a change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub amount: i64,
    pub sub_amount: i64,
    pub status: LineStatus,
    pub reason: Option<Stop>,
    pub earned: bool,
    pub set: Option<SetLine>,
    /// New, where it was priced anew.
    pub pricing: Option<Pricing>,
    pub counts_towards_cap: bool,
    /// The word of the change; that of a status goes before it.
    pub what: &'static str,
    pub refund: Option<Uuid>,
    /// What is left of the conversion, where that matters.
    pub left: Option<i64>,
    pub comment: Option<String>,
}

impl Change {
    /// No change.
    pub fn of(row: &commission_line::Model) -> Result<Self, LedgerError> {
        let reason = match &row.reason {
            Some(text) => Some(Stop::parse(text).ok_or_else(|| LedgerError::damaged("reason", text))?),
            None => None,
        };
        Ok(Self {
            amount: row.amount,
            sub_amount: row.sub_amount,
            status: status_of(row)?,
            reason,
            earned: row.earned,
            set: row.set_amount.zip(row.set_left).map(|(amount, left)| SetLine { amount, left }),
            pricing: None,
            counts_towards_cap: row.counts_towards_cap,
            what: "edited",
            refund: None,
            left: None,
            comment: None,
        })
    }
}

/// Changes a line: its row, its history, and the postings of the difference. The amount changes where the line stands,
/// then its status.
pub(super) async fn apply(
    entry: &mut Entry<'_>,
    row: commission_line::Model,
    change: Change,
) -> Result<(), LedgerError> {
    let (currency, before) = (currency_of(&row)?, status_of(&row)?);
    let affiliate = AffiliateId(row.affiliate_id);
    let refund = change.refund.is_some();
    let mut sides = postings::amount_changed(before, affiliate, currency, row.amount, change.amount, refund);
    sides.extend(postings::reviewed(before, change.status, affiliate, currency, change.amount));
    let (approved_at, final_at) = match (before, change.status) {
        (LineStatus::Approved, LineStatus::Approved) => (row.approved_at, row.final_at),
        (_, LineStatus::Approved) => {
            let occurred_at = Timestamp(row.occurred_at);
            // An adjustment is final at once, whatever its program says.
            let delay = if row.kind == LineKind::Adjustment.as_str() {
                0
            } else {
                let program = entry.program_at(ProgramId(row.program_id), occurred_at).await?;
                program.map_or(0, |program| program.settings.payout_delay)
            };
            (Some(entry.at.0), Some(review::final_at(entry.at, occurred_at, delay).0))
        }
        (_, LineStatus::Pending | LineStatus::Disapproved) => (None, None),
    };
    let line = row.id;
    let pricing_before = match &change.pricing {
        Some(_) => row.pricing.clone(),
        None => serde_json::Value::Null,
    };
    let history = line_change::ActiveModel {
        line_id: Set(line),
        seq: Set(entry.seq),
        number: Set(entry.next_change()),
        account_id: Set(entry.account.0),
        at: Set(entry.at.0),
        what: Set(if before == change.status { change.what } else { change.status.as_str() }.to_owned()),
        amount_before: Set(row.amount),
        amount_after: Set(change.amount),
        status_before: Set(before.as_str().to_owned()),
        status_after: Set(change.status.as_str().to_owned()),
        reason_before: Set(row.reason.clone()),
        reason_after: Set(change.reason.map(|stop| stop.as_str().to_owned())),
        refund_id: Set(change.refund),
        pricing_before: Set(pricing_before),
        sub_amount_before: Set(Some(row.sub_amount)),
        sub_amount_after: Set(Some(change.sub_amount)),
        left_after: Set(change.left),
        comment: Set(change.comment),
    };
    let mut row = row.into_active_model();
    row.amount = Set(change.amount);
    row.sub_amount = Set(change.sub_amount);
    row.status = Set(change.status.as_str().to_owned());
    row.reason = Set(change.reason.map(|stop| stop.as_str().to_owned()));
    row.earned = Set(change.earned);
    row.approved_at = Set(approved_at);
    row.final_at = Set(final_at);
    row.set_amount = Set(change.set.map(|set| set.amount));
    row.set_left = Set(change.set.map(|set| set.left));
    row.counts_towards_cap = Set(change.counts_towards_cap);
    if let Some(pricing) = &change.pricing {
        row.pricing = Set(to_json(pricing)?);
        row.commission_type = Set(pricing.commission_type.clone());
    }
    row.update(entry.tx).await?;
    line_change::Entity::insert(history).exec_without_returning(entry.tx).await?;
    post(entry, &[(line, sides)]);
    Ok(())
}
