//! A log that is damaged: what is wrong with it, and what can still be read.

use std::{ops::Range, path::Path};

use bytes::Bytes;

use super::{SpoolError, database::Database, format};
use crate::stream::{SourceError, Topic};

/// Why nobody gets past what stands first among the events of `topic` that nobody has taken on; `None`: they can be read.
///
/// # Errors
/// Nobody can say: there is no log, or its file cannot be read at all.
pub fn damage(path: &Path, topic: Topic) -> Result<Option<String>, SpoolError> {
    let database = Database::open(path)?;
    let failed = SpoolError::at(path);
    loop {
        let consumed = || Ok(database.head(topic).map_err(&failed)?.0);
        let stands = consumed()?;
        match database.read(topic, stands, 1) {
            Ok(_) => return Ok(None),
            Err(SourceError::Failed(detail)) => {
                return Err(SpoolError::Unread { path: path.to_owned(), detail });
            }
            // Whoever reads the log may have moved on meanwhile.
            Err(error) if consumed()? == stands => return Ok(Some(error.to_string())),
            Err(_) => {}
        }
    }
}

/// Hands out every batch of a topic that can be read, in order, without the events that somebody has taken on.
///
/// Batches that fail their checksum, that are missing, or whose pages SQLite cannot read are passed over. Nothing but
/// what a checksum proves is believed: a disk that has lost one page may have another in its place.
#[derive(Debug)]
pub struct Rescue {
    database: Database,
    topic: Topic,
    /// Everything before it was taken on.
    consumed: i64,
    /// Where the next batch should begin.
    at: i64,
    end: i64,
    lost: Vec<Range<i64>>,
}

impl Rescue {
    /// Begins to read the log at `path`, at which nobody may be working. Nothing is written to its file or its WAL.
    ///
    /// # Errors
    /// It is no SQLite file any more, or neither its head nor its last batch can be read.
    pub fn open(path: &Path, topic: Topic) -> Result<Self, SpoolError> {
        let database = Database::open_damaged(path)?;
        let head = database.head(topic).ok();
        let first = database.next(topic, -1).ok().flatten();
        let holds = |offset| database.holds(topic, offset).ok().flatten();
        let last =
            holds(i64::MAX).and_then(|first| Some(first + proven(&database, topic, first)?.len() as i64));
        // The head may be older than the batches.
        let end = match head.map(|(_, next_offset)| next_offset).max(last) {
            Some(end) => end,
            None => database.last(topic).map_err(SpoolError::at(path))?.unwrap_or(0),
        };
        // What was taken on is forgotten, but for the batch in whose middle it ends: a head that says otherwise is wrong.
        let believed = |consumed: &i64| {
            let before = holds(*consumed).zip(first);
            *consumed <= end && before.is_none_or(|(holds, first)| holds == first)
        };
        let consumed = head.map(|(consumed, _)| consumed).filter(believed).or(first).unwrap_or(0);
        let at = holds(consumed).unwrap_or(consumed);
        Ok(Self { database, topic, consumed, at, end, lost: Vec::new() })
    }

    /// The offsets of events that were passed over so far.
    pub fn lost(&self) -> &[Range<i64>] {
        &self.lost
    }

    fn batch(&self, first: i64) -> Option<Vec<Bytes>> {
        proven(&self.database, self.topic, first)
    }

    /// Where reading may go on behind `first`: at the next batch, or where even the way there is lost, one offset on.
    fn behind(&self, first: i64) -> i64 {
        let next = self.database.next(self.topic, first).ok().flatten();
        next.filter(|next| *next > first && self.batch(*next).is_some()).unwrap_or(first + 1)
    }

    fn pass_over(&mut self, events: Range<i64>) {
        self.at = events.end;
        let events = events.start.max(self.consumed)..events.end;
        if events.is_empty() {
            return;
        }
        match self.lost.last_mut() {
            Some(last) if last.end == events.start => last.end = events.end,
            Some(_) | None => self.lost.push(events),
        }
    }
}

/// The batch that begins at `first`, where its checksum says that it does.
fn proven(database: &Database, topic: Topic, first: i64) -> Option<Vec<Bytes>> {
    let frame = database.batch(topic, first).ok()??;
    format::open(topic, first, &frame).ok()
}

impl Iterator for Rescue {
    type Item = Vec<Bytes>;

    fn next(&mut self) -> Option<Vec<Bytes>> {
        while self.at < self.end {
            let first = self.at;
            if let Some(payloads) = self.batch(first) {
                self.at += payloads.len() as i64;
                let taken_on = usize::try_from(self.consumed - first).unwrap_or(0);
                return Some(payloads.into_iter().skip(taken_on).collect());
            }
            self.pass_over(first..self.behind(first).min(self.end));
        }
        None
    }
}
