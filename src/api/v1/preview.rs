//! A dry run: what a conversion would earn, by the function that settles it, in a transaction that is rolled back.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    commissions::{self, Commission, Explanation, ExplanationStep},
    conversions,
    reports::{self, ConversionInput},
};
use crate::{
    api::{Api, change::ChangeRequest, error::ApiError},
    domain::time::Timestamp,
    events::Body,
    store::accounts,
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(preview))
}

/// What would come of a conversion now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// `settled`; `pending`: it would wait for `waits_for`; `duplicate`: it was taken before, and earned this.
    #[schema(example = "settled")]
    pub outcome: String,
    pub waits_for: Option<String>,
    #[schema(example = "summer")]
    pub program: Option<String>,
    #[schema(example = "jane")]
    pub affiliate: Option<String>,
    #[schema(example = "49.90")]
    pub amount: Option<String>,
    #[schema(example = "USD")]
    pub currency: Option<String>,
    /// The input that would attribute it.
    #[schema(example = "coupon")]
    pub resolved_by: Option<String>,
    #[schema(value_type = Vec<String>)]
    pub warnings: Value,
    pub commissions: Vec<PreviewLine>,
}

/// A commission that would be made, and how it would come about.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PreviewLine {
    #[schema(example = "jane")]
    pub affiliate: String,
    /// `regular` or `level`.
    #[schema(example = "regular")]
    pub kind: String,
    pub number: i32,
    #[schema(example = "standard")]
    pub commission_type: String,
    #[schema(example = "4.99")]
    pub amount: String,
    #[schema(example = "USD")]
    pub currency: String,
    #[schema(example = "49.90")]
    pub sub_amount: String,
    /// The status in which it would start.
    #[schema(example = "pending")]
    pub status: String,
    /// The rule that would stop it.
    pub reason: Option<String>,
    pub steps: Vec<ExplanationStep>,
}

impl PreviewLine {
    fn of(line: Commission, steps: Vec<ExplanationStep>) -> Self {
        Self {
            affiliate: line.affiliate,
            kind: line.kind,
            number: line.number,
            commission_type: line.commission_type,
            amount: line.amount,
            currency: line.currency,
            sub_amount: line.sub_amount,
            status: line.status,
            reason: line.reason,
            steps,
        }
    }
}

/// Preview a conversion's commissions
///
/// Attributed and priced as if it were reported now, and nothing of it is kept. An `Idempotency-Key` says nothing here.
#[utoipa::path(post, path = "/v1/commissions/preview", tag = "Commissions", request_body = ConversionInput,
    responses((status = 200, body = Preview)))]
async fn preview(State(api): State<Api>, request: ChangeRequest) -> Result<Json<Preview>, ApiError> {
    let body = Body::Conversion(Box::new(reports::read_conversion(&request)?));
    let account = request.caller.account;
    let tx = api.store.begin().await?;
    accounts::lock(&tx, [account]).await?;
    let at = Timestamp::now();
    let taken = reports::take(&api, &tx, &reports::event_of(body, None, at), at).await?;
    let detail = conversions::load(&tx, account, taken.id).await?;
    let rows = commissions::rows_of(&tx, account, taken.id).await?;
    let mut lines = Vec::with_capacity(rows.len());
    for (row, line) in rows.iter().zip(detail.commissions) {
        lines.push(PreviewLine::of(line, Explanation::load(&tx, account, row.id).await?.steps));
    }
    tx.rollback().await?;
    let conversion = detail.conversion;
    Ok(Json(Preview {
        outcome: taken.outcome.to_owned(),
        waits_for: conversion.waits_for,
        program: conversion.program,
        affiliate: conversion.affiliate,
        amount: conversion.amount,
        currency: conversion.currency,
        resolved_by: conversion.resolved_by,
        warnings: conversion.warnings,
        commissions: lines,
    }))
}
