//! How far settlement has read, as a time.
//!
//! An event that waits is given up when its time is over, but never before everything that came to the log in that
//! time has been read. What it waits for may be there: settlement was away for hours, or its store was restored from
//! an older copy. The clock alone would give up then what the next batch brings.

use sea_orm::DbErr;

use crate::{
    domain::time::Timestamp,
    store::{
        Store,
        streams::{self, Positions},
    },
    stream::{EndOfLog, Ends, SourceError, Topic},
};

/// Why nobody can say how far it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum HorizonError {
    #[error(transparent)]
    Log(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] DbErr),
}

/// The ends of both logs at a time.
struct Seen {
    at: Timestamp,
    clicks: Ends,
    conversions: Ends,
}

pub(super) struct Horizon<E> {
    store: Store,
    clicks: E,
    conversions: E,
    /// Not read to there yet.
    ahead: Option<Seen>,
    reached: Timestamp,
}

impl<E: EndOfLog> Horizon<E> {
    pub fn new(store: Store, clicks: E, conversions: E) -> Self {
        Self { store, clicks, conversions, ahead: None, reached: Timestamp(i64::MIN) }
    }

    /// Everything that was on the logs by then is read, by this instance or by others.
    pub const fn reached(&self) -> Timestamp {
        self.reached
    }

    /// Looks how far settlement is. The ends that were seen stay the goal until they are reached: a log that grows all
    /// the time is never read to its present end. Ends that are lower now were of a log that is no more.
    pub async fn look(&mut self, at: Timestamp) -> Result<(), HorizonError> {
        // Before the ends: a position that is beyond one that was seen later is another log's.
        let positions = self.store.in_time(streams::positions(self.store.reader())).await?;
        let (clicks, conversions) = (self.clicks.ends().await?, self.conversions.ends().await?);
        let is_one_log =
            is_of(&positions, Topic::Clicks, &clicks) && is_of(&positions, Topic::Conversions, &conversions);
        let seen = match self.ahead.take() {
            None => Seen { at, clicks, conversions },
            Some(before) => Seen {
                at: before.at,
                clicks: lower(before.clicks, &clicks),
                conversions: lower(before.conversions, &conversions),
            },
        };
        if is_one_log
            && is_read(&positions, Topic::Clicks, &seen.clicks)
            && is_read(&positions, Topic::Conversions, &seen.conversions)
        {
            self.reached = seen.at;
        } else {
            self.ahead = Some(seen);
        }
        Ok(())
    }
}

fn position_in(positions: &Positions, topic: Topic, partition: i32) -> i64 {
    positions.get(&(topic.name().to_owned(), partition)).copied().unwrap_or(0)
}

fn is_read(positions: &Positions, topic: Topic, ends: &Ends) -> bool {
    ends.iter().all(|(&partition, &end)| position_in(positions, topic, partition) >= end)
}

fn is_of(positions: &Positions, topic: Topic, ends: &Ends) -> bool {
    ends.iter().all(|(&partition, &end)| position_in(positions, topic, partition) <= end)
}

fn lower(before: Ends, now: &Ends) -> Ends {
    before
        .into_iter()
        .filter_map(|(partition, end)| Some((partition, end.min(*now.get(&partition)?))))
        .collect()
}
