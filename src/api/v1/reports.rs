//! Conversions and refunds that are reported to the API itself: taken in the request's own transaction, so that the
//! answer says what came of them.
//!
//! They are read and known again as on the edge. What the rules reject leaves nothing behind: the answer names the
//! reason, the field where there is one, and why inputs were passed over.

use axum::{extract::State, http::StatusCode, response::Response};
use sea_orm::DatabaseTransaction;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    conversions::{self, ConversionDetail},
    refunds::{self, Refund},
};
use crate::{
    api::{
        Api,
        change::{Change, ChangeRequest, begin},
        error::ApiError,
    },
    catalog::Scope,
    domain::{amount::DecimalText, ids::Prefix, reason::Rejection, time::Timestamp},
    events::{
        self, Body, Channel, Event, Origin, VERSION,
        report::{self, Fields},
    },
    ledger::Effect,
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(report_conversion)).routes(routes!(report_refund))
}

/// A part of a conversion with a commission of its own.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the reader of reports reads it")]
pub struct ConversionPartInput {
    #[schema(example = "29.90")]
    pub sub_amount: String,
    #[schema(max_length = 64)]
    pub commission_type: Option<String>,
    #[schema(max_length = 500)]
    pub comment: Option<String>,
}

/// A lead, an appointment or a sale. At least one input must say whose it is.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the reader of reports reads it")]
#[schema(example = json!({
    "program": "summer", "external_id": "order-1001", "amount": "49.90", "customer_id": "c-1001", "coupon": "JANE10",
}))]
pub struct ConversionInput {
    /// `lead`, `appointment`, `conversion` (the default) or `purchase`, another word for it.
    pub kind: Option<String>,
    /// The program, where the input should not decide it.
    pub program: Option<String>,
    #[schema(max_length = 64)]
    pub program_group: Option<String>,
    /// Your id of it, taken once per program and kind.
    #[schema(max_length = 255)]
    pub external_id: Option<String>,
    /// Major units, as text or number; more digits than the currency has are rounded, and a warning says so.
    #[schema(example = "49.90")]
    pub amount: Option<String>,
    /// Default: the program's.
    #[schema(example = "USD")]
    pub currency: Option<String>,
    #[schema(max_length = 255)]
    pub customer_id: Option<String>,
    #[schema(max_length = 64)]
    pub coupon: Option<String>,
    pub referral_code: Option<String>,
    /// A click token, or the id of a click.
    pub click_id: Option<String>,
    pub asset_id: Option<String>,
    pub source_id: Option<String>,
    pub tracking_id: Option<String>,
    /// Default: the program's.
    #[schema(max_length = 64)]
    pub commission_type: Option<String>,
    /// Several lines instead of one; at most 50.
    pub commissions: Option<Vec<ConversionPartInput>>,
    /// RFC 3339. Default: now. Older than 30 days needs a key with the scope `import`.
    pub occurred_at: Option<String>,
    pub sub1: Option<String>,
    pub sub2: Option<String>,
    pub sub3: Option<String>,
    pub sub4: Option<String>,
    pub sub5: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub meta_data: Option<Map<String, Value>>,
}

/// Money that went back to the buyer. It names its conversion by id, or by program and external id.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the reader of reports reads it")]
#[schema(example = json!({
    "external_id": "refund-7", "program": "summer", "conversion_external_id": "order-1001", "amount": "10.00",
}))]
pub struct RefundInput {
    /// Your id of it, taken once in the account.
    #[schema(max_length = 255)]
    pub external_id: Option<String>,
    pub conversion_id: Option<String>,
    pub program: Option<String>,
    /// Of the conversion that `conversion_external_id` names; a sale unless said otherwise.
    pub kind: Option<String>,
    #[schema(max_length = 255)]
    pub conversion_external_id: Option<String>,
    /// Default: all that is left.
    #[schema(example = "10.00")]
    pub amount: Option<String>,
    /// It must be the conversion's.
    #[schema(example = "USD")]
    pub currency: Option<String>,
    #[schema(max_length = 500)]
    pub reason: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub meta_data: Option<Map<String, Value>>,
}

/// What came of a conversion.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TakenConversion {
    /// `settled`; `pending`, and then `waits_for` says for what; `duplicate`: it is a repeat of this one.
    #[schema(example = "settled")]
    pub outcome: String,
    #[schema(example = "cnv_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    /// With its commissions. Null where the key may not read.
    pub conversion: Option<ConversionDetail>,
}

/// What came of a refund.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TakenRefund {
    /// `settled`; `pending`: its conversion has not come; `duplicate`: it is a repeat of this one.
    #[schema(example = "settled")]
    pub outcome: String,
    #[schema(example = "rfd_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    /// Null where the key may not read.
    pub refund: Option<Refund>,
}

/// Reads a conversion of a body.
pub(super) fn read_conversion(request: &ChangeRequest) -> Result<events::Conversion, ApiError> {
    let mut fields = Fields::of_json(request.report()?, String::new())?;
    let kind = report::kind(&mut fields)?;
    let (account, authority) = (request.caller.account, request.caller.authority());
    Ok(report::conversion(fields, account, kind, Channel::Rest, authority)?)
}

/// The event of a report as the API takes it: its id is as on the edge.
pub(super) fn event_of(body: Body, key: Option<&str>, at: Timestamp) -> Event {
    let id = report::id_of(&body, key.map(|key| (key, 0))).unwrap_or_else(Uuid::now_v7);
    let origin = Origin { edge: "".into(), boot: Uuid::nil(), stream: "".into(), n: 0 };
    Event { v: VERSION, id, origin, received_at: at, body }
}

/// An event that was taken.
pub(super) struct Taken {
    pub outcome: &'static str,
    pub id: Uuid,
    status: StatusCode,
}

/// Lets an event take effect.
///
/// # Errors
/// [`ApiError::Rejected`] where the rules reject it.
pub(super) async fn take(
    api: &Api,
    tx: &DatabaseTransaction,
    event: &Event,
    at: Timestamp,
) -> Result<Taken, ApiError> {
    let effect = api.intake.receive(tx, event, at).await?;
    let outcome = crate::ledger::intake::outcome(&effect).as_str();
    let (id, status) = match effect {
        Effect::Settled { id, .. } => (id, StatusCode::CREATED),
        Effect::Pending { id, .. } | Effect::Held { id } | Effect::Declined { id } => {
            (id, StatusCode::ACCEPTED)
        }
        Effect::Duplicate { of } => (of, StatusCode::OK),
        Effect::Done | Effect::Awarded { .. } => {
            return Err(ApiError::internal("a report came to nothing"));
        }
        Effect::Rejected { reason, detail, passed_over } => {
            let field = match &event.body {
                Body::Conversion(conversion) => field_of_conversion(reason, detail.as_deref(), conversion),
                Body::Refund(refund) => field_of_refund(reason, refund),
                Body::Click(_) | Body::End => None,
            };
            return Err(ApiError::Rejected { reason, detail, field, passed_over });
        }
    };
    Ok(Taken { outcome, id, status })
}

/// Report a conversion
///
/// As `POST /v1/events/conversion` of the edge, but settled before the answer: 201 with its commissions, 202 where it
/// waits, 200 where it is a repeat, 422 where the rules reject it. The key needs the scope `events`.
#[utoipa::path(post, path = "/v1/conversions", tag = "Conversions", request_body = ConversionInput,
    responses((status = 201, description = "It has settled", body = TakenConversion),
        (status = 202, description = "It waits", body = TakenConversion),
        (status = 200, description = "It was taken before", body = TakenConversion)))]
async fn report_conversion(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    let body = Body::Conversion(Box::new(read_conversion(&request)?));
    let change = begin!(request, api);
    let taken = take(&api, &change.tx, &event_of(body, request.key(), change.at), change.at).await?;
    let conversion = match request.caller.may(Scope::Read) {
        true => Some(conversions::load(&change.tx, change.account, taken.id).await?),
        false => None,
    };
    let id = Prefix::Conversion.format(taken.id);
    let answer = TakenConversion { outcome: taken.outcome.to_owned(), id, conversion };
    change.answer(taken.status, &answer).await
}

/// Report a refund
///
/// As `POST /v1/events/refund` of the edge, but applied before the answer. Without an amount it takes all that is left.
/// Before its conversion it waits. The key needs the scope `events`.
#[utoipa::path(post, path = "/v1/refunds", tag = "Refunds", request_body = RefundInput,
    responses((status = 201, description = "It was applied", body = TakenRefund),
        (status = 202, description = "It waits for its conversion", body = TakenRefund),
        (status = 200, description = "It was taken before", body = TakenRefund)))]
async fn report_refund(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    let fields = Fields::of_json(request.report()?, String::new())?;
    let body = Body::Refund(Box::new(report::refund(fields, request.caller.account)?));
    let change: Change = begin!(request, api);
    let taken = take(&api, &change.tx, &event_of(body, request.key(), change.at), change.at).await?;
    let refund = match request.caller.may(Scope::Read) {
        true => Some(refunds::load(&change.tx, change.account, taken.id).await?),
        false => None,
    };
    let id = Prefix::Refund.format(taken.id);
    let answer = TakenRefund { outcome: taken.outcome.to_owned(), id, refund };
    change.answer(taken.status, &answer).await
}

/// The field of a conversion that a rejection is about.
pub(super) fn field_of_conversion(
    reason: Rejection,
    detail: Option<&str>,
    conversion: &events::Conversion,
) -> Option<String> {
    let one = |name: &str| Some(name.to_owned());
    match reason {
        Rejection::ProgramMismatch if conversion.program.is_none() => one("program_group"),
        Rejection::ProgramMismatch | Rejection::UnknownProgram => one("program"),
        Rejection::OccurredInFuture | Rejection::OccurredTooLongAgo => one("occurred_at"),
        Rejection::UnknownCommissionType => {
            let names = |part: &events::CommissionEntry| part.commission_type.as_deref() == detail;
            let part = conversion.commissions.iter().position(names);
            Some(part.map_or("commission_type".to_owned(), |n| format!("commissions[{n}].commission_type")))
        }
        Rejection::UnknownCurrency | Rejection::RefundCurrencyMismatch => one("currency"),
        Rejection::AmountNegative => {
            let part = conversion.commissions.iter().position(|part| is_negative(&part.sub_amount));
            match (&conversion.amount, part) {
                (Some(amount), _) if is_negative(amount) => one("amount"),
                (_, Some(n)) => Some(format!("commissions[{n}].sub_amount")),
                (_, None) => one("amount"),
            }
        }
        Rejection::AmountInvalid | Rejection::AmountTooLarge => match &conversion.amount {
            None if !conversion.commissions.is_empty() => one("commissions"),
            Some(_) | None => one("amount"),
        },
        Rejection::IdempotencyConflict => Some(claimed(conversion.external_id.is_some())),
        Rejection::Unattributed
        | Rejection::AffiliateNotApproved
        | Rejection::AffiliateSuspended
        | Rejection::RefundExceedsConversion
        | Rejection::RefundOfNothing
        | Rejection::ConversionDeleted
        | Rejection::ConversionMissing
        | Rejection::Malformed => None,
    }
}

/// The field of a refund that a rejection is about.
fn field_of_refund(reason: Rejection, refund: &events::Refund) -> Option<String> {
    let name = match reason {
        Rejection::UnknownProgram | Rejection::ProgramMismatch => "program",
        Rejection::AmountInvalid
        | Rejection::AmountNegative
        | Rejection::AmountTooLarge
        | Rejection::RefundExceedsConversion
        | Rejection::RefundOfNothing => "amount",
        Rejection::UnknownCurrency | Rejection::RefundCurrencyMismatch => "currency",
        Rejection::ConversionDeleted | Rejection::ConversionMissing => match &refund.conversion_id {
            Some(_) => "conversion_id",
            None => "conversion_external_id",
        },
        Rejection::IdempotencyConflict => return Some(claimed(refund.external_id.is_some())),
        Rejection::Unattributed
        | Rejection::AffiliateNotApproved
        | Rejection::AffiliateSuspended
        | Rejection::OccurredInFuture
        | Rejection::OccurredTooLongAgo
        | Rejection::UnknownCommissionType
        | Rejection::Malformed => return None,
    };
    Some(name.to_owned())
}

/// What came before with another body.
fn claimed(external_id: bool) -> String {
    if external_id { "external_id" } else { "Idempotency-Key" }.to_owned()
}

fn is_negative(amount: &DecimalText) -> bool {
    amount.as_str().starts_with('-')
}
