//! Payouts: money that is to be sent, set aside until it was.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    range::RangeParams,
    sent::{self, Asked, Shown},
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{ChangeRequest, begin},
        error::ApiError,
        page::{Page, PageParams, Query},
    },
    domain::reason::{PaymentKind, PaymentStatus},
    ledger::{Command, PayoutEnd},
};

const KIND: PaymentKind = PaymentKind::Payout;
const STATUSES: &[PaymentStatus] =
    &[PaymentStatus::Created, PaymentStatus::Paid, PaymentStatus::Failed, PaymentStatus::Cancelled];

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(read))
        .routes(routes!(paid))
        .routes(routes!(failed))
        .routes(routes!(cancel))
}

/// A payout to create.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"affiliate": "jane", "amount": "4.99", "currency": "USD"}))]
pub struct PayoutInput {
    /// Neither suspended nor deleted.
    pub affiliate: String,
    /// Above 0 and exact in the currency; at least the minimum of the account, at most what is available.
    pub amount: String,
    pub currency: String,
    /// It stays in the journal: name no person in it.
    #[schema(max_length = 500)]
    pub comment: Option<String>,
}

/// Money that is to be sent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Payout {
    #[schema(example = "pyo_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    #[schema(example = "jane")]
    pub affiliate: String,
    #[schema(example = "4.99")]
    pub amount: String,
    #[schema(example = "USD")]
    pub currency: String,
    /// `created`, then `paid`, `failed` or `cancelled`.
    #[schema(example = "created")]
    pub status: String,
    pub comment: Option<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

impl From<Shown> for Payout {
    fn from(shown: Shown) -> Self {
        let Shown { id, affiliate, amount, currency, status, comment, created_at, updated_at } = shown;
        Self { id, affiliate, amount, currency, status, comment, created_at, updated_at }
    }
}

/// List payouts
///
/// `from` and `to` are of the time when they were created.
#[utoipa::path(get, path = "/v1/payouts", tag = "Payouts",
    params(PageParams, RangeParams,
        ("affiliate" = Option<String>, Query, description = "Only to this affiliate"),
        ("status" = Option<String>, Query, description = "Only of this status"),
        ("currency" = Option<String>, Query, description = "Only in this currency")),
    responses((status = 200, body = Page<Payout>)))]
async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Result<Json<Page<Payout>>, ApiError> {
    sent::list(&api, &caller, KIND, STATUSES, query).await.map(Json)
}

/// Create a payout
///
/// Its amount is taken from the balance and reserved. Refused with `exceeds_available`, `below_minimum_payout`,
/// `affiliate_suspended` or `affiliate_deleted`.
#[utoipa::path(post, path = "/v1/payouts", tag = "Payouts", request_body = PayoutInput,
    responses((status = 201, body = Payout)))]
async fn create(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    let asked = Asked::read(request.fields()?)?;
    let change = begin!(request, api);
    let pay = asked.pay(&change).await?;
    let id = pay.id;
    change.apply(&Command::CreatePayout(Box::new(pay))).await?;
    let view: Payout = sent::read_again(&change, KIND, id).await?;
    change.answer(StatusCode::CREATED, &view).await
}

/// Read a payout
#[utoipa::path(get, path = "/v1/payouts/{payout}", tag = "Payouts", responses((status = 200, body = Payout)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Payout>, ApiError> {
    sent::read(api.store.reader(), caller.account, KIND, &id).await.map(Json)
}

/// Mark a payout as paid
///
/// The money was sent.
#[utoipa::path(post, path = "/v1/payouts/{payout}/paid", tag = "Payouts", responses((status = 200, body = Payout)))]
async fn paid(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    end(&api, &id, request, PayoutEnd::Paid).await
}

/// Mark a payout as failed
///
/// The money could not be sent and is back in the balance.
#[utoipa::path(post, path = "/v1/payouts/{payout}/failed", tag = "Payouts",
    responses((status = 200, body = Payout)))]
async fn failed(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    end(&api, &id, request, PayoutEnd::Failed).await
}

/// Cancel a payout
///
/// The money is not to be sent and is back in the balance. What was paid cannot be cancelled.
#[utoipa::path(post, path = "/v1/payouts/{payout}/cancel", tag = "Payouts",
    responses((status = 200, body = Payout)))]
async fn cancel(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    end(&api, &id, request, PayoutEnd::Cancelled).await
}

async fn end(api: &Api, id: &str, request: ChangeRequest, end: PayoutEnd) -> Result<Response, ApiError> {
    let change = begin!(request, *api);
    let payout = sent::find(&change.tx, change.account, KIND, id).await?.id;
    request.fields()?.finish()?;
    change.apply(&Command::EndPayout { payout, end }).await?;
    let view: Payout = sent::read_again(&change, KIND, payout).await?;
    change.answer(StatusCode::OK, &view).await
}
