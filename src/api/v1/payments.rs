//! Payments: money that a merchant has sent, recorded.

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
    ledger::Command,
};

const KIND: PaymentKind = PaymentKind::Payment;
const STATUSES: &[PaymentStatus] = &[PaymentStatus::Recorded, PaymentStatus::Cancelled];

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(read)).routes(routes!(cancel))
}

/// A payment to record.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"affiliate": "jane", "amount": "14.97", "currency": "USD", "comment": "March, by bank"}))]
pub struct PaymentInput {
    /// It may be suspended or deleted: what was sent was sent.
    pub affiliate: String,
    /// Above 0 and exact in the currency. It may be more than the balance, which then goes below 0.
    pub amount: String,
    pub currency: String,
    /// It stays in the journal: name no person in it.
    #[schema(max_length = 500)]
    pub comment: Option<String>,
}

/// Money that was sent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Payment {
    #[schema(example = "pay_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    #[schema(example = "jane")]
    pub affiliate: String,
    #[schema(example = "14.97")]
    pub amount: String,
    #[schema(example = "USD")]
    pub currency: String,
    /// `recorded` or `cancelled`.
    #[schema(example = "recorded")]
    pub status: String,
    #[schema(example = "March, by bank")]
    pub comment: Option<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

impl From<Shown> for Payment {
    fn from(shown: Shown) -> Self {
        let Shown { id, affiliate, amount, currency, status, comment, created_at, updated_at } = shown;
        Self { id, affiliate, amount, currency, status, comment, created_at, updated_at }
    }
}

/// List payments
///
/// `from` and `to` are of the time when they were recorded.
#[utoipa::path(get, path = "/v1/payments", tag = "Payments",
    params(PageParams, RangeParams,
        ("affiliate" = Option<String>, Query, description = "Only to this affiliate"),
        ("status" = Option<String>, Query, description = "Only of this status"),
        ("currency" = Option<String>, Query, description = "Only in this currency")),
    responses((status = 200, body = Page<Payment>)))]
async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Result<Json<Page<Payment>>, ApiError> {
    sent::list(&api, &caller, KIND, STATUSES, query).await.map(Json)
}

/// Record a payment
///
/// Whatever the balance is: it may go below 0. Which commissions are paid follows from all that was sent: the final
/// ones in the order of their making, each whole.
#[utoipa::path(post, path = "/v1/payments", tag = "Payments", request_body = PaymentInput,
    responses((status = 201, body = Payment)))]
async fn create(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    let asked = Asked::read(request.fields()?)?;
    let change = begin!(request, api);
    let pay = asked.pay(&change).await?;
    let id = pay.id;
    change.apply(&Command::RecordPayment(Box::new(pay))).await?;
    let view: Payment = sent::read_again(&change, KIND, id).await?;
    change.answer(StatusCode::CREATED, &view).await
}

/// Read a payment
#[utoipa::path(get, path = "/v1/payments/{payment}", tag = "Payments", responses((status = 200, body = Payment)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Payment>, ApiError> {
    sent::read(api.store.reader(), caller.account, KIND, &id).await.map(Json)
}

/// Cancel a payment
///
/// As if it had not been sent: the balance is what it was, and commissions that it paid are open again.
#[utoipa::path(post, path = "/v1/payments/{payment}/cancel", tag = "Payments",
    responses((status = 200, body = Payment)))]
async fn cancel(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let payment = sent::find(&change.tx, change.account, KIND, &id).await?.id;
    request.fields()?.finish()?;
    change.apply(&Command::CancelPayment { payment }).await?;
    let view: Payment = sent::read_again(&change, KIND, payment).await?;
    change.answer(StatusCode::OK, &view).await
}
