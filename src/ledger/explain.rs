//! Gathers what is stored about a commission line and lets the domain tell its story (MONEY 12).

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, StreamTrait,
};
use uuid::Uuid;

use super::{LedgerError, PaidLines, lines, programs, status};
use crate::{
    domain::{
        bonuses::BonusPricing,
        explanation::{self, Change, ChangeKind, RefundFact, Step, Story},
        ids::{AccountId, ProgramId},
        pricing::Pricing,
        program::RefundPolicy,
        reason::{LineKind, LineStatus, Warning},
        time::Timestamp,
    },
    store::entities::{affiliate, commission_line, conversion, line_change, program, refund},
};

/// How a line came about, step by step, and whether it is paid now.
pub async fn explain(
    db: &(impl ConnectionTrait + StreamTrait),
    account: AccountId,
    line: Uuid,
) -> Result<Vec<Step>, LedgerError> {
    let row = commission_line::Entity::find_by_id(line)
        .filter(commission_line::Column::AccountId.eq(account.0))
        .one(db)
        .await?
        .ok_or(LedgerError::NotFound("commission"))?;
    Ok(explanation::explain(&story(db, account, row).await?))
}

async fn story(
    db: &(impl ConnectionTrait + StreamTrait),
    account: AccountId,
    row: commission_line::Model,
) -> Result<Story, LedgerError> {
    let occurred_at = Timestamp(row.occurred_at);
    let kind = LineKind::parse(&row.kind).ok_or_else(|| LedgerError::damaged("kind", &row.kind))?;
    let then = programs::at(db, account, ProgramId(row.program_id), occurred_at).await?;
    let program = program::Entity::find_by_id(row.program_id).one(db).await?;
    let conversion = match row.conversion_id {
        Some(id) => conversion::Entity::find_by_id(id).one(db).await?,
        None => None,
    };
    let (attribution, rate) = match &conversion {
        Some(conversion) => (
            serde_json::from_value(conversion.attribution.clone())
                .map_err(|error| LedgerError::damaged("attribution", error))?,
            serde_json::from_value(conversion.rate.clone())
                .map_err(|error| LedgerError::damaged("rate", error))?,
        ),
        None => (None, None),
    };
    let changes = changes(db, &row, conversion.as_ref()).await?;
    let paid = is_paid(db, account, &row).await?;
    let first = changes.first();
    let status = lines::status_of(&row)?;
    let earner = name_of(db, row.affiliate_id).await?;
    let referrer = match conversion.as_ref().and_then(|conversion| conversion.affiliate_id) {
        Some(id) if id != row.affiliate_id => name_of(db, id).await?,
        Some(_) | None => earner.clone(),
    };
    Ok(Story {
        kind,
        program: program.map_or_else(String::new, |row| row.slug),
        affiliate: earner,
        referrer,
        occurred_at,
        attribution,
        warnings: match &conversion {
            Some(conversion) => own_warnings(conversion)?,
            None => Vec::new(),
        },
        rate,
        number: row.number,
        lines: count_of_lines(db, &row).await?,
        pricing: first_pricing(db, &row).await?,
        refunded_before: refunded_before(db, &row).await?,
        bonus: bonus_of(&row, kind)?,
        refund_policy: refund_policy(db, &row, row.created_seq).await?,
        currency: lines::currency_of(&row)?,
        made_amount: first.map_or(row.amount, |change| change.amount_before),
        made_sub_amount: first.map_or(Some(row.sub_amount), |change| change.sub_amount_before),
        amount: row.amount,
        status,
        made_reason: first.map_or(row.reason, |change| change.reason_before.clone()),
        comment: row.comment,
        created_at: Timestamp(row.created_at),
        started_as: first.map_or(status, |change| change.status_before),
        changes,
        payout_delay_days: then.map_or(0, |then| then.settings.payout_delay),
        approved_at: row.approved_at.map(Timestamp),
        final_at: row.final_at.map(Timestamp),
        paid,
    })
}

fn bonus_of(
    row: &commission_line::Model,
    kind: LineKind,
) -> Result<Option<(String, BonusPricing)>, LedgerError> {
    if kind != LineKind::Bonus {
        return Ok(None);
    }
    let pricing = serde_json::from_value(row.pricing.clone());
    let pricing = pricing.map_err(|error| LedgerError::damaged("pricing", error))?;
    Ok(Some((row.commission_type.clone(), pricing)))
}

async fn is_paid(
    db: &(impl ConnectionTrait + StreamTrait),
    account: AccountId,
    row: &commission_line::Model,
) -> Result<bool, LedgerError> {
    let now = Timestamp::now();
    if !PaidLines::may_include(row, now) {
        return Ok(false);
    }
    let lines = PaidLines::load(db, account, row.affiliate_id, &row.currency, now).await?;
    Ok(lines.include(row))
}

async fn name_of(db: &impl ConnectionTrait, affiliate: i64) -> Result<String, LedgerError> {
    let row = affiliate::Entity::find_by_id(affiliate).one(db).await?;
    Ok(row.map_or_else(String::new, |row| row.slug))
}

/// The price as it was when the line was made: before its first recalculation, or what it is.
async fn first_pricing(
    db: &impl ConnectionTrait,
    row: &commission_line::Model,
) -> Result<Option<Pricing>, LedgerError> {
    if row.conversion_id.is_none() {
        return Ok(None);
    }
    let recalculated = recalculations(db, row.id).await?.into_iter().next();
    let pricing = recalculated.map_or_else(|| row.pricing.clone(), |change| change.pricing_before);
    serde_json::from_value(pricing).map_err(|error| LedgerError::damaged("pricing", error))
}

/// What earlier commands had refunded of the conversion; none: nothing.
async fn refunded_before(
    db: &impl ConnectionTrait,
    row: &commission_line::Model,
) -> Result<Option<i64>, LedgerError> {
    let Some(conversion) = row.conversion_id else { return Ok(None) };
    let rows = refund::Entity::find()
        .filter(refund::Column::ConversionId.eq(conversion))
        .filter(refund::Column::Status.eq(status::SETTLED))
        .filter(refund::Column::Seq.lt(row.created_seq))
        .all(db)
        .await?;
    Ok((!rows.is_empty()).then(|| rows.iter().map(|row| row.amount).sum()))
}

/// The changes that priced a line anew, in order.
async fn recalculations(
    db: &impl ConnectionTrait,
    line: Uuid,
) -> Result<Vec<line_change::Model>, LedgerError> {
    let rows = line_change::Entity::find()
        .filter(line_change::Column::LineId.eq(line))
        .order_by_asc(line_change::Column::Seq)
        .order_by_asc(line_change::Column::Number)
        .all(db)
        .await?;
    Ok(rows.into_iter().filter(|change| !change.pricing_before.is_null()).collect())
}

/// The warnings that no input caused.
fn own_warnings(conversion: &conversion::Model) -> Result<Vec<Warning>, LedgerError> {
    let warnings: Vec<Warning> = serde_json::from_value(conversion.warnings.clone())
        .map_err(|error| LedgerError::damaged("warnings", error))?;
    Ok(warnings.into_iter().filter(|warning| *warning == Warning::AmountRounded).collect())
}

async fn count_of_lines(
    db: &impl ConnectionTrait,
    row: &commission_line::Model,
) -> Result<usize, LedgerError> {
    let Some(conversion) = row.conversion_id else { return Ok(1) };
    let lines = commission_line::Entity::find()
        .filter(commission_line::Column::ConversionId.eq(conversion))
        .count(db)
        .await?;
    Ok(usize::try_from(lines).unwrap_or(usize::MAX))
}

async fn changes(
    db: &impl ConnectionTrait,
    row: &commission_line::Model,
    conversion: Option<&conversion::Model>,
) -> Result<Vec<Change>, LedgerError> {
    let refunds = match conversion {
        Some(conversion) => refunds(db, conversion.id).await?,
        None => HashMap::new(),
    };
    let word = |text: &str| LineStatus::parse(text).ok_or_else(|| LedgerError::damaged("status", text));
    let rows = line_change::Entity::find()
        .filter(line_change::Column::LineId.eq(row.id))
        .order_by_asc(line_change::Column::Seq)
        .order_by_asc(line_change::Column::Number)
        .all(db)
        .await?;
    // What a recalculation made of the price stands with the next one, or with the line.
    let mut later: Vec<serde_json::Value> = rows
        .iter()
        .filter(|row| !row.pricing_before.is_null())
        .map(|row| row.pricing_before.clone())
        .collect();
    later.push(row.pricing.clone());
    let mut later = later.into_iter().skip(1);
    let mut changes = Vec::with_capacity(rows.len());
    for change in rows {
        let pricing = match change.pricing_before.is_null() {
            true => None,
            false => later
                .next()
                .map(serde_json::from_value)
                .transpose()
                .map_err(|error| LedgerError::damaged("pricing", error))?,
        };
        changes.push(Change {
            at: Timestamp(change.at),
            what: ChangeKind::parse(&change.what),
            amount_before: change.amount_before,
            amount_after: change.amount_after,
            status_before: word(&change.status_before)?,
            status_after: word(&change.status_after)?,
            reason_before: change.reason_before,
            reason_after: change.reason_after,
            sub_amount_before: change.sub_amount_before,
            sub_amount_after: change.sub_amount_after,
            left_after: change.left_after,
            refund: change.refund_id.and_then(|id| refunds.get(&id).cloned()),
            refund_policy: refund_policy(db, row, change.seq).await?,
            pricing,
            comment: change.comment,
        });
    }
    Ok(changes)
}

/// As in force when the line's conversion happened, as far as the command with this number of the journal knew.
async fn refund_policy(
    db: &impl ConnectionTrait,
    line: &commission_line::Model,
    seq: i64,
) -> Result<RefundPolicy, LedgerError> {
    let (account, program) = (AccountId(line.account_id), ProgramId(line.program_id));
    let then = programs::known_at(db, account, program, Timestamp(line.occurred_at), seq).await?;
    Ok(then.map_or(RefundPolicy::Reverse, |then| then.settings.refund_policy))
}

/// The refunds of a conversion with their running sum, in the order in which they took effect.
async fn refunds(
    db: &impl ConnectionTrait,
    conversion: Uuid,
) -> Result<HashMap<Uuid, RefundFact>, LedgerError> {
    let rows = refund::Entity::find()
        .filter(refund::Column::ConversionId.eq(conversion))
        .filter(refund::Column::Status.eq(status::SETTLED))
        .order_by_asc(refund::Column::Seq)
        .order_by_asc(refund::Column::ArrivedSeq)
        .all(db)
        .await?;
    let mut in_all = 0;
    let facts = rows.into_iter().map(|row| {
        in_all += row.amount;
        let fact = RefundFact {
            amount: row.amount,
            refunded_in_all: in_all,
            external_id: row.external_id,
            reason: row.reason,
        };
        (row.id, fact)
    });
    Ok(facts.collect())
}
