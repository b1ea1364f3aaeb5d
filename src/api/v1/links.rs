//! Links: referral codes of an affiliate in a program.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Select};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    convert, domains,
    lookup::{self, Names, Refs},
    programs,
    promotion::Named,
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{Change, ChangeRequest, begin},
        error::ApiError,
        fields::{Fields, Given, Input},
        page::{Page, PageParams, Query},
        values,
    },
    domain::{
        destination::check_destination,
        ids::{AccountId, AffiliateId, LinkId, Prefix, ProgramId},
    },
    ledger::{Command, PutLink},
    store::{
        entities::link,
        sequences::{self, Sequence},
    },
};

const MAX_ID: usize = 200;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(list_of_affiliate, create_of_affiliate))
        .routes(routes!(read, update, delete))
}

/// A link to create or change.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"program": "summer", "affiliate": "jane", "code": "jane"}))]
pub struct LinkInput {
    /// It cannot be changed. It may be left out where the affiliate is in one program only.
    pub program: Option<String>,
    /// It cannot be changed. The affiliate must be enrolled in the program, approved or pending.
    pub affiliate: String,
    /// The code in `/r/{code}`: letters, digits, `-`, `_`, `.`, `~`; case matters. Made up where it is missing. It
    /// cannot be changed, and nobody else ever gets it.
    #[schema(max_length = 64)]
    pub code: Option<String>,
    /// Default: the program's. Macros as there.
    #[schema(max_length = 2048)]
    pub destination: Option<String>,
    /// Where the link is placed.
    #[schema(max_length = 200)]
    pub source_id: Option<String>,
    /// What the link stands on.
    #[schema(max_length = 200)]
    pub asset_id: Option<String>,
    /// From then on clicks redirect unattributed (RFC 3339).
    pub expires_at: Option<String>,
}

/// A link to create for the affiliate of the path.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"program": "summer"}))]
pub struct AffiliateLinkInput {
    /// It may be left out where the affiliate is in one program only.
    pub program: Option<String>,
    /// That of the path, if given.
    pub affiliate: Option<String>,
    #[schema(max_length = 64)]
    pub code: Option<String>,
    #[schema(max_length = 2048)]
    pub destination: Option<String>,
    #[schema(max_length = 200)]
    pub source_id: Option<String>,
    #[schema(max_length = 200)]
    pub asset_id: Option<String>,
    pub expires_at: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Link {
    #[schema(example = "lnk_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    #[schema(example = "summer")]
    pub program: String,
    #[schema(example = "jane")]
    pub affiliate: String,
    #[schema(example = "jane")]
    pub code: String,
    /// The whole link, under the account's first tracking domain; null where there is none.
    #[schema(example = "https://go.shop.example/r/jane")]
    pub url: Option<String>,
    /// Null: the program's.
    pub destination: Option<String>,
    pub source_id: Option<String>,
    pub asset_id: Option<String>,
    pub expires_at: Option<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

fn of_account(account: AccountId) -> Select<link::Entity> {
    link::Entity::find()
        .filter(link::Column::AccountId.eq(account.0))
        .filter(link::Column::DeletedAt.is_null())
}

async fn views(
    db: &impl ConnectionTrait,
    api: &Api,
    account: AccountId,
    rows: Vec<link::Model>,
) -> Result<Vec<Link>, ApiError> {
    let refs = Refs {
        programs: rows.iter().map(|row| row.program_id).collect(),
        affiliates: rows.iter().map(|row| row.affiliate_id).collect(),
        ..Refs::default()
    };
    let names = Names::load(db, account, refs).await?;
    let base = domains::base_url(db, api, account).await?;
    let view = |row: link::Model| {
        Ok(Link {
            id: Prefix::Link.format(row.uid),
            program: names.program(row.program_id)?,
            affiliate: names.affiliate(row.affiliate_id)?,
            url: base.as_ref().map(|base| format!("{base}/r/{}", row.code)),
            code: row.code,
            destination: row.destination,
            source_id: row.source_id,
            asset_id: row.asset_id,
            expires_at: row.expires_at.map(convert::time),
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        })
    };
    rows.into_iter().map(view).collect()
}

/// List links
#[utoipa::path(get, path = "/v1/links", tag = "Links",
    params(PageParams,
        ("program" = Option<String>, Query, description = "Only of this program"),
        ("affiliate" = Option<String>, Query, description = "Only of this affiliate"),
        ("code" = Option<String>, Query, description = "Only the link of this code")),
    responses((status = 200, body = Page<Link>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Link>>, ApiError> {
    let of = lookup::filters(api.store.reader(), caller.account, &mut query.fields).await?;
    let mut find = of_account(caller.account);
    if let Given::Is(code) = query.fields.given("code", Input::text) {
        find = find.filter(link::Column::Code.eq(code));
    }
    if let Some(program) = of.program {
        find = find.filter(link::Column::ProgramId.eq(program));
    }
    if let Some(affiliate) = of.affiliate {
        find = find.filter(link::Column::AffiliateId.eq(affiliate));
    }
    page(&api, &caller, query, find).await
}

/// List an affiliate's links
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}/links", tag = "Links", params(PageParams),
    responses((status = 200, body = Page<Link>)))]
async fn list_of_affiliate(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
    query: Query,
) -> Result<Json<Page<Link>>, ApiError> {
    let affiliate = lookup::affiliate(api.store.reader(), caller.account, &slug).await?;
    let find = of_account(caller.account).filter(link::Column::AffiliateId.eq(affiliate.id));
    page(&api, &caller, query, find).await
}

async fn page(
    api: &Api,
    caller: &Caller,
    mut query: Query,
    find: Select<link::Entity>,
) -> Result<Json<Page<Link>>, ApiError> {
    let page = query.page::<i64>();
    query.finish()?;
    let db = api.store.reader();
    let mut rows = page.of(find, link::Column::Id).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok(Json(Page { data: views(db, api, caller.account, rows).await?, next_cursor }))
}

/// Create a link
#[utoipa::path(post, path = "/v1/links", tag = "Links", request_body = LinkInput,
    responses((status = 201, body = Link)))]
async fn create(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    create_for(&api, request, None).await
}

/// Create a link of an affiliate
#[utoipa::path(post, path = "/v1/affiliates/{affiliate}/links", tag = "Links",
    request_body = AffiliateLinkInput, responses((status = 201, body = Link)))]
async fn create_of_affiliate(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    // Before the body is looked at: an affiliate that is not there is no matter of a field.
    lookup::affiliate(api.store.reader(), request.caller.account, &slug).await?;
    create_for(&api, request, Some(&slug)).await
}

/// What may change in a link.
struct Settings {
    destination: Option<String>,
    source_id: Option<String>,
    asset_id: Option<String>,
    expires_at: Option<crate::domain::time::Timestamp>,
}

impl Settings {
    fn read(fields: &mut Fields, old: Option<&link::Model>) -> Self {
        let text = |read: fn(&link::Model) -> &Option<String>| old.and_then(|old| read(old).clone());
        Self {
            // Whether http will do is the program's to say; see `check`.
            destination: fields.optional(
                "destination",
                text(|old| &old.destination),
                values::destination(true),
            ),
            source_id: fields.optional("source_id", text(|old| &old.source_id), values::text(MAX_ID)),
            asset_id: fields.optional("asset_id", text(|old| &old.asset_id), values::text(MAX_ID)),
            expires_at: fields.optional(
                "expires_at",
                old.and_then(|old| old.expires_at).map(crate::domain::time::Timestamp),
                values::time,
            ),
        }
    }

    fn check(&self, program: &crate::store::entities::program::Model) -> Result<(), ApiError> {
        let (settings, _) = programs::settings_of(program)?;
        match &self.destination {
            None => Ok(()),
            Some(destination) => check_destination(destination, settings.allow_http)
                .map_err(|error| ApiError::field("destination", error)),
        }
    }
}

async fn create_for(
    api: &Api,
    request: ChangeRequest,
    affiliate: Option<&str>,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let named = Named::read(&mut fields, affiliate);
    let code = fields.optional("code", None, values::code);
    let settings = Settings::read(&mut fields, None);
    fields.finish()?;
    let change = begin!(request, *api);
    let (program, affiliate) = named.find(&change.tx, change.account).await?;
    settings.check(&program)?;
    let put = PutLink {
        id: LinkId(sequences::next(&change.tx, Sequence::Link).await?),
        uid: Uuid::now_v7(),
        program: ProgramId(program.id),
        affiliate: AffiliateId(affiliate.id),
        code: code.unwrap_or_else(|| values::random_suffix(10)),
        destination: settings.destination,
        source_id: settings.source_id,
        asset_id: settings.asset_id,
        expires_at: settings.expires_at,
    };
    put_link(api, change, put, StatusCode::CREATED).await
}

async fn put_link(api: &Api, change: Change, put: PutLink, status: StatusCode) -> Result<Response, ApiError> {
    let id = put.id;
    change.apply(&Command::PutLink(Box::new(put))).await?;
    let row = link::Entity::find_by_id(id.0).one(&change.tx).await?;
    let row = row.ok_or(ApiError::NotFound("link"))?;
    let view = views(&change.tx, api, change.account, vec![row]).await?.pop();
    change.answer(status, &view).await
}

async fn find(db: &impl ConnectionTrait, account: AccountId, id: &str) -> Result<link::Model, ApiError> {
    let uid = lookup::id(Prefix::Link, "link", id)?;
    let row = of_account(account).filter(link::Column::Uid.eq(uid)).one(db).await?;
    row.ok_or(ApiError::NotFound("link"))
}

/// Read a link
#[utoipa::path(get, path = "/v1/links/{link}", tag = "Links", responses((status = 200, body = Link)))]
async fn read(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Result<Json<Link>, ApiError> {
    let db = api.store.reader();
    let row = find(db, caller.account, &id).await?;
    views(db, &api, caller.account, vec![row]).await?.pop().map(Json).ok_or(ApiError::NotFound("link"))
}

/// Change a link
///
/// What is not given stays; null clears. Code, program and affiliate are for life.
#[utoipa::path(patch, path = "/v1/links/{link}", tag = "Links", request_body = LinkInput,
    responses((status = 200, body = Link)))]
async fn update(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    let refs =
        Refs { programs: [row.program_id].into(), affiliates: [row.affiliate_id].into(), ..Refs::default() };
    let names = Names::load(&change.tx, change.account, refs).await?;
    let program = names.program(row.program_id)?;
    let mut fields = request.fields()?;
    fields.unchanging("program", &program);
    fields.unchanging("affiliate", &names.affiliate(row.affiliate_id)?);
    fields.unchanging("code", &row.code);
    let settings = Settings::read(&mut fields, Some(&row));
    fields.finish()?;
    settings.check(&lookup::program(&change.tx, change.account, &program).await?)?;
    let put = PutLink {
        id: LinkId(row.id),
        uid: row.uid,
        program: ProgramId(row.program_id),
        affiliate: AffiliateId(row.affiliate_id),
        code: row.code,
        destination: settings.destination,
        source_id: settings.source_id,
        asset_id: settings.asset_id,
        expires_at: settings.expires_at,
    };
    put_link(&api, change, put, StatusCode::OK).await
}

/// Delete a link
///
/// It stops redirecting at once. Its code is not given out again.
#[utoipa::path(delete, path = "/v1/links/{link}", tag = "Links", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    change.apply(&Command::DeleteLink { link: LinkId(row.id) }).await?;
    change.done().await
}
