//! Groups: affiliates that share overrides.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Select};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{convert, lookup};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{Change, ChangeRequest, begin},
        error::ApiError,
        fields::{Given, Input},
        page::{Page, PageParams, Query},
        values,
    },
    domain::ids::{AccountId, Prefix, Slug},
    ledger::{Command, PutGroup},
    store::entities::affiliate_group,
};

const MAX_TITLE: usize = 200;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(read, update, delete))
}

/// A group to create or change.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"slug": "vip", "title": "Those who sell most"}))]
pub struct GroupInput {
    /// A name of your own: `a-z`, `0-9`, `-`, `_`; made of the title where it is missing. It cannot be changed.
    #[schema(max_length = 64)]
    pub slug: Option<String>,
    #[schema(max_length = 200)]
    pub title: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Group {
    #[schema(example = "grp_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    /// Unique in the account.
    #[schema(example = "vip")]
    pub slug: String,
    #[schema(example = "Those who sell most")]
    pub title: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

impl Group {
    fn of(row: affiliate_group::Model) -> Self {
        Self {
            id: Prefix::Group.format(row.id),
            slug: row.slug,
            title: row.title,
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        }
    }
}

fn of_account(account: AccountId) -> Select<affiliate_group::Entity> {
    affiliate_group::Entity::find()
        .filter(affiliate_group::Column::AccountId.eq(account.0))
        .filter(affiliate_group::Column::DeletedAt.is_null())
}

/// A group of the account that is not deleted.
pub async fn by_id(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: Uuid,
) -> Result<affiliate_group::Model, ApiError> {
    let row = of_account(account).filter(affiliate_group::Column::Id.eq(id)).one(db).await?;
    row.ok_or(ApiError::NotFound("group"))
}

/// A group of the account that is not deleted, by the id of a path.
pub async fn find(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: &str,
) -> Result<affiliate_group::Model, ApiError> {
    by_id(db, account, lookup::id(Prefix::Group, "group", id)?).await
}

/// List groups
#[utoipa::path(get, path = "/v1/groups", tag = "Groups",
    params(PageParams, ("slug" = Option<String>, Query, description = "Only this slug")),
    responses((status = 200, body = Page<Group>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Group>>, ApiError> {
    let slug = query.fields.given("slug", Input::text);
    let page = query.page::<Uuid>();
    query.finish()?;
    let mut find = of_account(caller.account);
    if let Given::Is(slug) = slug {
        find = find.filter(affiliate_group::Column::Slug.eq(slug));
    }
    let mut rows = page.of(find, affiliate_group::Column::Id).all(api.store.reader()).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok(Json(Page { data: rows.into_iter().map(Group::of).collect(), next_cursor }))
}

/// Create a group
#[utoipa::path(post, path = "/v1/groups", tag = "Groups", request_body = GroupInput,
    responses((status = 201, body = Group)))]
async fn create(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let slug = fields.optional("slug", None, values::slug);
    let title = fields.required("title", None, values::text(MAX_TITLE));
    fields.finish()?;
    let title = title.ok_or_else(|| ApiError::internal("no title"))?;
    let change = begin!(request, api);
    let slug = match slug {
        Some(slug) => slug,
        None => free_slug(&change, &title).await?,
    };
    put(change, PutGroup { id: Uuid::now_v7(), slug, title }, StatusCode::CREATED).await
}

async fn free_slug(change: &Change, title: &str) -> Result<Slug, ApiError> {
    let base = values::slug_of(title);
    if let Some(slug) = &base {
        let same = of_account(change.account).filter(affiliate_group::Column::Slug.eq(slug.as_str()));
        if same.one(&change.tx).await?.is_none() {
            return Ok(slug.clone());
        }
    }
    let base = base.as_ref().map_or("group", Slug::as_str);
    format!("{base}-{}", values::random_suffix(8)).parse().map_err(ApiError::internal)
}

async fn put(change: Change, put: PutGroup, status: StatusCode) -> Result<Response, ApiError> {
    let id = put.id;
    change.apply(&Command::PutGroup(put)).await?;
    let row = by_id(&change.tx, change.account, id).await?;
    change.answer(status, &Group::of(row)).await
}

/// Read a group
#[utoipa::path(get, path = "/v1/groups/{group}", tag = "Groups", responses((status = 200, body = Group)))]
async fn read(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Result<Json<Group>, ApiError> {
    Ok(Json(Group::of(find(api.store.reader(), caller.account, &id).await?)))
}

/// Change a group's title
#[utoipa::path(patch, path = "/v1/groups/{group}", tag = "Groups", request_body = GroupInput,
    responses((status = 200, body = Group)))]
async fn update(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    let mut fields = request.fields()?;
    fields.unchanging("slug", &row.slug);
    let title = fields.or("title", row.title, values::text(MAX_TITLE));
    fields.finish()?;
    let slug = row.slug.parse().map_err(ApiError::internal)?;
    put(change, PutGroup { id: row.id, slug, title }, StatusCode::OK).await
}

/// Delete a group
///
/// Its affiliates are in no group from now on, and its overrides end. Conversions that happened before keep both. The
/// slug may be given out again.
#[utoipa::path(delete, path = "/v1/groups/{group}", tag = "Groups", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    change.apply(&Command::DeleteGroup { group: row.id }).await?;
    change.done().await
}
