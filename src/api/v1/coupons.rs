//! Coupons: codes that attribute without a click.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Select};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    convert,
    lookup::{self, Names, Refs},
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
        ids::{AccountId, AffiliateId, Prefix, ProgramId},
        time::Timestamp,
    },
    ledger::{Command, PutCoupon},
    store::entities::coupon,
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(read, update, delete))
}

/// A coupon to create or change.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"program": "summer", "affiliate": "jane", "code": "JANE10"}))]
pub struct CouponInput {
    /// It cannot be changed. It may be left out where the affiliate is in one program only.
    pub program: Option<String>,
    /// It cannot be changed. The affiliate must be enrolled in the program, approved or pending.
    pub affiliate: String,
    /// Letters, digits, `-`, `_`, `.`, `~`; case does not matter. Made up where it is missing. It cannot be changed.
    #[schema(max_length = 64)]
    pub code: Option<String>,
    /// Conversions from then on, included (RFC 3339). Default: from ever.
    pub starts_at: Option<String>,
    /// Conversions until then, excluded. Default: for ever.
    pub ends_at: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Coupon {
    #[schema(example = "cpn_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    #[schema(example = "summer")]
    pub program: String,
    #[schema(example = "jane")]
    pub affiliate: String,
    #[schema(example = "JANE10")]
    pub code: String,
    pub starts_at: Option<String>,
    pub ends_at: Option<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

fn of_account(account: AccountId) -> Select<coupon::Entity> {
    coupon::Entity::find()
        .filter(coupon::Column::AccountId.eq(account.0))
        .filter(coupon::Column::DeletedAt.is_null())
}

async fn views(
    db: &impl ConnectionTrait,
    account: AccountId,
    rows: Vec<coupon::Model>,
) -> Result<Vec<Coupon>, ApiError> {
    let refs = Refs {
        programs: rows.iter().map(|row| row.program_id).collect(),
        affiliates: rows.iter().map(|row| row.affiliate_id).collect(),
        ..Refs::default()
    };
    let names = Names::load(db, account, refs).await?;
    let view = |row: coupon::Model| {
        Ok(Coupon {
            id: Prefix::Coupon.format(row.id),
            program: names.program(row.program_id)?,
            affiliate: names.affiliate(row.affiliate_id)?,
            code: row.code,
            starts_at: row.starts_at.map(convert::time),
            ends_at: row.ends_at.map(convert::time),
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        })
    };
    rows.into_iter().map(view).collect()
}

/// List coupons
#[utoipa::path(get, path = "/v1/coupons", tag = "Coupons",
    params(PageParams,
        ("program" = Option<String>, Query, description = "Only of this program"),
        ("affiliate" = Option<String>, Query, description = "Only of this affiliate"),
        ("code" = Option<String>, Query, description = "Only this code, in any case")),
    responses((status = 200, body = Page<Coupon>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Coupon>>, ApiError> {
    let db = api.store.reader();
    let of = lookup::filters(db, caller.account, &mut query.fields).await?;
    let code = query.fields.given("code", Input::text);
    let page = query.page::<Uuid>();
    query.finish()?;
    let mut find = of_account(caller.account);
    if let Given::Is(code) = code {
        find = find.filter(coupon::Column::CodeKey.eq(code.to_ascii_lowercase()));
    }
    if let Some(program) = of.program {
        find = find.filter(coupon::Column::ProgramId.eq(program));
    }
    if let Some(affiliate) = of.affiliate {
        find = find.filter(coupon::Column::AffiliateId.eq(affiliate));
    }
    let mut rows = page.of(find, coupon::Column::Id).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok(Json(Page { data: views(db, caller.account, rows).await?, next_cursor }))
}

/// Reads the dates, which must leave some time between them.
fn dates(fields: &mut Fields, old: Option<&coupon::Model>) -> (Option<Timestamp>, Option<Timestamp>) {
    let starts_at =
        fields.optional("starts_at", old.and_then(|old| old.starts_at).map(Timestamp), values::time);
    let ends_at = fields.optional("ends_at", old.and_then(|old| old.ends_at).map(Timestamp), values::time);
    if let (Some(starts_at), Some(ends_at)) = (starts_at, ends_at)
        && ends_at <= starts_at
    {
        fields.wrong("ends_at", "must be later than starts_at");
    }
    (starts_at, ends_at)
}

/// Create a coupon
#[utoipa::path(post, path = "/v1/coupons", tag = "Coupons", request_body = CouponInput,
    responses((status = 201, body = Coupon)))]
async fn create(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let named = Named::read(&mut fields, None);
    let code = fields.optional("code", None, values::code);
    let (starts_at, ends_at) = dates(&mut fields, None);
    fields.finish()?;
    let change = begin!(request, api);
    let (program, affiliate) = named.find(&change.tx, change.account).await?;
    let put = PutCoupon {
        id: Uuid::now_v7(),
        program: ProgramId(program.id),
        affiliate: AffiliateId(affiliate.id),
        code: code.unwrap_or_else(|| values::random_suffix(10).to_ascii_uppercase()),
        starts_at,
        ends_at,
    };
    put_coupon(change, put, StatusCode::CREATED).await
}

async fn put_coupon(change: Change, put: PutCoupon, status: StatusCode) -> Result<Response, ApiError> {
    let id = put.id;
    change.apply(&Command::PutCoupon(put)).await?;
    let row = coupon::Entity::find_by_id(id).one(&change.tx).await?;
    let row = row.ok_or(ApiError::NotFound("coupon"))?;
    let view = views(&change.tx, change.account, vec![row]).await?.pop();
    change.answer(status, &view).await
}

async fn find(db: &impl ConnectionTrait, account: AccountId, id: &str) -> Result<coupon::Model, ApiError> {
    let id = lookup::id(Prefix::Coupon, "coupon", id)?;
    let row = of_account(account).filter(coupon::Column::Id.eq(id)).one(db).await?;
    row.ok_or(ApiError::NotFound("coupon"))
}

/// Read a coupon
#[utoipa::path(get, path = "/v1/coupons/{coupon}", tag = "Coupons", responses((status = 200, body = Coupon)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Coupon>, ApiError> {
    let db = api.store.reader();
    let row = find(db, caller.account, &id).await?;
    views(db, caller.account, vec![row]).await?.pop().map(Json).ok_or(ApiError::NotFound("coupon"))
}

/// Change a coupon's dates
///
/// What is not given stays; null clears. Code, program and affiliate are for life.
#[utoipa::path(patch, path = "/v1/coupons/{coupon}", tag = "Coupons", request_body = CouponInput,
    responses((status = 200, body = Coupon)))]
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
    let mut fields = request.fields()?;
    fields.unchanging("program", &names.program(row.program_id)?);
    fields.unchanging("affiliate", &names.affiliate(row.affiliate_id)?);
    fields.unchanging("code", &row.code);
    let (starts_at, ends_at) = dates(&mut fields, Some(&row));
    fields.finish()?;
    let put = PutCoupon {
        id: row.id,
        program: ProgramId(row.program_id),
        affiliate: AffiliateId(row.affiliate_id),
        code: row.code,
        starts_at,
        ends_at,
    };
    put_coupon(change, put, StatusCode::OK).await
}

/// Delete a coupon
///
/// It attributes nothing from now on, and its code may be given out again.
#[utoipa::path(delete, path = "/v1/coupons/{coupon}", tag = "Coupons", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    change.apply(&Command::DeleteCoupon { coupon: row.id }).await?;
    change.done().await
}
