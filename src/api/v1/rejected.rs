//! Conversions and refunds that were not taken, with the reason, and sending them again.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    convert, lookup,
    range::{self, RangeParams},
    report::{self, Outcome},
    reports::ConversionInput,
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{ChangeRequest, begin},
        error::ApiError,
        page::{Page, PageParams, Query},
        values,
    },
    domain::{
        ids::{AccountId, Prefix},
        reason::Rejection,
    },
    events::report::{RepairError, repaired},
    ledger::intake::read_event,
    store::entities::rejected_event,
};

impl From<RepairError> for ApiError {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Unreadable(unreadable) => unreadable.into(),
            RepairError::NotAReport => {
                Self::NotPossible { code: "not_retryable", message: error.to_string() }
            }
        }
    }
}

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read)).routes(routes!(retry))
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Rejected {
    #[schema(example = "rej_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    /// The id that was answered when it was sent.
    #[schema(example = "evt_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub event: String,
    /// `lead`, `appointment`, `conversion` or `refund`.
    #[schema(example = "conversion")]
    pub kind: String,
    #[schema(example = "unattributed")]
    pub reason: String,
    /// What helps to repair it.
    pub detail: Option<String>,
    /// Why inputs were passed over.
    #[schema(value_type = Vec<String>)]
    pub warnings: Value,
    /// What the sender said.
    #[schema(value_type = Object)]
    pub reported: Value,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub received_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub rejected_at: String,
    /// When it was sent again and taken.
    pub retried_at: Option<String>,
}

impl Rejected {
    fn of(row: rejected_event::Model) -> Self {
        Self {
            id: Prefix::Rejected.format(row.id),
            event: Prefix::Event.format(row.event_id),
            kind: row.kind,
            reason: row.reason,
            detail: row.detail,
            warnings: row.warnings,
            reported: report::of_event(serde_json::from_str(&row.event).unwrap_or_default()),
            received_at: convert::time(row.received_at),
            rejected_at: convert::time(row.rejected_at),
            retried_at: row.retried_at.map(convert::time),
        }
    }
}

/// List rejected events
///
/// `from` and `to` are of the time when they were rejected first.
#[utoipa::path(get, path = "/v1/rejected", tag = "Rejected events",
    params(PageParams, RangeParams,
        ("reason" = Option<String>, Query, description = "Only of this reason"),
        ("retried" = Option<bool>, Query, description = "Only those that were taken later, or were not")),
    responses((status = 200, body = Page<Rejected>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Rejected>>, ApiError> {
    let reason = query.fields.optional("reason", None, values::one_of(Rejection::ALL, Rejection::as_str));
    let retried = query.fields.optional("retried", None, values::boolean);
    let range = range::read(&mut query.fields);
    let page = query.page::<Uuid>();
    query.finish()?;
    let mut find =
        rejected_event::Entity::find().filter(rejected_event::Column::AccountId.eq(caller.account.0));
    if let Some(reason) = reason {
        find = find.filter(rejected_event::Column::Reason.eq(reason.as_str()));
    }
    find = match retried {
        Some(true) => find.filter(rejected_event::Column::RetriedAt.is_not_null()),
        Some(false) => find.filter(rejected_event::Column::RetriedAt.is_null()),
        None => find,
    };
    if let Some(from) = range.from {
        find = find.filter(rejected_event::Column::Id.gte(range::first_id(from)));
    }
    if let Some(to) = range.to {
        find = find.filter(rejected_event::Column::Id.lt(range::first_id(to)));
    }
    let mut rows = page.of(find, rejected_event::Column::Id).all(api.store.reader()).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok(Json(Page { data: rows.into_iter().map(Rejected::of).collect(), next_cursor }))
}

async fn find(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: &str,
) -> Result<rejected_event::Model, ApiError> {
    let id = lookup::id(Prefix::Rejected, "rejected event", id)?;
    let row = rejected_event::Entity::find_by_id(id)
        .filter(rejected_event::Column::AccountId.eq(account.0))
        .one(db)
        .await?;
    row.ok_or(ApiError::NotFound("rejected event"))
}

/// Read a rejected event
#[utoipa::path(get, path = "/v1/rejected/{rejected}", tag = "Rejected events",
    responses((status = 200, body = Rejected)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Rejected>, ApiError> {
    find(api.store.reader(), caller.account, &id).await.map(Rejected::of).map(Json)
}

/// Send a rejected event again
///
/// After the cause was repaired: the affiliate approved, the coupon made; or with what was wrong in it. Fields that are
/// given take the place of those that were sent, null clears, the others stay (of a refund: those of a refund).
/// Rejected once more, it stays in the list as it was sent now, with the new reason.
#[utoipa::path(post, path = "/v1/rejected/{rejected}/retry", tag = "Rejected events",
    request_body = ConversionInput, responses((status = 200, body = Outcome)))]
async fn retry(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    let repaired = match request.is_empty() {
        true => None,
        false => Some(repaired(&read_event(&row)?, request.report()?)?),
    };
    let effect = api.intake.retry_repaired(&change.tx, change.account, row.id, repaired, change.at).await?;
    let outcome = Outcome::of(&change.tx, effect).await?;
    change.answer(StatusCode::OK, &outcome).await
}
