//! Who stands above whom: an affiliate's parent earns the levels above its commissions.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    convert,
    lookup::{self, Names, Refs},
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{ChangeRequest, begin},
        error::ApiError,
        fields::Input,
        page::{Page, PageParams, Query},
    },
    domain::ids::{AccountId, AffiliateId},
    ledger::Command,
    store::entities::upline,
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(read, put, delete)).routes(routes!(list_children))
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"parent": "anna"}))]
pub struct ParentInput {
    /// The slug of an affiliate who does not stand below this one.
    pub parent: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Parent {
    #[schema(example = "jane")]
    pub affiliate: String,
    /// Deleted or not: a deleted one earns nothing, and those above it stay where they are.
    #[schema(example = "anna")]
    pub parent: String,
    /// Conversions that happen from then on find it.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub since: String,
}

/// The newest entry of an affiliate's history, if it names a parent.
async fn newest(db: &impl ConnectionTrait, affiliate: i64) -> Result<Option<(upline::Model, i64)>, ApiError> {
    let row = upline::Entity::find()
        .filter(upline::Column::AffiliateId.eq(affiliate))
        .order_by_desc(upline::Column::Seq)
        .one(db)
        .await?;
    Ok(row.and_then(|row| row.parent_id.map(|parent| (row, parent))))
}

async fn view(
    db: &impl ConnectionTrait,
    account: AccountId,
    affiliate: String,
    (row, parent): (upline::Model, i64),
) -> Result<Parent, ApiError> {
    let names = Names::load(db, account, Refs { affiliates: [parent].into(), ..Refs::default() }).await?;
    Ok(Parent { affiliate, parent: names.affiliate(parent)?, since: convert::time(row.starts_at) })
}

/// Read an affiliate's parent
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}/parent", tag = "Parents",
    responses((status = 200, body = Parent)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
) -> Result<Json<Parent>, ApiError> {
    let db = api.store.reader();
    let affiliate = lookup::affiliate(db, caller.account, &slug).await?;
    let newest = newest(db, affiliate.id).await?.ok_or(ApiError::NotFound("parent"))?;
    view(db, caller.account, affiliate.slug, newest).await.map(Json)
}

/// Set an affiliate's parent
///
/// It counts from now on: conversions that happened before keep the parents of their time. A parent that stands below
/// the affiliate is refused.
#[utoipa::path(put, path = "/v1/affiliates/{affiliate}/parent", tag = "Parents", request_body = ParentInput,
    responses((status = 200, body = Parent)))]
async fn put(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let affiliate = lookup::affiliate(&change.tx, change.account, &slug).await?;
    let mut fields = request.fields()?;
    let parent = fields.required("parent", None, Input::text);
    fields.finish()?;
    let parent = lookup::affiliate(&change.tx, change.account, &parent.unwrap_or_default()).await;
    let parent = match parent {
        Err(ApiError::NotFound(_)) => return Err(ApiError::field("parent", "there is no such affiliate")),
        found => found?,
    };
    let known = newest(&change.tx, affiliate.id).await?;
    if known.is_none_or(|(_, known)| known != parent.id) {
        let parent = Some(AffiliateId(parent.id));
        change.apply(&Command::SetParent { affiliate: AffiliateId(affiliate.id), parent }).await?;
    }
    let newest = newest(&change.tx, affiliate.id).await?.ok_or(ApiError::NotFound("parent"))?;
    let view = view(&change.tx, change.account, affiliate.slug, newest).await?;
    change.answer(StatusCode::OK, &view).await
}

/// Take an affiliate's parent away
#[utoipa::path(delete, path = "/v1/affiliates/{affiliate}/parent", tag = "Parents",
    responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let affiliate = lookup::affiliate(&change.tx, change.account, &slug).await?;
    if newest(&change.tx, affiliate.id).await?.is_some() {
        let affiliate = AffiliateId(affiliate.id);
        change.apply(&Command::SetParent { affiliate, parent: None }).await?;
    }
    change.done().await
}

/// List an affiliate's children
///
/// Those whose parent it is now.
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}/children", tag = "Parents", params(PageParams),
    responses((status = 200, body = Page<Parent>)))]
async fn list_children(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
    mut query: Query,
) -> Result<Json<Page<Parent>>, ApiError> {
    use upline::Column;
    let db = api.store.reader();
    let parent = lookup::affiliate(db, caller.account, &slug).await?;
    let page = query.page::<i64>();
    query.finish()?;
    let history = upline::Entity::find().filter(Column::ParentId.eq(parent.id));
    let newest = lookup::newest_of_live(history, caller.account, (Column::AffiliateId, Column::Seq));
    let mut rows = page.of(newest, Column::AffiliateId).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.affiliate_id);
    let affiliates = rows.iter().map(|row| row.affiliate_id).collect();
    let names = Names::load(db, caller.account, Refs { affiliates, ..Refs::default() }).await?;
    let view = |row: upline::Model| {
        Ok::<_, ApiError>(Parent {
            affiliate: names.affiliate(row.affiliate_id)?,
            parent: parent.slug.clone(),
            since: convert::time(row.starts_at),
        })
    };
    let data = rows.into_iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}
