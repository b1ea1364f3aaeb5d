//! Records that were handed over together, from the hand-over to their one outcome.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::stream::{AppendDone, Record, Topic};

/// Records with the one who waits for their outcome. Whoever takes them out of their batch gives them one.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) records: Vec<Record>,
    pub(super) done: AppendDone,
}

/// Events of each topic, in the order of [`Topic::ALL`].
pub(super) type Counts = [u64; 2];

pub(super) fn count(records: &[Record]) -> Counts {
    Topic::ALL.map(|topic| records.iter().filter(|record| record.topic == topic).count() as u64)
}

/// What is with a producer until it has reported it, well or not: nothing else bounds the memory of an outage.
#[derive(Debug, Default)]
pub(super) struct Room {
    events: AtomicU64,
    bytes: AtomicU64,
}

impl Room {
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    fn take(&self, events: u64, bytes: u64) -> (u64, u64) {
        (
            self.events.fetch_add(events, Ordering::Relaxed) + events,
            self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes,
        )
    }

    fn give_back(&self, events: u64, bytes: u64) {
        self.events.fetch_sub(events, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Records that are with a producer. Every record of it carries an `Arc` of this, and nothing else.
#[derive(Debug)]
pub(super) struct Batch {
    waiting: Mutex<Option<Waiting>>,
    /// Records that are not acknowledged.
    left: AtomicUsize,
    pub(super) since: Instant,
    pub(super) counts: Counts,
    /// From the spool: it is there still, so it is never spooled again.
    pub(super) is_replay: bool,
    bytes: u64,
    room: Arc<Room>,
}

impl Batch {
    /// Records that somebody waits for, if there is room for them.
    pub(super) fn live(
        waiting: Waiting,
        room: &Arc<Room>,
        most_events: u64,
        most_bytes: u64,
    ) -> Result<Arc<Self>, Waiting> {
        let batch = Self::new(&waiting.records, false, room);
        let events = batch.counts.iter().sum();
        // Given back by the drop, however this ends.
        let (events, bytes) = batch.room.take(events, batch.bytes);
        if events > most_events || bytes > most_bytes {
            return Err(waiting);
        }
        *batch.lock() = Some(waiting);
        Ok(Arc::new(batch))
    }

    /// Records of the spool, which the caller keeps.
    pub(super) fn replay(records: &[Record], done: AppendDone, room: &Arc<Room>) -> Arc<Self> {
        let batch = Self::new(records, true, room);
        batch.room.take(batch.counts.iter().sum(), batch.bytes);
        *batch.lock() = Some(Waiting { records: Vec::new(), done });
        Arc::new(batch)
    }

    fn new(records: &[Record], is_replay: bool, room: &Arc<Room>) -> Self {
        Self {
            waiting: Mutex::new(None),
            left: AtomicUsize::new(records.len()),
            since: Instant::now(),
            counts: count(records),
            is_replay,
            bytes: records.iter().map(|record| record.payload.len() as u64).sum(),
            room: Arc::clone(room),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records, unless they have their outcome already.
    pub(super) fn take(&self) -> Option<Waiting> {
        self.lock().take()
    }

    pub(super) fn has_outcome(&self) -> bool {
        self.lock().is_none()
    }

    /// One record is acknowledged. With the last of them the batch is, if it has no outcome yet.
    pub(super) fn acknowledge_one(&self) -> Option<Waiting> {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 { self.take() } else { None }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.room.give_back(self.counts.iter().sum(), self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::stream::Append;

    fn waiting(records: usize) -> (Waiting, Append) {
        let record = Record { topic: Topic::Clicks, key: None, payload: Bytes::from_static(b"12345") };
        let (done, append) = Append::new();
        (Waiting { records: vec![record; records], done }, append)
    }

    #[test]
    fn the_last_acknowledgement_is_the_outcome() {
        let room = Arc::new(Room::default());
        let batch = Batch::live(waiting(3).0, &room, 10, 100).unwrap();
        assert!(batch.acknowledge_one().is_none());
        assert!(batch.acknowledge_one().is_none() && !batch.has_outcome());
        assert_eq!(batch.acknowledge_one().unwrap().records.len(), 3);
        assert!(batch.has_outcome());
    }

    #[test]
    fn what_was_taken_is_not_acknowledged_again() {
        let room = Arc::new(Room::default());
        let batch = Batch::live(waiting(1).0, &room, 10, 100).unwrap();
        assert!(batch.take().is_some());
        assert!(batch.acknowledge_one().is_none());
    }

    #[test]
    fn room_is_kept_until_the_last_report() {
        let room = Arc::new(Room::default());
        let batch = Batch::live(waiting(4).0, &room, 5, 100).unwrap();
        let with_the_producer = Arc::clone(&batch);
        assert!(batch.take().is_some());
        drop(batch);
        assert_eq!(room.events(), 4);
        assert_eq!(Batch::live(waiting(2).0, &room, 5, 100).unwrap_err().records.len(), 2);
        assert_eq!(Batch::live(waiting(1).0, &room, 5, 24).unwrap_err().records.len(), 1);
        drop(with_the_producer);
        assert_eq!(room.events(), 0);
        assert!(Batch::live(waiting(5).0, &room, 5, 25).is_ok());
    }
}
