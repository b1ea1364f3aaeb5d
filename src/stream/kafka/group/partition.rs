//! One partition that is ours: its queue, and where we stand in it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::{Message, Offset, consumer::base_consumer::PartitionQueue, error::KafkaError};

use super::{listener::Listener, patience::Sign};
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
    /// A record was handed out since it was begun.
    delivered: bool,
    /// Since when the brokers are known to have one that was not handed out.
    due: Option<Instant>,
    /// Since when its leader does not say whether there is one.
    unanswered: Option<Instant>,
    /// When it was last asked for a record and had none.
    empty: Option<Instant>,
}

impl Partition {
    pub fn new(queue: PartitionQueue<Listener>) -> Self {
        Self {
            queue,
            next: None,
            paused: false,
            consumed: None,
            broken: None,
            delivered: false,
            due: None,
            unanswered: None,
            empty: None,
        }
    }

    /// It is fetched from here.
    pub fn begin(&mut self, begin: Offset) {
        (self.next, self.paused, self.broken) = (Some(begin), false, None);
        self.consumed = Some((begin.to_raw().map_or(0, |offset| offset.max(0)), true));
        self.delivered = false;
        self.excuse();
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
                    (self.delivered, self.due, self.unanswered) = (true, None, None);
                }
                // Whatever it is, librdkafka may go on behind it; we must not.
                Some(Err(error)) => self.broken = Some(error),
            }
        }
    }

    /// Its silence counts anew.
    fn excuse(&mut self) {
        (self.due, self.unanswered, self.empty) = (None, None, None);
    }

    /// Events that have not taken effect, of those that the log has.
    pub fn lag(&self, begins: i64, end: i64) -> u64 {
        let consumed = self.consumed.map_or(begins, |(consumed, _)| consumed.max(begins));
        u64::try_from(end.saturating_sub(consumed)).unwrap_or(0)
    }

    /// Its leader has said which records there are: whether they come.
    pub fn answered(&mut self, begins: i64, end: i64) -> Sign {
        self.unanswered = None;
        let next = match self.next {
            Some(Offset::Offset(next)) => next.max(begins),
            _ => begins,
        };
        if end <= next || self.paused || self.broken.is_some() {
            self.excuse();
            return Sign { heard: end <= next, silence: Duration::ZERO };
        }
        let due = *self.due.get_or_insert_with(Instant::now);
        Sign { heard: self.delivered, silence: self.in_vain(due) }
    }

    /// Nobody has said which records there are. Where it has no leader that tells nothing of the client.
    pub fn unanswered(&mut self, is_led: bool) -> Sign {
        self.due = None;
        if !is_led || self.paused || self.broken.is_some() {
            self.excuse();
            return Sign { heard: false, silence: Duration::ZERO };
        }
        let unanswered = *self.unanswered.get_or_insert_with(Instant::now);
        Sign { heard: false, silence: self.in_vain(unanswered) }
    }

    /// For how long it was asked for records in vain, at the latest time it was asked. What was fetched and not asked
    /// for does not make it silent.
    fn in_vain(&self, since: Instant) -> Duration {
        self.empty.map_or(Duration::ZERO, |empty| empty.saturating_duration_since(since))
    }
}
