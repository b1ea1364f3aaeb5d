//! What settlement knows of each edge's streams: positions, the numbers it has seen, how many events ended how.
//!
//! The events of one stream lie in several partitions, so several instances settle them at once and meet on the same
//! rows. They write those rows at the end of their transactions and in one order ([`note`], [`Counts::write`]): nobody
//! waits long, and nobody waits in a circle.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::entities::{position, seen_range, stream_outcome};
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
    let row = position::Entity::find_by_id((topic.to_owned(), partition)).one(db).await?;
    Ok(row.map_or(0, |row| row.next_offset))
}

/// Moves a position from what this consumer believes it to be; `false`: somebody else owns the partition now.
pub async fn advance(
    tx: &impl ConnectionTrait,
    topic: &str,
    partition: i32,
    from: i64,
    to: i64,
) -> Result<bool, DbErr> {
    if from == 0 {
        let row = position::ActiveModel {
            topic: Set(topic.to_owned()),
            partition: Set(partition),
            next_offset: Set(0),
        };
        position::Entity::insert(row)
            .on_conflict_do_nothing_on([position::Column::Topic, position::Column::Partition])
            .exec_without_returning(tx)
            .await?;
    }
    let moved = position::Entity::update_many()
        .col_expr(position::Column::NextOffset, Expr::value(to))
        .filter(position::Column::Topic.eq(topic))
        .filter(position::Column::Partition.eq(partition))
        .filter(position::Column::NextOffset.eq(from))
        .exec(tx)
        .await?;
    Ok(moved.rows_affected == 1)
}

/// What a transaction adds to the outcomes of streams, or takes away.
#[derive(Debug, Default)]
pub struct Counts(BTreeMap<StreamKey, BTreeMap<&'static str, i64>>);

impl Counts {
    pub fn add(&mut self, stream: &StreamKey, outcome: Outcome, events: i64) {
        *self.0.entry(stream.clone()).or_default().entry(outcome.as_str()).or_default() += events;
    }

    /// One event ended otherwise than it was counted.
    pub fn recount(&mut self, stream: &StreamKey, from: Outcome, to: Outcome) {
        self.add(stream, from, -1);
        self.add(stream, to, 1);
    }

    /// Writes them; nothing but the commit should follow.
    pub async fn write(self, tx: &impl ConnectionTrait, at: Timestamp) -> Result<(), DbErr> {
        for (stream, outcomes) in self.0 {
            for (outcome, events) in outcomes.into_iter().filter(|(_, events)| *events != 0) {
                count(tx, &stream, outcome, events, at).await?;
            }
        }
        Ok(())
    }
}

/// Adds to the count of one outcome; below zero takes away.
async fn count(
    tx: &impl ConnectionTrait,
    stream: &StreamKey,
    outcome: &str,
    events: i64,
    at: Timestamp,
) -> Result<(), DbErr> {
    use stream_outcome::Column;
    let row = stream_outcome::ActiveModel {
        edge: Set(stream.edge.clone()),
        boot: Set(stream.boot),
        stream: Set(stream.stream.clone()),
        outcome: Set(outcome.to_owned()),
        events: Set(events),
        last_at: Set(at.0),
    };
    let sum = Expr::col((stream_outcome::Entity, Column::Events)).add(events);
    stream_outcome::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([Column::Edge, Column::Boot, Column::Stream, Column::Outcome])
                .value(Column::Events, sum)
                .update_column(Column::LastAt)
                .to_owned(),
        )
        .exec_without_returning(tx)
        .await?;
    Ok(())
}

/// Which numbers are new, in the order given; of equal ones the first.
pub async fn unseen(
    tx: &impl ConnectionTrait,
    stream: &StreamKey,
    numbers: &[u64],
) -> Result<Vec<bool>, DbErr> {
    let Some((_, mut ranges, numbers)) = around(tx, stream, numbers).await? else { return Ok(Vec::new()) };
    Ok(numbers.into_iter().map(|n| insert(&mut ranges, n)).collect())
}

/// Notes numbers as seen; `false`: one of them was noted meanwhile by somebody else, and nothing is.
///
/// The stream is locked from here to the end of the transaction. Takers of several streams go by their order.
pub async fn note(
    tx: &impl ConnectionTrait,
    stream: &StreamKey,
    numbers: &[u64],
    at: Timestamp,
) -> Result<bool, DbErr> {
    // A row that every stream has, whose count does not change: it stands for the lock.
    count(tx, stream, Outcome::Marker.as_str(), 0, at).await?;
    let Some((known, mut ranges, numbers)) = around(tx, stream, numbers).await? else { return Ok(true) };
    if !numbers.into_iter().all(|n| insert(&mut ranges, n)) {
        return Ok(false);
    }
    write_ranges(tx, stream, &known, &ranges).await?;
    Ok(true)
}

type Around = (Vec<seen_range::Model>, Vec<(i64, i64)>, Vec<i64>);

/// The stored ranges that `numbers` may touch, as rows and as pairs, and the numbers as the store has them.
async fn around(
    tx: &impl ConnectionTrait,
    stream: &StreamKey,
    numbers: &[u64],
) -> Result<Option<Around>, DbErr> {
    let numbers: Vec<i64> = numbers.iter().map(|n| i64::try_from(*n).unwrap_or(i64::MAX)).collect();
    let (Some(min), Some(max)) = (numbers.iter().min(), numbers.iter().max()) else { return Ok(None) };
    let known = touching(tx, stream, *min, *max).await?;
    let ranges = known.iter().map(|row| (row.first, row.last)).collect();
    Ok(Some((known, ranges, numbers)))
}

async fn touching(
    tx: &impl ConnectionTrait,
    stream: &StreamKey,
    min: i64,
    max: i64,
) -> Result<Vec<seen_range::Model>, DbErr> {
    use seen_range::Column;
    seen_range::Entity::find()
        .filter(Column::Edge.eq(&stream.edge))
        .filter(Column::Boot.eq(stream.boot))
        .filter(Column::Stream.eq(&stream.stream))
        .filter(Column::Last.gte(min.saturating_sub(1)))
        .filter(Column::First.lte(max.saturating_add(1)))
        .order_by_asc(Column::First)
        .all(tx)
        .await
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

async fn write_ranges(
    tx: &impl ConnectionTrait,
    stream: &StreamKey,
    known: &[seen_range::Model],
    ranges: &[(i64, i64)],
) -> Result<(), DbErr> {
    use seen_range::Column;
    let gone: Vec<i64> = known
        .iter()
        .map(|row| row.first)
        .filter(|first| !ranges.iter().any(|range| range.0 == *first))
        .collect();
    if !gone.is_empty() {
        seen_range::Entity::delete_many()
            .filter(Column::Edge.eq(&stream.edge))
            .filter(Column::Boot.eq(stream.boot))
            .filter(Column::Stream.eq(&stream.stream))
            .filter(Column::First.is_in(gone))
            .exec(tx)
            .await?;
    }
    let changed: Vec<_> = ranges
        .iter()
        .filter(|range| !known.iter().any(|row| (row.first, row.last) == **range))
        .map(|(first, last)| seen_range::ActiveModel {
            edge: Set(stream.edge.clone()),
            boot: Set(stream.boot),
            stream: Set(stream.stream.clone()),
            first: Set(*first),
            last: Set(*last),
        })
        .collect();
    if !changed.is_empty() {
        seen_range::Entity::insert_many(changed)
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
