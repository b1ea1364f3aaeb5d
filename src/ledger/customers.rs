//! Customers: made before their first conversion, moved to another affiliate, canceled (MONEY 2, 6).
//!
//! A move and a cancellation hold from their moment on. Conversions that settled before stay as they are, and one that
//! happened before a cancellation is judged by how the customer stood then.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, Set,
};
use uuid::Uuid;

use super::{
    Applied, Effect, Evidence, LedgerError, counts, facts, history::in_force, journal::Entry, programs,
};
use crate::{
    domain::{
        attribution::{self, Attribution, Candidate, Resolved},
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        lines::MadeLine,
        reason::{CustomerTrack, Rejection, Standing},
        time::Timestamp,
    },
    events::Conversion,
    store::entities::{affiliate, cancellation, customer, enrolment},
};

/// Creates a customer, attributed as its first conversion would be: by the same inputs but `customer_id`, of which
/// nothing waits.
pub(super) async fn create(
    entry: &Entry<'_>,
    id: Uuid,
    inputs: &Conversion,
    track: CustomerTrack,
    evidence: &Evidence,
) -> Result<Applied, LedgerError> {
    let Some(customer_id) = &inputs.customer_id else { return Err(LedgerError::NotFound("customer_id")) };
    let named = match &inputs.program {
        None => None,
        Some(slug) => match entry.program_named(slug).await? {
            Some(program) => Some(program),
            None => {
                let detail = Some(slug.clone());
                return Ok(Applied::rejected(Rejection::UnknownProgram, detail, Vec::new()));
            }
        },
    };
    if let Some(program) = named {
        refuse_known(entry, program, customer_id).await?;
    }
    let at = inputs.occurred_at.unwrap_or(entry.at);
    let unbound = Conversion { customer_id: None, ..inputs.clone() };
    let facts = facts::gather(entry, &unbound, evidence, at, named, true).await?;
    let resolved = match attribution::attribute(&facts) {
        Attribution::Resolved(resolved) => resolved,
        Attribution::Rejected(reason, passed_over) => {
            return Ok(Applied::rejected(reason, None, passed_over));
        }
        // Only an input that may still arrive waits, and these were given up.
        Attribution::Pending(waits) => {
            return Ok(Applied::rejected(Rejection::Unattributed, Some(waits.to_string()), Vec::new()));
        }
    };
    let Candidate { program, affiliate, .. } = resolved.candidate;
    if named.is_none() {
        refuse_known(entry, program, customer_id).await?;
    }
    let (here, everywhere) = entry.standings(program, affiliate, at).await?;
    if let Err(reason) = attribution::admit(here, everywhere) {
        return Ok(Applied::rejected(reason, None, resolved.passed_over));
    }
    let row = customer::Model { track: track.as_str().to_owned(), ..born(entry, id, customer_id, &resolved) };
    let row = row.into_active_model().reset_all();
    let inserted = customer::Entity::insert(row).exec_without_returning(entry.tx).await;
    inserted.map_err(|error| LedgerError::unique("customer_id", error))?;
    Ok(Applied::changed(Effect::Done))
}

async fn refuse_known(entry: &Entry<'_>, program: ProgramId, customer_id: &str) -> Result<(), LedgerError> {
    let known = customer::Entity::find()
        .filter(customer::Column::ProgramId.eq(program.0))
        .filter(customer::Column::CustomerId.eq(customer_id))
        .one(entry.tx)
        .await?;
    match known {
        None => Ok(()),
        Some(_) => Err(LedgerError::Conflict { field: "customer_id", message: "is a customer already" }),
    }
}

/// Another affiliate's from now on.
pub(super) async fn move_to(
    entry: &Entry<'_>,
    id: Uuid,
    affiliate: AffiliateId,
    link: Option<LinkId>,
) -> Result<(), LedgerError> {
    let row = find(entry, id).await?;
    let person = affiliate::Entity::find_by_id(affiliate.0)
        .filter(affiliate::Column::AccountId.eq(entry.account.0))
        .filter(affiliate::Column::DeletedAt.is_null())
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("affiliate"))?;
    let enrolled = enrolment::Entity::find_by_id((row.program_id, affiliate.0)).one(entry.tx).await?;
    match enrolled.as_ref().and_then(|row| Standing::parse(&row.standing)) {
        Some(Standing::Approved | Standing::Pending) => {}
        Some(Standing::Disapproved | Standing::Suspended) | None => {
            let message =
                format!("{} is neither approved in the customer's program nor waits for it", person.slug);
            return Err(LedgerError::NotPossible { code: "not_enrolled", message });
        }
    }
    if let Some(link) = link {
        let found = entry.link(link).await?.filter(|found| {
            (found.program_id, found.affiliate_id, found.deleted_at) == (row.program_id, affiliate.0, None)
        });
        found.ok_or(LedgerError::NotFound("link"))?;
    }
    let mut row = row.into_active_model();
    row.affiliate_id = Set(affiliate.0);
    row.link_id = Set(link.map(|link| link.0));
    row.update(entry.tx).await?;
    Ok(())
}

/// Cancels a customer, or takes it back.
pub(super) async fn set_canceled(
    entry: &Entry<'_>,
    id: Uuid,
    canceled: bool,
) -> Result<Applied, LedgerError> {
    let row = find(entry, id).await?;
    if row.canceled == canceled {
        return Ok(Applied::unchanged(Effect::Done));
    }
    let change = cancellation::ActiveModel {
        customer_id: Set(id),
        seq: Set(entry.seq),
        account_id: Set(entry.account.0),
        starts_at: Set(entry.at.0),
        canceled: Set(canceled),
    };
    cancellation::Entity::insert(change).exec_without_returning(entry.tx).await?;
    let mut row = row.into_active_model();
    row.canceled = Set(canceled);
    row.update(entry.tx).await?;
    Ok(Applied::changed(Effect::Done))
}

/// Whether a customer was canceled at a time.
pub(super) async fn canceled_at(
    entry: &Entry<'_>,
    customer: &customer::Model,
    time: Timestamp,
) -> Result<bool, LedgerError> {
    // Born at this very place, it was never canceled.
    if customer.created_seq == entry.seq {
        return Ok(false);
    }
    let history = cancellation::Entity::find().filter(cancellation::Column::CustomerId.eq(customer.id));
    let order = (cancellation::Column::StartsAt, cancellation::Column::Seq);
    let last = in_force(entry.tx, history, order, time).await?;
    Ok(last.is_some_and(|change| change.canceled))
}

async fn find(entry: &Entry<'_>, id: Uuid) -> Result<customer::Model, LedgerError> {
    customer::Entity::find_by_id(id)
        .filter(customer::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("customer"))
}

/// A customer that is new to the program, bound to the affiliate and link that resolved (MONEY 2); not stored yet.
pub(super) fn born(entry: &Entry<'_>, id: Uuid, customer_id: &str, resolved: &Resolved) -> customer::Model {
    customer::Model {
        id,
        account_id: entry.account.0,
        program_id: resolved.candidate.program.0,
        customer_id: customer_id.to_owned(),
        affiliate_id: resolved.candidate.affiliate.0,
        link_id: resolved.candidate.link.map(|link| link.0),
        created_at: entry.at.0,
        created_seq: entry.seq,
        track: CustomerTrack::New.as_str().to_owned(),
        moved_on: false,
        canceled: false,
        first_at: None,
    }
}

/// A conversion of the customer has settled with these lines.
pub(super) async fn bought(
    entry: &mut Entry<'_>,
    customer: customer::Model,
    new: bool,
    occurred_at: Timestamp,
    amount: i64,
    made: &[MadeLine],
) -> Result<(), LedgerError> {
    let earned = made.iter().filter(|made| made.level == 1 && made.earned);
    let counted = counts::counted_by(
        earned.map(|made| (made.line.pricing.commission_type.as_str(), made.counts_towards_cap)),
    );
    counts::move_on(entry, customer.id, &BTreeSet::new(), &counted);
    let changed = customer.first_at.is_none() || (amount > 0 && !customer.moved_on);
    let moved_on = customer.moved_on || amount > 0;
    let first_at = customer.first_at.or(Some(occurred_at.0));
    let mut row = customer.into_active_model();
    row.moved_on = Set(moved_on);
    row.first_at = Set(first_at);
    if new {
        let row = row.reset_all();
        customer::Entity::insert(row).exec_without_returning(entry.tx).await?;
    } else if changed {
        row.update(entry.tx).await?;
    }
    Ok(())
}

/// One of its conversions has come to an amount above 0.
pub(super) async fn moves_on(entry: &Entry<'_>, customer: Uuid) -> Result<(), LedgerError> {
    let row = customer::Entity::find_by_id(customer).one(entry.tx).await?;
    let row = row.ok_or(LedgerError::NotFound("customer"))?;
    if !row.moved_on {
        let mut row = row.into_active_model();
        row.moved_on = Set(true);
        row.update(entry.tx).await?;
    }
    Ok(())
}

/// The `recurring_cap` of a program that is in force at a time.
pub async fn recurring_cap(
    db: &impl ConnectionTrait,
    account: AccountId,
    program: ProgramId,
    at: Timestamp,
) -> Result<Option<u32>, LedgerError> {
    let program = programs::at(db, account, program, at).await?;
    Ok(program.and_then(|program| program.settings.recurring_cap))
}
