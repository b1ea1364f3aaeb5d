//! The event log on Kafka, with the spool behind it.
//!
//! # What it guarantees
//! - A batch that is answered [`Replicated`](crate::stream::Durability::Replicated) was acknowledged by all in-sync
//!   replicas; [`Local`](crate::stream::Durability::Local) is on this machine's disk, and goes to Kafka when that is
//!   back, also after a kill. A batch has one answer, and it comes in little more than `kafka.spool_after_ms`.
//! - A batch may arrive twice: once late, once by the spool. The ids of events make that harmless.
//! - Conversions and refunds of an account reach their partition in the order of their answers, also across an outage,
//!   a fatal error of the producer, and a restart.
//! - Appending never waits for the network. What is under way is bounded by `kafka.queue_events` and
//!   `kafka.queue_bytes` for each topic, twice over at most: here until it has its outcome, in librdkafka until it is
//!   reported. Beyond that it goes to the spool.
//!
//! # What is underneath
//! One idempotent producer for each topic, so that a burst of clicks never fills the queue of conversions, and one
//! thread for each that polls it (deliveries are counted down there, without a future per record) and looks for what is
//! late when it can be. See `lane` for where records go, `replay` for the way back from the spool.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::error::KafkaError;
use tokio::{task::AbortHandle, time::sleep};

use super::{
    KeyOf, client,
    lane::Lane,
    producer::Producer,
    replay::Replay,
    state::{Mode, Next},
};
use crate::{
    config::KafkaSettings,
    stream::{Append, Durability, EventSink, Record, SourceError, Topic, spool::Spool},
    telemetry::kafka::KafkaMetrics,
};

/// How long a producer is polled at least before what is late is looked for.
const TICK: Duration = Duration::from_millis(20);

/// And at most, so that the end of a lane is noticed.
const LONGEST_TICK: Duration = Duration::from_millis(100);

/// Above whole milliseconds by so much: the binding waits in whole ones and spins through what is left of the last.
const POLL_SLACK: Duration = Duration::from_micros(50);

/// How long a start waits for the brokers, so that with them there nothing goes to the spool. Without them it goes on.
const START_WAIT: Duration = Duration::from_secs(2);

/// Between two attempts to make a producer.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What producers may take to end.
const END_TIME: Duration = Duration::from_secs(2);

/// Why nothing can be produced.
#[derive(Debug, thiserror::Error)]
pub enum KafkaSinkError {
    /// librdkafka refuses the settings.
    #[error("{}", client::describe(.0))]
    Settings(KafkaError),
    #[error(transparent)]
    Spool(SourceError),
    #[error("a thread cannot start: {0}")]
    Thread(std::io::Error),
}

/// Produces to Kafka, and spools what Kafka does not take.
pub struct KafkaSink {
    /// In the order of [`Topic::ALL`].
    lanes: [Arc<Lane>; 2],
    spool: Arc<Spool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    replays: Vec<AbortHandle>,
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").finish_non_exhaustive()
    }
}

impl KafkaSink {
    /// Connects, and begins to replay what `spool` has. Waits a moment for the brokers and goes on without them.
    ///
    /// `key_of` finds the key of a record in the spool, which keeps payloads alone.
    ///
    /// # Errors
    /// Settings that librdkafka refuses; a spool that cannot be read. Brokers that are away are none.
    pub async fn open(
        settings: &KafkaSettings,
        spool: Arc<Spool>,
        key_of: KeyOf,
        metrics: KafkaMetrics,
    ) -> Result<Self, KafkaSinkError> {
        let lanes = Topic::ALL.map(|topic| Lane::new(topic, settings, spool.sink(), metrics.clone()));
        let time = Duration::from_millis(settings.message_timeout_ms);
        let mut replays = Vec::new();
        for lane in &lanes {
            let replay = Replay::new(Arc::clone(lane), &spool, key_of, time).await;
            replays.push(replay.map_err(KafkaSinkError::Spool)?);
        }
        let mut threads = Vec::new();
        for lane in &lanes {
            let producer = lane.make_producer().map_err(KafkaSinkError::Settings)?;
            let lane = Arc::clone(lane);
            let thread = thread::Builder::new()
                .name(format!("kafka-{:?}", lane.topic).to_lowercase())
                .spawn(move || attend(&lane, producer));
            threads.push(thread.map_err(KafkaSinkError::Thread)?);
        }
        let replays = replays.into_iter().map(|replay| tokio::spawn(replay.run()).abort_handle()).collect();
        let sink = Self { lanes, spool, threads: Mutex::new(threads), replays };
        sink.wait_for_brokers().await;
        Ok(sink)
    }

    /// Until events go to Kafka, or what is in the spool goes there first, or the time is over.
    async fn wait_for_brokers(&self) {
        let deadline = Instant::now() + START_WAIT;
        let kept = self.spool.stats().topics;
        let is_up = |lane: &Arc<Lane>| {
            let stats = &kept[lane.topic.index()];
            lane.mode() == Mode::Direct || stats.consumed < stats.next_offset
        };
        while !self.lanes.iter().all(is_up) {
            if Instant::now() >= deadline {
                tracing::warn!("Kafka does not answer, events go to the spool until it does");
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Takes nothing more. Waits until Kafka has acknowledged what is under way, for `most` at most, and gives the
    /// rest to the spool, which has to be closed afterwards. What the spool holds then is replayed at the next start.
    /// Answers whether all producers have ended; one that has not is left behind, without harm.
    pub async fn close(&self, most: Duration) -> bool {
        for lane in &self.lanes {
            lane.close();
        }
        for replay in &self.replays {
            replay.abort();
        }
        let deadline = Instant::now() + most;
        while !self.lanes.iter().all(|lane| lane.is_idle()) && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        for lane in &self.lanes {
            lane.end();
        }
        let deadline = Instant::now() + END_TIME;
        let mut threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        while !threads.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        let mut ended = true;
        for thread in threads.drain(..) {
            if !thread.is_finished() {
                tracing::warn!("a producer takes too long to end and is left behind");
                ended = false;
            } else if thread.join().is_err() {
                tracing::error!("the thread of a producer had panicked");
            }
        }
        ended
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        for replay in &self.replays {
            replay.abort();
        }
        for lane in &self.lanes {
            lane.end();
        }
    }
}

impl EventSink for KafkaSink {
    fn append(&self, records: Vec<Record>) -> Append {
        let (done, append) = Append::new();
        if records.is_empty() {
            done.resolve(Ok(Durability::Replicated));
            return append;
        }
        // With a conversion among them all keep the order of conversions.
        let ordered = records.iter().any(|record| record.topic.is_ordered());
        let [clicks, conversions] = &self.lanes;
        if ordered { conversions } else { clicks }.append(records, done);
        append
    }
}

/// Polls the producers of a lane, one after the other, until the lane ends.
fn attend(lane: &Arc<Lane>, mut producer: Arc<Producer>) {
    loop {
        let wait = lane.until_late().clamp(TICK, LONGEST_TICK).as_millis();
        producer.poll(Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX)) + POLL_SLACK);
        match lane.tick() {
            Next::GoOn => {}
            Next::Replace => {
                // Before there is another: what was not sent yet must not come behind what that one sends.
                producer.purge();
                end_aside(producer);
                producer = match replacement(lane) {
                    Some(producer) => producer,
                    None => return,
                };
            }
            Next::End => {
                producer.purge();
                return end(producer);
            }
        }
    }
}

/// A new producer, or none when the lane ends before there can be one.
fn replacement(lane: &Lane) -> Option<Arc<Producer>> {
    loop {
        match lane.make_producer() {
            Ok(producer) => return Some(producer),
            Err(error) => tracing::error!(%error, "a producer cannot be made"),
        }
        let deadline = Instant::now() + TRY_AGAIN;
        while Instant::now() < deadline {
            if lane.tick() == Next::End {
                return None;
            }
            thread::sleep(TICK);
        }
    }
}

/// Ends a purged producer on a thread of its own: that takes its time where brokers do not answer.
fn end_aside(producer: Arc<Producer>) {
    let thread = thread::Builder::new().name("kafka-end".to_owned()).spawn(move || end(producer));
    if let Err(error) = thread {
        tracing::error!(%error, "no thread to end a producer on");
    }
}

/// Waits until nobody sends by it any more: the last to let it go waits for its end, and must not be one who serves.
fn end(producer: Arc<Producer>) {
    let mut shared = producer;
    loop {
        match Arc::try_unwrap(shared) {
            Ok(last) => return drop(last),
            Err(still) => shared = still,
        }
        thread::sleep(Duration::from_millis(2));
    }
}
