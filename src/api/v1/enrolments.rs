//! How affiliates stand in programs.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    convert,
    lookup::{self, Names, Refs},
};
use crate::{
    api::{
        Api, Segment, Segments,
        auth::Caller,
        change::{ChangeRequest, begin},
        error::ApiError,
        page::{Page, PageParams, Query},
        values,
    },
    domain::{
        ids::{AffiliateId, ProgramId},
        reason::Standing,
    },
    ledger::Command,
    store::entities::enrolment,
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list_of_program))
        .routes(routes!(list_of_affiliate))
        .routes(routes!(read, put))
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"standing": "approved"}))]
pub struct EnrolmentInput {
    /// `pending`, `approved`, `disapproved` or `suspended`. Default: `approved`.
    pub standing: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Enrolment {
    #[schema(example = "summer")]
    pub program: String,
    #[schema(example = "jane")]
    pub affiliate: String,
    /// `pending`, `approved`, `disapproved` or `suspended`. Only an approved affiliate earns.
    #[schema(example = "approved")]
    pub standing: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

impl Enrolment {
    fn of(row: enrolment::Model, program: String, affiliate: String) -> Self {
        Self {
            program,
            affiliate,
            standing: row.standing,
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        }
    }
}

/// List a program's affiliates
#[utoipa::path(get, path = "/v1/programs/{program}/affiliates", tag = "Enrolments",
    params(PageParams, ("standing" = Option<String>, Query, description = "Only this standing")),
    responses((status = 200, body = Page<Enrolment>)))]
async fn list_of_program(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
    mut query: Query,
) -> Result<Json<Page<Enrolment>>, ApiError> {
    let db = api.store.reader();
    let program = lookup::program(db, caller.account, &slug).await?;
    let page = query.page::<i64>();
    let standing = query.fields.optional("standing", None, values::one_of(Standing::ALL, Standing::as_str));
    query.finish()?;
    let mut find = enrolment::Entity::find()
        .filter(enrolment::Column::AccountId.eq(caller.account.0))
        .filter(enrolment::Column::ProgramId.eq(program.id));
    if let Some(standing) = standing {
        find = find.filter(enrolment::Column::Standing.eq(standing.as_str()));
    }
    let mut rows = page.of(find, enrolment::Column::AffiliateId).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.affiliate_id);
    let affiliates = rows.iter().map(|row| row.affiliate_id).collect();
    let names = Names::load(db, caller.account, Refs { affiliates, ..Refs::default() }).await?;
    let view = |row: enrolment::Model| {
        let affiliate = names.affiliate(row.affiliate_id)?;
        Ok::<_, ApiError>(Enrolment::of(row, program.slug.clone(), affiliate))
    };
    let data = rows.into_iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}

/// List an affiliate's programs
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}/programs", tag = "Enrolments", params(PageParams),
    responses((status = 200, body = Page<Enrolment>)))]
async fn list_of_affiliate(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
    mut query: Query,
) -> Result<Json<Page<Enrolment>>, ApiError> {
    let db = api.store.reader();
    let affiliate = lookup::affiliate(db, caller.account, &slug).await?;
    let page = query.page::<i64>();
    query.finish()?;
    let find = enrolment::Entity::find()
        .filter(enrolment::Column::AccountId.eq(caller.account.0))
        .filter(enrolment::Column::AffiliateId.eq(affiliate.id));
    let mut rows = page.of(find, enrolment::Column::ProgramId).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.program_id);
    let programs = rows.iter().map(|row| row.program_id).collect();
    let names = Names::load(db, caller.account, Refs { programs, ..Refs::default() }).await?;
    let view = |row: enrolment::Model| {
        let program = names.program(row.program_id)?;
        Ok::<_, ApiError>(Enrolment::of(row, program, affiliate.slug.clone()))
    };
    let data = rows.into_iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}

/// Read an affiliate's standing in a program
#[utoipa::path(get, path = "/v1/programs/{program}/affiliates/{affiliate}", tag = "Enrolments",
    responses((status = 200, body = Enrolment)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segments(names): Segments<2>,
) -> Result<Json<Enrolment>, ApiError> {
    let db = api.store.reader();
    let [program, affiliate] = names;
    let program = lookup::program(db, caller.account, &program).await?;
    let affiliate = lookup::affiliate(db, caller.account, &affiliate).await?;
    let row = enrolment::Entity::find_by_id((program.id, affiliate.id)).one(db).await?;
    let row = row.ok_or(ApiError::NotFound("enrolment"))?;
    Ok(Json(Enrolment::of(row, program.slug, affiliate.slug)))
}

/// Enrol an affiliate in a program, or change its standing
///
/// It counts from now on: conversions that happened before keep the standing of their time.
#[utoipa::path(put, path = "/v1/programs/{program}/affiliates/{affiliate}", tag = "Enrolments",
    request_body = EnrolmentInput, responses((status = 200, body = Enrolment)))]
async fn put(
    State(api): State<Api>,
    Segments(names): Segments<2>,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let [program, affiliate] = names;
    let program = lookup::program(&change.tx, change.account, &program).await?;
    let affiliate = lookup::affiliate(&change.tx, change.account, &affiliate).await?;
    let mut fields = request.fields()?;
    let standing = fields.or("standing", Standing::Approved, values::one_of(Standing::ALL, Standing::as_str));
    fields.finish()?;
    let known = enrolment::Entity::find_by_id((program.id, affiliate.id)).one(&change.tx).await?;
    if known.is_none_or(|row| row.standing != standing.as_str()) {
        let (program, affiliate) = (ProgramId(program.id), AffiliateId(affiliate.id));
        change.apply(&Command::SetStanding { program, affiliate, standing }).await?;
    }
    let row = enrolment::Entity::find_by_id((program.id, affiliate.id)).one(&change.tx).await?;
    let row = row.ok_or(ApiError::NotFound("enrolment"))?;
    change.answer(StatusCode::OK, &Enrolment::of(row, program.slug, affiliate.slug)).await
}
