//! From the spool to the brokers, in order: what is there at the start, and what an outage left.
//!
//! A window of records at a time: read, sent, acknowledged, and only then marked as consumed. What a failure or a
//! kill leaves unmarked is sent again from the beginning of its window; the ids of events make that harmless. While
//! the brokers are away the window simply waits in the producer, so that an outage costs no copies, and arrives as
//! soon as they are back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::{
    task,
    time::{sleep, timeout},
};

use super::{
    KeyOf,
    batch::Batch,
    lane::Lane,
    producer::{Absent, Producer},
    state::Mode,
};
use crate::stream::{
    Append, Delivery, EventSource, Record, SourceError,
    spool::{Spool, SpoolSource},
};

/// Records of one window: 500 in [`PAUSE`] and the time of an acknowledgement are tens of thousands a second at the
/// cost of a few percent of a core, so live traffic does not feel it.
const WINDOW: usize = 500;

/// Between two windows.
const PAUSE: Duration = Duration::from_millis(5);

/// Records that are sent at once when the end of the spool is near; below the room that producers keep for them.
const MOST_JOINING: usize = 1_500;

/// How long new conversions are held until the end of the spool is sent. Then they go behind it.
const JOIN_TIME: Duration = Duration::from_millis(100);

/// How often an empty spool is looked at when nothing wakes us.
const IDLE: Duration = Duration::from_millis(200);

/// How long the brokers are asked for a topic.
const LOOK_FOR: Duration = Duration::from_secs(1);

/// Waits after failures: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// After so many times `message_timeout_ms` without an acknowledgement a producer is thought to be stuck, and is made anew:
/// brokers that are away come back to a new one as well, and some clients have been seen not to find back to them.
const STUCK_AFTER: u32 = 10;

/// A window that was not acknowledged as a whole.
struct NotDelivered;

fn tell(lane: &Lane, error: &SourceError) {
    tracing::error!(%error, topic = lane.topic.name(), "the spool cannot be replayed");
}

pub(super) struct Replay {
    lane: Arc<Lane>,
    source: SpoolSource,
    key_of: KeyOf,
    /// The next offset that is not consumed.
    position: i64,
    /// The brokers took the last that they were offered, and in time.
    delivers: bool,
    /// Of the lane, when `delivers` was set.
    troubles: u64,
    failures: u32,
    /// Since when the producer has delivered nothing, and found no broker where there was nothing to deliver.
    failing: Option<Instant>,
    /// The spool could not be read.
    broken: bool,
    stuck_after: Duration,
    topic_is_missing: bool,
}

impl Replay {
    /// Stands at the first record that was not replayed before.
    pub(super) async fn new(
        lane: Arc<Lane>,
        spool: &Spool,
        key_of: KeyOf,
        message_timeout: Duration,
    ) -> Result<Self, SourceError> {
        let failed = |error: crate::stream::spool::SpoolError| SourceError::Failed(error.to_string());
        let mut source = spool.source(lane.topic).map_err(failed)?;
        let position = spool.stats().topics[lane.topic.index()].consumed;
        // It must not keep an edge from serving.
        let broken = source.seek(0, position).await.inspect_err(|error| tell(&lane, error)).is_err();
        Ok(Self {
            lane,
            source,
            key_of,
            position,
            delivers: false,
            troubles: 0,
            failures: 0,
            failing: None,
            broken,
            stuck_after: message_timeout * STUCK_AFTER,
            topic_is_missing: false,
        })
    }

    /// Works until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            match self.step().await {
                Ok(()) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.broken, true) {
                        tell(&self.lane, &error);
                    }
                    if self.lane.troubles() != self.troubles {
                        self.delivers = false;
                    }
                    // Clicks need no spool to go on.
                    if self.look_for_brokers().await {
                        self.failing = None;
                        self.lane.resume();
                    }
                    self.back_off().await;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<(), SourceError> {
        if self.broken {
            // Nothing that was read before and not delivered may be passed over.
            self.source.seek(0, self.position).await?;
        }
        let direct = self.lane.mode() == Mode::Direct;
        let found = self.source.poll(WINDOW, if direct { IDLE } else { Duration::ZERO }).await?;
        self.broken = false;
        if self.lane.troubles() != self.troubles {
            self.delivers = false;
        }
        if found.is_empty() {
            if self.lane.mode() != Mode::Direct {
                self.take_up().await?;
            }
            return Ok(());
        }
        let near_the_end = found.len() < WINDOW;
        if near_the_end && self.delivers && self.lane.topic.is_ordered() {
            self.join(found).await
        } else {
            self.deliver(found, None).await
        }
    }

    /// Nothing is left in the spool.
    async fn take_up(&mut self) -> Result<(), SourceError> {
        if !self.delivers && !self.look_for_brokers().await {
            self.back_off().await;
            return Ok(());
        }
        self.failing = None;
        if self.lane.topic.is_ordered() {
            self.join(Vec::new()).await
        } else {
            self.lane.resume();
            Ok(())
        }
    }

    /// Whether the brokers are there and have the topic.
    async fn look_for_brokers(&mut self) -> bool {
        let Some(producer) = self.lane.producer() else { return false };
        let troubles = self.lane.troubles();
        let name = self.lane.name().to_owned();
        let looked = task::spawn_blocking(move || producer.look_for(&name, LOOK_FOR)).await;
        let missing = match looked {
            Ok(Ok(())) => {
                (self.delivers, self.troubles) = (true, troubles);
                false
            }
            Ok(Err(Absent::Topic)) => true,
            Ok(Err(Absent::Brokers(why))) => {
                tracing::debug!(topic = self.lane.name(), why, "no broker answers");
                self.topic_is_missing
            }
            Err(error) => {
                tracing::error!(%error, "the brokers could not be asked");
                self.topic_is_missing
            }
        };
        if missing && !self.topic_is_missing {
            let topic = self.lane.name();
            tracing::error!(topic, "Kafka has no such topic: `waypost topics create` makes it");
        }
        self.topic_is_missing = missing;
        self.delivers
    }

    /// Sends what is left of the spool, with new records held until then, so that these can follow by the same way.
    /// Where that takes too long, or is too much, it sends what was read, and they go behind the rest.
    async fn join(&mut self, mut found: Vec<Delivery>) -> Result<(), SourceError> {
        let Some(producer) = self.lane.begin_joining() else { return self.deliver(found, None).await };
        let rest = timeout(JOIN_TIME, self.rest(&mut found)).await;
        if matches!(rest, Ok(Ok(()))) && found.len() <= MOST_JOINING {
            return self.deliver(found, Some(producer)).await;
        }
        self.lane.leave_joining();
        match rest {
            _ if !found.is_empty() => self.deliver(found, None).await,
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Adds all that the spool has and is about to have; nothing new comes meanwhile.
    async fn rest(&mut self, found: &mut Vec<Delivery>) -> Result<(), SourceError> {
        while !self.lane.spool_has_answered() {
            sleep(Duration::from_millis(1)).await;
        }
        while found.len() <= MOST_JOINING {
            let more = self.source.poll(WINDOW, Duration::ZERO).await?;
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        Ok(())
    }

    /// Offers records until they are acknowledged; `joining` is the producer that held ones wait for.
    async fn deliver(
        &mut self,
        found: Vec<Delivery>,
        mut joining: Option<Arc<Producer>>,
    ) -> Result<(), SourceError> {
        let end = found.last().map_or(self.position, |last| last.offset + 1);
        let records: Vec<Record> = found.into_iter().map(|delivery| self.record(delivery)).collect();
        loop {
            let (begin, troubles) = (Instant::now(), self.lane.troubles());
            let offered = self.offer(&records, joining.take()).await;
            if offered.is_ok() {
                (self.delivers, self.troubles) = (begin.elapsed() < self.lane.spool_after(), troubles);
                break;
            }
            // Says what is wrong, and makes the producer forget what the brokers have refused.
            self.look_for_brokers().await;
            self.back_off().await;
        }
        (self.failures, self.failing) = (0, None);
        self.source.consumed(0, end).await?;
        self.position = end;
        self.lane.metrics().replayed.increment(records.len() as u64);
        if self.delivers {
            self.lane.resume();
        }
        if !records.is_empty() {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    fn record(&self, delivery: Delivery) -> Record {
        let topic = self.lane.topic;
        let key = if topic.is_ordered() { (self.key_of)(&delivery.payload) } else { None };
        Record { topic, key, payload: delivery.payload }
    }

    async fn offer(
        &mut self,
        records: &[Record],
        joining: Option<Arc<Producer>>,
    ) -> Result<(), NotDelivered> {
        let producer = joining.clone().or_else(|| self.lane.producer()).ok_or(NotDelivered)?;
        let number = producer.number;
        let (done, acknowledged) = Append::new();
        let batch = Batch::replay(records, done, &producer.room);
        if !self.lane.replays(number, &batch) {
            self.lane.leave_joining();
            return Err(NotDelivered);
        }
        for record in records {
            if self.queue(&producer, record, &batch).await.is_err() {
                self.lane.leave_joining();
                return Err(NotDelivered);
            }
        }
        if joining.is_some() {
            self.lane.join(&producer);
        }
        // A producer that was given up is only ended when nobody holds it.
        drop((producer, joining));
        if records.is_empty() {
            return Ok(());
        }
        match timeout(self.stuck_after, acknowledged).await {
            Ok(outcome) => outcome.map(drop).map_err(|_| NotDelivered),
            Err(_) => {
                self.lane.is_stuck(number);
                Err(NotDelivered)
            }
        }
    }

    /// Live records may have filled the queue: there is time.
    async fn queue(
        &self,
        producer: &Producer,
        record: &Record,
        batch: &Arc<Batch>,
    ) -> Result<(), KafkaError> {
        let deadline = Instant::now() + self.stuck_after;
        loop {
            match producer.send(self.lane.name_of(record), record, batch) {
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    if Instant::now() >= deadline || batch.has_outcome() {
                        return Err(error);
                    }
                    sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// After a time, whether it is stuck or the brokers are away.
    fn give_up_a_stuck_producer(&mut self) {
        if self.failing.get_or_insert_with(Instant::now).elapsed() >= self.stuck_after
            && let Some(producer) = self.lane.producer()
        {
            self.failing = None;
            self.lane.is_stuck(producer.number);
        }
    }

    async fn back_off(&mut self) {
        self.give_up_a_stuck_producer();
        let (first, last) = BACKOFF;
        sleep((first * 2_u32.pow(self.failures.min(10))).min(last)).await;
        self.failures = self.failures.saturating_add(1);
    }
}
