//! Affiliates. What names a person is written to the row alone; no command and no journal ever holds it.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, Set};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{convert, lookup};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{Change, ChangeRequest, begin},
        error::ApiError,
        fields::Fields,
        page::{Page, PageParams, Query},
        values,
    },
    domain::ids::{AffiliateId, Slug},
    ledger::{Command, PutAffiliate},
    store::{
        entities::affiliate,
        sequences::{self, Sequence},
    },
};

const MAX_NAME: usize = 200;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(read, replace, update, delete))
}

/// An affiliate to create or change. Everything has a default.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({
    "id": "jane", "email": "jane@blog.example", "first_name": "Jane", "meta_data": {"crm": "42"},
}))]
pub struct AffiliateInput {
    /// Slug: `a-z`, `0-9`, `-`, `_`; made of the name where it is missing. It cannot be changed.
    #[schema(max_length = 64)]
    pub id: Option<String>,
    #[schema(max_length = 254)]
    pub email: Option<String>,
    #[schema(max_length = 200)]
    pub first_name: Option<String>,
    #[schema(max_length = 200)]
    pub last_name: Option<String>,
    #[schema(max_length = 200)]
    pub company: Option<String>,
    /// Whatever belongs to the affiliate on your side, at most 8 KiB.
    #[schema(value_type = Option<Object>)]
    pub meta_data: Option<Map<String, Value>>,
    /// In every program: links redirect unattributed, conversions from then on are rejected. Default: false.
    pub suspended: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Affiliate {
    /// Slug, unique in the account.
    #[schema(example = "jane")]
    pub id: String,
    #[schema(example = "jane@blog.example")]
    pub email: Option<String>,
    #[schema(example = "Jane")]
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub company: Option<String>,
    #[schema(value_type = Object)]
    pub meta_data: Value,
    pub suspended: bool,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

impl Affiliate {
    pub(super) fn of(row: affiliate::Model) -> Self {
        Self {
            id: row.slug,
            email: row.email,
            first_name: row.first_name,
            last_name: row.last_name,
            company: row.company,
            meta_data: row.meta_data,
            suspended: row.suspended,
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        }
    }
}

/// What clients may set.
struct Person {
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company: Option<String>,
    meta_data: Value,
    suspended: bool,
}

impl Person {
    fn read(fields: &mut Fields, old: Option<&affiliate::Model>) -> Self {
        let text = |read: fn(&affiliate::Model) -> &Option<String>| old.and_then(|old| read(old).clone());
        let meta_data = fields.optional("meta_data", None, values::meta_data).map(Value::Object);
        Self {
            email: fields.optional("email", text(|old| &old.email), values::email),
            first_name: fields.optional("first_name", text(|old| &old.first_name), values::text(MAX_NAME)),
            last_name: fields.optional("last_name", text(|old| &old.last_name), values::text(MAX_NAME)),
            company: fields.optional("company", text(|old| &old.company), values::text(MAX_NAME)),
            meta_data: meta_data
                .or_else(|| old.map(|old| old.meta_data.clone()))
                .unwrap_or_else(|| Value::Object(Map::new())),
            suspended: fields.or("suspended", old.is_some_and(|old| old.suspended), values::boolean),
        }
    }

    /// A name to make a slug of.
    fn name(&self) -> Option<Slug> {
        let names: Vec<&str> =
            [&self.first_name, &self.last_name].into_iter().flatten().map(|s| &**s).collect();
        let names = if names.is_empty() { self.company.clone()? } else { names.join(" ") };
        values::slug_of(&names)
    }
}

/// List affiliates
#[utoipa::path(get, path = "/v1/affiliates", tag = "Affiliates", params(PageParams),
    responses((status = 200, body = Page<Affiliate>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Affiliate>>, ApiError> {
    let page = query.page::<i64>();
    query.finish()?;
    let find = affiliate::Entity::find()
        .filter(affiliate::Column::AccountId.eq(caller.account.0))
        .filter(affiliate::Column::DeletedAt.is_null());
    let mut rows = page.of(find, affiliate::Column::Id).all(api.store.reader()).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok(Json(Page { data: rows.into_iter().map(Affiliate::of).collect(), next_cursor }))
}

/// Create an affiliate
///
/// It earns nothing before it is approved in a program.
#[utoipa::path(post, path = "/v1/affiliates", tag = "Affiliates", request_body = AffiliateInput,
    responses((status = 201, body = Affiliate)))]
async fn create(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let slug = fields.optional("id", None, values::slug);
    let person = Person::read(&mut fields, None);
    fields.finish()?;
    let change = begin!(request, api);
    let slug = match slug {
        Some(slug) => slug,
        None => free_slug(&change, &person).await?,
    };
    let id = AffiliateId(sequences::next(&change.tx, Sequence::Affiliate).await?);
    put(change, id, slug, person, StatusCode::CREATED).await
}

async fn free_slug(change: &Change, person: &Person) -> Result<Slug, ApiError> {
    let base = person.name();
    if let Some(slug) = &base {
        let taken = affiliate::Entity::find()
            .filter(affiliate::Column::AccountId.eq(change.account.0))
            .filter(affiliate::Column::Slug.eq(slug.as_str()))
            .one(&change.tx)
            .await?;
        if taken.is_none() {
            return Ok(slug.clone());
        }
    }
    let base = base.as_ref().map_or("affiliate", Slug::as_str);
    format!("{base}-{}", values::random_suffix(8)).parse().map_err(ApiError::internal)
}

/// The command says that there is an affiliate and whether it is suspended; who it is goes to the row.
async fn put(
    change: Change,
    id: AffiliateId,
    slug: Slug,
    person: Person,
    status: StatusCode,
) -> Result<Response, ApiError> {
    let suspended = person.suspended;
    change.apply(&Command::PutAffiliate(PutAffiliate { id, slug, suspended })).await?;
    let row = affiliate::Entity::find_by_id(id.0).one(&change.tx).await?;
    let mut row = row.ok_or(ApiError::NotFound("affiliate"))?.into_active_model();
    row.email = Set(person.email);
    row.first_name = Set(person.first_name);
    row.last_name = Set(person.last_name);
    row.company = Set(person.company);
    row.meta_data = Set(person.meta_data);
    let row = row.update(&change.tx).await?;
    change.answer(status, &Affiliate::of(row)).await
}

/// Read an affiliate
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}", tag = "Affiliates",
    responses((status = 200, body = Affiliate)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
) -> Result<Json<Affiliate>, ApiError> {
    let row = lookup::affiliate(api.store.reader(), caller.account, &slug).await?;
    Ok(Json(Affiliate::of(row)))
}

/// Replace an affiliate
///
/// What is not given returns to its default.
#[utoipa::path(put, path = "/v1/affiliates/{affiliate}", tag = "Affiliates", request_body = AffiliateInput,
    responses((status = 200, body = Affiliate)))]
async fn replace(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    change_person(&api, &slug, request, true).await
}

/// Change an affiliate
///
/// What is not given stays; null clears. `suspended` suspends it in every program, or lets it go on.
#[utoipa::path(patch, path = "/v1/affiliates/{affiliate}", tag = "Affiliates", request_body = AffiliateInput,
    responses((status = 200, body = Affiliate)))]
async fn update(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    change_person(&api, &slug, request, false).await
}

async fn change_person(
    api: &Api,
    slug: &str,
    request: ChangeRequest,
    whole: bool,
) -> Result<Response, ApiError> {
    let change = begin!(request, *api);
    let row = lookup::affiliate(&change.tx, change.account, slug).await?;
    let mut fields = request.fields()?;
    fields.unchanging("id", slug);
    let person = Person::read(&mut fields, (!whole).then_some(&row));
    fields.finish()?;
    let slug = row.slug.parse().map_err(ApiError::internal)?;
    put(change, AffiliateId(row.id), slug, person, StatusCode::OK).await
}

/// Delete an affiliate
///
/// Its links stop attributing. History and balance stay, and its id is not given out again.
#[utoipa::path(delete, path = "/v1/affiliates/{affiliate}", tag = "Affiliates", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = lookup::affiliate(&change.tx, change.account, &slug).await?;
    change.apply(&Command::DeleteAffiliate { affiliate: AffiliateId(row.id) }).await?;
    change.done().await
}
