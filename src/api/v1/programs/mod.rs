//! Programs.

mod limits;
mod settings;
mod types;
mod versions;
mod view;

use axum::{Json, extract::State, http::StatusCode, response::Response};
pub use limits::LAST_LEVEL;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
pub use settings::ProgramInput;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use versions::Then;
pub use versions::types_of;
pub use view::{Program, settings_of, warnings};

use super::lookup;
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{Change, ChangeRequest, begin},
        error::ApiError,
        page::{Page, PageParams, Query},
        values,
    },
    catalog::Scope,
    domain::{
        ids::{ProgramId, Slug},
        time::Timestamp,
    },
    ledger::{Command, PutProgram},
    store::{
        entities::program,
        pixel_secrets,
        sequences::{self, Sequence},
    },
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(read, replace, update, delete))
        .routes(routes!(versions::list))
        .routes(routes!(read_pixel_secret))
        .routes(routes!(rotate_pixel_secret))
}

/// List programs
#[utoipa::path(get, path = "/v1/programs", tag = "Programs", params(PageParams),
    responses((status = 200, body = Page<Program>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Program>>, ApiError> {
    let page = query.page::<i64>();
    query.finish()?;
    let find = program::Entity::find()
        .filter(program::Column::AccountId.eq(caller.account.0))
        .filter(program::Column::DeletedAt.is_null());
    let mut rows = page.of(find, program::Column::Id).all(api.store.reader()).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    let data = rows.into_iter().map(Program::of).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}

/// Create a program
///
/// `name`, `currency`, `destination` and one commission type suffice.
#[utoipa::path(post, path = "/v1/programs", tag = "Programs", request_body = ProgramInput,
    responses((status = 201, body = Program)))]
async fn create(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let slug = fields.optional("id", None, values::slug);
    let read = settings::read(&mut fields, None);
    let from = fields.optional("effective_from", None, values::past_time(Timestamp::now()));
    fields.finish()?;
    let (settings, currency) = read.ok_or_else(|| ApiError::internal("no settings"))?;
    let change = begin!(request, api);
    let slug = match slug {
        Some(slug) => slug,
        None => free_slug(&change, &settings.name).await?,
    };
    let id = ProgramId(sequences::next(&change.tx, Sequence::Program).await?);
    change.apply(&Command::PutProgram(Box::new(PutProgram { id, slug, currency, settings, from }))).await?;
    pixel_secrets::renew(&change.tx, id, &api.sealing, change.at).await?;
    let view = stored(&change, id).await?;
    change.answer(StatusCode::CREATED, &view).await
}

async fn free_slug(change: &Change, name: &str) -> Result<Slug, ApiError> {
    let base = values::slug_of(name);
    if let Some(slug) = &base {
        let taken = program::Entity::find()
            .filter(program::Column::AccountId.eq(change.account.0))
            .filter(program::Column::Slug.eq(slug.as_str()))
            .one(&change.tx)
            .await?;
        if taken.is_none() {
            return Ok(slug.clone());
        }
    }
    let base = base.as_ref().map_or("program", Slug::as_str);
    format!("{base}-{}", values::random_suffix(8)).parse().map_err(ApiError::internal)
}

async fn stored(change: &Change, id: ProgramId) -> Result<Program, ApiError> {
    let row = program::Entity::find_by_id(id.0).one(&change.tx).await?;
    Program::of(row.ok_or(ApiError::NotFound("program"))?)
}

/// Read a program
#[utoipa::path(get, path = "/v1/programs/{program}", tag = "Programs",
    responses((status = 200, body = Program)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
) -> Result<Json<Program>, ApiError> {
    Program::of(lookup::program(api.store.reader(), caller.account, &slug).await?).map(Json)
}

/// Replace a program
///
/// Settings that are not given return to their defaults.
#[utoipa::path(put, path = "/v1/programs/{program}", tag = "Programs", request_body = ProgramInput,
    responses((status = 200, body = Program)))]
async fn replace(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    put(&api, &slug, request, true).await
}

/// Change a program
///
/// Settings that are not given stay. A new version of the settings is in force from now on, or from `effective_from`
/// until the one that began after it; then settings that are not given are as they were at that time.
#[utoipa::path(patch, path = "/v1/programs/{program}", tag = "Programs", request_body = ProgramInput,
    responses((status = 200, body = Program)))]
async fn update(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    put(&api, &slug, request, false).await
}

async fn put(api: &Api, slug: &str, request: ChangeRequest, whole: bool) -> Result<Response, ApiError> {
    let change = begin!(request, *api);
    let row = lookup::program(&change.tx, change.account, slug).await?;
    let (now, old_currency) = settings_of(&row)?;
    let mut fields = request.fields()?;
    fields.unchanging("id", slug);
    let from = fields.optional("effective_from", None, values::past_time(change.at));
    let then = match from {
        Some(from) => versions::at(&change.tx, &row, from).await?,
        None => Then { settings: now, in_force: true },
    };
    let read = settings::read(&mut fields, (!whole).then_some((&then.settings, old_currency)));
    // Versions that stay in force later would speak of another currency.
    if from.is_some() && read.as_ref().is_some_and(|(_, currency)| *currency != old_currency) {
        fields.wrong("effective_from", "must not be given with another currency");
    }
    fields.finish()?;
    let (settings, currency) = read.ok_or_else(|| ApiError::internal("no settings"))?;
    let id = ProgramId(row.id);
    // A version that says what the one before it says would only lengthen the history.
    if !then.in_force || settings != then.settings || currency != old_currency {
        let slug = row.slug.parse().map_err(ApiError::internal)?;
        let put = PutProgram { id, slug, currency, settings, from };
        change.apply(&Command::PutProgram(Box::new(put))).await?;
    }
    let view = stored(&change, id).await?;
    change.answer(StatusCode::OK, &view).await
}

/// Delete a program
///
/// Its links stop redirecting and attributing; what was earned stays. Its id is not given out again.
#[utoipa::path(delete, path = "/v1/programs/{program}", tag = "Programs", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = lookup::program(&change.tx, change.account, &slug).await?;
    change.apply(&Command::DeleteProgram { program: ProgramId(row.id) }).await?;
    change.done().await
}

/// The key of a program's signed pixels.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PixelSecret {
    #[schema(example = "52 characters")]
    pub pixel_secret: String,
}

/// Read a program's pixel secret
///
/// It signs the pixels of the merchant's pages. The key needs the scope `write`.
#[utoipa::path(get, path = "/v1/programs/{program}/pixel-secret", tag = "Programs",
    responses((status = 200, body = PixelSecret)))]
async fn read_pixel_secret(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
) -> Result<Json<PixelSecret>, ApiError> {
    caller.require(Scope::Write)?;
    let row = lookup::program(api.store.reader(), caller.account, &slug).await?;
    let pixel_secret = pixel_secrets::open(&row, &api.sealing).map_err(|error| ApiError::NotPossible {
        code: "pixel_secret_unreadable",
        message: format!("the pixel secret cannot be read: {error}; rotate it to get a new one"),
    })?;
    Ok(Json(PixelSecret { pixel_secret }))
}

/// Replace a program's pixel secret
///
/// Pixels that were signed with the old one are refused from now on. Read the new one afterwards.
#[utoipa::path(post, path = "/v1/programs/{program}/pixel-secret/rotate", tag = "Programs",
    responses((status = 200, body = Program)))]
async fn rotate_pixel_secret(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = lookup::program(&change.tx, change.account, &slug).await?;
    request.fields()?.finish()?;
    let id = ProgramId(row.id);
    pixel_secrets::renew(&change.tx, id, &api.sealing, change.at).await?;
    // The answer may be kept for an Idempotency-Key, so the secret is not in it.
    let view = stored(&change, id).await?;
    change.answer(StatusCode::OK, &view).await
}
