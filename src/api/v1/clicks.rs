//! Clicks, as settlement stored them.

use axum::{Json, extract::State};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    convert,
    lookup::{self, Names, Refs},
    range::{self, RangeParams},
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        error::ApiError,
        page::{Page, PageParams, Query},
        values,
    },
    domain::{
        ids::{AccountId, Prefix},
        time::Timestamp,
        traffic::TrafficClass,
    },
    store::entities::click,
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read))
}

/// A followed link. The visitor's address is not part of it: it never left the edge.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Click {
    #[schema(example = "clk_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    #[schema(example = "lnk_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub link: String,
    #[schema(example = "summer")]
    pub program: String,
    #[schema(example = "jane")]
    pub affiliate: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub clicked_at: String,
    /// `valid`, `duplicate`, `prefetch`, `datacenter`, `crawler`, `head` or `opted_out`.
    #[schema(example = "valid")]
    pub class: String,
    /// Whether it counts as a visit.
    pub counted: bool,
    /// Whether a conversion may be attributed to it.
    pub attributable: bool,
    /// Whether its conversions go to review.
    pub review: bool,
    /// ISO 3166 alpha-2; null: unknown.
    #[schema(example = "DE")]
    pub country: Option<String>,
    #[schema(example = "desktop")]
    pub device: String,
    pub os: String,
    pub browser: String,
    /// The number of the visitor's network (ASN).
    pub network: Option<i64>,
    /// /24 or /48 of the visitor's address.
    pub ip_prefix: Option<String>,
    pub user_agent: Option<String>,
    pub referrer: Option<String>,
    pub source_id: Option<String>,
    pub asset_id: Option<String>,
    pub tracking_id: Option<String>,
    /// The earlier click of the same visitor.
    pub duplicate_of: Option<String>,
    /// Sub ids, deep link and the like.
    #[schema(value_type = Object)]
    pub details: Value,
}

impl Click {
    fn of(row: click::Model, names: &Names) -> Result<Self, ApiError> {
        Ok(Self {
            id: Prefix::Click.format(row.id),
            link: names.link(row.link_id)?,
            program: names.program(row.program_id)?,
            affiliate: names.affiliate(row.affiliate_id)?,
            clicked_at: convert::time(row.clicked_at),
            counted: TrafficClass::parse(&row.class).is_some_and(TrafficClass::counts),
            class: row.class,
            attributable: row.attributable,
            review: row.review,
            country: row.country,
            device: row.device,
            os: row.os,
            browser: row.browser,
            network: row.network,
            ip_prefix: row.ip_prefix,
            user_agent: row.user_agent,
            referrer: row.referrer,
            source_id: row.source_id,
            asset_id: row.asset_id,
            tracking_id: row.tracking_id,
            duplicate_of: row.duplicate_of.map(|id| Prefix::Click.format(id)),
            details: row.details,
        })
    }
}

async fn views(
    db: &impl ConnectionTrait,
    account: AccountId,
    rows: Vec<click::Model>,
) -> Result<Vec<Click>, ApiError> {
    let refs = Refs {
        programs: rows.iter().map(|row| row.program_id).collect(),
        affiliates: rows.iter().map(|row| row.affiliate_id).collect(),
        links: rows.iter().map(|row| row.link_id).collect(),
    };
    let names = Names::load(db, account, refs).await?;
    rows.into_iter().map(|row| Click::of(row, &names)).collect()
}

/// List clicks
#[utoipa::path(get, path = "/v1/clicks", tag = "Clicks",
    params(PageParams, RangeParams,
        ("program" = Option<String>, Query, description = "Only of this program"),
        ("affiliate" = Option<String>, Query, description = "Only of this affiliate"),
        ("link" = Option<String>, Query, description = "Only of this link"),
        ("class" = Option<String>, Query, description = "Only of this traffic class"),
        ("country" = Option<String>, Query, description = "Only of this country, ISO 3166 alpha-2")),
    responses((status = 200, body = Page<Click>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Click>>, ApiError> {
    let db = api.store.reader();
    let of = lookup::filters(db, caller.account, &mut query.fields).await?;
    let link = lookup::link_filter(db, caller.account, &mut query.fields).await?;
    let class =
        query.fields.optional("class", None, values::one_of(&TrafficClass::ALL, TrafficClass::as_str));
    let country = query.fields.optional("country", None, values::text(2));
    let range = range::read(&mut query.fields);
    let page = query.page::<Uuid>();
    query.finish()?;
    let mut find = click::Entity::find().filter(click::Column::AccountId.eq(caller.account.0));
    if let Some(program) = of.program {
        find = find.filter(click::Column::ProgramId.eq(program));
    }
    if let Some(affiliate) = of.affiliate {
        find = find.filter(click::Column::AffiliateId.eq(affiliate));
    }
    if let Some(link) = link {
        find = find.filter(click::Column::LinkId.eq(link));
    }
    if let Some(class) = class {
        find = find.filter(click::Column::Class.eq(class.as_str()));
    }
    if let Some(country) = country {
        find = find.filter(click::Column::Country.eq(country));
    }
    // By id, which is in the order of time and has an index.
    if let Some(from) = range.from {
        find = find.filter(click::Column::Id.gte(range::first_id(from)));
    }
    if let Some(to) = range.to {
        find = find.filter(click::Column::Id.lt(range::first_id(to)));
    }
    let mut rows = page.of(find, click::Column::Id).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok(Json(Page { data: views(db, caller.account, rows).await?, next_cursor }))
}

/// Read a click
#[utoipa::path(get, path = "/v1/clicks/{click}", tag = "Clicks", responses((status = 200, body = Click)))]
async fn read(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Result<Json<Click>, ApiError> {
    let db = api.store.reader();
    let id = lookup::id(Prefix::Click, "click", &id)?;
    let mut find = click::Entity::find()
        .filter(click::Column::AccountId.eq(caller.account.0))
        .filter(click::Column::Id.eq(id));
    if let Some(at) = Timestamp::of_uuid(id) {
        find = find.filter(click::Column::Day.eq(at.day()));
    }
    let row = find.one(db).await?.ok_or(ApiError::NotFound("click"))?;
    views(db, caller.account, vec![row]).await?.pop().map(Json).ok_or(ApiError::NotFound("click"))
}
