//! Settles conversions: attribute, check, price, write (MONEY 2 to 5, 7).
//!
//! Everything is decided before anything is written, so that a rejected conversion leaves nothing behind.

use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, Set};
use serde_json::json;
use uuid::Uuid;

use super::{
    Applied, Effect, Evidence, LedgerError, Terms, bonuses,
    case::{Case, find_waiting, new_row, read_input, taken},
    claims::{self, Claim},
    customers, facts, held,
    journal::Entry,
    lines, measures,
    plan::{self, Place, Priceable},
    programs::{self, ProgramThen},
    refund, status,
};
use crate::{
    domain::{
        amount::MAX_MINOR,
        attribution::{self, Attribution, PassedOver, Resolved},
        entries::{self, Amounts},
        ids::{AffiliateId, ProgramId},
        lines::MadeLine,
        measures::{Counted, CountedLine, added_by},
        pricing::in_program_currency,
        program::CommissionType,
        rates::{Fraction, StoredRate},
        reason::{LineKind, LineStatus, Rejection, Waits, Warning},
        time::Timestamp,
    },
    events::{Conversion, Event},
    store::entities::{conversion, customer},
};

/// What the rules said, before anything is written.
enum Verdict {
    Settle(Box<Settlement>),
    Pending(Waits, Option<Found>),
    Duplicate(Uuid),
    Rejected(Rejection, Option<String>, Vec<PassedOver>),
}

struct Settlement {
    resolved: Resolved,
    program: ProgramThen,
    amounts: Amounts,
    /// One for each entry of the amounts.
    types: Vec<CommissionType>,
    /// Of the conversion's currency to the program's, where they differ.
    rate: Option<StoredRate>,
}

/// What is known of one that waits.
struct Found {
    program: ProgramId,
    /// Whose it is, where only a rate is missing.
    affiliate: Option<AffiliateId>,
}

/// A conversion came in.
pub(super) async fn receive(
    entry: &mut Entry<'_>,
    event: &Event,
    conversion: &Conversion,
    evidence: &Evidence,
    terms: Terms,
) -> Result<Applied, LedgerError> {
    let case = Case {
        conversion,
        event_id: event.id,
        received_at: event.received_at,
        origin: Some(&event.origin),
        evidence,
        waiting: None,
        // From now on, not from its receipt: what it waits for may be as late as it is.
        waits_until: entry.at + terms.pending_time_ms,
        waited_out: false,
    };
    if conversion.authority.holds() {
        return held::hold(entry, &case, terms).await;
    }
    if let Some(claim) = claims::holder(entry, Claim::Event(event.id)).await? {
        if claim.fingerprint == conversion.fingerprint {
            return Ok(Applied::unchanged(Effect::Duplicate { of: claim.holder }));
        }
        return Ok(Applied::rejected(Rejection::IdempotencyConflict, None, Vec::new()));
    }
    if let Err(reason) = case.check_occurred_at(terms) {
        // A repeat is one whenever it says that it happened.
        return Ok(match taken_in_named(entry, &case).await? {
            Some(of) => Applied::unchanged(Effect::Duplicate { of }),
            None => Applied::rejected(reason, None, Vec::new()),
        });
    }
    conclude(entry, case, false).await
}

/// The one that has the external id in the program that is named.
async fn taken_in_named(entry: &Entry<'_>, case: &Case<'_>) -> Result<Option<Uuid>, LedgerError> {
    let Conversion { program: Some(slug), external_id: Some(external), .. } = case.conversion else {
        return Ok(None);
    };
    match entry.program_named(slug).await? {
        Some(program) => taken(entry, case, program, external).await,
        None => Ok(None),
    }
}

/// Somebody accepted a held conversion: it settles at this place in the order.
pub(super) async fn accept(
    entry: &mut Entry<'_>,
    id: Uuid,
    evidence: &Evidence,
    terms: Terms,
) -> Result<Applied, LedgerError> {
    let row = find_waiting(entry, id, status::HELD).await?;
    let conversion: Conversion = read_input(&row)?;
    let case = Case {
        conversion: &conversion,
        event_id: row.event_id,
        received_at: Timestamp(row.received_at),
        origin: None,
        evidence,
        waits_until: entry.at + terms.pending_time_ms,
        waited_out: false,
        waiting: Some(row),
    };
    if let Some(claim) = claims::holder(entry, Claim::Event(case.event_id)).await? {
        return replace(entry, case, claim.holder).await;
    }
    conclude(entry, case, true).await
}

/// A pending conversion is tried again, from the first input on.
pub(super) async fn retry(
    entry: &mut Entry<'_>,
    id: Uuid,
    evidence: &Evidence,
    waited_out: bool,
) -> Result<Applied, LedgerError> {
    let row = find_waiting(entry, id, status::PENDING).await?;
    // Waiting for a rate it holds bonuses up, and that may be over.
    bonuses::touch(entry, &row);
    let conversion: Conversion = read_input(&row)?;
    let case = Case {
        conversion: &conversion,
        event_id: row.event_id,
        received_at: Timestamp(row.received_at),
        origin: None,
        evidence,
        waits_until: Timestamp(row.waits_until.unwrap_or(i64::MAX)),
        waited_out,
        waiting: Some(row),
    };
    conclude(entry, case, false).await
}

/// Asks the rules and writes what they say.
pub(super) async fn conclude(
    entry: &mut Entry<'_>,
    case: Case<'_>,
    held: bool,
) -> Result<Applied, LedgerError> {
    match judge(entry, &case).await? {
        Verdict::Settle(settlement) => settle(entry, case, *settlement).await,
        Verdict::Pending(waits, found) => wait(entry, case, waits, found).await,
        Verdict::Duplicate(of) if case.waiting.is_some() => replace(entry, case, of).await,
        Verdict::Duplicate(of) => Ok(Applied::unchanged(Effect::Duplicate { of })),
        // A held one stays held: whoever accepts it learns the reason.
        Verdict::Rejected(reason, ..) if held => Err(LedgerError::Rejected(reason)),
        Verdict::Rejected(reason, detail, passed_over) => {
            let changed = case.waiting.is_some();
            if let Some(row) = case.waiting {
                claims::release(entry, row.id).await?;
                refund::orphan(entry, row.id).await?;
                let mut row = row.into_active_model();
                row.status = Set(status::REJECTED.to_owned());
                row.waits_for = Set(None);
                row.waits_until = Set(None);
                row.update(entry.tx).await?;
            }
            Ok(Applied { effect: Effect::Rejected { reason, detail, passed_over }, changed })
        }
    }
}

/// One that waited turns out to have been taken under another id.
pub(super) async fn replace(entry: &Entry<'_>, case: Case<'_>, of: Uuid) -> Result<Applied, LedgerError> {
    let Some(row) = case.waiting else { return Ok(Applied::unchanged(Effect::Duplicate { of })) };
    claims::release(entry, row.id).await?;
    refund::follow(entry, &[row.id], of).await?;
    let mut row = row.into_active_model();
    row.status = Set(status::REPLACED.to_owned());
    row.waits_for = Set(None);
    row.waits_until = Set(None);
    row.update(entry.tx).await?;
    Ok(Applied::changed(Effect::Duplicate { of }))
}

async fn judge(entry: &Entry<'_>, case: &Case<'_>) -> Result<Verdict, LedgerError> {
    let conversion = case.conversion;
    let external = conversion.external_id.as_deref();
    let named = match &conversion.program {
        None => None,
        Some(slug) => match entry.program_named(slug).await? {
            Some(id) => Some(id),
            None => return Ok(Verdict::Rejected(Rejection::UnknownProgram, Some(slug.clone()), Vec::new())),
        },
    };
    // With the program named, the external id is looked up before anything else (MONEY 3).
    if let (Some(program), Some(external)) = (named, external)
        && let Some(of) = taken(entry, case, program, external).await?
    {
        return Ok(Verdict::Duplicate(of));
    }
    let occurred_at = case.occurred_at();
    let facts = facts::gather(entry, conversion, case.evidence, occurred_at, named, case.waited_out).await?;
    let resolved = match attribution::attribute(&facts) {
        Attribution::Resolved(resolved) => resolved,
        Attribution::Pending(waits) => {
            let found = named.map(|program| Found { program, affiliate: None });
            return Ok(Verdict::Pending(waits, found));
        }
        Attribution::Rejected(reason, passed_over) => {
            return Ok(Verdict::Rejected(reason, None, passed_over));
        }
    };
    let program_id = resolved.candidate.program;
    if let Some(external) = external
        && named != Some(program_id)
        && let Some(of) = taken(entry, case, program_id, external).await?
    {
        return Ok(Verdict::Duplicate(of));
    }
    let affiliate = resolved.candidate.affiliate;
    let (here, everywhere) = entry.standings(program_id, affiliate, occurred_at).await?;
    if let Err(reason) = attribution::admit(here, everywhere) {
        return Ok(Verdict::Rejected(reason, None, resolved.passed_over));
    }
    match entry.program_at(program_id, occurred_at).await? {
        Some(program) if !program.deleted => read(entry, conversion, occurred_at, resolved, program).await,
        _ => Ok(Verdict::Rejected(Rejection::UnknownProgram, None, resolved.passed_over)),
    }
}

/// Reads the amounts and finds the types and the rate.
async fn read(
    entry: &Entry<'_>,
    conversion: &Conversion,
    occurred_at: Timestamp,
    resolved: Resolved,
    program: ProgramThen,
) -> Result<Verdict, LedgerError> {
    let believed = conversion.amounts_believed();
    let parts: Vec<_> = conversion
        .believed_commissions()
        .iter()
        .map(|part| (part.sub_amount.clone(), part.commission_type.clone(), part.comment.clone()))
        .collect();
    let default_type =
        conversion.commission_type.as_deref().unwrap_or(&program.settings.default_commission_type);
    let amounts = entries::read_amounts(
        conversion.amount.as_ref().filter(|_| believed),
        &parts,
        conversion.currency.as_deref().filter(|_| believed),
        program.currency,
        default_type,
    );
    let amounts = match amounts {
        Ok(amounts) => amounts,
        Err(reason) => return Ok(Verdict::Rejected(reason, None, resolved.passed_over)),
    };
    let mut types = Vec::with_capacity(amounts.entries.len());
    for part in &amounts.entries {
        let kind =
            programs::commission_type_at(entry.tx, &program, &part.commission_type, occurred_at).await?;
        let Some(kind) = kind else {
            let detail = Some(part.commission_type.clone());
            return Ok(Verdict::Rejected(Rejection::UnknownCommissionType, detail, resolved.passed_over));
        };
        types.push(kind);
    }
    let mut rate = None;
    if amounts.currency != program.currency {
        let Some(found) = entry.rate(amounts.currency, program.currency, occurred_at).await? else {
            let affiliate = Some(resolved.candidate.affiliate);
            return Ok(Verdict::Pending(Waits::RateMissing, Some(Found { program: program.id, affiliate })));
        };
        let all = amounts.entries.iter().map(|part| part.sub_amount).chain([amounts.amount]);
        let most = all.max().unwrap_or_default();
        if in_program_currency(most, Some(&found.factor)) > in_program_currency(MAX_MINOR, None) {
            return Ok(Verdict::Rejected(Rejection::AmountTooLarge, None, resolved.passed_over));
        }
        rate = Some(found);
    }
    Ok(Verdict::Settle(Box::new(Settlement { resolved, program, amounts, types, rate })))
}

/// Stores a conversion that waits. It claims its event id and, where the program is named, its external id.
async fn wait(
    entry: &mut Entry<'_>,
    case: Case<'_>,
    waits: Waits,
    found: Option<Found>,
) -> Result<Applied, LedgerError> {
    // Without a time: only a load of rates helps.
    let until = (waits != Waits::RateMissing).then_some(case.waits_until.0);
    let program = found.as_ref().map(|found| found.program);
    let affiliate = found.and_then(|found| found.affiliate);
    if let Some(row) = &case.waiting
        && row.status == status::PENDING
        && row.waits_for.as_deref() == Some(waits.as_str())
        && row.program_id == program.map(|program| program.0)
        && row.affiliate_id == affiliate.map(|affiliate| affiliate.0)
    {
        return Ok(Applied::unchanged(Effect::Pending { id: row.id, waits }));
    }
    let (id, mut row) = match &case.waiting {
        Some(row) => (row.id, row.clone().into_active_model()),
        None => {
            let id = entry.new_id();
            (id, new_row(entry, &case, id, status::PENDING)?)
        }
    };
    row.status = Set(status::PENDING.to_owned());
    row.waits_for = Set(Some(waits.as_str().to_owned()));
    row.waits_until = Set(until);
    row.program_id = Set(program.map(|program| program.0));
    row.affiliate_id = Set(affiliate.map(|affiliate| affiliate.0));
    let was_pending = case.waiting.as_ref().is_some_and(|row| row.status == status::PENDING);
    if was_pending {
        claims::release(entry, id).await?;
    }
    if case.waiting.is_some() {
        row.update(entry.tx).await?;
    } else {
        conversion::Entity::insert(row).exec_without_returning(entry.tx).await?;
    }
    take_claims(entry, &case, id, program).await?;
    Ok(Applied::changed(Effect::Pending { id, waits }))
}

/// Its event id and, once the program is known, its external id.
async fn take_claims(
    entry: &Entry<'_>,
    case: &Case<'_>,
    holder: Uuid,
    program: Option<ProgramId>,
) -> Result<(), LedgerError> {
    let Conversion { kind, external_id, fingerprint, .. } = case.conversion;
    let mut claims = vec![Claim::Event(case.event_id)];
    if let (Some(program), Some(external)) = (program, external_id) {
        claims.push(Claim::Conversion(program, *kind, external));
    }
    claims::take(entry, &claims, holder, fingerprint).await
}

async fn settle(
    entry: &mut Entry<'_>,
    case: Case<'_>,
    settlement: Settlement,
) -> Result<Applied, LedgerError> {
    let conversion = case.conversion;
    let (id, mut row) = match &case.waiting {
        Some(row) => {
            claims::release(entry, row.id).await?;
            (row.id, row.clone().into_active_model())
        }
        None => {
            let id = entry.new_id();
            (id, new_row(entry, &case, id, status::SETTLED)?)
        }
    };
    let Settlement { resolved, program, amounts, types, rate } = settlement;
    let occurred_at = case.occurred_at();
    let known = customer_of(entry, conversion, &resolved).await?;
    let customer = match (&known, &conversion.customer_id) {
        (Some(row), _) => Some(row.clone()),
        (None, Some(customer_id)) => {
            let id = entry.new_id();
            Some(customers::born(entry, id, customer_id, &resolved))
        }
        (None, None) => None,
    };
    let made = plan::price(
        entry,
        &Priceable {
            program: &program,
            rules_at: occurred_at,
            occurred_at,
            affiliate: resolved.candidate.affiliate,
            customer: customer.as_ref(),
            amount: amounts.amount,
            currency: amounts.currency,
            rate: rate.as_ref(),
            entries: &amounts.entries,
            types: &types,
            place: Place::Last,
        },
    )
    .await?;
    let mut warnings: Vec<Warning> = resolved.passed_over.iter().map(|passed| passed.warning).collect();
    if amounts.rounded {
        warnings.push(Warning::AmountRounded);
    }
    row.status = Set(status::SETTLED.to_owned());
    row.seq = Set(Some(entry.seq));
    row.settled_at = Set(Some(entry.at.0));
    row.waits_for = Set(None);
    row.waits_until = Set(None);
    row.program_id = Set(Some(program.id.0));
    row.affiliate_id = Set(Some(resolved.candidate.affiliate.0));
    row.link_id = Set(resolved.candidate.link.map(|link| link.0));
    row.customer_id = Set(customer.as_ref().map(|customer| customer.id));
    row.click_id = Set(resolved.click_id);
    row.amount = Set(amounts.amount);
    row.currency = Set(Some(amounts.currency.code().to_owned()));
    row.resolved_by = Set(Some(resolved.input.as_str().to_owned()));
    row.warnings = Set(json!(warnings));
    row.review = Set(resolved.review);
    row.entries =
        Set(serde_json::to_value(&amounts.entries).map_err(|e| LedgerError::damaged("entries", e))?);
    row.rate = Set(serde_json::to_value(&rate).map_err(|e| LedgerError::damaged("rate", e))?);
    row.attribution =
        Set(serde_json::to_value(&resolved).map_err(|e| LedgerError::damaged("attribution", e))?);
    if case.waiting.is_some() {
        row.update(entry.tx).await?;
    } else {
        conversion::Entity::insert(row).exec_without_returning(entry.tx).await?;
    }
    take_claims(entry, &case, id, Some(program.id)).await?;
    let new = lines::NewLines {
        conversion: id,
        occurred_at,
        review: resolved.review,
        program: program.id,
        auto_approve: program.settings.auto_approve_commissions,
        payout_delay: program.settings.payout_delay,
        made: &made,
        first_number: 1,
    };
    lines::create(entry, &new).await?;
    if let Some(customer) = customer {
        let new = known.is_none();
        customers::bought(entry, customer, new, occurred_at, amounts.amount, &made).await?;
    }
    if !program.measured.is_empty() {
        let factor = rate.as_ref().map(|rate| &rate.factor);
        let added = added_by(&counted(&made, &program, factor));
        measures::note(entry, &program, resolved.candidate.affiliate, occurred_at, &added);
    }
    bonuses::settled(entry, id, program.id).await?;
    let replaced = held::replace(entry, id, conversion, program.id).await?;
    let woken = refund::wake(entry, id, program.id, conversion).await?;
    Ok(Applied::changed(Effect::Settled { id, replaced, woken }))
}

/// What new lines add to the measures.
fn counted<'a>(made: &'a [MadeLine], program: &ProgramThen, factor: Option<&'a Fraction>) -> Counted<'a> {
    let regular = made.iter().filter(|made| made.kind == LineKind::Regular);
    let lines = regular.map(|made| CountedLine {
        commission_type: &made.line.pricing.commission_type,
        sub_amount: made.line.pricing.original_sub_amount,
        amount: made.line.amount,
        currency: made.line.currency,
        earned: made.earned,
        // Whether it waits for review or not: it counts unless a rule stopped it.
        status: if made.stop.is_some() { LineStatus::Disapproved } else { LineStatus::Pending },
    });
    Counted {
        deleted: false,
        refunded_whole: false,
        factor,
        program_currency: program.currency,
        lines: lines.collect(),
    }
}

/// The customer that the program knows by this id.
async fn customer_of(
    entry: &Entry<'_>,
    conversion: &Conversion,
    resolved: &Resolved,
) -> Result<Option<customer::Model>, LedgerError> {
    use customer::Column;
    let Some(customer_id) = &conversion.customer_id else { return Ok(None) };
    let known = customer::Entity::find()
        .filter(Column::ProgramId.eq(resolved.candidate.program.0))
        .filter(Column::CustomerId.eq(customer_id.as_str()))
        .one(entry.tx)
        .await?;
    Ok(known)
}
