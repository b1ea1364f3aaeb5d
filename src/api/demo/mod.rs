//! The demo shop of `waypost dev`: a checkout page with Waypost's pixel, and how its commission came about.
//!
//! It needs no key, so it shows orders of the demo program alone and exists only where it was asked for. The page
//! loads nothing from elsewhere; its policy allows its own style and script by their hashes and the edge's pixel.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use data_encoding::BASE64;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Api, Segment,
    error::ApiError,
    v1::{
        commissions::{self, Commission, Explanation},
        conversions::{self, Conversion},
    },
};
use crate::{
    domain::ids::{AccountId, Prefix, ProgramId},
    store::entities::conversion,
};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Characters of an external id at most.
const MAX_ORDER: usize = 64;

/// How the page's own orders begin; no other is shown to who has no key.
const ORDER_PREFIX: &str = "demo-";

/// What the demo shop is about.
#[derive(Clone, Debug)]
pub struct DemoPage {
    pub account: AccountId,
    pub program: ProgramId,
    /// The program's slug, which the pixel's path names.
    pub program_slug: String,
    /// Where the edge listens, as browsers reach it: `http://127.0.0.1:8080`.
    pub edge_url: String,
    /// The code of a link that leads here.
    pub link_code: String,
}

/// `/demo` and `/demo/orders/{external_id}`.
pub fn routes(page: &DemoPage) -> Router<Api> {
    let answer = Arc::new(Answer::of(page));
    let shop = move || {
        let answer = Arc::clone(&answer);
        async move { answer.respond() }
    };
    Router::new().route("/demo", get(shop)).route("/demo/orders/{external_id}", get(order))
}

/// The page as it is served.
struct Answer {
    html: String,
    policy: HeaderValue,
}

impl Answer {
    fn of(page: &DemoPage) -> Self {
        let hash = |text: &str| BASE64.encode(&Sha256::digest(text.as_bytes()));
        let edge = page.edge_url.trim_end_matches('/');
        let html = PAGE
            .replace("{{edge}}", &escaped(edge))
            .replace("{{code}}", &escaped(&page.link_code))
            .replace("{{program}}", &escaped(&page.program_slug))
            .replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT);
        // An origin has no character that would end a source expression.
        let origin = url::Url::parse(edge).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src {origin}; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT),
        );
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { html, policy }
    }

    fn respond(&self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        (headers, Html(self.html.clone())).into_response()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What became of an order of the demo shop.
#[derive(Debug, Serialize)]
struct Order {
    conversion: Conversion,
    commissions: Vec<ExplainedCommission>,
}

#[derive(Debug, Serialize)]
struct ExplainedCommission {
    commission: Commission,
    explanation: Explanation,
}

async fn order(State(api): State<Api>, Segment(external_id): Segment) -> Result<Json<Order>, ApiError> {
    let Some(page) = &api.demo else { return Err(ApiError::NoRoute) };
    if external_id.len() > MAX_ORDER || !external_id.starts_with(ORDER_PREFIX) {
        return Err(ApiError::NotFound("order"));
    }
    let db = api.store.snapshot().await?;
    // The newest: what was held or rejected may have been sent again.
    let row = conversion::Entity::find()
        .filter(conversion::Column::AccountId.eq(page.account.0))
        .filter(conversion::Column::ExternalId.eq(external_id))
        .filter(conversion::Column::ProgramId.eq(page.program.0))
        .order_by_desc(conversion::Column::Id)
        .one(&db)
        .await?;
    let row = row.ok_or(ApiError::NotFound("order"))?;
    let mut explained = Vec::new();
    for commission in commissions::of_conversion(&db, page.account, row.id).await? {
        let line = Prefix::Commission.parse(&commission.id).ok_or(ApiError::NotFound("commission"))?;
        let explanation = Explanation::load(&db, page.account, line).await?;
        explained.push(ExplainedCommission { commission, explanation });
    }
    let conversion = conversions::view(&db, page.account, row).await?;
    Ok(Json(Order { conversion, commissions: explained }))
}
