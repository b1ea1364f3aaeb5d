//! A log that is damaged: what is wrong with it, and what can still be read.

use std::{ops::Range, path::Path};

use bytes::Bytes;

use super::{SpoolError, database::Database, format};
use crate::stream::Topic;

/// Offsets that are tried one by one behind what cannot be read, before the tree of the file is asked for the way: more
/// events than any page of it leads to but the root and those right below.
const TRIED: i64 = 1 << 20;

/// Why nobody gets past what stands first among the events of `topic` that nobody has taken on; `None`: they can be read.
///
/// # Errors
/// Nobody can say: there is no log, or its file cannot be read at all.
pub fn damage(path: &Path, topic: Topic) -> Result<Option<String>, SpoolError> {
    let database = Database::open(path)?;
    loop {
        let consumed = || Ok(database.head(topic).map_err(SpoolError::at(path))?.0);
        let stands = consumed()?;
        match database.read(topic, stands, 1) {
            Ok(_) => return Ok(None),
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
    /// It is no SQLite file any more.
    pub fn open(path: &Path, topic: Topic) -> Result<Self, SpoolError> {
        let database = Database::open_damaged(path)?;
        let head = database.head(topic).ok();
        let first = database.next(topic, -1).ok().flatten();
        let holds = |offset| database.holds(topic, offset).ok().flatten();
        let known = proven_end(&database, topic).or(head.map(|(consumed, _)| consumed)).unwrap_or(0);
        // No event takes less than a byte, which bounds what there can be behind what is known to be there.
        let most = known.saturating_add(i64::try_from(database.bytes_on_disk()).unwrap_or(i64::MAX));
        let end = match head {
            Some((_, next_offset)) if (known..=most).contains(&next_offset) => next_offset,
            // A batch that nobody can read has one event at least.
            Some(_) | None => known + i64::from(holds(known) == Some(known)),
        };
        // What was taken on is forgotten, but for the batch in whose middle it ends: a head that says otherwise is wrong.
        let believed = |consumed: &i64| {
            let before = holds(*consumed).zip(first);
            (0..=end).contains(consumed) && before.is_none_or(|(holds, first)| holds == first)
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

    /// Where the next batch begins behind `at`, at which none does. The tree of the file may lead past batches that can
    /// be read, so it is asked late.
    fn behind(&self, at: i64) -> i64 {
        let tried = self.end.min(at.saturating_add(TRIED));
        let found = (at + 1..tried).find(|first| self.batch(*first).is_some());
        let by_the_tree = || {
            let next = self.database.next(self.topic, tried - 1).ok().flatten();
            next.filter(|next| (tried..self.end).contains(next))
        };
        found.or_else(by_the_tree).unwrap_or(self.end)
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

/// Where the last batch that is proven ends.
fn proven_end(database: &Database, topic: Topic) -> Option<i64> {
    let mut before = i64::MAX;
    loop {
        let first = database.holds(topic, before).ok()??;
        if let Some(payloads) = proven(database, topic, first) {
            return Some(first + payloads.len() as i64);
        }
        if first > before {
            return None;
        }
        before = first.checked_sub(1)?;
    }
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
