//! Corrections (MONEY 11): another amount, prices worked out anew, a conversion taken out.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, Set};
use uuid::Uuid;

use super::{
    LedgerError, RulesOf, case, counts, customers,
    journal::Entry,
    lines::{self, Change},
    measures,
    plan::{self, Place, Priceable},
    programs::{self, ProgramThen},
    status,
};
use crate::{
    domain::{
        amount::{Currency, MAX_MINOR},
        ids::{AffiliateId, ProgramId},
        lines::MadeLine,
        pricing::in_program_currency,
        program::{CommissionType, RefundPolicy},
        rates::StoredRate,
        reason::{LineKind, LineStatus, Stop},
        refunds::{self, SetLine, sub_amounts_left, sub_amounts_scaled},
        review,
        time::Timestamp,
    },
    events::Conversion,
    store::entities::{commission_line, conversion, customer},
};

/// A settled conversion as corrections see it.
struct Settled {
    row: conversion::Model,
    seq: i64,
    currency: Currency,
    affiliate: AffiliateId,
    /// As it was when the conversion happened.
    program: ProgramThen,
    rate: Option<StoredRate>,
}

async fn find(entry: &Entry<'_>, id: Uuid) -> Result<Settled, LedgerError> {
    let row = conversion::Entity::find_by_id(id)
        .filter(conversion::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("conversion"))?;
    if row.status == status::DELETED {
        return Err(not_possible("conversion_deleted", "the conversion was deleted".to_owned()));
    }
    let damaged = |what: &str| LedgerError::damaged("conversion", format!("it has no {what}"));
    let (Some(seq), status::SETTLED) = (row.seq, row.status.as_str()) else {
        let message = format!("the conversion is {}, not settled", row.status);
        return Err(not_possible("not_settled", message));
    };
    let currency = row.currency.as_deref().ok_or_else(|| damaged("currency"))?;
    let currency = currency.parse().map_err(|error| LedgerError::damaged("currency", error))?;
    let program = ProgramId(row.program_id.ok_or_else(|| damaged("program"))?);
    let program = entry.program_at(program, Timestamp(row.occurred_at)).await?;
    let rate = serde_json::from_value(row.rate.clone()).map_err(|e| LedgerError::damaged("rate", e))?;
    Ok(Settled {
        seq,
        currency,
        affiliate: AffiliateId(row.affiliate_id.ok_or_else(|| damaged("affiliate"))?),
        program: program.ok_or(LedgerError::NotFound("program"))?,
        rate,
        row,
    })
}

fn not_possible(code: &'static str, message: String) -> LedgerError {
    LedgerError::NotPossible { code, message }
}

/// The conversion's amount becomes another. Its lines stay what they are; from now on refunds take their part of that.
pub(super) async fn edit(entry: &mut Entry<'_>, id: Uuid, amount: i64) -> Result<(), LedgerError> {
    let settled = find(entry, id).await?;
    let row = &settled.row;
    if amount <= row.refunded {
        let refunded = settled.currency.format(row.refunded);
        let message = format!("the amount must be above the {refunded} that were refunded");
        return Err(not_possible("amount_not_above_refunded", message));
    }
    let mut entries = case::entries_of(row)?;
    let parts: Vec<i64> = entries.iter().map(|part| part.sub_amount).collect();
    let scaled = match parts.as_slice() {
        _ if row.amount > 0 => sub_amounts_scaled(row.amount, amount, &parts),
        [_] if input_of(row)?.believed_commissions().is_empty() => vec![amount],
        _ => parts,
    };
    let factor = settled.rate.as_ref().map(|rate| &rate.factor);
    let most = scaled.iter().copied().chain([amount]).max().unwrap_or(amount);
    if most > MAX_MINOR || in_program_currency(most, factor) > in_program_currency(MAX_MINOR, None) {
        return Err(not_possible("amount_too_large", "the amount is too large".to_owned()));
    }
    for (part, sub_amount) in entries.iter_mut().zip(&scaled) {
        part.sub_amount = *sub_amount;
    }
    let left = amount - row.refunded;
    let parts_left = parts_left(&settled, amount, scaled);
    let before = measures::before(entry, row).await?;
    let customer = row.customer_id;
    let mut change = settled.row.into_active_model();
    change.amount = Set(amount);
    change.entries = Set(serde_json::to_value(&entries).map_err(|e| LedgerError::damaged("entries", e))?);
    change.refunded_whole = Set(false);
    change.update(entry.tx).await?;
    for line in lines::of_conversion(entry, id).await? {
        let change = Change {
            sub_amount: part_of(&line, &parts_left),
            set: Some(SetLine { amount: line.amount, left }),
            what: "conversion_edited",
            left: Some(left),
            ..Change::of(&line)?
        };
        lines::apply(entry, line, change).await?;
    }
    if let Some(customer) = customer {
        customers::moves_on(entry, customer).await?;
    }
    measures::follow(entry, id, before).await
}

fn input_of(row: &conversion::Model) -> Result<Conversion, LedgerError> {
    case::read_input(row)
}

/// The sub amount of a line's entry.
fn part_of(line: &commission_line::Model, sub_amounts: &[i64]) -> i64 {
    let place = usize::try_from(line.entry - 1).ok();
    place.and_then(|place| sub_amounts.get(place).copied()).unwrap_or(line.sub_amount)
}

/// All lines of the conversion are disapproved, and it is hidden. What it claims stays taken.
pub(super) async fn delete(entry: &mut Entry<'_>, id: Uuid) -> Result<(), LedgerError> {
    let settled = find(entry, id).await?;
    let before = measures::before(entry, &settled.row).await?;
    let mut row = settled.row.into_active_model();
    row.status = Set(status::DELETED.to_owned());
    row.deleted_at = Set(Some(entry.at.0));
    row.update(entry.tx).await?;
    for line in lines::of_conversion(entry, id).await? {
        if lines::status_of(&line)? != LineStatus::Disapproved {
            let change = Change { status: LineStatus::Disapproved, ..Change::of(&line)? };
            lines::apply(entry, line, change).await?;
        }
    }
    measures::follow(entry, id, before).await
}

/// Prices the conversion anew at its old place in the order, with what came before as it is now; refunds come off after.
pub(super) async fn recalculate(entry: &mut Entry<'_>, id: Uuid, rules: RulesOf) -> Result<(), LedgerError> {
    let settled = find(entry, id).await?;
    let occurred_at = Timestamp(settled.row.occurred_at);
    let rules_at = match rules {
        RulesOf::Then => occurred_at,
        RulesOf::Current => entry.at,
    };
    let program = entry.program_at(settled.program.id, rules_at).await?;
    let program = program.ok_or(LedgerError::NotFound("program"))?;
    let entries = case::entries_of(&settled.row)?;
    let mut types: Vec<CommissionType> = Vec::with_capacity(entries.len());
    for part in &entries {
        let found = programs::commission_type_at(entry.tx, &program, &part.commission_type, rules_at).await?;
        types.push(found.ok_or_else(|| {
            let message = format!("the program has no commission type {}", part.commission_type);
            not_possible("unknown_commission_type", message)
        })?);
    }
    let customer = match settled.row.customer_id {
        Some(customer) => customer::Entity::find_by_id(customer).one(entry.tx).await?,
        None => None,
    };
    let mut made = plan::price(
        entry,
        &Priceable {
            program: &program,
            rules_at,
            occurred_at,
            affiliate: settled.affiliate,
            customer: customer.as_ref(),
            amount: settled.row.amount,
            currency: settled.currency,
            rate: settled.rate.as_ref(),
            entries: &entries,
            types: &types,
            place: Place::At(settled.seq),
        },
    )
    .await?;
    let parts = entries.iter().map(|part| part.sub_amount).collect();
    let parts = parts_left(&settled, settled.row.amount, parts);
    take_refunds_off(&settled, &parts, &mut made);
    let before = measures::before(entry, &settled.row).await?;
    let auto_approve = program.settings.auto_approve_commissions;
    replace_lines(entry, &settled, made, &parts, auto_approve, customer.map(|customer| customer.id)).await?;
    measures::follow(entry, id, before).await
}

/// Whether refunds change what the lines are worth.
fn is_reduced(settled: &Settled) -> bool {
    let refunded = settled.row.refunded > 0 || settled.row.refunded_whole;
    refunded && settled.program.settings.refund_policy == RefundPolicy::Reverse
}

/// What refunds have left of the entries' sub amounts, of a conversion of `amount`.
fn parts_left(settled: &Settled, amount: i64, parts: Vec<i64>) -> Vec<i64> {
    match is_reduced(settled) {
        true => sub_amounts_left(amount, settled.row.refunded, &parts),
        false => parts,
    }
}

fn take_refunds_off(settled: &Settled, parts_left: &[i64], made: &mut [MadeLine]) {
    if !is_reduced(settled) {
        return;
    }
    let left = settled.row.amount - settled.row.refunded;
    for one in made {
        let place = usize::try_from(one.entry - 1).unwrap_or_default();
        one.sub_amount = parts_left.get(place).copied().unwrap_or_default();
        let worth = refunds::worth(&one.line.pricing, None, one.sub_amount, left);
        one.line.amount = worth.min(one.line.amount);
    }
}

/// Brings the stored lines to what was worked out: changed, new, or gone.
async fn replace_lines(
    entry: &mut Entry<'_>,
    settled: &Settled,
    made: Vec<MadeLine>,
    parts_left: &[i64],
    auto_approve: bool,
    customer: Option<Uuid>,
) -> Result<(), LedgerError> {
    let stored = lines::of_conversion(entry, settled.row.id).await?;
    let next = stored.iter().map(|line| line.number).max().unwrap_or(0) + 1;
    let regular = |line: &&commission_line::Model| line.kind == LineKind::Regular.as_str() && line.earned;
    let earned_before: BTreeSet<String> = counts::counted_by(
        stored.iter().filter(regular).map(|line| (line.commission_type.as_str(), line.counts_towards_cap)),
    );
    let earned_after = counts::counted_by(
        made.iter()
            .filter(|one| one.level == 1 && one.earned)
            .map(|one| (one.line.pricing.commission_type.as_str(), one.counts_towards_cap)),
    );
    if let Some(customer) = customer {
        counts::move_on(entry, customer, &earned_before, &earned_after);
    }
    // What the affiliate is owed in one currency cannot become another: that line ends, and one in the other begins.
    let mut stored: BTreeMap<_, _> = stored
        .into_iter()
        .map(|line| {
            let key = (line.entry, i64::from(line.level), line.affiliate_id, line.currency.clone());
            (key, line)
        })
        .collect();
    let starts = review::start_status(auto_approve, settled.row.review, false);
    let left = settled.row.amount - settled.row.refunded;
    let mut new = Vec::new();
    for one in made {
        let currency = one.line.currency.code().to_owned();
        match stored.remove(&(one.entry, one.level.into(), one.affiliate.0, currency)) {
            Some(line) => change(entry, line, one, starts, left).await?,
            None => new.push(one),
        }
    }
    for line in stored.into_values() {
        let change = Change {
            amount: 0,
            sub_amount: part_of(&line, parts_left),
            status: LineStatus::Disapproved,
            reason: Some(Stop::Recalculated),
            earned: false,
            set: None,
            what: "recalculated",
            left: Some(left),
            ..Change::of(&line)?
        };
        lines::apply(entry, line, change).await?;
    }
    let new = lines::NewLines {
        conversion: settled.row.id,
        occurred_at: Timestamp(settled.row.occurred_at),
        review: settled.row.review,
        program: settled.program.id,
        auto_approve,
        payout_delay: settled.program.settings.payout_delay,
        made: &new,
        first_number: next,
    };
    lines::create(entry, &new).await
}

/// A line that is there takes its new price. It is stopped, freed, or keeps its status.
async fn change(
    entry: &mut Entry<'_>,
    line: commission_line::Model,
    one: MadeLine,
    starts: LineStatus,
    left: i64,
) -> Result<(), LedgerError> {
    let was = Change::of(&line)?;
    let status = match (was.reason, one.stop) {
        (_, Some(_)) => LineStatus::Disapproved,
        (Some(_), None) => starts,
        (None, None) => was.status,
    };
    let change = Change {
        amount: one.line.amount,
        sub_amount: one.sub_amount,
        status,
        reason: one.stop,
        earned: one.earned,
        set: None,
        pricing: Some(one.line.pricing),
        counts_towards_cap: one.counts_towards_cap,
        what: "recalculated",
        left: Some(left),
        ..was
    };
    lines::apply(entry, line, change).await
}
