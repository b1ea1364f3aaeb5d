//! Tracking domains: host names under which the account's links and pixels live.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::convert;
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{ChangeRequest, begin},
        error::ApiError,
        page::{Page, PageParams, Query},
        values,
    },
    catalog::Scope,
    domain::ids::AccountId,
    store::{accounts, entities::domain},
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(delete))
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"host": "go.shop.example", "cookie_domain": "shop.example"}))]
pub struct DomainInput {
    /// Lower case, without scheme and port.
    #[schema(max_length = 253)]
    pub host: String,
    /// The `Domain` of cookies: the host itself or a domain above it. Default: the host alone.
    #[schema(max_length = 253)]
    pub cookie_domain: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    #[schema(example = "go.shop.example")]
    pub host: String,
    #[schema(example = "shop.example")]
    pub cookie_domain: Option<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
}

impl Domain {
    fn of(row: domain::Model) -> Self {
        Self { host: row.host, cookie_domain: row.cookie_domain, created_at: convert::time(row.created_at) }
    }
}

/// Where the account's links live: its oldest domain, or the address that the process was given.
pub async fn base_url(
    db: &impl ConnectionTrait,
    api: &Api,
    account: AccountId,
) -> Result<Option<String>, ApiError> {
    let row = domain::Entity::find()
        .filter(domain::Column::AccountId.eq(account.0))
        .filter(domain::Column::DeletedAt.is_null())
        .order_by_asc(domain::Column::CreatedAt)
        .order_by_asc(domain::Column::Host)
        .one(db)
        .await?;
    Ok(row.map(|row| format!("https://{}", row.host)).or_else(|| api.edge_url.clone()))
}

/// List tracking domains
///
/// By host name.
#[utoipa::path(get, path = "/v1/domains", tag = "Domains", params(PageParams),
    responses((status = 200, body = Page<Domain>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Domain>>, ApiError> {
    let page = query.page::<String>();
    query.finish()?;
    let mut find = domain::Entity::find()
        .filter(domain::Column::AccountId.eq(caller.account.0))
        .filter(domain::Column::DeletedAt.is_null());
    if let Some(after) = &page.after {
        find = find.filter(domain::Column::Host.gt(after.as_str()));
    }
    let find = find.order_by_asc(domain::Column::Host).limit(page.fetch());
    let mut rows = find.all(api.store.reader()).await?;
    let next_cursor = page.cut(&mut rows, |row| row.host.clone());
    Ok(Json(Page { data: rows.into_iter().map(Domain::of).collect(), next_cursor }))
}

/// Add a tracking domain
///
/// Point the host name at the edges and give them its certificate first. The key needs the scope `domains` besides:
/// nobody asks the name system who owns the host.
#[utoipa::path(post, path = "/v1/domains", tag = "Domains", request_body = DomainInput,
    responses((status = 201, body = Domain)))]
async fn create(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    request.caller.require(Scope::Domains)?;
    let mut fields = request.fields()?;
    let host = fields.required("host", None, values::tracking_host);
    let cookie_domain = fields.optional("cookie_domain", None, values::host);
    if let (Some(host), Some(cookie)) = (&host, &cookie_domain)
        && host != cookie
        && !(cookie.contains('.') && host.ends_with(&format!(".{cookie}")))
    {
        fields.wrong("cookie_domain", "must be the host or a domain above it");
    }
    fields.finish()?;
    let host = host.ok_or_else(|| ApiError::internal("no host"))?;
    let change = begin!(request, api);
    let known = domain::Entity::find_by_id(host.clone()).one(&change.tx).await?;
    if known.is_some_and(|row| row.deleted_at.is_none()) {
        return Err(ApiError::Conflict { field: "host".to_owned(), message: "is taken already".to_owned() });
    }
    accounts::add_domain(&change.tx, change.account, &host, cookie_domain.as_deref(), change.at).await?;
    let created_at = convert::time(change.at.0);
    change.answer(StatusCode::CREATED, &Domain { host, cookie_domain, created_at }).await
}

/// Remove a tracking domain
///
/// Links under it stop working at once. The key needs the scope `domains` besides.
#[utoipa::path(delete, path = "/v1/domains/{host}", tag = "Domains", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(host): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    request.caller.require(Scope::Domains)?;
    let change = begin!(request, api);
    if !accounts::remove_domain(&change.tx, change.account, &host, change.at).await? {
        return Err(ApiError::NotFound("domain"));
    }
    change.done().await
}
