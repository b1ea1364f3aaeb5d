//! The way of one topic's records: to the brokers, or to the spool while those do not take them.
//!
//! ```text
//!             late, failed, no room                      the brokers take what is replayed
//!   Direct ──────────────────────────▶ Spooling ───────────────────────────────────────────▶ Direct
//!                                          │                                                    ▲
//!                        (conversions)     └─────▶ Joining: held until all of the spool is sent ┘
//! ```
//! Clicks have no order: a batch that is late goes to the spool by itself, and as soon as the brokers take anything
//! clicks go to them again, while the replay goes on.
//!
//! Conversions keep theirs: with the first that cannot go to the brokers all that are under way go to the spool in
//! their order, and the producer is given up with what it had not sent; else a record behind could overtake it. While
//! any are in the spool, new ones go behind them. When nearly all are replayed new ones are held for a moment, the
//! last of the spool is sent, and the held ones follow it through the same producer.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::{
    batch::{Batch, Waiting, count},
    client,
    producer::{Producer, of_topic},
    state::{Mode, Next, State, Trouble, trouble},
};
use crate::{
    config::KafkaSettings,
    stream::{AppendDone, AppendError, Record, Topic, spool::SpoolSink},
    telemetry::kafka::{KafkaMetrics, ProducedMetrics},
};

/// One topic's records. Shared by those that append, the thread that polls the producer, and the replay.
pub(super) struct Lane {
    pub(super) topic: Topic,
    names: [String; 2],
    settings: KafkaSettings,
    spool: Arc<SpoolSink>,
    metrics: KafkaMetrics,
    state: Mutex<State>,
    /// Appends that the spool has taken over and not answered.
    spooling: AtomicU64,
    troubles: AtomicU64,
    me: Weak<Self>,
}

impl Lane {
    /// A lane that spools until it is told to [`resume`](Self::resume).
    pub(super) fn new(
        topic: Topic,
        settings: &KafkaSettings,
        spool: Arc<SpoolSink>,
        metrics: KafkaMetrics,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            topic,
            names: Topic::ALL.map(|topic| client::topic(settings, topic)),
            settings: settings.clone(),
            spool,
            metrics,
            state: Mutex::default(),
            spooling: AtomicU64::new(0),
            troubles: AtomicU64::new(0),
            me: me.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn metrics(&self) -> &ProducedMetrics {
        of_topic(&self.metrics, self.topic)
    }

    /// The topic's name at the brokers.
    pub(super) fn name(&self) -> &str {
        &self.names[self.topic.index()]
    }

    /// Takes records on their way. Never blocks for longer than it takes to queue a batch.
    pub(super) fn append(&self, records: Vec<Record>, done: AppendDone) {
        let mut state = self.lock();
        let waiting = Waiting { records, done };
        if state.closed {
            drop(state);
            return self.refuse(waiting);
        }
        let producer = match &state.producer {
            Some(producer) if state.mode != Mode::Spooling => Arc::clone(producer),
            _ => return self.spool(waiting),
        };
        let (events, bytes) = (self.settings.queue_events, self.settings.queue_bytes);
        let batch = match Batch::live(waiting, &producer.room, events, bytes) {
            Ok(batch) => batch,
            Err(waiting) => {
                if self.topic.is_ordered() {
                    self.give_up(&mut state, &Trouble::NoRoom);
                }
                return self.spool(waiting);
            }
        };
        state.under_way.push_back(Arc::clone(&batch));
        match (state.mode, self.topic.is_ordered()) {
            (Mode::Joining, _) => {}
            (_, true) => {
                if let Err(error) = self.send(&producer, &batch) {
                    self.give_up(&mut state, &trouble(&error));
                }
            }
            (_, false) => {
                drop(state);
                if let Err(error) = self.send(&producer, &batch) {
                    self.not_sent(&producer, &batch, &error);
                }
            }
        }
    }

    fn send(&self, producer: &Producer, batch: &Arc<Batch>) -> KafkaResult<()> {
        let waiting = batch.lock();
        let Some(Waiting { records, .. }) = &*waiting else { return Ok(()) };
        records.iter().try_for_each(|record| producer.send(self.name_of(record), record, batch))
    }

    pub(super) fn name_of(&self, record: &Record) -> &str {
        &self.names[record.topic.index()]
    }

    /// A batch of clicks found the producer's queue full, or the producer out of order.
    fn not_sent(&self, producer: &Producer, batch: &Batch, error: &KafkaError) {
        match trouble(error) {
            Trouble::NoRoom => {}
            trouble => self.out_of_order(producer.number, &trouble),
        }
        if let Some(waiting) = batch.take() {
            self.spool(waiting);
        }
    }

    /// Hands records over to the spool, whose answer is theirs.
    fn spool(&self, waiting: Waiting) {
        self.spooling.fetch_add(1, Ordering::AcqRel);
        let counts = count(&waiting.records);
        let lane = self.me.clone();
        let done = waiting.done.telling(move |outcome| {
            let Some(lane) = lane.upgrade() else { return };
            for topic in Topic::ALL {
                let metrics = of_topic(&lane.metrics, topic);
                let events = counts[topic.index()];
                if outcome.is_ok() { &metrics.spooled } else { &metrics.refused }.increment(events);
            }
            lane.spooling.fetch_sub(1, Ordering::AcqRel);
        });
        self.spool.append_for(waiting.records, done);
    }

    fn refuse(&self, waiting: Waiting) {
        let counts = count(&waiting.records);
        for topic in Topic::ALL {
            of_topic(&self.metrics, topic).refused.increment(counts[topic.index()]);
        }
        waiting.done.resolve(Err(AppendError::Closed));
    }

    /// New records go to the spool.
    fn turn_away(&self, state: &mut State, why: &Trouble) {
        self.troubles.fetch_add(1, Ordering::AcqRel);
        if state.mode == Mode::Direct {
            tracing::warn!(topic = self.name(), %why, "Kafka does not take events, they go to the spool");
        }
        state.mode = Mode::Spooling;
        self.metrics().up.set(0.0);
    }

    /// Everything under way goes to the spool in its order, and the producer is given up with it.
    fn give_up(&self, state: &mut State, why: &Trouble) {
        self.turn_away(state, why);
        for batch in std::mem::take(&mut state.under_way) {
            if let Some(waiting) = batch.take() {
                self.spool(waiting);
            }
        }
        if let Some(waiting) = state.replaying.take().and_then(|batch| batch.take()) {
            waiting.done.resolve(Err(AppendError::Failed));
        }
        let Some(producer) = state.producer.take() else { return };
        // It may say so only after the first record that it failed.
        match producer.fatal_error() {
            Some(why) => {
                tracing::error!(
                    topic = self.name(),
                    why,
                    "the producer has failed for good and is made anew"
                );
                self.metrics().restarts_fatal.increment(1);
            }
            None => self.metrics().restarts_outage.increment(1),
        }
    }

    fn out_of_order(&self, number: u64, why: &Trouble) {
        let mut state = self.lock();
        if state.is_current(number) {
            if self.topic.is_ordered() || matches!(why, Trouble::Fatal(_) | Trouble::Stuck) {
                self.give_up(&mut state, why);
            } else {
                self.turn_away(&mut state, why);
            }
        }
    }

    /// The producer says that it cannot go on.
    pub(super) fn is_fatal(&self, number: u64, reason: &str) {
        self.out_of_order(number, &Trouble::Fatal(reason.to_owned()));
    }

    /// The replay has waited for long.
    pub(super) fn is_stuck(&self, number: u64) {
        self.out_of_order(number, &Trouble::Stuck);
    }

    /// A record of `batch` was not stored by the brokers.
    pub(super) fn has_failed(&self, number: u64, batch: &Batch, error: &KafkaError) {
        let purged = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
        );
        // A copy of what is in the spool already tells nothing new.
        if !purged && (self.topic.is_ordered() || !batch.has_outcome()) {
            self.out_of_order(number, &trouble(error));
        }
        match batch.take() {
            Some(waiting) if batch.is_replay => waiting.done.resolve(Err(AppendError::Failed)),
            Some(waiting) => self.spool(waiting),
            None => {}
        }
    }

    /// How long nothing can be late: until the oldest batch is, or for as long as one has that is yet to come.
    pub(super) fn until_late(&self) -> Duration {
        let time = self.spool_after();
        let oldest = self.lock().under_way.front().map(|batch| time.saturating_sub(batch.since.elapsed()));
        oldest.unwrap_or(time)
    }

    /// Looks after what is under way; for the lane's thread, when something can be late.
    pub(super) fn tick(&self) -> Next {
        let mut state = self.lock();
        let late = |batch: &Arc<Batch>| batch.since.elapsed() >= self.spool_after();
        while let Some(batch) = state.under_way.front() {
            if batch.has_outcome() {
                state.under_way.pop_front();
            } else if !late(batch) {
                break;
            } else if self.topic.is_ordered() {
                self.give_up(&mut state, &Trouble::Late);
            } else {
                let waiting = batch.take();
                state.under_way.pop_front();
                self.turn_away(&mut state, &Trouble::Late);
                if let Some(waiting) = waiting {
                    self.spool(waiting);
                }
            }
        }
        let events = state.producer.as_ref().map_or(0, |producer| producer.room.events());
        self.metrics().queue_events.set(events as f64);
        match state.producer {
            _ if state.ended => Next::End,
            Some(_) => Next::GoOn,
            None => Next::Replace,
        }
    }

    pub(super) fn spool_after(&self) -> Duration {
        Duration::from_millis(self.settings.spool_after_ms)
    }

    /// Makes a producer and takes it into use.
    pub(super) fn make_producer(&self) -> KafkaResult<Arc<Producer>> {
        let number = {
            let mut state = self.lock();
            state.producers += 1;
            state.producers
        };
        let producer = Producer::open(&self.settings, self.topic, number, self.me.clone(), &self.metrics)?;
        let producer = Arc::new(producer);
        self.lock().producer = Some(Arc::clone(&producer));
        Ok(producer)
    }

    pub(super) fn producer(&self) -> Option<Arc<Producer>> {
        self.lock().producer.clone()
    }

    pub(super) fn mode(&self) -> Mode {
        self.lock().mode
    }

    /// How often records were turned away from the brokers.
    pub(super) fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::Acquire)
    }

    /// Whether the spool has answered all that it was given.
    pub(super) fn spool_has_answered(&self) -> bool {
        self.spooling.load(Ordering::Acquire) == 0
    }

    /// The part of the spool that is being sent, so that a producer that is given up does not leave it waiting. False
    /// where it was given up before.
    pub(super) fn replays(&self, number: u64, batch: &Arc<Batch>) -> bool {
        let mut state = self.lock();
        let current = state.is_current(number);
        state.replaying = current.then(|| Arc::clone(batch));
        current
    }

    /// New records go to the brokers. For clicks, whose order means nothing.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        if state.mode == Mode::Spooling && state.producer.is_some() && !self.topic.is_ordered() {
            self.goes_on(&mut state);
        }
    }

    fn goes_on(&self, state: &mut State) {
        state.mode = Mode::Direct;
        self.metrics().up.set(1.0);
        tracing::info!(topic = self.name(), "Kafka takes events");
    }

    /// Holds new records. Answers with the producer that they will go to.
    pub(super) fn begin_joining(&self) -> Option<Arc<Producer>> {
        let mut state = self.lock();
        if state.mode != Mode::Spooling || state.closed {
            return None;
        }
        let producer = state.producer.clone()?;
        state.mode = Mode::Joining;
        Some(producer)
    }

    /// All of the spool is with `producer`: what was held follows, and what comes.
    pub(super) fn join(&self, producer: &Producer) {
        let mut state = self.lock();
        if state.mode != Mode::Joining || !state.is_current(producer.number) {
            return;
        }
        let sent = state.under_way.iter().try_for_each(|batch| self.send(producer, batch));
        match sent {
            Ok(()) => self.goes_on(&mut state),
            Err(error) => self.give_up(&mut state, &trouble(&error)),
        }
    }

    /// The spool cannot be sent to its end now: what was held goes behind it.
    pub(super) fn leave_joining(&self) {
        let mut state = self.lock();
        if state.mode == Mode::Joining {
            state.mode = Mode::Spooling;
            for batch in std::mem::take(&mut state.under_way) {
                if let Some(waiting) = batch.take() {
                    self.spool(waiting);
                }
            }
        }
    }

    /// Takes no more records.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Whether every record has its outcome, or is with the spool.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().under_way.iter().all(|batch| batch.has_outcome())
    }

    /// What has no outcome yet goes to the spool, and the thread ends.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        (state.closed, state.ended) = (true, true);
        state.mode = Mode::Spooling;
        // Its thread waits until nobody else has it.
        state.producer = None;
        self.metrics().up.set(0.0);
        for batch in std::mem::take(&mut state.under_way) {
            if let Some(waiting) = batch.take() {
                self.spool(waiting);
            }
        }
    }
}
