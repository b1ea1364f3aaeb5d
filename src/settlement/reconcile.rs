//! Proves from the store alone that nothing was lost between an edge and the ledger.
//!
//! For every stream of every boot of every edge: the events that were seen are exactly those that ended in an
//! outcome; the rows that the outcomes speak of are there; numbers that are missing among those seen are listed. A
//! gap is an event under way or lost. After a stop in good order an edge's last event is a marker; without one its
//! tail cannot be known.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    domain::reason::Outcome,
    store::entities::{click, click_rollup, conversion, refund, rejected_event, seen_range, stream_outcome},
    store::streams::StreamKey,
};

/// One stream as the store knows it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamReport {
    pub edge: String,
    pub boot: Uuid,
    pub stream: String,
    /// Events seen.
    pub seen: i64,
    /// The highest number seen.
    pub last: i64,
    /// Events by outcome.
    pub outcomes: BTreeMap<String, i64>,
    /// Numbers not seen below the highest, as ranges, both ends included.
    pub gaps: Vec<(i64, i64)>,
    /// The edge stopped in good order: there is nothing after `last`.
    pub ended: bool,
}

impl StreamReport {
    /// How many numbers the gaps hold.
    pub fn missing(&self) -> i64 {
        self.gaps.iter().map(|(first, last)| last - first + 1).sum()
    }
}

/// The whole picture.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reconciliation {
    pub streams: Vec<StreamReport>,
    /// Sentences, one for each sum that does not add up.
    pub differences: Vec<String>,
}

/// Reads the store and adds up.
pub async fn reconcile(db: &impl ConnectionTrait) -> Result<Reconciliation, DbErr> {
    let mut streams: BTreeMap<StreamKey, StreamReport> = BTreeMap::new();
    read_ranges(db, &mut streams).await?;
    read_outcomes(db, &mut streams).await?;
    let mut differences = Vec::new();
    for report in streams.values() {
        let ended: i64 = report.outcomes.values().sum();
        if ended != report.seen {
            differences.push(format!(
                "edge {}, boot {}, {}: {} events were seen, {ended} have an outcome",
                report.edge, report.boot, report.stream, report.seen
            ));
        }
    }
    let mut totals: BTreeMap<&str, i64> = BTreeMap::new();
    for report in streams.values() {
        for (outcome, events) in &report.outcomes {
            *totals.entry(outcome).or_default() += events;
        }
    }
    let total = |outcome: Outcome| totals.get(outcome.as_str()).copied().unwrap_or(0);
    for outcome in [Outcome::Settled, Outcome::Pending, Outcome::Held] {
        let rows = waiting_or_settled(db, outcome.as_str()).await?;
        compare(outcome.as_str(), total(outcome), "conversions and refunds", rows, &mut differences);
    }
    let rejected = rejected_event::Entity::find()
        .filter(rejected_event::Column::RetriedAt.is_null())
        .filter(rejected_event::Column::Edge.is_not_null())
        .count(db)
        .await?;
    compare("rejected", total(Outcome::Rejected), "rejected events", signed(rejected), &mut differences);
    let counted = counted_clicks(db).await?;
    compare("stored", total(Outcome::Stored), "clicks counted per day", counted, &mut differences);
    let clicks = signed(click::Entity::find().count(db).await?);
    if clicks > counted {
        differences.push(format!("{clicks} clicks are stored, only {counted} are counted per day"));
    }
    Ok(Reconciliation { streams: streams.into_values().collect(), differences })
}

fn compare(outcome: &str, events: i64, what: &str, rows: i64, differences: &mut Vec<String>) {
    if events != rows {
        differences.push(format!("{events} events ended as {outcome}, the store has {rows} {what}"));
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn read_ranges(
    db: &impl ConnectionTrait,
    streams: &mut BTreeMap<StreamKey, StreamReport>,
) -> Result<(), DbErr> {
    for row in seen_range::Entity::find().order_by_asc(seen_range::Column::First).all(db).await? {
        let report = report_of(streams, &row.edge, row.boot, &row.stream);
        if row.first > report.last + 1 {
            report.gaps.push((report.last + 1, row.first - 1));
        }
        report.seen += row.last - row.first + 1;
        report.last = row.last;
    }
    Ok(())
}

async fn read_outcomes(
    db: &impl ConnectionTrait,
    streams: &mut BTreeMap<StreamKey, StreamReport>,
) -> Result<(), DbErr> {
    for row in stream_outcome::Entity::find().all(db).await? {
        let report = report_of(streams, &row.edge, row.boot, &row.stream);
        if row.events != 0 {
            report.ended |= row.outcome == Outcome::Marker.as_str();
            report.outcomes.insert(row.outcome, row.events);
        }
    }
    Ok(())
}

fn report_of<'a>(
    streams: &'a mut BTreeMap<StreamKey, StreamReport>,
    edge: &str,
    boot: Uuid,
    stream: &str,
) -> &'a mut StreamReport {
    let key = StreamKey { edge: edge.to_owned(), boot, stream: stream.to_owned() };
    streams.entry(key).or_insert_with(|| StreamReport {
        edge: edge.to_owned(),
        boot,
        stream: stream.to_owned(),
        ..StreamReport::default()
    })
}

/// Conversions and refunds of one status that came through an edge.
async fn waiting_or_settled(db: &impl ConnectionTrait, status: &str) -> Result<i64, DbErr> {
    let conversions = conversion::Entity::find()
        .filter(conversion::Column::Status.eq(status))
        .filter(conversion::Column::Edge.is_not_null())
        .count(db)
        .await?;
    let refunds = refund::Entity::find()
        .filter(refund::Column::Status.eq(status))
        .filter(refund::Column::Edge.is_not_null())
        .count(db)
        .await?;
    Ok(signed(conversions + refunds))
}

async fn counted_clicks(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    #[derive(FromQueryResult)]
    struct Sum {
        clicks: Option<i64>,
    }
    let sum = click_rollup::Entity::find()
        .select_only()
        .column_as(Expr::col(click_rollup::Column::Clicks).sum().cast_as("bigint"), "clicks")
        .into_model::<Sum>()
        .one(db)
        .await?;
    Ok(sum.and_then(|sum| sum.clicks).unwrap_or(0))
}
