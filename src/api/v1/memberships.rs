//! Which group an affiliate is in: one at a time, from now on.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    convert, groups,
    lookup::{self, Names, Refs},
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
    domain::ids::{AccountId, AffiliateId, Prefix},
    ledger::Command,
    store::entities::{affiliate_group, membership},
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read, put, delete))
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"group": "grp_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"}))]
pub struct MembershipInput {
    pub group: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    #[schema(example = "jane")]
    pub affiliate: String,
    #[schema(example = "grp_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub group: String,
    /// Conversions that happen from then on find it.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub since: String,
}

impl Membership {
    fn of(affiliate: String, row: &membership::Model, group: &affiliate_group::Model) -> Self {
        Self { affiliate, group: Prefix::Group.format(group.id), since: convert::time(row.starts_at) }
    }
}

/// The group that an affiliate is in now; a deleted one is none.
async fn newest(
    db: &impl ConnectionTrait,
    account: AccountId,
    affiliate: i64,
) -> Result<Option<(membership::Model, affiliate_group::Model)>, ApiError> {
    let row = membership::Entity::find()
        .filter(membership::Column::AffiliateId.eq(affiliate))
        .order_by_desc(membership::Column::Seq)
        .one(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let Some(group) = row.group_id else { return Ok(None) };
    match groups::by_id(db, account, group).await {
        Ok(group) => Ok(Some((row, group))),
        Err(ApiError::NotFound(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// List a group's affiliates
#[utoipa::path(get, path = "/v1/groups/{group}/affiliates", tag = "Groups", params(PageParams),
    responses((status = 200, body = Page<Membership>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    mut query: Query,
) -> Result<Json<Page<Membership>>, ApiError> {
    use membership::Column;
    let db = api.store.reader();
    let group = groups::find(db, caller.account, &id).await?;
    let page = query.page::<i64>();
    query.finish()?;
    let history = membership::Entity::find().filter(Column::GroupId.eq(group.id));
    let newest = lookup::newest_of_live(history, caller.account, (Column::AffiliateId, Column::Seq));
    let mut rows = page.of(newest, Column::AffiliateId).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.affiliate_id);
    let affiliates = rows.iter().map(|row| row.affiliate_id).collect();
    let names = Names::load(db, caller.account, Refs { affiliates, ..Refs::default() }).await?;
    let view = |row: membership::Model| {
        let affiliate = names.affiliate(row.affiliate_id)?;
        Ok::<_, ApiError>(Membership::of(affiliate, &row, &group))
    };
    let data = rows.into_iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}

/// Read the group that an affiliate is in
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}/group", tag = "Groups",
    responses((status = 200, body = Membership)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
) -> Result<Json<Membership>, ApiError> {
    let db = api.store.reader();
    let affiliate = lookup::affiliate(db, caller.account, &slug).await?;
    let (row, group) = newest(db, caller.account, affiliate.id).await?.ok_or(ApiError::NotFound("group"))?;
    Ok(Json(Membership::of(affiliate.slug, &row, &group)))
}

/// Put an affiliate into a group
///
/// It leaves the one it was in. Conversions that happened before keep the group of their time.
#[utoipa::path(put, path = "/v1/affiliates/{affiliate}/group", tag = "Groups", request_body = MembershipInput,
    responses((status = 200, body = Membership)))]
async fn put(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let affiliate = lookup::affiliate(&change.tx, change.account, &slug).await?;
    let mut fields = request.fields()?;
    let group = fields.required("group", None, values::id(Prefix::Group));
    fields.finish()?;
    let group = group.ok_or_else(|| ApiError::internal("no group"))?;
    match groups::by_id(&change.tx, change.account, group).await {
        Err(ApiError::NotFound(_)) => return Err(ApiError::field("group", "there is no such group")),
        found => found?,
    };
    let known = newest(&change.tx, change.account, affiliate.id).await?;
    if known.is_none_or(|(_, known)| known.id != group) {
        let set = Command::SetGroup { affiliate: AffiliateId(affiliate.id), group: Some(group) };
        change.apply(&set).await?;
    }
    let known = newest(&change.tx, change.account, affiliate.id).await?;
    let (row, group) = known.ok_or(ApiError::NotFound("group"))?;
    change.answer(StatusCode::OK, &Membership::of(affiliate.slug, &row, &group)).await
}

/// Take an affiliate out of its group
#[utoipa::path(delete, path = "/v1/affiliates/{affiliate}/group", tag = "Groups",
    responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let affiliate = lookup::affiliate(&change.tx, change.account, &slug).await?;
    if newest(&change.tx, change.account, affiliate.id).await?.is_some() {
        let affiliate = AffiliateId(affiliate.id);
        change.apply(&Command::SetGroup { affiliate, group: None }).await?;
    }
    change.done().await
}
