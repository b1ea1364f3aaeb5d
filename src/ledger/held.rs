//! Held conversions: believed only once somebody accepts them (MONEY 3, DESIGN section 8).
//!
//! A held conversion claims nothing. So whoever may send held ones, which is everybody, can neither keep another's
//! out nor make it a conflict: it is held beside others of the same id, and it is the duplicate of what was taken.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{
    Applied, Effect, LedgerError, Terms,
    case::{Case, find_waiting, new_row, taken},
    claims::{self, Claim},
    journal::Entry,
    refund, status,
};
use crate::{
    domain::ids::ProgramId,
    events::Conversion,
    store::{INSERT_ROWS, entities::conversion},
};

/// A conversion came in that is not believed as it is.
pub(super) async fn hold(
    entry: &mut Entry<'_>,
    case: &Case<'_>,
    terms: Terms,
) -> Result<Applied, LedgerError> {
    if let Some(claim) = claims::holder(entry, Claim::Event(case.event_id)).await? {
        return Ok(Applied::unchanged(Effect::Duplicate { of: claim.holder }));
    }
    let program = match &case.conversion.program {
        Some(slug) => entry.program_named(slug).await?,
        None => None,
    };
    if let (Some(program), Some(external)) = (program, &case.conversion.external_id)
        && let Some(of) = taken(entry, case, program, external).await?
    {
        return Ok(Applied::unchanged(Effect::Duplicate { of }));
    }
    if let Err(reason) = case.check_occurred_at(terms) {
        return Ok(Applied::rejected(reason, None, Vec::new()));
    }
    let same = conversion::Entity::find()
        .filter(conversion::Column::AccountId.eq(entry.account.0))
        .filter(conversion::Column::EventId.eq(case.event_id))
        .filter(conversion::Column::Status.eq(status::HELD))
        .filter(conversion::Column::Fingerprint.eq(&case.conversion.fingerprint))
        .one(entry.tx)
        .await?;
    if let Some(row) = same {
        return Ok(Applied::unchanged(Effect::Duplicate { of: row.id }));
    }
    let id = entry.new_id();
    let mut row = new_row(entry, case, id, status::HELD)?;
    row.program_id = Set(program.map(|program| program.0));
    conversion::Entity::insert(row).exec_without_returning(entry.tx).await?;
    Ok(Applied::changed(Effect::Held { id }))
}

pub(super) async fn decline(entry: &Entry<'_>, id: Uuid) -> Result<Applied, LedgerError> {
    let mut row = find_waiting(entry, id, status::HELD).await?.into_active_model();
    row.status = Set(status::DECLINED.to_owned());
    row.update(entry.tx).await?;
    refund::orphan(entry, id).await?;
    Ok(Applied::changed(Effect::Declined { id }))
}

/// Held ones of the same external id become duplicates of the one that settled. One that names another program stays;
/// one that names none goes by its external id alone.
pub(super) async fn replace(
    entry: &Entry<'_>,
    settled: Uuid,
    conversion: &Conversion,
    program: ProgramId,
) -> Result<Vec<Uuid>, LedgerError> {
    let Some(external) = &conversion.external_id else { return Ok(Vec::new()) };
    let held = conversion::Entity::find()
        .filter(conversion::Column::AccountId.eq(entry.account.0))
        .filter(conversion::Column::Status.eq(status::HELD))
        .filter(conversion::Column::Kind.eq(conversion.kind.as_str()))
        .filter(conversion::Column::ExternalId.eq(external.as_str()))
        .filter(
            Condition::any()
                .add(conversion::Column::ProgramId.is_null())
                .add(conversion::Column::ProgramId.eq(program.0)),
        )
        .order_by_asc(conversion::Column::ArrivedSeq)
        .all(entry.tx)
        .await?;
    let replaced: Vec<Uuid> = held.iter().map(|row| row.id).collect();
    for some in replaced.chunks(INSERT_ROWS) {
        refund::follow(entry, some, settled).await?;
        conversion::Entity::update_many()
            .col_expr(conversion::Column::Status, Expr::value(status::REPLACED))
            .filter(conversion::Column::Id.is_in(some.iter().copied()))
            .exec(entry.tx)
            .await?;
    }
    Ok(replaced)
}
