//! Gathers what is stored about a commission line and lets the domain tell its story (MONEY 12).

use std::collections::HashMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::{LedgerError, lines, programs, status};
use crate::{
    domain::{
        explanation::{self, Change, RefundFact, Step, Story},
        ids::{AccountId, ProgramId},
        reason::{LineStatus, Warning},
        time::Timestamp,
    },
    store::entities::{affiliate, commission_line, conversion, line_change, program, refund},
};

/// How a line came about, step by step.
pub async fn explain(
    db: &impl ConnectionTrait,
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
    db: &impl ConnectionTrait,
    account: AccountId,
    row: commission_line::Model,
) -> Result<Story, LedgerError> {
    let read = lines::read(&row)?;
    let occurred_at = Timestamp(row.occurred_at);
    let program_id = ProgramId(row.program_id);
    let then = programs::at(db, account, program_id, occurred_at).await?;
    let then = then.ok_or(LedgerError::NotFound("program"))?;
    let program = program::Entity::find_by_id(row.program_id).one(db).await?;
    let affiliate = affiliate::Entity::find_by_id(row.affiliate_id).one(db).await?;
    let conversion = match row.conversion_id {
        Some(id) => conversion::Entity::find_by_id(id).one(db).await?,
        None => None,
    };
    let attribution = match &conversion {
        Some(conversion) => serde_json::from_value(conversion.attribution.clone())
            .map_err(|error| LedgerError::damaged("attribution", error))?,
        None => None,
    };
    let changes = changes(db, &row, conversion.as_ref()).await?;
    Ok(Story {
        program: program.map_or_else(String::new, |row| row.slug),
        affiliate: affiliate.map_or_else(String::new, |row| row.slug),
        occurred_at,
        attribution,
        warnings: match &conversion {
            Some(conversion) => own_warnings(conversion)?,
            None => Vec::new(),
        },
        number: row.number,
        sub_amounts: sub_amounts(db, &row).await?,
        pricing: read.pricing,
        refund_policy: then.settings.refund_policy,
        currency: read.currency,
        amount: row.amount,
        status: read.status,
        reason: row.reason,
        created_at: Timestamp(row.created_at),
        started_as: changes.first().map_or(read.status, |change| change.status_before),
        changes,
        payout_delay_days: then.settings.payout_delay,
        approved_at: row.approved_at.map(Timestamp),
        final_at: row.final_at.map(Timestamp),
    })
}

/// The warnings that no input caused.
fn own_warnings(conversion: &conversion::Model) -> Result<Vec<Warning>, LedgerError> {
    let warnings: Vec<Warning> = serde_json::from_value(conversion.warnings.clone())
        .map_err(|error| LedgerError::damaged("warnings", error))?;
    Ok(warnings.into_iter().filter(|warning| *warning == Warning::AmountRounded).collect())
}

/// The original sub amounts of all lines of the line's conversion.
async fn sub_amounts(
    db: &impl ConnectionTrait,
    row: &commission_line::Model,
) -> Result<Vec<i64>, LedgerError> {
    let Some(conversion) = row.conversion_id else { return Ok(Vec::new()) };
    commission_line::Entity::find()
        .filter(commission_line::Column::ConversionId.eq(conversion))
        .order_by_asc(commission_line::Column::Number)
        .all(db)
        .await?
        .iter()
        .map(|line| Ok(lines::read(line)?.pricing.original_sub_amount))
        .collect()
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
    line_change::Entity::find()
        .filter(line_change::Column::LineId.eq(row.id))
        .order_by_asc(line_change::Column::Seq)
        .order_by_asc(line_change::Column::Number)
        .all(db)
        .await?
        .into_iter()
        .map(|change| {
            Ok(Change {
                at: Timestamp(change.at),
                amount_before: change.amount_before,
                amount_after: change.amount_after,
                status_before: word(&change.status_before)?,
                status_after: word(&change.status_after)?,
                refund: change.refund_id.and_then(|id| refunds.get(&id).cloned()),
            })
        })
        .collect()
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
