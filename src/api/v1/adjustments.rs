//! Adjustments: amounts that somebody gives or takes by hand. They are commissions of a kind of their own.

use axum::{extract::State, http::StatusCode, response::Response};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    commissions::{self, Commission},
    convert, lookup, sent,
};
use crate::{
    api::{
        Api, Segment,
        change::{ChangeRequest, begin},
        error::ApiError,
        fields::{Given, Input},
    },
    domain::{
        amount::DecimalText,
        ids::{AffiliateId, ProgramId},
    },
    ledger::{Adjust, Command},
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(create))
}

/// An amount to give or to take.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"amount": "-2.50", "currency": "USD", "comment": "A sale that was counted twice"}))]
pub struct AdjustmentInput {
    /// The program that it belongs to; it may be left out.
    pub program: Option<String>,
    /// Exact in the currency; below 0 it is taken from the affiliate.
    pub amount: String,
    /// Default: the program's, where one is named.
    pub currency: Option<String>,
    /// Why. It stays in the journal: name no person in it.
    #[schema(max_length = 500)]
    pub comment: String,
}

/// Adjust an affiliate's balance
///
/// It becomes a commission of the kind `adjustment`, approved and final at once. The affiliate may be suspended or
/// deleted.
#[utoipa::path(post, path = "/v1/affiliates/{affiliate}/adjustments", tag = "Commissions",
    request_body = AdjustmentInput, responses((status = 201, body = Commission)))]
async fn create(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let affiliate = lookup::any_affiliate(&change.tx, change.account, &slug).await?;
    let mut fields = request.fields()?;
    let program = match fields.given("program", Input::text) {
        Given::Is(slug) => match lookup::program(&change.tx, change.account, &slug).await {
            Err(ApiError::NotFound(what)) => {
                fields.wrong("program", format!("there is no such {what}"));
                None
            }
            found => Some(found?),
        },
        Given::Absent | Given::Null | Given::Wrong => None,
    };
    let default = program.as_ref().map(|row| convert::currency(&row.currency)).transpose()?;
    let money = sent::money(&mut fields, default, DecimalText::to_minor_signed);
    let comment = fields.required("comment", None, sent::comment);
    fields.finish()?;
    let (Some((amount, currency)), Some(comment)) = (money, comment) else {
        return Err(ApiError::internal("an adjustment without its fields"));
    };
    let id = Uuid::now_v7();
    let adjust = Adjust {
        id,
        affiliate: AffiliateId(affiliate.id),
        program: program.map(|row| ProgramId(row.id)),
        currency,
        amount,
        comment,
    };
    change.apply(&Command::Adjust(Box::new(adjust))).await?;
    let view = commissions::read_again(&change, id).await?;
    change.answer(StatusCode::CREATED, &view).await
}
