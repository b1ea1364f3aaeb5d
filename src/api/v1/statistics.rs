//! Statistics of clicks, read from the counts of their days and never counted anew.

use axum::{Json, extract::State};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Select};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::lookup::{self, Names, Refs};
use crate::{
    api::{Api, auth::Caller, error::ApiError, page::Query, values},
    domain::{
        ids::AccountId,
        time::{MS_PER_DAY, Timestamp},
        traffic::TrafficClass,
    },
    store::entities::click_rollup,
};

/// Days of a range at most, and by default.
const MAX_DAYS: i32 = 400;
const DEFAULT_DAYS: i32 = 30;
const MAX_GROUPS: u32 = 1000;
const DEFAULT_GROUPS: u32 = 100;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(clicks))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupBy {
    Country,
    Device,
    Class,
    Day,
    Link,
    Program,
    Affiliate,
}

const GROUPS: &[(&str, GroupBy)] = &[
    ("country", GroupBy::Country),
    ("device", GroupBy::Device),
    ("class", GroupBy::Class),
    ("day", GroupBy::Day),
    ("link", GroupBy::Link),
    ("program", GroupBy::Program),
    ("affiliate", GroupBy::Affiliate),
];

impl GroupBy {
    const fn column(self) -> click_rollup::Column {
        match self {
            Self::Country => click_rollup::Column::Country,
            Self::Device => click_rollup::Column::Device,
            Self::Class => click_rollup::Column::Class,
            Self::Day => click_rollup::Column::Day,
            Self::Link => click_rollup::Column::LinkId,
            Self::Program => click_rollup::Column::ProgramId,
            Self::Affiliate => click_rollup::Column::AffiliateId,
        }
    }
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes the parameters; the handler reads them")]
struct ClickStatisticsParams {
    /// `country`, `device`, `class`, `day`, `link`, `program` or `affiliate`.
    #[param(default = "day")]
    group_by: Option<String>,
    /// The first day, in UTC: `2026-01-31`. Default: 29 days before `to`.
    from: Option<String>,
    /// The last day, included. Default: today.
    to: Option<String>,
    /// Only of this program.
    program: Option<String>,
    /// Only of this affiliate.
    affiliate: Option<String>,
    /// Only of this link.
    link: Option<String>,
    /// Only of this traffic class.
    class: Option<String>,
    /// Groups at most. Of more, those with the most clicks are told; `total` counts all.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// How many clicks there were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Every followed link, whoever followed it.
    #[schema(example = 120)]
    pub clicks: i64,
    /// Those that count as visits: not crawlers, repeats, prefetches, hosting networks or HEAD requests.
    #[schema(example = 97)]
    pub counted: i64,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClickGroup {
    /// The country, device, class, day, link, program or affiliate; null: unknown.
    #[schema(example = "DE")]
    pub key: Option<String>,
    #[serde(flatten)]
    pub counts: Counts,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ClickStatistics {
    #[schema(example = "country")]
    pub group_by: String,
    #[schema(example = "2026-01-01")]
    pub from: String,
    #[schema(example = "2026-01-31")]
    pub to: String,
    /// Days in their order, all else by clicks, most first.
    pub data: Vec<ClickGroup>,
    /// Whether there are more groups than `limit`.
    pub cut: bool,
    pub total: Counts,
}

/// Count clicks
///
/// By day, country, device, traffic class, link, program or affiliate, in days of UTC.
#[utoipa::path(get, path = "/v1/statistics/clicks", tag = "Statistics", params(ClickStatisticsParams),
    responses((status = 200, body = ClickStatistics)))]
async fn clicks(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<ClickStatistics>, ApiError> {
    let db = api.store.reader();
    let fields = &mut query.fields;
    let group_by = fields.or("group_by", GroupBy::Day, values::word(GROUPS));
    let to = fields.or("to", Timestamp::now().day(), values::day);
    let from = fields.or("from", to.saturating_sub(DEFAULT_DAYS - 1), values::day);
    if from > to {
        fields.wrong("to", "must not be before from");
    } else if to - from >= MAX_DAYS {
        fields.wrong("from", format!("may be {MAX_DAYS} days before to at most"));
    }
    let class = fields.optional("class", None, values::one_of(&TrafficClass::ALL, TrafficClass::as_str));
    let limit = fields.or("limit", DEFAULT_GROUPS, values::integer(1..=MAX_GROUPS));
    let of = lookup::filters(db, caller.account, fields).await?;
    let link = lookup::link_filter(db, caller.account, fields).await?;
    query.finish()?;
    let mut find = click_rollup::Entity::find()
        .filter(click_rollup::Column::AccountId.eq(caller.account.0))
        .filter(click_rollup::Column::Day.between(from, to));
    for (column, value) in [
        (click_rollup::Column::ProgramId, of.program),
        (click_rollup::Column::AffiliateId, of.affiliate),
        (click_rollup::Column::LinkId, link),
    ] {
        if let Some(value) = value {
            find = find.filter(column.eq(value));
        }
    }
    if let Some(class) = class {
        find = find.filter(click_rollup::Column::Class.eq(class.as_str()));
    }
    let groups = sums(db, find, group_by).await?;
    let total = groups.values().fold(Counts::default(), |sum, one| Counts {
        clicks: sum.clicks + one.clicks,
        counted: sum.counted + one.counted,
    });
    let mut groups: Vec<(Key, Counts)> = groups.into_iter().collect();
    let cut = groups.len() > limit as usize;
    groups.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.clicks));
    groups.truncate(limit as usize);
    if group_by == GroupBy::Day {
        groups.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    let data = named(db, caller.account, group_by, groups).await?;
    let group_by = GROUPS.iter().find(|(_, one)| *one == group_by).map_or("", |(name, _)| name);
    let (from, to) = (day(from), day(to));
    Ok(Json(ClickStatistics { group_by: group_by.to_owned(), from, to, data, cut, total }))
}

/// A group as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i64),
    Text(String),
}

/// Sums by group; what counts as a visit is told by the class, so classes are summed apart first.
async fn sums(
    db: &impl ConnectionTrait,
    find: Select<click_rollup::Entity>,
    group_by: GroupBy,
) -> Result<BTreeMap<Key, Counts>, ApiError> {
    let find = find
        .select_only()
        .column(group_by.column())
        .column_as(click_rollup::Column::Class, "traffic_class")
        // A sum of integers of 64 bits is wider in PostgreSQL.
        .column_as(click_rollup::Column::Clicks.sum().cast_as("bigint"), "clicks")
        .group_by(group_by.column())
        .group_by(click_rollup::Column::Class);
    let rows: Vec<(Key, String, i64)> = match group_by {
        GroupBy::Country | GroupBy::Device | GroupBy::Class => {
            let rows: Vec<(String, String, i64)> = find.into_tuple().all(db).await?;
            rows.into_iter().map(|(key, class, clicks)| (Key::Text(key), class, clicks)).collect()
        }
        GroupBy::Day => {
            let rows: Vec<(i32, String, i64)> = find.into_tuple().all(db).await?;
            rows.into_iter().map(|(key, class, clicks)| (Key::Number(key.into()), class, clicks)).collect()
        }
        GroupBy::Link | GroupBy::Program | GroupBy::Affiliate => {
            let rows: Vec<(i64, String, i64)> = find.into_tuple().all(db).await?;
            rows.into_iter().map(|(key, class, clicks)| (Key::Number(key), class, clicks)).collect()
        }
    };
    let mut sums: BTreeMap<Key, Counts> = BTreeMap::new();
    for (key, class, clicks) in rows {
        let counts = sums.entry(key).or_default();
        counts.clicks += clicks;
        if TrafficClass::parse(&class).is_some_and(TrafficClass::counts) {
            counts.counted += clicks;
        }
    }
    Ok(sums)
}

/// The groups under the names that clients know.
async fn named(
    db: &impl ConnectionTrait,
    account: AccountId,
    group_by: GroupBy,
    groups: Vec<(Key, Counts)>,
) -> Result<Vec<ClickGroup>, ApiError> {
    let numbers = groups.iter().filter_map(|(key, _)| match key {
        Key::Number(number) => Some(*number),
        Key::Text(_) => None,
    });
    let refs = match group_by {
        GroupBy::Link => Refs { links: numbers.collect(), ..Refs::default() },
        GroupBy::Program => Refs { programs: numbers.collect(), ..Refs::default() },
        GroupBy::Affiliate => Refs { affiliates: numbers.collect(), ..Refs::default() },
        GroupBy::Country | GroupBy::Device | GroupBy::Class | GroupBy::Day => Refs::default(),
    };
    let names = Names::load(db, account, refs).await?;
    let name = |key: Key| match (group_by, key) {
        (GroupBy::Link, Key::Number(id)) => names.link(id).map(Some),
        (GroupBy::Program, Key::Number(id)) => names.program(id).map(Some),
        (GroupBy::Affiliate, Key::Number(id)) => names.affiliate(id).map(Some),
        (_, Key::Number(number)) => Ok(Some(day(i32::try_from(number).unwrap_or(0)))),
        (_, Key::Text(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
    };
    groups.into_iter().map(|(key, counts)| Ok(ClickGroup { key: name(key)?, counts })).collect()
}

/// `2026-01-31`.
fn day(day: i32) -> String {
    let mut text = Timestamp(i64::from(day) * MS_PER_DAY).to_string();
    text.truncate(10);
    text
}
