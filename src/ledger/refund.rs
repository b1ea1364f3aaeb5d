//! Refunds (MONEY 8): found, checked, taken off every line of their conversion.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{
    Applied, Effect, LedgerError, Terms, Woken, case,
    claims::{self, Claim},
    journal::Entry,
    lines::{self, Change},
    measures, programs, status,
};
use crate::{
    domain::{
        amount::Currency,
        ids::{Prefix, ProgramId},
        reason::{ConversionKind, Rejection, Waits},
        refunds::{self, Refundable, RefundableLine, Refunded},
        time::Timestamp,
    },
    events::{Conversion, Event, Refund},
    store::entities::{commission_line, conversion, refund},
};

/// Where a refund's conversion was looked for, and what was found.
enum Target {
    Settled(Box<conversion::Model>),
    /// It is there and waits itself. Found by its external id it is known for sure once it settles under this claim.
    Waiting {
        id: Uuid,
        claim: Option<String>,
    },
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
    lines: Vec<commission_line::Model>,
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
        Target::Settled(found) => match judge(entry, refund, *found).await? {
            Verdict::Rejected(reason, detail) => {
                Ok(Applied::unchanged(Effect::Rejected { reason, detail, passed_over: Vec::new() }))
            }
            Verdict::Settle(settlement) => {
                row.insert(entry.tx).await?;
                claims::take(entry, &claims, id, &refund.fingerprint).await?;
                settle(entry, id, *settlement).await?;
                Ok(Applied::changed(Effect::Settled { id, replaced: Vec::new(), woken: Vec::new() }))
            }
        },
        // The refund waits as long as its conversion does.
        Target::Waiting { id: conversion, claim } => {
            row.conversion_id = Set(Some(conversion));
            row.awaited_claim = Set(claim);
            wait(entry, row, &claims, id, refund).await
        }
        Target::Awaited { id: conversion, claim } => {
            row.conversion_id = Set(conversion);
            row.awaited_claim = Set(claim);
            row.waits_until = Set(Some((entry.at + terms.pending_time_ms).0));
            wait(entry, row, &claims, id, refund).await
        }
    }
}

async fn wait(
    entry: &Entry<'_>,
    row: refund::ActiveModel,
    claims: &[Claim<'_>],
    id: Uuid,
    refund: &Refund,
) -> Result<Applied, LedgerError> {
    row.insert(entry.tx).await?;
    claims::take(entry, claims, id, &refund.fingerprint).await?;
    Ok(Applied::changed(Effect::Pending { id, waits: Waits::ConversionMissing }))
}

fn new_row(
    entry: &Entry<'_>,
    event: &Event,
    refund: &Refund,
    id: Uuid,
) -> Result<refund::ActiveModel, LedgerError> {
    let origin = Some(&event.origin).filter(|origin| origin.is_edge());
    Ok(refund::ActiveModel {
        id: Set(id),
        account_id: Set(entry.account.0),
        arrived_seq: Set(entry.seq),
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
        edge: Set(origin.map(|origin| origin.edge.to_string())),
        boot: Set(origin.map(|origin| origin.boot)),
        stream: Set(origin.map(|origin| origin.stream.to_string())),
    })
}

/// Finds the conversion that a refund names: by id, or by program, kind and external id.
async fn find(entry: &Entry<'_>, refund: &Refund) -> Result<Target, LedgerError> {
    let missing = |what: &str| Target::Impossible(Rejection::ConversionMissing, what.to_owned());
    match (&refund.conversion_id, &refund.program, &refund.conversion_external_id) {
        (Some(text), ..) => match Prefix::Conversion.parse(text) {
            Some(id) => by_id(entry, id, None).await,
            None => Ok(missing("conversion_id is not the id of a conversion")),
        },
        (None, Some(slug), Some(external)) => {
            let program = programs::by_slug_even_deleted(entry.tx, entry.account, slug).await?;
            let Some(program) = program else {
                return Ok(Target::Impossible(Rejection::UnknownProgram, slug.clone()));
            };
            let kind = refund.kind.unwrap_or(ConversionKind::Conversion);
            let claim = Claim::Conversion(ProgramId(program.id), kind, external);
            if let Some(held) = claims::holder(entry, claim).await? {
                return by_id(entry, held.holder, Some(claim.key())).await;
            }
            let claim_key = Some(claim.key());
            Ok(match waiting(entry, ProgramId(program.id), kind, external).await? {
                Some(row) => Target::Waiting { id: row.id, claim: claim_key },
                None => Target::Awaited { id: None, claim: claim_key },
            })
        }
        (None, ..) => Ok(missing("conversion_id, or program and conversion_external_id, must be given")),
    }
}

/// A held or pending conversion that may come to be known by this external id: it names the program or none.
async fn waiting(
    entry: &Entry<'_>,
    program: ProgramId,
    kind: ConversionKind,
    external: &str,
) -> Result<Option<conversion::Model>, LedgerError> {
    use conversion::Column;
    let row = conversion::Entity::find()
        .filter(Column::AccountId.eq(entry.account.0))
        .filter(Column::ExternalId.eq(external))
        .filter(Column::Kind.eq(kind.as_str()))
        .filter(Column::Status.is_in([status::PENDING, status::HELD]))
        .filter(Condition::any().add(Column::ProgramId.eq(program.0)).add(Column::ProgramId.is_null()))
        .order_by_asc(Column::ArrivedSeq)
        .one(entry.tx)
        .await?;
    Ok(row)
}

async fn by_id(entry: &Entry<'_>, id: Uuid, claim: Option<String>) -> Result<Target, LedgerError> {
    let missing = |what: &str| Target::Impossible(Rejection::ConversionMissing, what.to_owned());
    let row = conversion::Entity::find_by_id(id)
        .filter(conversion::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?;
    Ok(match row {
        Some(row) if row.status == status::SETTLED => Target::Settled(Box::new(row)),
        Some(row) if status::is_waiting(&row) => Target::Waiting { id, claim },
        Some(row) if row.status == status::DELETED => {
            Target::Impossible(Rejection::ConversionDeleted, "the conversion was deleted".to_owned())
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
        Err(error) => return Ok(Verdict::Rejected(error.into(), None)),
    };
    let program_id = ProgramId(conversion.program_id.ok_or_else(|| damaged("program"))?);
    let then = Timestamp(conversion.occurred_at);
    let program = entry.program_at(program_id, then).await?;
    let policy = program.ok_or_else(|| damaged("program"))?.settings.refund_policy;
    let lines = lines::of_conversion(entry, conversion.id).await?;
    let refundable = lines.iter().map(refundable).collect::<Result<Vec<_>, LedgerError>>()?;
    let entries: Vec<i64> = case::entries_of(&conversion)?.iter().map(|part| part.sub_amount).collect();
    let worked = refunds::refund(
        &Refundable {
            amount: conversion.amount,
            refunded: conversion.refunded,
            refunded_whole: conversion.refunded_whole,
            entries: &entries,
            policy,
            lines: &refundable,
        },
        asked,
    );
    Ok(match worked {
        Ok(refunded) => Verdict::Settle(Box::new(Settlement { conversion, lines, refunded })),
        Err(reason) => Verdict::Rejected(reason, None),
    })
}

/// A stored line as the rules of refunds see it.
pub(super) fn refundable(row: &commission_line::Model) -> Result<RefundableLine, LedgerError> {
    let lines::Read { pricing, set, .. } = lines::read(row)?;
    let entry = usize::try_from(row.entry - 1).map_err(|error| LedgerError::damaged("entry", error))?;
    Ok(RefundableLine { entry, sub_amount: row.sub_amount, amount: row.amount, pricing, set })
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
    let before = measures::before(entry, &conversion).await?;
    let of = conversion.id;
    let left = conversion.amount - refunded.refunded_in_all;
    let mut conversion = conversion.into_active_model();
    conversion.refunded = Set(refunded.refunded_in_all);
    conversion.refunded_whole = Set(refunded.whole);
    conversion.update(entry.tx).await?;
    for (line, after) in lines.into_iter().zip(refunded.lines) {
        let change = Change {
            amount: after.amount,
            sub_amount: after.sub_amount,
            what: "refunded",
            refund: Some(id),
            left: Some(left),
            ..Change::of(&line)?
        };
        lines::apply(entry, line, change).await?;
    }
    measures::follow(entry, of, before).await
}

/// Applies the refunds that came before their conversion, in the order of their arrival.
pub(super) async fn wake(
    entry: &mut Entry<'_>,
    settled: Uuid,
    program: ProgramId,
    conversion: &Conversion,
) -> Result<Vec<Woken>, LedgerError> {
    let claim = conversion
        .external_id
        .as_ref()
        .map(|external| Claim::Conversion(program, conversion.kind, external).key());
    let mut awaited = Condition::any().add(refund::Column::ConversionId.eq(settled));
    if let Some(claim) = &claim {
        awaited = awaited.add(refund::Column::AwaitedClaim.eq(claim.as_str()));
    }
    // By these two alone, each through its index: a further condition would send SQLite through all that wait.
    let mut waiting = refund::Entity::find().filter(awaited).all(entry.tx).await?;
    waiting.retain(|row| row.account_id == entry.account.0 && row.status == status::PENDING);
    waiting.sort_by_key(|row| row.arrived_seq);
    let mut woken = Vec::with_capacity(waiting.len());
    for row in waiting {
        // It settled in another program than the one that the refund names.
        if row.awaited_claim.is_some() && row.awaited_claim != claim {
            let mut row = row.into_active_model();
            row.conversion_id = Set(None);
            row.waits_until = Set(Some(entry.at.0));
            row.update(entry.tx).await?;
            continue;
        }
        woken.push(apply_waiting(entry, row, settled).await?);
    }
    Ok(woken)
}

async fn apply_waiting(
    entry: &mut Entry<'_>,
    row: refund::Model,
    conversion: Uuid,
) -> Result<Woken, LedgerError> {
    let body = read_input(&row)?;
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

/// What the pending refunds of one conversion waited for was taken as another: that one's they are now. They are
/// looked at when it settles, or at once if it has.
pub(super) async fn follow(entry: &Entry<'_>, from: &[Uuid], to: Uuid) -> Result<(), LedgerError> {
    refund::Entity::update_many()
        .col_expr(refund::Column::ConversionId, Expr::value(to))
        .col_expr(refund::Column::WaitsUntil, Expr::value(entry.at.0))
        .filter(refund::Column::AccountId.eq(entry.account.0))
        .filter(refund::Column::ConversionId.is_in(from.iter().copied()))
        .filter(refund::Column::Status.eq(status::PENDING))
        .exec(entry.tx)
        .await?;
    Ok(())
}

/// The time of a pending refund is over. Its conversion is looked for once more: it may have settled under another
/// id, or wait itself, and then the refund waits as long as it does.
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
    let body = read_input(&row)?;
    let target = match row.conversion_id {
        Some(conversion) if row.awaited_claim.is_none() => by_id(entry, conversion, None).await?,
        _ => find(entry, &body).await?,
    };
    let (reason, detail) = match target {
        Target::Waiting { id: conversion, claim } => {
            let mut row = row.into_active_model();
            row.conversion_id = Set(Some(conversion));
            row.awaited_claim = Set(claim);
            row.waits_until = Set(None);
            row.update(entry.tx).await?;
            return Ok(Applied::changed(Effect::Pending { id, waits: Waits::ConversionMissing }));
        }
        Target::Settled(found) => match judge(entry, &body, *found).await? {
            Verdict::Settle(settlement) => {
                settle(entry, id, *settlement).await?;
                return Ok(Applied::changed(Effect::Settled { id, replaced: Vec::new(), woken: Vec::new() }));
            }
            Verdict::Rejected(reason, detail) => (reason, detail),
        },
        Target::Awaited { .. } => (Rejection::ConversionMissing, None),
        Target::Impossible(reason, detail) => (reason, Some(detail)),
    };
    reject(entry, row).await?;
    Ok(Applied::changed(Effect::Rejected { reason, detail, passed_over: Vec::new() }))
}

fn read_input(row: &refund::Model) -> Result<Refund, LedgerError> {
    serde_json::from_value(row.input.clone()).map_err(|error| LedgerError::damaged("refund", error))
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
