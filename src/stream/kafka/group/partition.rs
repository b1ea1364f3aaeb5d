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
    /// The record that an earlier client never brought.
    awaited: Option<i64>,
    /// A record was handed out since it was begun, the awaited one or a later one if there is one.
    delivered: bool,
    /// Since when the brokers are known to have one that was not handed out.
    due: Option<Instant>,
    /// Since when its leader does not say whether there is one.
    unanswered: Option<Instant>,
    /// When it was last asked for a record and had none.
    empty: Option<Instant>,
}

impl Partition {
    pub fn new(queue: PartitionQueue<Listener>, awaited: Option<i64>) -> Self {
        Self {
            queue,
            next: None,
            paused: false,
            consumed: None,
            broken: None,
            awaited,
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
    pub fn read(&mut self, number: i32, max: usize, now: Instant, found: &mut Vec<Delivery>) {
        if self.paused {
            return;
        }
        while let Some(next) = self.next.as_mut()
            && self.broken.is_none()
            && found.len() < max
        {
            match self.queue.poll(Duration::ZERO) {
                None => {
                    self.empty = Some(now);
                    return;
                }
                Some(Ok(message)) => {
                    let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                    *next = Offset::Offset(message.offset() + 1);
                    found.push(Delivery { partition: number, offset: message.offset(), payload });
                    (self.due, self.unanswered) = (None, None);
                    self.delivered |= self.awaited.is_none_or(|awaited| message.offset() >= awaited);
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
    pub fn answered(&mut self, begins: i64, end: i64, now: Instant) -> Sign {
        self.unanswered = None;
        let next = self.next_of(begins);
        if end <= next || self.paused || self.broken.is_some() {
            self.excuse();
            return Sign { heard: end <= next, ..Sign::WELL };
        }
        let due = *self.due.get_or_insert(now);
        Sign { heard: self.delivered, silence: self.in_vain(due), doubtful: false }
    }

    /// The offset of the next record, of those that the log has from `begins` on.
    pub fn next_of(&self, begins: i64) -> i64 {
        match self.next {
            Some(Offset::Offset(next)) => next.max(begins),
            _ => begins,
        }
    }

    /// Nobody has said which records there are. Where it has no leader that tells nothing of the client; where it has
    /// one, a partition that is not fetched has to ask it all the same.
    pub fn unanswered(&mut self, is_led: bool, now: Instant) -> Sign {
        self.due = None;
        if !is_led {
            self.excuse();
            return Sign { heard: false, ..Sign::WELL };
        }
        let since = *self.unanswered.get_or_insert(now);
        let is_fetched = !self.paused && self.broken.is_none();
        let silence = if is_fetched { self.in_vain(since) } else { now.saturating_duration_since(since) };
        Sign { heard: false, silence, doubtful: true }
    }

    /// For how long it was asked for records in vain, at the latest time it was asked. What was fetched and not asked
    /// for does not make it silent.
    fn in_vain(&self, since: Instant) -> Duration {
        self.empty.map_or(Duration::ZERO, |empty| empty.saturating_duration_since(since))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use rdkafka::{ClientConfig, config::FromClientConfigAndContext, consumer::BaseConsumer};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);
    const SILENT: Sign = Sign { heard: false, silence: MOMENT, doubtful: false };

    /// Of a client that reaches nobody; 5 is the next record.
    fn partition() -> Partition {
        let config = ClientConfig::new();
        let consumer = Arc::new(BaseConsumer::from_config_and_context(&config, Listener::default()).unwrap());
        let mut partition = Partition::new(consumer.split_partition_queue("t", 0).unwrap(), None);
        partition.begin(Offset::Offset(5));
        partition
    }

    /// Records are asked for, and there are none.
    fn ask(partition: &mut Partition, now: Instant) {
        let mut found = Vec::new();
        partition.read(0, 10, now, &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn a_partition_that_is_read_to_its_end_is_well() {
        let (mut partition, now) = (partition(), Instant::now());
        ask(&mut partition, now);
        assert_eq!(partition.answered(0, 5, now), Sign::WELL);
        ask(&mut partition, now + MOMENT);
        assert_eq!(partition.answered(0, 5, now + MOMENT), Sign::WELL);
        assert_eq!(partition.lag(0, 9), 4);
        assert_eq!(partition.lag(7, 9), 2);
    }

    #[test]
    fn records_that_are_there_and_do_not_come_are_silence_once_they_were_asked_for() {
        let (mut partition, now) = (partition(), Instant::now());
        assert_eq!(partition.answered(0, 6, now), Sign { heard: false, ..Sign::WELL });
        let later = now + MOMENT;
        assert_eq!(partition.answered(0, 6, later).silence, Duration::ZERO, "nobody has asked");
        ask(&mut partition, later);
        assert_eq!(partition.answered(0, 6, later + MOMENT), SILENT);
        partition.begin(Offset::Offset(5));
        assert_eq!(partition.answered(0, 6, later + MOMENT).silence, Duration::ZERO, "it was begun anew");
    }

    #[test]
    fn a_partition_that_is_not_read_is_not_silent() {
        let (mut partition, now) = (partition(), Instant::now());
        partition.answered(0, 6, now);
        ask(&mut partition, now + MOMENT);
        partition.paused = true;
        assert_eq!(partition.answered(0, 6, now + MOMENT), Sign { heard: false, ..Sign::WELL });
    }

    #[test]
    fn a_leader_that_does_not_answer_is_doubtful_and_none_is_no_sign() {
        let (mut partition, now) = (partition(), Instant::now());
        partition.unanswered(true, now);
        let later = now + MOMENT;
        ask(&mut partition, later);
        assert_eq!(partition.unanswered(true, later), Sign { doubtful: true, ..SILENT });
        partition.paused = true;
        let latest = later + MOMENT;
        assert_eq!(partition.unanswered(true, latest).silence, 2 * MOMENT, "it asks to be read again");
        assert_eq!(partition.unanswered(false, latest), Sign { heard: false, ..Sign::WELL });
        assert_eq!(partition.unanswered(true, latest).silence, Duration::ZERO, "it counts anew");
    }
}
