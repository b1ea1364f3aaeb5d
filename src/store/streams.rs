//! What settlement knows of each edge's streams: positions, the numbers it has seen, how many events ended how.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{
    INSERT_ROWS,
    entities::{position, seen_range, stream_outcome},
};
use crate::domain::{reason::Outcome, time::Timestamp};

/// One stream of one boot of one edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    pub edge: String,
    pub boot: Uuid,
    pub stream: String,
}

/// Where a consumer stands; 0 before it ever read.
pub async fn position(db: &impl ConnectionTrait, topic: &str, partition: i32) -> Result<i64, DbErr> {
    Ok(standing(db, topic, partition).await?.0)
}

/// Where consumers stand in each partition of each topic that they have read of.
pub type Positions = BTreeMap<(String, i32), i64>;

pub async fn positions(db: &impl ConnectionTrait) -> Result<Positions, DbErr> {
    let rows = position::Entity::find().all(db).await?;
    Ok(rows.into_iter().map(|row| ((row.topic, row.partition), row.next_offset)).collect())
}

/// As [`position()`], with the fingerprint of the record before it, where one is known.
pub async fn standing(
    db: &impl ConnectionTrait,
    topic: &str,
    partition: i32,
) -> Result<(i64, Option<Vec<u8>>), DbErr> {
    let row = position::Entity::find_by_id((topic.to_owned(), partition)).one(db).await?;
    Ok(row.map_or((0, None), |row| (row.next_offset, row.last)))
}

/// Moves a position from what this consumer believes it to be, with the fingerprint of the record before it; `false`:
/// somebody else owns the partition now.
pub async fn advance(
    tx: &impl ConnectionTrait,
    topic: &str,
    partition: i32,
    from: i64,
    to: i64,
    last: Option<&[u8]>,
) -> Result<bool, DbErr> {
    if from == 0 {
        let row = position::ActiveModel {
            topic: Set(topic.to_owned()),
            partition: Set(partition),
            next_offset: Set(0),
            last: Set(None),
        };
        position::Entity::insert(row)
            .on_conflict_do_nothing_on([position::Column::Topic, position::Column::Partition])
            .exec_without_returning(tx)
            .await?;
    }
    let moved = position::Entity::update_many()
        .col_expr(position::Column::NextOffset, Expr::value(to))
        .col_expr(position::Column::Last, Expr::value(last.map(<[u8]>::to_vec)))
        .filter(position::Column::Topic.eq(topic))
        .filter(position::Column::Partition.eq(partition))
        .filter(position::Column::NextOffset.eq(from))
        .exec(tx)
        .await?;
    Ok(moved.rows_affected == 1)
}

/// How many events ended how: collected while a transaction goes on and written at its end, all at once and in the
/// order of their keys, so that transactions that meet on them never wait in a circle.
#[derive(Clone, Debug, Default)]
#[must_use = "every event has an outcome that is counted: write them"]
pub struct Counts(BTreeMap<(StreamKey, Outcome), i64>);

impl Counts {
    /// Adds to the count of one outcome; below zero takes away.
    pub fn add(&mut self, stream: &StreamKey, outcome: Outcome, events: i64) {
        *self.0.entry((stream.clone(), outcome)).or_default() += events;
    }

    /// One event ended otherwise than it was counted.
    pub fn recount(&mut self, stream: &StreamKey, from: Outcome, to: Outcome) {
        self.add(stream, from, -1);
        self.add(stream, to, 1);
    }

    pub async fn write(self, tx: &impl ConnectionTrait, at: Timestamp) -> Result<(), DbErr> {
        use stream_outcome::Column;
        let changed = self.0.into_iter().filter(|(_, events)| *events != 0);
        let mut rows: Vec<_> = changed
            .map(|((stream, outcome), events)| stream_outcome::ActiveModel {
                edge: Set(stream.edge),
                boot: Set(stream.boot),
                stream: Set(stream.stream),
                outcome: Set(outcome.as_str().to_owned()),
                events: Set(events),
                last_at: Set(at.0),
            })
            .collect();
        let sum =
            Expr::col((stream_outcome::Entity, Column::Events)).add(Expr::col(("excluded", Column::Events)));
        while !rows.is_empty() {
            let chunk = rows.drain(..rows.len().min(INSERT_ROWS));
            stream_outcome::Entity::insert_many(chunk)
                .on_conflict(
                    OnConflict::columns([Column::Edge, Column::Boot, Column::Stream, Column::Outcome])
                        .value(Column::Events, sum.clone())
                        .update_column(Column::LastAt)
                        .to_owned(),
                )
                .exec_without_returning(tx)
                .await?;
        }
        Ok(())
    }
}

/// Numbers of streams, in the order in which they came.
pub type Numbers = BTreeMap<StreamKey, Vec<i64>>;

/// Which of these numbers are new, in the order given; a number that comes twice is new once.
///
/// Takes no lock: another transaction may be noting the same ones. [`see`] finds that out.
pub async fn fresh(
    db: &impl ConnectionTrait,
    numbers: &Numbers,
) -> Result<BTreeMap<StreamKey, Vec<bool>>, DbErr> {
    let known = touching(db, numbers).await?;
    let flags = numbers.iter().map(|(stream, numbers)| {
        let mut ranges = known.get(stream).cloned().unwrap_or_default();
        (stream.clone(), numbers.iter().map(|n| insert(&mut ranges, *n)).collect())
    });
    Ok(flags.collect())
}

/// Notes numbers as seen. `false`: some were seen before, so that what was done with them must not be committed.
///
/// Events of one stream come in several partitions, which several processes read. They take turns here, so this comes
/// last in a transaction.
pub async fn see(tx: &impl ConnectionTrait, numbers: &Numbers) -> Result<bool, DbErr> {
    if numbers.is_empty() {
        return Ok(true);
    }
    super::lock(tx, numbers.keys().map(lock_of).collect()).await?;
    let known = touching(tx, numbers).await?;
    let mut gone = Condition::any();
    let mut changed = Vec::new();
    for (stream, numbers) in numbers {
        let before = known.get(stream).map_or(&[][..], Vec::as_slice);
        let mut ranges = before.to_vec();
        if !numbers.iter().all(|n| insert(&mut ranges, *n)) {
            return Ok(false);
        }
        let firsts: BTreeSet<i64> = ranges.iter().map(|range| range.0).collect();
        let merged = before.iter().map(|range| range.0).filter(|first| !firsts.contains(first));
        gone = gone.add_option(gone_of(stream, merged.collect()));
        let before: BTreeSet<_> = before.iter().copied().collect();
        changed.extend(
            ranges.into_iter().filter(|range| !before.contains(range)).map(|range| row(stream, range)),
        );
    }
    if !gone.is_empty() {
        seen_range::Entity::delete_many().filter(gone).exec(tx).await?;
    }
    write_ranges(tx, changed).await?;
    Ok(true)
}

/// The key of a stream's advisory lock. Streams that share one by chance take turns without need, that is all.
fn lock_of(stream: &StreamKey) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(stream.boot.as_bytes()).update(stream.edge.as_bytes()).update(b"\0");
    let hash = hasher.update(stream.stream.as_bytes()).finalize();
    let mut key = [0; 8];
    key.copy_from_slice(&hash.as_bytes()[..8]);
    i64::from_be_bytes(key)
}

fn is_stream(stream: &StreamKey) -> Condition {
    use seen_range::Column;
    Condition::all()
        .add(Column::Edge.eq(&stream.edge))
        .add(Column::Boot.eq(stream.boot))
        .add(Column::Stream.eq(&stream.stream))
}

fn gone_of(stream: &StreamKey, firsts: Vec<i64>) -> Option<Condition> {
    (!firsts.is_empty()).then(|| is_stream(stream).add(seen_range::Column::First.is_in(firsts)))
}

fn row(stream: &StreamKey, (first, last): (i64, i64)) -> seen_range::ActiveModel {
    seen_range::ActiveModel {
        edge: Set(stream.edge.clone()),
        boot: Set(stream.boot),
        stream: Set(stream.stream.clone()),
        first: Set(first),
        last: Set(last),
    }
}

/// The ranges that hold these numbers, lie between them or touch them.
async fn touching(
    db: &impl ConnectionTrait,
    numbers: &Numbers,
) -> Result<BTreeMap<StreamKey, Vec<(i64, i64)>>, DbErr> {
    use seen_range::Column;
    let mut any = Condition::any();
    for (stream, numbers) in numbers {
        if let (Some(min), Some(max)) = (numbers.iter().min(), numbers.iter().max()) {
            any = any.add(
                is_stream(stream)
                    .add(Column::Last.gte(min.saturating_sub(1)))
                    .add(Column::First.lte(max.saturating_add(1))),
            );
        }
    }
    let mut known: BTreeMap<StreamKey, Vec<(i64, i64)>> = BTreeMap::new();
    if any.is_empty() {
        return Ok(known);
    }
    for row in seen_range::Entity::find().filter(any).order_by_asc(Column::First).all(db).await? {
        let stream = StreamKey { edge: row.edge, boot: row.boot, stream: row.stream };
        known.entry(stream).or_default().push((row.first, row.last));
    }
    Ok(known)
}

async fn write_ranges(
    tx: &impl ConnectionTrait,
    mut changed: Vec<seen_range::ActiveModel>,
) -> Result<(), DbErr> {
    use seen_range::Column;
    while !changed.is_empty() {
        let chunk = changed.drain(..changed.len().min(INSERT_ROWS));
        seen_range::Entity::insert_many(chunk)
            .on_conflict(
                OnConflict::columns([Column::Edge, Column::Boot, Column::Stream, Column::First])
                    .update_column(Column::Last)
                    .to_owned(),
            )
            .exec_without_returning(tx)
            .await?;
    }
    Ok(())
}

/// Puts `n` into sorted ranges that do not touch; `false`: it was there.
fn insert(ranges: &mut Vec<(i64, i64)>, n: i64) -> bool {
    // The first range that ends at or after n - 1: n is in it, extends it, or stands before it.
    let at = ranges.partition_point(|range| range.1 < n.saturating_sub(1));
    match ranges.get(at).copied() {
        Some((first, last)) if first <= n && n <= last => return false,
        Some((first, last)) if last == n - 1 => {
            ranges[at] = (first, n);
            if let Some(&(next, end)) = ranges.get(at + 1)
                && next == n + 1
            {
                ranges[at].1 = end;
                ranges.remove(at + 1);
            }
        }
        Some((first, last)) if first == n + 1 => ranges[at] = (n, last),
        _ => ranges.insert(at, (n, n)),
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::insert;

    proptest! {
        #[test]
        fn ranges_are_the_set_of_numbers(numbers in prop::collection::vec(1_i64..60, 0..80)) {
            let mut ranges = Vec::new();
            let mut set = BTreeSet::new();
            for n in numbers {
                prop_assert_eq!(insert(&mut ranges, n), set.insert(n));
            }
            let covered: Vec<i64> = ranges.iter().flat_map(|(first, last)| *first..=*last).collect();
            prop_assert_eq!(covered, set.into_iter().collect::<Vec<_>>());
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", ranges);
        }
    }
}
