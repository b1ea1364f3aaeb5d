//! Refunds (MONEY 8): found, checked, taken off every line of their conversion.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
    QueryOrder, Set, sea_query::Expr,
};
use uuid::Uuid;

use super::{
    Applied, Effect, LedgerError, Terms, Woken,
    claims::{self, Claim},
    conversion::{self as conversions, status},
    journal::Entry,
    lines, programs,
};
use crate::{
    domain::{
        amount::{AmountError, Currency},
        ids::{Prefix, ProgramId},
        reason::{ConversionKind, Rejection, Waits},
        refunds::{self, RefundableLine, Refunded},
        time::Timestamp,
    },
    events::{Conversion, Event, Refund},
    store::entities::{conversion, refund},
};

/// Where a refund's conversion was looked for, and what was found.
enum Target {
    Found(Box<conversion::Model>),
    /// Not there yet: its id, or the claim under which it will be known.
    Awaited {
        id: Option<Uuid>,
        claim: Option<String>,
    },
    Impossible(Rejection, String),
}

/// What the rules said, before anything is written.
enum Verdict {
    Settle(Box<Settlement>),
    Rejected(Rejection, Option<String>),
}

struct Settlement {
    conversion: conversion::Model,
    lines: Vec<crate::store::entities::commission_line::Model>,
    refunded: Refunded,
}

/// A refund came in.
pub(super) async fn receive(
    entry: &mut Entry<'_>,
    event: &Event,
    refund: &Refund,
    terms: Terms,
) -> Result<Applied, LedgerError> {
    let mut claims = vec![Claim::Event(event.id)];
    claims.extend(refund.external_id.as_deref().map(Claim::Refund));
    for claim in &claims {
        if let Some(held) = claims::holder(entry, *claim).await? {
            return Ok(Applied::unchanged(if held.fingerprint == refund.fingerprint {
                Effect::Duplicate { of: held.holder }
            } else {
                let reason = Rejection::IdempotencyConflict;
                Effect::Rejected { reason, detail: None, passed_over: Vec::new() }
            }));
        }
    }
    let id = entry.new_id();
    let mut row = new_row(entry, event, refund, id)?;
    match find(entry, refund).await? {
        Target::Impossible(reason, detail) => {
            Ok(Applied::unchanged(Effect::Rejected { reason, detail: Some(detail), passed_over: Vec::new() }))
        }
        Target::Found(found) if !conversions::is_waiting(&found) => match judge(entry, refund, *found).await?
        {
            Verdict::Rejected(reason, detail) => {
                Ok(Applied::unchanged(Effect::Rejected { reason, detail, passed_over: Vec::new() }))
            }
            Verdict::Settle(settlement) => {
                row.insert(entry.tx).await?;
                take_claims(entry, &claims, id, refund).await?;
                settle(entry, id, *settlement).await?;
                Ok(Applied::changed(Effect::Settled { id, replaced: Vec::new(), woken: Vec::new() }))
            }
        },
        target => {
            let (conversion, claim, until) = match target {
                // A conversion that waits itself: the refund waits as long as it does.
                Target::Found(found) => (Some(found.id), None, None),
                Target::Awaited { id, claim } => (id, claim, Some(event.received_at + terms.pending_time_ms)),
                Target::Impossible(..) => (None, None, None),
            };
            row.conversion_id = Set(conversion);
            row.awaited_claim = Set(claim);
            row.waits_until = Set(until.map(|at| at.0));
            row.insert(entry.tx).await?;
            take_claims(entry, &claims, id, refund).await?;
            Ok(Applied::changed(Effect::Pending { id, waits: Waits::ConversionMissing }))
        }
    }
}

async fn take_claims(
    entry: &Entry<'_>,
    claims: &[Claim<'_>],
    id: Uuid,
    refund: &Refund,
) -> Result<(), LedgerError> {
    for claim in claims {
        claims::take(entry, *claim, id, &refund.fingerprint).await?;
    }
    Ok(())
}

fn new_row(
    entry: &Entry<'_>,
    event: &Event,
    refund: &Refund,
    id: Uuid,
) -> Result<refund::ActiveModel, LedgerError> {
    Ok(refund::ActiveModel {
        id: Set(id),
        account_id: Set(entry.account.0),
        seq: Set(None),
        status: Set(status::PENDING.to_owned()),
        event_id: Set(event.id),
        fingerprint: Set(refund.fingerprint.clone()),
        external_id: Set(refund.external_id.clone()),
        conversion_id: Set(None),
        awaited_claim: Set(None),
        amount: Set(0),
        reason: Set(refund.reason.clone()),
        received_at: Set(event.received_at.0),
        settled_at: Set(None),
        waits_until: Set(None),
        input: Set(serde_json::to_value(refund).map_err(|e| LedgerError::damaged("refund", e))?),
        edge: Set(Some(event.origin.edge.to_string())),
        boot: Set(Some(event.origin.boot)),
        stream: Set(Some(event.origin.stream.to_string())),
    })
}

/// Finds the conversion that a refund names: by id, or by program, kind and external id.
async fn find(entry: &Entry<'_>, refund: &Refund) -> Result<Target, LedgerError> {
    let missing = |what: &str| Target::Impossible(Rejection::ConversionMissing, what.to_owned());
    let id = match (&refund.conversion_id, &refund.program, &refund.conversion_external_id) {
        (Some(text), ..) => match Prefix::Conversion.parse(text) {
            Some(id) => id,
            None => return Ok(missing("conversion_id is not the id of a conversion")),
        },
        (None, Some(slug), Some(external)) => {
            let Some(program) = programs::by_slug(entry.tx, entry.account, slug).await? else {
                return Ok(Target::Impossible(Rejection::UnknownProgram, slug.clone()));
            };
            let kind = refund.kind.unwrap_or(ConversionKind::Conversion);
            let claim = Claim::Conversion(ProgramId(program.id), kind, external);
            match claims::holder(entry, claim).await? {
                Some(held) => held.holder,
                None => return Ok(Target::Awaited { id: None, claim: Some(claim.key()) }),
            }
        }
        (None, ..) => {
            return Ok(missing("conversion_id, or program and conversion_external_id, must be given"));
        }
    };
    let row = conversion::Entity::find_by_id(id)
        .filter(conversion::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?;
    Ok(match row {
        Some(row) if row.status == status::SETTLED || conversions::is_waiting(&row) => {
            Target::Found(Box::new(row))
        }
        Some(_) => missing("the conversion was not taken"),
        None => Target::Awaited { id: Some(id), claim: None },
    })
}

async fn judge(
    entry: &Entry<'_>,
    refund: &Refund,
    conversion: conversion::Model,
) -> Result<Verdict, LedgerError> {
    let damaged = |what: &'static str| LedgerError::damaged("conversion", format!("it has no {what}"));
    let currency: Currency = conversion
        .currency
        .as_deref()
        .ok_or_else(|| damaged("currency"))?
        .parse()
        .map_err(|error| LedgerError::damaged("currency", error))?;
    if let Some(said) = &refund.currency
        && said.parse() != Ok(currency)
    {
        return Ok(Verdict::Rejected(Rejection::RefundCurrencyMismatch, Some(said.clone())));
    }
    let asked = match refund.amount.as_ref().map(|text| text.to_minor(currency)).transpose() {
        Ok(asked) => asked.map(|(minor, _)| minor),
        Err(error) => {
            let reason = match error {
                AmountError::Negative => Rejection::AmountNegative,
                AmountError::TooLarge => Rejection::AmountTooLarge,
                AmountError::Invalid | AmountError::TooPrecise => Rejection::AmountInvalid,
            };
            return Ok(Verdict::Rejected(reason, None));
        }
    };
    let earlier = refund::Entity::find()
        .filter(refund::Column::ConversionId.eq(conversion.id))
        .filter(refund::Column::Status.eq(status::SETTLED))
        .count(entry.tx)
        .await?;
    let program_id = ProgramId(conversion.program_id.ok_or_else(|| damaged("program"))?);
    let then = Timestamp(conversion.occurred_at);
    let program = programs::at(entry.tx, entry.account, program_id, then).await?;
    let policy = program.ok_or_else(|| damaged("program"))?.settings.refund_policy;
    let lines = lines::of_conversion(entry, conversion.id).await?;
    let refundable = lines
        .iter()
        .map(|row| Ok(RefundableLine { amount: row.amount, pricing: lines::read(row)?.pricing }))
        .collect::<Result<Vec<_>, LedgerError>>()?;
    let worked =
        refunds::refund(conversion.amount, conversion.refunded, asked, policy, earlier > 0, &refundable);
    Ok(match worked {
        Ok(refunded) => Verdict::Settle(Box::new(Settlement { conversion, lines, refunded })),
        Err(reason) => Verdict::Rejected(reason, None),
    })
}

async fn settle(entry: &mut Entry<'_>, id: Uuid, settlement: Settlement) -> Result<(), LedgerError> {
    let Settlement { conversion, lines, refunded } = settlement;
    let row = refund::ActiveModel {
        id: Set(id),
        status: Set(status::SETTLED.to_owned()),
        seq: Set(Some(entry.seq)),
        conversion_id: Set(Some(conversion.id)),
        awaited_claim: Set(None),
        waits_until: Set(None),
        amount: Set(refunded.taken),
        settled_at: Set(Some(entry.at.0)),
        ..Default::default()
    };
    row.update(entry.tx).await?;
    let mut conversion = conversion.into_active_model();
    conversion.refunded = Set(refunded.refunded_in_all);
    conversion.update(entry.tx).await?;
    for (line, after) in lines.into_iter().zip(refunded.lines) {
        lines::refund(entry, line, id, after).await?;
    }
    Ok(())
}

/// Applies the refunds that came before their conversion, in the order of their arrival.
pub(super) async fn wake(
    entry: &mut Entry<'_>,
    settled: Uuid,
    program: ProgramId,
    conversion: &Conversion,
) -> Result<Vec<Woken>, LedgerError> {
    let mut awaited = Condition::any().add(refund::Column::ConversionId.eq(settled));
    if let Some(external) = &conversion.external_id {
        let claim = Claim::Conversion(program, conversion.kind, external).key();
        awaited = awaited.add(refund::Column::AwaitedClaim.eq(claim));
    }
    let waiting = refund::Entity::find()
        .filter(refund::Column::AccountId.eq(entry.account.0))
        .filter(refund::Column::Status.eq(status::PENDING))
        .filter(awaited)
        .order_by_asc(refund::Column::ReceivedAt)
        .order_by_asc(refund::Column::Id)
        .all(entry.tx)
        .await?;
    let mut woken = Vec::with_capacity(waiting.len());
    for row in waiting {
        woken.push(apply_waiting(entry, row, settled).await?);
    }
    Ok(woken)
}

async fn apply_waiting(
    entry: &mut Entry<'_>,
    row: refund::Model,
    conversion: Uuid,
) -> Result<Woken, LedgerError> {
    let body: Refund =
        serde_json::from_value(row.input.clone()).map_err(|error| LedgerError::damaged("refund", error))?;
    let found = conversion::Entity::find_by_id(conversion).one(entry.tx).await?;
    let found = found.ok_or(LedgerError::NotFound("conversion"))?;
    match judge(entry, &body, found).await? {
        Verdict::Settle(settlement) => {
            settle(entry, row.id, *settlement).await?;
            Ok(Woken { refund: row.id, rejected: None })
        }
        Verdict::Rejected(reason, _) => {
            let id = row.id;
            reject(entry, row).await?;
            Ok(Woken { refund: id, rejected: Some(reason) })
        }
    }
}

/// The conversion that pending refunds waited for will not settle: their time is over.
pub(super) async fn orphan(entry: &Entry<'_>, conversion: Uuid) -> Result<(), LedgerError> {
    refund::Entity::update_many()
        .col_expr(refund::Column::WaitsUntil, Expr::value(entry.at.0))
        .filter(refund::Column::AccountId.eq(entry.account.0))
        .filter(refund::Column::ConversionId.eq(conversion))
        .filter(refund::Column::Status.eq(status::PENDING))
        .exec(entry.tx)
        .await?;
    Ok(())
}

/// The time of a pending refund is over and its conversion did not come.
pub(super) async fn give_up(entry: &mut Entry<'_>, id: Uuid) -> Result<Applied, LedgerError> {
    let row = refund::Entity::find_by_id(id)
        .filter(refund::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("refund"))?;
    if row.status != status::PENDING {
        let message = format!("the refund is {}, not pending", row.status);
        return Err(LedgerError::NotPossible { code: "not_waiting", message });
    }
    reject(entry, row).await?;
    Ok(Applied::changed(Effect::Rejected {
        reason: Rejection::ConversionMissing,
        detail: None,
        passed_over: Vec::new(),
    }))
}

async fn reject(entry: &Entry<'_>, row: refund::Model) -> Result<(), LedgerError> {
    claims::release(entry, row.id).await?;
    let mut row = row.into_active_model();
    row.status = Set(status::REJECTED.to_owned());
    row.waits_until = Set(None);
    row.awaited_claim = Set(None);
    row.update(entry.tx).await?;
    Ok(())
}
