//! The least that a payout may be, for each currency.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{convert, sent};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{ChangeRequest, begin},
        error::ApiError,
        page::{Page, PageParams, Query},
        values,
    },
    domain::{
        amount::{Currency, DecimalText},
        ids::AccountId,
    },
    ledger::Command,
    store::entities::payout_minimum,
};

const WHAT: &str = "payout minimum";

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read, replace, delete))
}

/// The least that a payout may be.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"amount": "25"}))]
pub struct PayoutMinimumInput {
    /// Above 0 and exact in the currency.
    pub amount: String,
    /// It is the path's.
    pub currency: Option<String>,
}

/// The least that a payout may be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PayoutMinimum {
    #[schema(example = "USD")]
    pub currency: String,
    #[schema(example = "25.00")]
    pub amount: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

impl PayoutMinimum {
    fn of(row: payout_minimum::Model) -> Result<Self, ApiError> {
        Ok(Self {
            amount: convert::money(row.amount, &row.currency)?,
            currency: row.currency,
            updated_at: convert::time(row.updated_at),
        })
    }
}

/// The currency of a path.
fn currency(code: &str) -> Result<Currency, ApiError> {
    code.parse().map_err(|_| ApiError::NotFound("currency"))
}

async fn find(
    db: &impl ConnectionTrait,
    account: AccountId,
    currency: Currency,
) -> Result<PayoutMinimum, ApiError> {
    let key = (account.0, currency.code().to_owned());
    let row = payout_minimum::Entity::find_by_id(key).one(db).await?;
    PayoutMinimum::of(row.ok_or(ApiError::NotFound(WHAT))?)
}

/// List payout minimums
///
/// By currency. Where there is none a payout may be of any amount.
#[utoipa::path(get, path = "/v1/payout-minimums", tag = "Payouts", params(PageParams),
    responses((status = 200, body = Page<PayoutMinimum>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<PayoutMinimum>>, ApiError> {
    let page = query.page::<String>();
    query.finish()?;
    let mut find =
        payout_minimum::Entity::find().filter(payout_minimum::Column::AccountId.eq(caller.account.0));
    if let Some(after) = &page.after {
        find = find.filter(payout_minimum::Column::Currency.gt(after.as_str()));
    }
    let find = find.order_by_asc(payout_minimum::Column::Currency).limit(page.fetch());
    let mut rows = find.all(api.store.reader()).await?;
    let next_cursor = page.cut(&mut rows, |row| row.currency.clone());
    let data = rows.into_iter().map(PayoutMinimum::of).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}

/// Read a payout minimum
#[utoipa::path(get, path = "/v1/payout-minimums/{currency}", tag = "Payouts",
    responses((status = 200, body = PayoutMinimum)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(code): Segment,
) -> Result<Json<PayoutMinimum>, ApiError> {
    find(api.store.reader(), caller.account, currency(&code)?).await.map(Json)
}

/// Set a payout minimum
///
/// For payouts from now on.
#[utoipa::path(put, path = "/v1/payout-minimums/{currency}", tag = "Payouts", request_body = PayoutMinimumInput,
    responses((status = 200, body = PayoutMinimum)))]
async fn replace(
    State(api): State<Api>,
    Segment(code): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let currency = currency(&code)?;
    let mut fields = request.fields()?;
    fields.unchanging("currency", currency.code());
    let amount = fields
        .required("amount", None, values::decimal)
        .and_then(|amount| sent::exact(&mut fields, &amount, currency, DecimalText::to_minor_exact));
    fields.finish()?;
    let change = begin!(request, api);
    change.apply(&Command::SetPayoutMinimum { currency, amount }).await?;
    let view = find(&change.tx, change.account, currency).await?;
    change.answer(StatusCode::OK, &view).await
}

/// Remove a payout minimum
#[utoipa::path(delete, path = "/v1/payout-minimums/{currency}", tag = "Payouts", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(code): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let currency = currency(&code)?;
    let change = begin!(request, api);
    change.apply(&Command::SetPayoutMinimum { currency, amount: None }).await?;
    change.done().await
}
