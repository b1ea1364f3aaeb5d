//! Proves from the store alone that nothing was lost between an edge and the ledger.
//!
//! For every stream of every boot of every edge: the events that were seen are exactly those that ended in an
//! outcome; the rows that the outcomes speak of are there; numbers that are missing among those seen are listed. A
//! gap is an event under way, or one that was refused with 503 (a number is used once, also when the log does not take
//! its event), or lost. After a stop in good order an edge's last event is a marker; without one its tail cannot be
//! known.
//!
//! Clicks have no stream in their rows: each day's rows are compared with that day's counts, which settlement writes in
//! the same transaction. The counts outlive the rows, so days that were forgotten on purpose are left out.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Asterisk, Expr},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    domain::{calendar::date_of, reason::Outcome},
    store::{
        entities::{click, click_rollup, conversion, refund, rejected_event, seen_range, stream_outcome},
        partitions,
        streams::StreamKey,
    },
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

/// Reads the store and adds up. While others write, hand over a transaction: it sees one state of the store.
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
    let rows = rows(db).await?;
    for (stream, report) in &streams {
        for outcome in [Outcome::Settled, Outcome::Pending, Outcome::Held, Outcome::Rejected] {
            let events = report.outcomes.get(outcome.as_str()).copied().unwrap_or(0);
            let rows = rows.get(&(stream.clone(), outcome.as_str().to_owned())).copied().unwrap_or(0);
            if events != rows {
                differences.push(format!(
                    "edge {}, boot {}, {}: {events} events ended as {outcome}, the store has {rows} rows of them",
                    report.edge, report.boot, report.stream
                ));
            }
        }
    }
    for (stream, outcome) in rows.keys().filter(|(stream, _)| !streams.contains_key(stream)) {
        differences.push(format!(
            "edge {}, boot {}, {}: the store has {outcome} rows of a stream that was never seen",
            stream.edge, stream.boot, stream.stream
        ));
    }
    let of_clicks = streams.values().filter_map(|report| report.outcomes.get(Outcome::Stored.as_str()));
    let stored: i64 = of_clicks.sum();
    let counted = counted_clicks(db).await?;
    let sum: i64 = counted.values().sum();
    if stored != sum {
        differences.push(format!("{stored} clicks were stored, {sum} are counted per day"));
    }
    compare_days(db, &counted, &mut differences).await?;
    Ok(Reconciliation { streams: streams.into_values().collect(), differences })
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

#[derive(FromQueryResult)]
struct RowCount {
    edge: String,
    boot: Uuid,
    stream: String,
    status: String,
    events: i64,
}

/// A conversion that settled and was deleted later.
const DELETED: &str = "deleted";

/// How many conversions, refunds and rejected events of each stream the store has under each status.
async fn rows(db: &impl ConnectionTrait) -> Result<BTreeMap<(StreamKey, String), i64>, DbErr> {
    let waiting_or_settled =
        [Outcome::Settled.as_str(), Outcome::Pending.as_str(), Outcome::Held.as_str(), DELETED];
    let mut counts = conversion::Entity::find()
        .select_only()
        .columns([conversion::Column::Edge, conversion::Column::Boot, conversion::Column::Stream])
        .column(conversion::Column::Status)
        .column_as(Expr::col(Asterisk).count(), "events")
        .filter(conversion::Column::Edge.is_not_null())
        .filter(conversion::Column::Status.is_in(waiting_or_settled))
        .group_by(conversion::Column::Edge)
        .group_by(conversion::Column::Boot)
        .group_by(conversion::Column::Stream)
        .group_by(conversion::Column::Status)
        .into_model::<RowCount>()
        .all(db)
        .await?;
    counts.extend(
        refund::Entity::find()
            .select_only()
            .columns([refund::Column::Edge, refund::Column::Boot, refund::Column::Stream])
            .column(refund::Column::Status)
            .column_as(Expr::col(Asterisk).count(), "events")
            .filter(refund::Column::Edge.is_not_null())
            .filter(refund::Column::Status.is_in(waiting_or_settled))
            .group_by(refund::Column::Edge)
            .group_by(refund::Column::Boot)
            .group_by(refund::Column::Stream)
            .group_by(refund::Column::Status)
            .into_model::<RowCount>()
            .all(db)
            .await?,
    );
    counts.extend(
        rejected_event::Entity::find()
            .select_only()
            .columns([
                rejected_event::Column::Edge,
                rejected_event::Column::Boot,
                rejected_event::Column::Stream,
            ])
            .column_as(Expr::value(Outcome::Rejected.as_str()), "status")
            .column_as(Expr::col(Asterisk).count(), "events")
            .filter(rejected_event::Column::Edge.is_not_null())
            .filter(rejected_event::Column::RetriedAt.is_null())
            .group_by(rejected_event::Column::Edge)
            .group_by(rejected_event::Column::Boot)
            .group_by(rejected_event::Column::Stream)
            .into_model::<RowCount>()
            .all(db)
            .await?,
    );
    let mut rows = BTreeMap::new();
    for row in counts {
        let stream = StreamKey { edge: row.edge, boot: row.boot, stream: row.stream };
        let status = if row.status == DELETED { Outcome::Settled.as_str().to_owned() } else { row.status };
        *rows.entry((stream, status)).or_default() += row.events;
    }
    Ok(rows)
}

#[derive(FromQueryResult)]
struct DayCount {
    day: i32,
    clicks: i64,
}

async fn counted_clicks(db: &impl ConnectionTrait) -> Result<BTreeMap<i32, i64>, DbErr> {
    let days = click_rollup::Entity::find()
        .select_only()
        .column(click_rollup::Column::Day)
        .column_as(Expr::col(click_rollup::Column::Clicks).sum().cast_as("bigint"), "clicks")
        .group_by(click_rollup::Column::Day)
        .into_model::<DayCount>()
        .all(db)
        .await?;
    Ok(days.into_iter().map(|row| (row.day, row.clicks)).collect())
}

/// Compares the rows of every day that is kept with what was counted of it.
async fn compare_days(
    db: &impl ConnectionTrait,
    counted: &BTreeMap<i32, i64>,
    differences: &mut Vec<String>,
) -> Result<(), DbErr> {
    let days = click::Entity::find()
        .select_only()
        .column(click::Column::Day)
        .column_as(Expr::col(Asterisk).count(), "clicks")
        .group_by(click::Column::Day)
        .into_model::<DayCount>()
        .all(db)
        .await?;
    let stored: BTreeMap<i32, i64> = days.into_iter().map(|row| (row.day, row.clicks)).collect();
    let forgotten = partitions::last_forgotten(db).await?;
    let days: BTreeSet<i32> = stored.keys().chain(counted.keys()).copied().collect();
    // A day that was forgotten may have taken clicks again.
    for day in days.into_iter().filter(|day| forgotten.is_none_or(|last| *day > last)) {
        let clicks = stored.get(&day).copied().unwrap_or(0);
        let counted = counted.get(&day).copied().unwrap_or(0);
        if clicks == counted || clicks == 0 && partitions::has_gone(db, day).await? {
            continue;
        }
        let date = date_of(day);
        differences.push(format!("{clicks} clicks are stored of {date}, {counted} are counted"));
    }
    Ok(())
}
