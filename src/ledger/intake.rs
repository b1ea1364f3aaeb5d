//! The way of an event into the ledger, with its one counted outcome.
//!
//! An [`Intake`] looks at the event's evidence, applies the command and, in the same transaction, counts how the
//! event ended and keeps what was rejected, so that it can be listed, repaired and sent again. When an event that
//! waited ends, its count moves: every event of an edge has exactly one outcome at any time.

use std::sync::Arc;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel,
    QueryFilter, Set,
};
use serde_json::json;
use uuid::Uuid;

use super::{Command, Effect, Evidence, LedgerError, Terms, Woken, Work, apply};
use crate::{
    domain::{
        attribution::PassedOver,
        ids::AccountId,
        reason::{Outcome, Rejection},
        time::Timestamp,
        token::KeyRing,
    },
    events::{Body, Conversion, Event, Refund, VERSION},
    store::{
        accounts,
        entities::{conversion, refund, rejected_event},
        streams::{Counts, StreamKey},
    },
};

/// Takes events into the ledger.
#[derive(Clone, Debug)]
pub struct Intake {
    keys: Arc<KeyRing>,
    terms: Terms,
}

/// An event that is not taken, as it is kept.
struct Refused<'a> {
    account: AccountId,
    event_id: Uuid,
    kind: &'a str,
    reason: Rejection,
    detail: Option<String>,
    passed_over: &'a [PassedOver],
    event: serde_json::Value,
    received_at: Timestamp,
    stream: Option<StreamKey>,
}

impl Intake {
    pub fn new(keys: Arc<KeyRing>, terms: Terms) -> Self {
        Self { keys, terms }
    }

    /// A conversion or refund came in.
    pub async fn receive(
        &self,
        tx: &DatabaseTransaction,
        event: &Event,
        at: Timestamp,
    ) -> Result<Effect, LedgerError> {
        let (mut work, mut counts) = (Work::new(tx), Counts::default());
        let effect = self.receive_counted(tx, event, at, &mut work, &mut counts).await?;
        work.finish().await?;
        counts.write(tx, at).await?;
        Ok(effect)
    }

    /// As [`Self::receive`], as one of several: `work` is to be finished, and then `counts` written, once they all have
    /// taken effect.
    pub async fn receive_counted(
        &self,
        tx: &DatabaseTransaction,
        event: &Event,
        at: Timestamp,
        work: &mut Work<'_>,
        counts: &mut Counts,
    ) -> Result<Effect, LedgerError> {
        let account = event.account().ok_or(LedgerError::NotFound("account"))?;
        let effect = self.apply_event(tx, account, event, at, work, counts).await?;
        let stream = event.origin.is_edge().then(|| stream_of(event));
        if let Some(stream) = &stream {
            counts.add(stream, outcome(&effect), 1);
        }
        if let Effect::Rejected { reason, detail, passed_over } = &effect {
            let refused = Refused {
                account,
                event_id: event.id,
                kind: kind_of(event),
                reason: *reason,
                detail: detail.clone(),
                passed_over,
                event: to_json(event)?,
                received_at: event.received_at,
                stream,
            };
            keep(tx, refused, at).await?;
        }
        Ok(effect)
    }

    /// An event that cannot be applied for a reason in itself; `account` 0: it does not even say whose it is. `counts`
    /// is to be written by the caller.
    pub async fn refuse(
        &self,
        tx: &DatabaseTransaction,
        account: AccountId,
        event: Result<&Event, &str>,
        (reason, detail): (Rejection, Option<String>),
        at: Timestamp,
        counts: &mut Counts,
    ) -> Result<(), LedgerError> {
        let refused = match event {
            Ok(event) => Refused {
                account,
                event_id: event.id,
                kind: kind_of(event),
                reason,
                detail,
                passed_over: &[],
                event: to_json(event)?,
                received_at: event.received_at,
                stream: Some(stream_of(event)),
            },
            Err(text) => Refused {
                account,
                event_id: Uuid::nil(),
                kind: "unreadable",
                reason,
                detail,
                passed_over: &[],
                event: json!(text),
                received_at: at,
                stream: None,
            },
        };
        if let Some(stream) = &refused.stream {
            counts.add(stream, Outcome::Rejected, 1);
        }
        keep(tx, refused, at).await
    }

    /// Looks at everything that a customer's inputs say of a click.
    pub async fn gather(
        &self,
        db: &impl ConnectionTrait,
        inputs: &Conversion,
        at: Timestamp,
    ) -> Result<Evidence, LedgerError> {
        let occurred_at = inputs.occurred_at.unwrap_or(at);
        Ok(Evidence::gather(db, &self.keys, inputs, occurred_at).await?)
    }

    /// Sends a rejected event again. When it is rejected once more it stays in the list, with the new reason.
    pub async fn retry_rejected(
        &self,
        tx: &DatabaseTransaction,
        account: AccountId,
        rejected: Uuid,
        at: Timestamp,
    ) -> Result<Effect, LedgerError> {
        self.retry_repaired(tx, account, rejected, None, at).await
    }

    /// As [`Self::retry_rejected`], with the event as it was `repaired`; it stays in the list as it was sent now.
    pub async fn retry_repaired(
        &self,
        tx: &DatabaseTransaction,
        account: AccountId,
        rejected: Uuid,
        repaired: Option<Event>,
        at: Timestamp,
    ) -> Result<Effect, LedgerError> {
        // First of all: of two who send it again at once, the second has to see what the first did.
        accounts::lock(tx, [account]).await?;
        let row = rejected_event::Entity::find_by_id(rejected)
            .filter(rejected_event::Column::AccountId.eq(account.0))
            .one(tx)
            .await?
            .ok_or(LedgerError::NotFound("rejected event"))?;
        if row.retried_at.is_some() {
            let message = "the event was taken by an earlier retry".to_owned();
            return Err(LedgerError::NotPossible { code: "already_retried", message });
        }
        let was_repaired = repaired.is_some();
        let event = match repaired {
            Some(event) => event,
            None => read_event(&row)?,
        };
        if matches!(event.body, Body::Click(_) | Body::End) {
            let message = "only conversions and refunds can be sent again".to_owned();
            return Err(LedgerError::NotPossible { code: "not_retryable", message });
        }
        if event.v != VERSION || event.account() != Some(account) {
            return Err(LedgerError::damaged("rejected event", "it is not of this account"));
        }
        let (mut work, mut counts) = (Work::new(tx), Counts::default());
        let effect = self.apply_event(tx, account, &event, at, &mut work, &mut counts).await?;
        work.finish().await?;
        let mut change = row.clone().into_active_model();
        if let Effect::Rejected { reason, detail, passed_over } = &effect {
            change.reason = Set(reason.as_str().to_owned());
            change.detail = Set(detail.clone());
            change.warnings = Set(warnings(passed_over));
            change.rejected_at = Set(at.0);
            if was_repaired {
                change.event = Set(to_json(&event)?.to_string());
            }
        } else {
            change.retried_at = Set(Some(at.0));
            if let Some(stream) = key(row.edge, row.boot, row.stream) {
                counts.recount(&stream, Outcome::Rejected, outcome(&effect));
            }
        }
        change.update(tx).await?;
        counts.write(tx, at).await?;
        Ok(effect)
    }

    /// Accepts a held conversion. [`LedgerError::Rejected`]: the rules refuse it; it stays held.
    pub async fn accept_held(
        &self,
        tx: &DatabaseTransaction,
        account: AccountId,
        conversion: Uuid,
        at: Timestamp,
    ) -> Result<Effect, LedgerError> {
        let row = find_conversion(tx, account, conversion).await?;
        let evidence = Box::new(self.evidence(tx, &row).await?);
        let command = Command::AcceptHeld { conversion, evidence, terms: self.terms };
        self.conclude(tx, row, &command, Outcome::Held, at).await
    }

    pub async fn decline_held(
        &self,
        tx: &DatabaseTransaction,
        account: AccountId,
        conversion: Uuid,
        at: Timestamp,
    ) -> Result<Effect, LedgerError> {
        let row = find_conversion(tx, account, conversion).await?;
        self.conclude(tx, row, &Command::DeclineHeld { conversion }, Outcome::Held, at).await
    }

    /// Whether a pending conversion has what it waits for.
    pub async fn may_settle(
        &self,
        db: &impl ConnectionTrait,
        row: &conversion::Model,
    ) -> Result<bool, LedgerError> {
        Ok(!self.evidence(db, row).await?.click_is_missing())
    }

    /// Tries a pending conversion again. `None`: what it waits for is still not there.
    pub async fn retry_pending(
        &self,
        tx: &DatabaseTransaction,
        account: AccountId,
        conversion: Uuid,
        waited_out: bool,
        at: Timestamp,
    ) -> Result<Option<Effect>, LedgerError> {
        let row = find_conversion(tx, account, conversion).await?;
        let evidence = self.evidence(tx, &row).await?;
        if evidence.click_is_missing() && !waited_out {
            return Ok(None);
        }
        let command = Command::RetryConversion { conversion, evidence: Box::new(evidence), waited_out };
        self.conclude(tx, row, &command, Outcome::Pending, at).await.map(Some)
    }

    /// The time of a refund is over: it is given up, unless its conversion is found after all.
    pub async fn give_up_refund(
        &self,
        tx: &DatabaseTransaction,
        account: AccountId,
        refund: Uuid,
        at: Timestamp,
    ) -> Result<(), LedgerError> {
        let effect = apply(tx, account, at, &Command::GiveUpRefund { refund }).await?;
        let rejected = match effect {
            Effect::Rejected { reason, .. } => Some(reason),
            Effect::Settled { .. } => None,
            // Its conversion waits itself.
            Effect::Pending { .. } | Effect::Done | Effect::Held { .. } => return Ok(()),
            Effect::Awarded { .. } => return Ok(()),
            Effect::Duplicate { .. } | Effect::Declined { .. } => return Ok(()),
        };
        let mut counts = Counts::default();
        end_refund(tx, Woken { refund, rejected }, at, &mut counts).await?;
        Ok(counts.write(tx, at).await?)
    }

    async fn apply_event(
        &self,
        tx: &DatabaseTransaction,
        account: AccountId,
        event: &Event,
        at: Timestamp,
        work: &mut Work<'_>,
        counts: &mut Counts,
    ) -> Result<Effect, LedgerError> {
        let evidence = match &event.body {
            Body::Conversion(conversion) => {
                let occurred_at = conversion.occurred_at.unwrap_or(event.received_at);
                Evidence::gather(tx, &self.keys, conversion, occurred_at).await?
            }
            Body::Click(_) | Body::Refund(_) | Body::End => Evidence::default(),
        };
        let command = Command::Receive {
            event: Box::new(event.clone()),
            evidence: Box::new(evidence),
            terms: self.terms,
        };
        let effect = work.apply(account, at, &command).await?;
        follow_up(tx, &effect, at, counts).await?;
        Ok(effect)
    }

    async fn evidence(
        &self,
        db: &impl ConnectionTrait,
        row: &conversion::Model,
    ) -> Result<Evidence, LedgerError> {
        let input: Conversion = serde_json::from_value(row.input.clone())
            .map_err(|error| LedgerError::damaged("conversion", error))?;
        Ok(Evidence::gather(db, &self.keys, &input, Timestamp(row.occurred_at)).await?)
    }

    /// Applies the command that ends the waiting of `row`, and moves its count.
    async fn conclude(
        &self,
        tx: &DatabaseTransaction,
        row: conversion::Model,
        command: &Command,
        from: Outcome,
        at: Timestamp,
    ) -> Result<Effect, LedgerError> {
        let account = AccountId(row.account_id);
        let mut counts = Counts::default();
        let effect = apply(tx, account, at, command).await?;
        follow_up(tx, &effect, at, &mut counts).await?;
        let stream = key(row.edge.clone(), row.boot, row.stream.clone());
        if let Some(stream) = &stream {
            counts.recount(stream, from, outcome(&effect));
        }
        if let Effect::Rejected { reason, detail, passed_over } = &effect {
            let refused = Refused {
                account,
                event_id: row.event_id,
                kind: &row.kind,
                reason: *reason,
                detail: detail.clone(),
                passed_over,
                event: event_again(&row)?,
                received_at: Timestamp(row.received_at),
                stream,
            };
            keep(tx, refused, at).await?;
        }
        counts.write(tx, at).await?;
        Ok(effect)
    }
}

/// Moves the counts of those that an effect ended besides its own.
async fn follow_up(
    tx: &DatabaseTransaction,
    effect: &Effect,
    at: Timestamp,
    counts: &mut Counts,
) -> Result<(), LedgerError> {
    let Effect::Settled { replaced, woken, .. } = effect else { return Ok(()) };
    for id in replaced {
        if let Some(row) = conversion::Entity::find_by_id(*id).one(tx).await?
            && let Some(stream) = key(row.edge, row.boot, row.stream)
        {
            counts.recount(&stream, Outcome::Held, Outcome::Duplicate);
        }
    }
    for refund in woken {
        end_refund(tx, *refund, at, counts).await?;
    }
    Ok(())
}

async fn end_refund(
    tx: &DatabaseTransaction,
    woken: Woken,
    at: Timestamp,
    counts: &mut Counts,
) -> Result<(), LedgerError> {
    let row = refund::Entity::find_by_id(woken.refund).one(tx).await?;
    let row = row.ok_or(LedgerError::NotFound("refund"))?;
    let stream = key(row.edge.clone(), row.boot, row.stream.clone());
    let to = if woken.rejected.is_some() { Outcome::Rejected } else { Outcome::Settled };
    if let Some(stream) = &stream {
        counts.recount(stream, Outcome::Pending, to);
    }
    let Some(reason) = woken.rejected else { return Ok(()) };
    let body: Refund =
        serde_json::from_value(row.input.clone()).map_err(|error| LedgerError::damaged("refund", error))?;
    let body = Body::Refund(Box::new(body));
    let refused = Refused {
        account: AccountId(row.account_id),
        event_id: row.event_id,
        kind: "refund",
        reason,
        detail: None,
        passed_over: &[],
        event: waiting_event(row.event_id, row.received_at, stream.as_ref(), body)?,
        received_at: Timestamp(row.received_at),
        stream,
    };
    keep(tx, refused, at).await
}

async fn find_conversion(
    tx: &DatabaseTransaction,
    account: AccountId,
    id: Uuid,
) -> Result<conversion::Model, LedgerError> {
    conversion::Entity::find_by_id(id)
        .filter(conversion::Column::AccountId.eq(account.0))
        .one(tx)
        .await?
        .ok_or(LedgerError::NotFound("conversion"))
}

/// The event of a conversion that waited, so that it can be sent again.
fn event_again(row: &conversion::Model) -> Result<serde_json::Value, LedgerError> {
    let body: Conversion = serde_json::from_value(row.input.clone())
        .map_err(|error| LedgerError::damaged("conversion", error))?;
    let stream = key(row.edge.clone(), row.boot, row.stream.clone());
    waiting_event(row.event_id, row.received_at, stream.as_ref(), Body::Conversion(Box::new(body)))
}

fn waiting_event(
    id: Uuid,
    received_at: i64,
    stream: Option<&StreamKey>,
    body: Body,
) -> Result<serde_json::Value, LedgerError> {
    let origin = crate::events::Origin {
        edge: stream.map_or("", |stream| &stream.edge).into(),
        boot: stream.map_or(Uuid::nil(), |stream| stream.boot),
        stream: stream.map_or("", |stream| &stream.stream).into(),
        // Its number was counted when it came in.
        n: 0,
    };
    to_json(&Event { v: VERSION, id, origin, received_at: Timestamp(received_at), body })
}

/// The event that was rejected.
///
/// # Errors
/// [`LedgerError::NotPossible`]: it is none that this version can read.
pub fn read_event(row: &rejected_event::Model) -> Result<Event, LedgerError> {
    serde_json::from_str(&row.event).map_err(|error| {
        let message = format!("the event cannot be read: {error}");
        LedgerError::NotPossible { code: "unreadable", message }
    })
}

fn to_json(event: &Event) -> Result<serde_json::Value, LedgerError> {
    serde_json::to_value(event).map_err(|error| LedgerError::damaged("event", error))
}

async fn keep(tx: &DatabaseTransaction, refused: Refused<'_>, at: Timestamp) -> Result<(), LedgerError> {
    let (edge, boot, stream) = match refused.stream {
        Some(key) => (Some(key.edge), Some(key.boot), Some(key.stream)),
        None => (None, None, None),
    };
    let row = rejected_event::ActiveModel {
        id: Set(Uuid::now_v7()),
        account_id: Set(refused.account.0),
        event_id: Set(refused.event_id),
        kind: Set(refused.kind.to_owned()),
        reason: Set(refused.reason.as_str().to_owned()),
        // It may quote what was refused for just that.
        detail: Set(refused.detail.map(|detail| detail.replace('\0', "\u{fffd}"))),
        warnings: Set(warnings(refused.passed_over)),
        event: Set(refused.event.to_string()),
        received_at: Set(refused.received_at.0),
        rejected_at: Set(at.0),
        retried_at: Set(None),
        edge: Set(edge),
        boot: Set(boot),
        stream: Set(stream),
    };
    rejected_event::Entity::insert(row).exec_without_returning(tx).await?;
    Ok(())
}

fn warnings(passed_over: &[PassedOver]) -> serde_json::Value {
    json!(passed_over.iter().map(|passed| passed.warning).collect::<Vec<_>>())
}

/// The outcome under which an effect is counted.
pub fn outcome(effect: &Effect) -> Outcome {
    match effect {
        Effect::Done | Effect::Awarded { .. } | Effect::Settled { .. } => Outcome::Settled,
        Effect::Duplicate { .. } => Outcome::Duplicate,
        Effect::Pending { .. } => Outcome::Pending,
        Effect::Held { .. } => Outcome::Held,
        Effect::Declined { .. } => Outcome::Declined,
        Effect::Rejected { .. } => Outcome::Rejected,
    }
}

pub fn stream_of(event: &Event) -> StreamKey {
    StreamKey {
        edge: event.origin.edge.to_string(),
        boot: event.origin.boot,
        stream: event.origin.stream.to_string(),
    }
}

fn key(edge: Option<String>, boot: Option<Uuid>, stream: Option<String>) -> Option<StreamKey> {
    Some(StreamKey { edge: edge?, boot: boot?, stream: stream? })
}

fn kind_of(event: &Event) -> &'static str {
    match &event.body {
        Body::Click(_) => "click",
        Body::Conversion(conversion) => conversion.kind.as_str(),
        Body::Refund(_) => "refund",
        Body::End => "end",
    }
}
