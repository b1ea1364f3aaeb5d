//! Refunds: money that went back to buyers, and what it took off.

use std::collections::{BTreeSet, HashMap};

use axum::{Json, extract::State};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    convert, lookup,
    range::{self, RangeParams},
    report,
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        error::ApiError,
        fields::Input,
        page::{Page, PageParams, Query},
        values,
    },
    domain::ids::{AccountId, Prefix},
    store::entities::{conversion, refund},
};

const STATUSES: &[(&str, &str)] = &[("settled", "settled"), ("pending", "pending"), ("rejected", "rejected")];

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read))
}

/// Money that went back to the buyer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Refund {
    #[schema(example = "rfd_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    /// `settled`, `pending` or `rejected`.
    #[schema(example = "settled")]
    pub status: String,
    /// Null while its conversion has not come.
    #[schema(example = "cnv_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub conversion: Option<String>,
    pub external_id: Option<String>,
    /// Null while it waits.
    #[schema(example = "10.00")]
    pub amount: Option<String>,
    #[schema(example = "USD")]
    pub currency: Option<String>,
    pub reason: Option<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub received_at: String,
    pub settled_at: Option<String>,
    /// How long a pending one waits for its conversion; null where it waits as long as its conversion does.
    pub waits_until: Option<String>,
    /// What the sender said.
    #[schema(value_type = Object)]
    pub reported: Value,
}

fn of_account(account: AccountId) -> Select<refund::Entity> {
    refund::Entity::find().filter(refund::Column::AccountId.eq(account.0))
}

/// The currencies of conversions that have settled.
pub(super) async fn currencies(
    db: &impl ConnectionTrait,
    account: AccountId,
    conversions: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, String>, ApiError> {
    let ids: BTreeSet<Uuid> = conversions.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = conversion::Entity::find()
        .select_only()
        .columns([conversion::Column::Id, conversion::Column::Currency])
        .filter(conversion::Column::AccountId.eq(account.0))
        .filter(conversion::Column::Id.is_in(ids))
        .into_tuple::<(Uuid, Option<String>)>()
        .all(db)
        .await?;
    Ok(rows.into_iter().filter_map(|(id, currency)| Some((id, currency?))).collect())
}

/// Refunds as they are shown.
pub(super) async fn views(
    db: &impl ConnectionTrait,
    account: AccountId,
    rows: Vec<refund::Model>,
) -> Result<Vec<Refund>, ApiError> {
    let settled = rows.iter().filter(|row| row.settled_at.is_some());
    let currencies = currencies(db, account, settled.filter_map(|row| row.conversion_id)).await?;
    let view = |row: refund::Model| {
        let settled = row.conversion_id.filter(|_| row.settled_at.is_some());
        let currency = settled.and_then(|id| currencies.get(&id)).cloned();
        Ok(Refund {
            id: Prefix::Refund.format(row.id),
            conversion: row.conversion_id.map(|id| Prefix::Conversion.format(id)),
            amount: currency.as_deref().map(|code| convert::money(row.amount, code)).transpose()?,
            currency,
            status: row.status,
            external_id: row.external_id,
            reason: row.reason,
            received_at: convert::time(row.received_at),
            settled_at: row.settled_at.map(convert::time),
            waits_until: row.waits_until.map(convert::time),
            reported: report::shown(row.input),
        })
    };
    rows.into_iter().map(view).collect()
}

/// The refunds of one conversion, oldest first.
pub(super) async fn of_conversion(
    db: &impl ConnectionTrait,
    account: AccountId,
    conversion: Uuid,
) -> Result<Vec<Refund>, ApiError> {
    let find = of_account(account).filter(refund::Column::ConversionId.eq(conversion));
    let rows = find.order_by_asc(refund::Column::Id).all(db).await?;
    views(db, account, rows).await
}

/// One refund as it is shown.
pub(super) async fn load(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: Uuid,
) -> Result<Refund, ApiError> {
    let row = of_account(account).filter(refund::Column::Id.eq(id)).one(db).await?;
    views(db, account, row.into_iter().collect()).await?.pop().ok_or(ApiError::NotFound("refund"))
}

/// List refunds
///
/// `from` and `to` are of the time when they were received.
#[utoipa::path(get, path = "/v1/refunds", tag = "Refunds",
    params(PageParams, RangeParams,
        ("conversion" = Option<String>, Query, description = "Only of this conversion"),
        ("status" = Option<String>, Query, description = "Only of this status"),
        ("external_id" = Option<String>, Query, description = "Only of this external id")),
    responses((status = 200, body = Page<Refund>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Refund>>, ApiError> {
    let conversion = query.fields.optional("conversion", None, values::id(Prefix::Conversion));
    let status = query.fields.optional("status", None, values::word(STATUSES));
    let external_id = query.fields.optional("external_id", None, Input::text);
    let range = range::read(&mut query.fields);
    let page = query.page::<Uuid>();
    query.finish()?;
    let mut find = of_account(caller.account);
    if let Some(conversion) = conversion {
        find = find.filter(refund::Column::ConversionId.eq(conversion));
    }
    if let Some(status) = status {
        find = find.filter(refund::Column::Status.eq(status));
    }
    if let Some(external_id) = external_id {
        find = find.filter(refund::Column::ExternalId.eq(external_id));
    }
    if let Some(from) = range.from {
        find = find.filter(refund::Column::ReceivedAt.gte(from.0));
    }
    if let Some(to) = range.to {
        find = find.filter(refund::Column::ReceivedAt.lt(to.0));
    }
    let db = api.store.reader();
    let mut rows = page.of(find, refund::Column::Id).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok(Json(Page { data: views(db, caller.account, rows).await?, next_cursor }))
}

/// Read a refund
#[utoipa::path(get, path = "/v1/refunds/{refund}", tag = "Refunds", responses((status = 200, body = Refund)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Refund>, ApiError> {
    let id = lookup::id(Prefix::Refund, "refund", &id)?;
    load(api.store.reader(), caller.account, id).await.map(Json)
}
