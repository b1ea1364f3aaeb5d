//! Commissions: what affiliates earn, how it came about, its review, and whether it was paid.

use std::collections::{BTreeMap, HashMap, btree_map::Entry};

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, Select, StreamTrait};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    convert,
    lookup::{self, Names, Refs},
    range::{self, Range, RangeParams},
    refunds,
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{Change, ChangeRequest, begin},
        error::ApiError,
        page::{Page, PageParams, Query},
        values,
    },
    domain::{
        explanation::Step,
        ids::{AccountId, Prefix},
        reason::{LineKind, LineStatus},
        time::Timestamp,
    },
    ledger::{self, Command, PaidLines},
    store::entities::commission_line,
};

/// Characters of a comment.
const MAX_COMMENT: usize = 500;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(list_of_affiliate))
        .routes(routes!(read, edit))
        .routes(routes!(explain))
        .routes(routes!(approve))
        .routes(routes!(disapprove))
        .routes(routes!(reopen))
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Commission {
    #[schema(example = "com_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    #[schema(example = "cnv_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub conversion: Option<String>,
    /// None: an adjustment of no program.
    #[schema(example = "summer")]
    pub program: Option<String>,
    #[schema(example = "jane")]
    pub affiliate: String,
    /// Place in its conversion, of a bonus among those awarded at once, from 1.
    pub number: i32,
    /// `regular` or `adjustment`.
    #[schema(example = "regular")]
    pub kind: String,
    #[schema(example = "standard")]
    pub commission_type: String,
    /// What it is worth now.
    #[schema(example = "4.99")]
    pub amount: String,
    #[schema(example = "USD")]
    pub currency: String,
    /// The part of the conversion's amount that it is for, in the conversion's currency.
    #[schema(example = "49.90")]
    pub sub_amount: String,
    /// `pending`, `approved` or `disapproved`.
    #[schema(example = "pending")]
    pub status: String,
    /// The rule that stopped it.
    pub reason: Option<String>,
    pub comment: Option<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub occurred_at: String,
    pub approved_at: Option<String>,
    /// From then on it may be withdrawn.
    pub final_at: Option<String>,
    /// Whether it may be withdrawn now.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Whether it was paid: payments and payouts that stand cover the final commissions of the affiliate and currency,
    /// in the order of their making, up to this one. Told of a single commission, of those of a conversion, and in lists
    /// of one affiliate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid: Option<bool>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
}

impl Commission {
    fn of(row: commission_line::Model, paid: Option<bool>, around: &Around) -> Result<Self, ApiError> {
        let Around { names, currencies, now } = around;
        let sub_currency = row.conversion_id.and_then(|id| currencies.get(&id)).unwrap_or(&row.currency);
        let approved = row.status == LineStatus::Approved.as_str();
        Ok(Self {
            id: Prefix::Commission.format(row.id),
            conversion: row.conversion_id.map(|id| Prefix::Conversion.format(id)),
            program: (row.program_id > 0).then(|| names.program(row.program_id)).transpose()?,
            affiliate: names.affiliate(row.affiliate_id)?,
            number: row.number,
            kind: row.kind,
            commission_type: row.commission_type,
            amount: convert::money(row.amount, &row.currency)?,
            sub_amount: convert::money(row.sub_amount, sub_currency)?,
            currency: row.currency.clone(),
            status: row.status,
            reason: row.reason,
            comment: row.comment,
            occurred_at: convert::time(row.occurred_at),
            approved_at: row.approved_at.map(convert::time),
            is_final: approved && row.final_at.is_some_and(|at| at <= now.0),
            final_at: row.final_at.map(convert::time),
            paid,
            created_at: convert::time(row.created_at),
        })
    }
}

/// One step of how a commission came about.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ExplanationStep {
    /// `passed_over`, `attribution`, `window`, `rule`, `calculation`, `warning`, `review`, `refund`, `change` or
    /// `result`.
    #[schema(example = "calculation")]
    pub step: String,
    /// A sentence in plain English.
    #[schema(example = "10 % of 49.90 USD is 4.99 USD.")]
    pub text: String,
    /// The same in figures.
    #[schema(value_type = Object)]
    pub data: Value,
}

impl ExplanationStep {
    fn of(step: Step) -> Result<Self, ApiError> {
        let kind = serde_json::to_value(step.step).map_err(ApiError::internal)?;
        let kind = kind.as_str().unwrap_or_default().to_owned();
        Ok(Self { step: kind, text: step.text, data: step.data })
    }
}

/// How a commission came about, in order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    #[schema(example = "com_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub commission: String,
    pub steps: Vec<ExplanationStep>,
}

impl Explanation {
    /// Tells how a line of the account came about.
    pub async fn load(
        db: &(impl ConnectionTrait + StreamTrait),
        account: AccountId,
        line: Uuid,
    ) -> Result<Self, ApiError> {
        let steps = ledger::explain(db, account, line).await?;
        let steps = steps.into_iter().map(ExplanationStep::of).collect::<Result<_, _>>()?;
        Ok(Self { commission: Prefix::Commission.format(line), steps })
    }
}

fn of_account(account: AccountId) -> Select<commission_line::Entity> {
    commission_line::Entity::find().filter(commission_line::Column::AccountId.eq(account.0))
}

/// Views without `paid`.
async fn views(
    db: &impl ConnectionTrait,
    account: AccountId,
    rows: Vec<commission_line::Model>,
) -> Result<Vec<Commission>, ApiError> {
    let around = Around::load(db, account, &rows).await?;
    rows.into_iter().map(|row| Commission::of(row, None, &around)).collect()
}

/// Views with `paid`, which takes a look at all final lines of each affiliate that has one among them.
async fn views_with_paid(
    db: &(impl ConnectionTrait + StreamTrait),
    account: AccountId,
    rows: Vec<commission_line::Model>,
) -> Result<Vec<Commission>, ApiError> {
    let around = Around::load(db, account, &rows).await?;
    let mut paid: BTreeMap<(i64, String), PaidLines> = BTreeMap::new();
    for row in rows.iter().filter(|row| PaidLines::may_include(row, around.now)) {
        if let Entry::Vacant(unknown) = paid.entry((row.affiliate_id, row.currency.clone())) {
            let lines = PaidLines::load(db, account, row.affiliate_id, &row.currency, around.now).await?;
            unknown.insert(lines);
        }
    }
    let view = |row: commission_line::Model| {
        let lines = paid.get(&(row.affiliate_id, row.currency.clone()));
        let paid = lines.is_some_and(|lines| lines.include(&row));
        Commission::of(row, Some(paid), &around)
    };
    rows.into_iter().map(view).collect()
}

/// What rows are shown with.
struct Around {
    names: Names,
    /// Of their conversions.
    currencies: HashMap<Uuid, String>,
    now: Timestamp,
}

impl Around {
    async fn load(
        db: &impl ConnectionTrait,
        account: AccountId,
        rows: &[commission_line::Model],
    ) -> Result<Self, ApiError> {
        let refs = Refs {
            programs: rows.iter().map(|row| row.program_id).filter(|id| *id > 0).collect(),
            affiliates: rows.iter().map(|row| row.affiliate_id).collect(),
            ..Refs::default()
        };
        let names = Names::load(db, account, refs).await?;
        let conversions = rows.iter().filter_map(|row| row.conversion_id);
        let currencies = refunds::currencies(db, account, conversions).await?;
        Ok(Self { names, currencies, now: Timestamp::now() })
    }
}

/// One that was made or changed just now.
pub async fn read_again(change: &Change, id: Uuid) -> Result<Commission, ApiError> {
    let row = of_account(change.account).filter(commission_line::Column::Id.eq(id)).one(&change.tx).await?;
    let rows = row.into_iter().collect();
    views_with_paid(&change.tx, change.account, rows).await?.pop().ok_or(ApiError::NotFound("commission"))
}

/// The commissions of one conversion, in their order.
pub async fn of_conversion(
    db: &(impl ConnectionTrait + StreamTrait),
    account: AccountId,
    conversion: Uuid,
) -> Result<Vec<Commission>, ApiError> {
    let rows = rows_of(db, account, conversion).await?;
    views_with_paid(db, account, rows).await
}

/// Their rows, in the same order.
pub(super) async fn rows_of(
    db: &impl ConnectionTrait,
    account: AccountId,
    conversion: Uuid,
) -> Result<Vec<commission_line::Model>, ApiError> {
    let find = of_account(account)
        .filter(commission_line::Column::ConversionId.eq(conversion))
        .order_by_asc(commission_line::Column::Number);
    Ok(find.all(db).await?)
}

/// List commissions
///
/// `from` and `to` are of the conversion's time.
#[utoipa::path(get, path = "/v1/commissions", tag = "Commissions",
    params(PageParams, RangeParams,
        ("program" = Option<String>, Query, description = "Only of this program"),
        ("affiliate" = Option<String>, Query, description = "Only of this affiliate"),
        ("conversion" = Option<String>, Query, description = "Only of this conversion"),
        ("kind" = Option<String>, Query, description = "Only of this kind"),
        ("status" = Option<String>, Query, description = "Only of this status")),
    responses((status = 200, body = Page<Commission>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Commission>>, ApiError> {
    let of = lookup::filters(api.store.reader(), caller.account, &mut query.fields).await?;
    let conversion = query.fields.optional("conversion", None, values::id(Prefix::Conversion));
    let mut find = of_account(caller.account);
    if let Some(affiliate) = of.affiliate {
        find = find.filter(commission_line::Column::AffiliateId.eq(affiliate));
    }
    if let Some(program) = of.program {
        find = find.filter(commission_line::Column::ProgramId.eq(program));
    }
    if let Some(conversion) = conversion {
        find = find.filter(commission_line::Column::ConversionId.eq(conversion));
    }
    page(&api, &caller, query, find, of.affiliate.is_some()).await
}

/// List an affiliate's commissions
///
/// `from` and `to` are of the conversion's time.
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}/commissions", tag = "Commissions",
    params(PageParams, RangeParams,
        ("kind" = Option<String>, Query, description = "Only of this kind"),
        ("status" = Option<String>, Query, description = "Only of this status")),
    responses((status = 200, body = Page<Commission>)))]
async fn list_of_affiliate(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
    query: Query,
) -> Result<Json<Page<Commission>>, ApiError> {
    let affiliate = lookup::any_affiliate(api.store.reader(), caller.account, &slug).await?;
    let find = of_account(caller.account).filter(commission_line::Column::AffiliateId.eq(affiliate.id));
    page(&api, &caller, query, find, true).await
}

async fn page(
    api: &Api,
    caller: &Caller,
    mut query: Query,
    mut find: Select<commission_line::Entity>,
    of_one_affiliate: bool,
) -> Result<Json<Page<Commission>>, ApiError> {
    let kind = query.fields.optional("kind", None, values::one_of(LineKind::ALL, LineKind::as_str));
    let status = query.fields.optional("status", None, values::one_of(LineStatus::ALL, LineStatus::as_str));
    let Range { from, to } = range::read(&mut query.fields);
    let page = query.page::<Uuid>();
    query.finish()?;
    if let Some(kind) = kind {
        find = find.filter(commission_line::Column::Kind.eq(kind.as_str()));
    }
    if let Some(status) = status {
        find = find.filter(commission_line::Column::Status.eq(status.as_str()));
    }
    if let Some(from) = from {
        find = find.filter(commission_line::Column::OccurredAt.gte(from.0));
    }
    if let Some(to) = to {
        find = find.filter(commission_line::Column::OccurredAt.lt(to.0));
    }
    let db = api.store.snapshot().await?;
    let mut rows = page.of(find, commission_line::Column::Id).all(&db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    let data = match of_one_affiliate {
        true => views_with_paid(&db, caller.account, rows).await?,
        false => views(&db, caller.account, rows).await?,
    };
    Ok(Json(Page { data, next_cursor }))
}

async fn find(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: &str,
) -> Result<commission_line::Model, ApiError> {
    let id = lookup::id(Prefix::Commission, "commission", id)?;
    let row = of_account(account).filter(commission_line::Column::Id.eq(id)).one(db).await?;
    row.ok_or(ApiError::NotFound("commission"))
}

/// Read a commission
#[utoipa::path(get, path = "/v1/commissions/{commission}", tag = "Commissions",
    responses((status = 200, body = Commission)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Commission>, ApiError> {
    let db = api.store.snapshot().await?;
    let row = find(&db, caller.account, &id).await?;
    let view = views_with_paid(&db, caller.account, vec![row]).await?.pop();
    view.map(Json).ok_or(ApiError::NotFound("commission"))
}

/// Explain a commission
///
/// Which input attributed it and which were passed over, the window, the rule and its version, the calculation
/// before and after rounding, the review, each refund, and what it is worth now.
#[utoipa::path(get, path = "/v1/commissions/{commission}/explain", tag = "Commissions",
    responses((status = 200, body = Explanation)))]
async fn explain(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Explanation>, ApiError> {
    let db = api.store.snapshot().await?;
    let row = find(&db, caller.account, &id).await?;
    Explanation::load(&db, caller.account, row.id).await.map(Json)
}

/// A commission's amount to change.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"amount": "7.50", "comment": "agreed on the phone"}))]
pub struct CommissionAmountChange {
    /// Major units of the commission's currency.
    #[schema(example = "7.50")]
    pub amount: String,
    /// Why; it stays with the change.
    #[schema(max_length = 500)]
    pub comment: Option<String>,
}

/// Change a commission's amount
///
/// The difference is posted, also after a payment. From then on refunds take their part of this amount.
#[utoipa::path(patch, path = "/v1/commissions/{commission}", tag = "Commissions",
    request_body = CommissionAmountChange, responses((status = 200, body = Commission)))]
async fn edit(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    let currency = convert::currency(&row.currency)?;
    let mut fields = request.fields()?;
    let amount = fields.required("amount", None, |input| {
        values::decimal(input)?.to_minor_exact(currency).map_err(|error| error.to_string())
    });
    let comment = fields.optional("comment", None, values::text(MAX_COMMENT));
    fields.finish()?;
    let amount = amount.unwrap_or_default();
    change.apply(&Command::EditLine { line: row.id, amount, comment }).await?;
    answer(change, &id).await
}

/// Approve a commission
///
/// It may be withdrawn once the program's `payout_delay` has passed.
#[utoipa::path(post, path = "/v1/commissions/{commission}/approve", tag = "Commissions",
    responses((status = 200, body = Commission)))]
async fn approve(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    review(&api, &id, request, |line| Command::ApproveLine { line }).await
}

/// Disapprove a commission
///
/// What it added to the balance is taken back.
#[utoipa::path(post, path = "/v1/commissions/{commission}/disapprove", tag = "Commissions",
    responses((status = 200, body = Commission)))]
async fn disapprove(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    review(&api, &id, request, |line| Command::DisapproveLine { line }).await
}

/// Put a commission back to review
///
/// One that was approved or disapproved is pending again.
#[utoipa::path(post, path = "/v1/commissions/{commission}/reopen", tag = "Commissions",
    responses((status = 200, body = Commission)))]
async fn reopen(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    review(&api, &id, request, |line| Command::ReopenLine { line }).await
}

async fn review(
    api: &Api,
    id: &str,
    request: ChangeRequest,
    command: fn(Uuid) -> Command,
) -> Result<Response, ApiError> {
    let change = begin!(request, *api);
    let row = find(&change.tx, change.account, id).await?;
    request.fields()?.finish()?;
    change.apply(&command(row.id)).await?;
    answer(change, id).await
}

async fn answer(change: Change, id: &str) -> Result<Response, ApiError> {
    let row = find(&change.tx, change.account, id).await?;
    let view = read_again(&change, row.id).await?;
    change.answer(StatusCode::OK, &view).await
}
