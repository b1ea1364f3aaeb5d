//! One partition that is ours: its queue, and where we stand in it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::{Message, Offset, consumer::base_consumer::PartitionQueue, error::KafkaError};

use super::listener::Listener;
use crate::stream::Delivery;

/// A partition that is ours.
pub(super) struct Partition {
    queue: PartitionQueue<Listener>,
    /// The next record to hand out; none before the first seek.
    pub next: Option<Offset>,
    /// Nothing is handed out before the next seek.
    pub paused: bool,
    /// Everything before it has taken effect, and whether the group was told.
    pub consumed: Option<(i64, bool)>,
    /// Why it is not fetched any more.
    pub broken: Option<KafkaError>,
    /// Since when the brokers are known to have a record that was not handed out.
    owed: Option<Instant>,
    /// When it was last asked for a record and had none.
    empty: Option<Instant>,
}

impl Partition {
    pub fn new(queue: PartitionQueue<Listener>) -> Self {
        Self { queue, next: None, paused: false, consumed: None, broken: None, owed: None, empty: None }
    }

    /// It is fetched from here.
    pub fn begin(&mut self, begin: Offset) {
        (self.next, self.paused, self.broken) = (Some(begin), false, None);
        self.consumed = Some((begin.to_raw().map_or(0, |offset| offset.max(0)), true));
        self.heard();
    }

    /// What has arrived, without waiting, until `found` has `max` records.
    pub fn read(&mut self, number: i32, max: usize, found: &mut Vec<Delivery>) {
        if self.paused {
            return;
        }
        while let Some(next) = self.next.as_mut()
            && self.broken.is_none()
            && found.len() < max
        {
            match self.queue.poll(Duration::ZERO) {
                None => {
                    self.empty = Some(Instant::now());
                    return;
                }
                Some(Ok(message)) => {
                    let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                    *next = Offset::Offset(message.offset() + 1);
                    found.push(Delivery { partition: number, offset: message.offset(), payload });
                    self.owed = None;
                }
                // Whatever it is, librdkafka may go on behind it; we must not.
                Some(Err(error)) => self.broken = Some(error),
            }
        }
    }

    /// Whether it is silent counts anew.
    pub fn heard(&mut self) {
        (self.owed, self.empty) = (None, None);
    }

    /// Events that have not taken effect, of those that the log has.
    pub fn lag(&self, begins: i64, end: i64) -> u64 {
        let consumed = self.consumed.map_or(begins, |(consumed, _)| consumed.max(begins));
        u64::try_from(end.saturating_sub(consumed)).unwrap_or(0)
    }

    /// For how long it was asked in vain, at the latest time it was asked, while the brokers had a record for it.
    /// Records that were fetched and not asked for do not make it silent.
    pub fn silence(&mut self, begins: i64, end: i64) -> Duration {
        let next = match self.next {
            Some(Offset::Offset(next)) => next.max(begins),
            _ => begins,
        };
        if end <= next || self.paused || self.broken.is_some() {
            self.owed = None;
            return Duration::ZERO;
        }
        let owed = *self.owed.get_or_insert_with(Instant::now);
        self.empty.map_or(Duration::ZERO, |empty| empty.saturating_duration_since(owed))
    }
}
