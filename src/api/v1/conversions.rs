//! Conversions: leads, appointments and sales that were taken, wait, or are held.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Select, StreamTrait};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    commissions::{self, Commission},
    convert,
    lookup::{self, Names, Refs},
    range::{self, RangeParams},
    refunds::{self, Refund},
    report::{self, Outcome},
};
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
    domain::{
        ids::{AccountId, Prefix},
        reason::ConversionKind,
    },
    ledger::{Command, RulesOf},
    store::entities::{conversion, customer},
};

const HELD: &str = "held";
const DELETED: &str = "deleted";
const STATUSES: &[(&str, &str)] = &[
    ("settled", "settled"),
    ("pending", "pending"),
    (HELD, HELD),
    ("declined", "declined"),
    ("replaced", "replaced"),
    ("rejected", "rejected"),
    (DELETED, DELETED),
];
const KINDS: &[(&str, ConversionKind)] = &[
    ("lead", ConversionKind::Lead),
    ("appointment", ConversionKind::Appointment),
    ("conversion", ConversionKind::Conversion),
    ("purchase", ConversionKind::Conversion),
];

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(read, edit, delete))
        .routes(routes!(recalculate))
        .routes(routes!(list_held))
        .routes(routes!(read_held))
        .routes(routes!(accept))
        .routes(routes!(refuse))
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Conversion {
    #[schema(example = "cnv_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    /// `settled`, `pending`, `held`, `declined`, `replaced` (by the authenticated one), `rejected` (it waited in vain)
    /// or `deleted`.
    #[schema(example = "settled")]
    pub status: String,
    /// `lead`, `appointment` or `conversion`.
    #[schema(example = "conversion")]
    pub kind: String,
    /// Null while nobody knows.
    #[schema(example = "summer")]
    pub program: Option<String>,
    #[schema(example = "jane")]
    pub affiliate: Option<String>,
    pub link: Option<String>,
    pub click: Option<String>,
    /// The buyer (`cus_`), and the id under which the merchant knows them.
    pub customer: Option<String>,
    pub customer_id: Option<String>,
    #[schema(example = "order-1001")]
    pub external_id: Option<String>,
    /// Null while it waits.
    #[schema(example = "49.90")]
    pub amount: Option<String>,
    #[schema(example = "0.00")]
    pub refunded: Option<String>,
    #[schema(example = "USD")]
    pub currency: Option<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub occurred_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub received_at: String,
    pub settled_at: Option<String>,
    /// What a pending one waits for, and until when.
    pub waits_for: Option<String>,
    pub waits_until: Option<String>,
    /// The input that attributed it.
    #[schema(example = "click_id")]
    pub resolved_by: Option<String>,
    /// Inputs that were passed over, and what was changed on the way in.
    #[schema(value_type = Vec<String>)]
    pub warnings: Value,
    /// Whether its click sent it to review.
    pub review: bool,
    /// What the sender said.
    #[schema(value_type = Object)]
    pub reported: Value,
}

/// A conversion with what came of it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConversionDetail {
    #[serde(flatten)]
    pub conversion: Conversion,
    pub commissions: Vec<Commission>,
    pub refunds: Vec<Refund>,
}

fn of_account(account: AccountId) -> Select<conversion::Entity> {
    conversion::Entity::find().filter(conversion::Column::AccountId.eq(account.0))
}

async fn views(
    db: &impl ConnectionTrait,
    account: AccountId,
    rows: Vec<conversion::Model>,
) -> Result<Vec<Conversion>, ApiError> {
    let refs = Refs {
        programs: rows.iter().filter_map(|row| row.program_id).collect(),
        affiliates: rows.iter().filter_map(|row| row.affiliate_id).collect(),
        links: rows.iter().filter_map(|row| row.link_id).collect(),
    };
    let names = Names::load(db, account, refs).await?;
    let customers: Vec<Uuid> = rows.iter().filter_map(|row| row.customer_id).collect();
    let customers = if customers.is_empty() {
        Vec::new()
    } else {
        customer::Entity::find()
            .filter(customer::Column::AccountId.eq(account.0))
            .filter(customer::Column::Id.is_in(customers))
            .all(db)
            .await?
    };
    let view = |row: conversion::Model| {
        let customer = customers.iter().find(|customer| Some(customer.id) == row.customer_id);
        let money = |minor: i64| row.currency.as_deref().map(|code| convert::money(minor, code)).transpose();
        Ok(Conversion {
            id: Prefix::Conversion.format(row.id),
            program: row.program_id.map(|id| names.program(id)).transpose()?,
            affiliate: row.affiliate_id.map(|id| names.affiliate(id)).transpose()?,
            link: row.link_id.map(|id| names.link(id)).transpose()?,
            click: row.click_id.map(|id| Prefix::Click.format(id)),
            customer: row.customer_id.map(|id| Prefix::Customer.format(id)),
            customer_id: customer.map(|customer| customer.customer_id.clone()),
            amount: money(row.amount)?,
            refunded: money(row.refunded)?,
            currency: row.currency,
            status: row.status,
            kind: row.kind,
            external_id: row.external_id,
            occurred_at: convert::time(row.occurred_at),
            received_at: convert::time(row.received_at),
            settled_at: row.settled_at.map(convert::time),
            waits_for: row.waits_for,
            waits_until: row.waits_until.map(convert::time),
            resolved_by: row.resolved_by,
            warnings: row.warnings,
            review: row.review,
            reported: report::shown(row.input),
        })
    };
    rows.into_iter().map(view).collect()
}

/// One conversion as it is shown.
pub async fn view(
    db: &impl ConnectionTrait,
    account: AccountId,
    row: conversion::Model,
) -> Result<Conversion, ApiError> {
    views(db, account, vec![row]).await?.pop().ok_or(ApiError::NotFound("conversion"))
}

async fn detail(
    db: &(impl ConnectionTrait + StreamTrait),
    account: AccountId,
    row: conversion::Model,
) -> Result<ConversionDetail, ApiError> {
    let id = row.id;
    let refunds = refunds::of_conversion(db, account, id).await?;
    let commissions = commissions::of_conversion(db, account, id).await?;
    let conversion = view(db, account, row).await?;
    Ok(ConversionDetail { conversion, commissions, refunds })
}

/// One conversion with what came of it.
pub(super) async fn load(
    db: &(impl ConnectionTrait + StreamTrait),
    account: AccountId,
    id: Uuid,
) -> Result<ConversionDetail, ApiError> {
    let row = of_account(account).filter(conversion::Column::Id.eq(id)).one(db).await?;
    detail(db, account, row.ok_or(ApiError::NotFound("conversion"))?).await
}

/// List conversions
///
/// Deleted ones only where `status` asks for them. `from` and `to` are of the time when they happened. The filters
/// `program` and `affiliate` find those that have been attributed.
#[utoipa::path(get, path = "/v1/conversions", tag = "Conversions",
    params(PageParams, RangeParams,
        ("program" = Option<String>, Query, description = "Only of this program"),
        ("affiliate" = Option<String>, Query, description = "Only of this affiliate"),
        ("status" = Option<String>, Query, description = "Only of this status"),
        ("kind" = Option<String>, Query, description = "Only of this kind"),
        ("external_id" = Option<String>, Query, description = "Only of this external id")),
    responses((status = 200, body = Page<Conversion>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Conversion>>, ApiError> {
    let of = lookup::filters(api.store.reader(), caller.account, &mut query.fields).await?;
    let status = query.fields.optional("status", None, values::word(STATUSES));
    let mut find = of_account(caller.account);
    if let Some(program) = of.program {
        find = find.filter(conversion::Column::ProgramId.eq(program));
    }
    if let Some(affiliate) = of.affiliate {
        find = find.filter(conversion::Column::AffiliateId.eq(affiliate));
    }
    find = match status {
        Some(status) => find.filter(conversion::Column::Status.eq(status)),
        None => find.filter(conversion::Column::Status.ne(DELETED)),
    };
    page(&api, &caller, query, find).await
}

/// List held conversions
///
/// They were reported without proof, count nowhere and wait until somebody accepts or refuses them.
#[utoipa::path(get, path = "/v1/held", tag = "Held conversions",
    params(PageParams, RangeParams,
        ("kind" = Option<String>, Query, description = "Only of this kind"),
        ("external_id" = Option<String>, Query, description = "Only of this external id")),
    responses((status = 200, body = Page<Conversion>)))]
async fn list_held(
    State(api): State<Api>,
    caller: Caller,
    query: Query,
) -> Result<Json<Page<Conversion>>, ApiError> {
    let find = of_account(caller.account).filter(conversion::Column::Status.eq(HELD));
    page(&api, &caller, query, find).await
}

async fn page(
    api: &Api,
    caller: &Caller,
    mut query: Query,
    mut find: Select<conversion::Entity>,
) -> Result<Json<Page<Conversion>>, ApiError> {
    if let Given::Is(kind) = query.fields.given("kind", values::word(KINDS)) {
        find = find.filter(conversion::Column::Kind.eq(kind.as_str()));
    }
    if let Given::Is(external_id) = query.fields.given("external_id", Input::text) {
        find = find.filter(conversion::Column::ExternalId.eq(external_id));
    }
    let range = range::read(&mut query.fields);
    let page = query.page::<Uuid>();
    query.finish()?;
    if let Some(from) = range.from {
        find = find.filter(conversion::Column::OccurredAt.gte(from.0));
    }
    if let Some(to) = range.to {
        find = find.filter(conversion::Column::OccurredAt.lt(to.0));
    }
    let db = api.store.reader();
    let mut rows = page.of(find, conversion::Column::Id).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok(Json(Page { data: views(db, caller.account, rows).await?, next_cursor }))
}

async fn find(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: &str,
) -> Result<conversion::Model, ApiError> {
    let id = lookup::id(Prefix::Conversion, "conversion", id)?;
    let row = of_account(account).filter(conversion::Column::Id.eq(id)).one(db).await?;
    row.ok_or(ApiError::NotFound("conversion"))
}

/// Read a conversion
///
/// With its commissions and refunds.
#[utoipa::path(get, path = "/v1/conversions/{conversion}", tag = "Conversions",
    responses((status = 200, body = ConversionDetail)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<ConversionDetail>, ApiError> {
    let db = api.store.snapshot().await?;
    let row = find(&db, caller.account, &id).await?;
    detail(&db, caller.account, row).await.map(Json)
}

/// A conversion's amount to change.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"amount": "59.90"}))]
pub struct ConversionAmountChange {
    /// Major units of the conversion's currency, more than what was refunded.
    #[schema(example = "59.90")]
    pub amount: String,
}

/// Change a conversion's amount
///
/// Its sub amounts scale with it; its commissions stay what they are until it is recalculated.
#[utoipa::path(patch, path = "/v1/conversions/{conversion}", tag = "Conversions",
    request_body = ConversionAmountChange, responses((status = 200, body = ConversionDetail)))]
async fn edit(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    let mut fields = request.fields()?;
    // One that waits has no currency yet, and the ledger says that it cannot be changed.
    let currency = row.currency.as_deref().map(convert::currency).transpose()?;
    let read = |input: &Input| match (values::decimal(input)?, currency) {
        (amount, Some(currency)) => amount.to_minor_exact(currency).map_err(|error| error.to_string()),
        (_, None) => Ok(0),
    };
    let amount = fields.required("amount", None, read);
    fields.finish()?;
    let amount = amount.unwrap_or_default();
    change.apply(&Command::EditConversion { conversion: row.id, amount }).await?;
    answer(change, row.id).await
}

async fn answer(change: Change, id: Uuid) -> Result<Response, ApiError> {
    let detail = load(&change.tx, change.account, id).await?;
    change.answer(StatusCode::OK, &detail).await
}

/// Delete a conversion
///
/// All its commissions are disapproved and lists do not show it. What it claims stays taken: the same external id is a
/// duplicate.
#[utoipa::path(delete, path = "/v1/conversions/{conversion}", tag = "Conversions", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    change.apply(&Command::DeleteConversion { conversion: row.id }).await?;
    change.done().await
}

/// Which rules price a conversion anew.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"rules": "then"}))]
pub struct RecalculationInput {
    /// `then`, those of the time when it happened (the default), or `current`.
    pub rules: Option<String>,
}

const RULES: &[(&str, RulesOf)] = &[("then", RulesOf::Then), ("current", RulesOf::Current)];

/// Recalculate a conversion
///
/// Priced anew at its place in the order, with what came before it as that is now; refunds come off after. Amounts set
/// by hand are discarded.
#[utoipa::path(post, path = "/v1/conversions/{conversion}/recalculate", tag = "Conversions",
    request_body = RecalculationInput, responses((status = 200, body = ConversionDetail)))]
async fn recalculate(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    let mut fields = request.fields()?;
    let rules = fields.or("rules", RulesOf::Then, values::word(RULES));
    fields.finish()?;
    change.apply(&Command::Recalculate { conversion: row.id, rules }).await?;
    answer(change, row.id).await
}

/// Read a held conversion
#[utoipa::path(get, path = "/v1/held/{conversion}", tag = "Held conversions",
    responses((status = 200, body = Conversion)))]
async fn read_held(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Conversion>, ApiError> {
    let db = api.store.reader();
    let row = find(db, caller.account, &id).await?;
    let held = Some(row).filter(|row| row.status == HELD).into_iter().collect();
    views(db, caller.account, held).await?.pop().map(Json).ok_or(ApiError::NotFound("held conversion"))
}

/// Accept a held conversion
///
/// It settles now, by the rules of the time when it happened. Where they refuse it, it stays held, and the answer
/// says why (409).
#[utoipa::path(post, path = "/v1/held/{conversion}/accept", tag = "Held conversions",
    responses((status = 200, body = Outcome)))]
async fn accept(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    request.fields()?.finish()?;
    let effect = api.intake.accept_held(&change.tx, change.account, row.id, change.at).await?;
    let outcome = Outcome::of(&change.tx, effect).await?;
    change.answer(StatusCode::OK, &outcome).await
}

/// Refuse a held conversion
#[utoipa::path(post, path = "/v1/held/{conversion}/refuse", tag = "Held conversions",
    responses((status = 200, body = Outcome)))]
async fn refuse(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    request.fields()?.finish()?;
    let effect = api.intake.decline_held(&change.tx, change.account, row.id, change.at).await?;
    let outcome = Outcome::of(&change.tx, effect).await?;
    change.answer(StatusCode::OK, &outcome).await
}
