//! The loop of a consumer: poll, take, commit with the position, one batch after another.
//!
//! Instances share the partitions of a topic. A batch may hold events of several of them; its transaction first moves
//! the position of each from where this instance believes it to be. One that is elsewhere means that another instance
//! has the partition: nothing of the batch takes effect, and the consumer begins again from the stored positions.
//! That is normal when instances come and go, and an instance that was away too long is stopped by it.
//!
//! What cannot go on for a reason in its partition (an event that needs a newer build, a position that the log does not
//! have, damage) stops that partition alone, and is tried again by and by. Anything else stops all of them. A partition whose
//! log is not the one that was settled is read from its beginning; see `proof`.

mod place;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use sea_orm::DatabaseTransaction;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    SettlementParts,
    batch::{BatchError, Fault, Tally},
    defect::contained,
    proof::Proofs,
};
use crate::{
    config::SettlementSettings,
    domain::time::Timestamp,
    store::{Store, streams},
    stream::{Delivery, EventSource, Fingerprint, Topic},
    telemetry::settlement::ConsumerMetrics,
};

/// What a transaction may take: others wait for its locks, and a process that ends in its middle does it again.
const BATCH_TIME: Duration = Duration::from_millis(100);

/// Events of the first batch, and the fewest that a slow store makes of it: below, most of a transaction's time is what
/// it costs empty, and halving it would only slow settlement down.
const LEAST_BATCH: usize = 50;

/// Between two tries of what cannot go on.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// Tries of a batch that others are in the way of, before it is taken one by one.
const TRIES: u32 = 4;

/// Losing partitions to others for so long without a single batch in between is no rebalance any more.
const LOST_TOO_LONG: Duration = Duration::from_secs(60);

/// Without trouble for so long, a consumer that has nothing to do is well.
const CALM: Duration = Duration::from_secs(2);

/// Applies the events of a batch.
pub(super) trait TakeBatch: Send + 'static {
    /// Lets a batch take effect in `tx`. Called again with the same events when the transaction failed.
    fn take(
        &mut self,
        tx: &DatabaseTransaction,
        batch: &[Delivery],
        at: Timestamp,
        tally: &mut Tally,
    ) -> impl Future<Output = Result<(), BatchError>> + Send;

    /// Keeps a single event that cannot take effect for a reason in itself.
    fn refuse(
        &mut self,
        tx: &DatabaseTransaction,
        delivery: &Delivery,
        fault: Fault,
        at: Timestamp,
        tally: &mut Tally,
    ) -> impl Future<Output = Result<(), BatchError>> + Send;

    /// The batch is committed.
    fn committed(&mut self) {}
}

/// One consumer and where it stands.
pub(super) struct Consumer {
    topic: Topic,
    store: Store,
    settings: SettlementSettings,
    metrics: ConsumerMetrics,
    /// The assignment that `next` belongs to; none: begin again.
    generation: Option<u64>,
    /// The offset of the next event, of each partition that is ours.
    next: BTreeMap<i32, i64>,
    /// The partitions whose log may be another than the one that was settled.
    proofs: Proofs,
    /// Events of the next batch at most, so that its transaction takes about [`BATCH_TIME`].
    room: usize,
    /// Partitions that cannot go on, and when they are tried again.
    stuck: BTreeMap<i32, Stop>,
    /// When a broker was last asked and did not answer.
    unanswered: Option<Instant>,
    /// When something last could not go on.
    troubled: Option<Instant>,
    /// Since when nothing but batches that came too late.
    lost_since: Option<Instant>,
    /// Until the next try of what cannot go on.
    pause: Duration,
}

/// A partition that cannot go on.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// Until the next try; each time twice as long.
    pause: Duration,
    again: Instant,
    cause: Cause,
}

/// Why a partition cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The log does not have its position, or nobody says whether it has.
    Position,
    /// An event cannot take effect, or cannot be read.
    Event,
    /// The same, and it is being tried again: whether it can now is not known yet.
    EventTried,
}

/// How a batch ended.
enum Ended {
    Settled,
    /// Begin again from the stored positions.
    Lost,
    /// These partitions cannot go on; the rest has settled.
    Stopped(BTreeMap<i32, BatchError>),
    Stuck(BatchError),
}

impl Consumer {
    pub fn new(topic: Topic, parts: &SettlementParts, metrics: ConsumerMetrics) -> Self {
        let room = LEAST_BATCH.min(parts.settings.batch_events);
        Self {
            topic,
            store: parts.store.clone(),
            settings: parts.settings.clone(),
            metrics,
            generation: None,
            next: BTreeMap::new(),
            proofs: Proofs::default(),
            room,
            stuck: BTreeMap::new(),
            unanswered: None,
            troubled: None,
            lost_since: None,
            pause: RETRY_FIRST,
        }
    }

    /// From the stored positions again.
    fn begin_again(&mut self) {
        self.generation = None;
        self.next.clear();
    }

    /// Takes a batch and moves the position, in one transaction; a `fault` refuses the event that is all of the batch.
    async fn commit(
        &mut self,
        taker: &mut impl TakeBatch,
        batch: &[Delivery],
        fault: Option<Fault>,
    ) -> Result<(), BatchError> {
        let (begun, at) = (Instant::now(), Timestamp::now());
        let mut tally = Tally::default();
        let work = contained(async {
            let tx = self.store.begin().await?;
            let ends = self.advance(&tx, batch).await?;
            match (fault, batch) {
                (Some(fault), [delivery]) => taker.refuse(&tx, delivery, fault, at, &mut tally).await?,
                _ => taker.take(&tx, batch, at, &mut tally).await?,
            }
            tx.commit().await?;
            Ok::<_, BatchError>(ends)
        });
        let ends = self.store.in_time(work).await?;
        self.committed(ends, taker, tally, begun);
        Ok(())
    }

    /// Moves the positions behind `batch`, first of all: who is not the owner any more changes nothing else, and
    /// waits for the owner's transaction before it has locked anything. In the order of partitions, so that those who
    /// meet on several do not wait in a circle.
    async fn advance(
        &self,
        tx: &DatabaseTransaction,
        batch: &[Delivery],
    ) -> Result<BTreeMap<i32, i64>, BatchError> {
        let lasts: BTreeMap<i32, &Delivery> =
            batch.iter().map(|delivery| (delivery.partition, delivery)).collect();
        let mut ends = BTreeMap::new();
        for (&partition, last) in &lasts {
            let (from, end) =
                (self.next.get(&partition).copied().ok_or(BatchError::NotOwner)?, last.offset + 1);
            let fingerprint = Fingerprint::of(&last.payload);
            let last = Some(fingerprint.as_bytes().as_slice());
            if !streams::advance(tx, self.topic.name(), partition, from, end, last).await? {
                return Err(BatchError::NotOwner);
            }
            ends.insert(partition, end);
        }
        Ok(ends)
    }

    fn committed(
        &mut self,
        ends: BTreeMap<i32, i64>,
        taker: &mut impl TakeBatch,
        tally: Tally,
        begun: Instant,
    ) {
        self.stuck.retain(|partition, _| !ends.contains_key(partition));
        self.next.extend(ends);
        self.lost_since = None;
        taker.committed();
        for (outcome, events) in tally.outcomes {
            self.metrics.count(outcome, events);
        }
        self.metrics.redelivered.increment(tally.redelivered);
        self.metrics.settle.record(begun.elapsed());
        self.room = room_after(self.room, begun.elapsed(), self.settings.batch_events);
        if let Some(received_at) = tally.last_received {
            let lag = Timestamp::now().0.saturating_sub(received_at.0).max(0);
            self.metrics.lag.set(Duration::from_millis(lag.unsigned_abs()).as_secs_f64());
        }
    }

    /// Lets a batch take effect. What cannot go on is read anew each time, so that it goes on when somebody has helped
    /// in the log as well as in the store.
    async fn settle(
        &mut self,
        taker: &mut impl TakeBatch,
        batch: &[Delivery],
        shutdown: &CancellationToken,
    ) -> Ended {
        let topic = self.topic.name();
        let mut tries = 0;
        let error = loop {
            tries += 1;
            match self.commit(taker, batch, None).await {
                Ok(()) => return Ended::Settled,
                Err(BatchError::NotOwner) => return Ended::Lost,
                Err(error) if error.is_transient() && tries < TRIES && !shutdown.is_cancelled() => {
                    info!(topic, %error, events = batch.len(), "a batch is taken again");
                    self.metrics.conflicts.increment(1);
                    sleep(RETRY_FIRST * tries).await;
                }
                Err(error) => break error,
            }
        };
        warn!(topic, %error, events = batch.len(), "a batch failed, taking it one by one");
        self.metrics.retried.increment(1);
        self.one_by_one(taker, batch).await
    }

    /// Takes a failed batch event by event, up to the first that cannot go on. One that needs a newer build stops its
    /// partition alone; anything else would stop the others as well.
    async fn one_by_one(&mut self, taker: &mut impl TakeBatch, batch: &[Delivery]) -> Ended {
        let mut stopped = BTreeMap::new();
        for delivery in batch {
            if stopped.contains_key(&delivery.partition) {
                continue;
            }
            let event = std::slice::from_ref(delivery);
            let mut taken = self.commit(taker, event, None).await;
            if let Err(error) = &taken
                && let Some(fault) = error.blames_the_event()
            {
                let (topic, partition, offset) = (self.topic.name(), delivery.partition, delivery.offset);
                warn!(topic, partition, offset, %error, reason = %fault.reason, "an event was refused");
                taken = self.commit(taker, event, Some(fault)).await;
            }
            match taken {
                Ok(()) => {}
                Err(BatchError::NotOwner) => return Ended::Lost,
                Err(error) if error.needs_a_newer_build() => {
                    stopped.insert(delivery.partition, error);
                }
                Err(error) => return Ended::Stuck(error),
            }
        }
        if stopped.is_empty() { Ended::Settled } else { Ended::Stopped(stopped) }
    }

    /// Another instance has a partition. Normal where instances come and go, unless nothing else happens.
    async fn lost(&mut self, shutdown: &CancellationToken) {
        self.metrics.lost_ownership.increment(1);
        info!(topic = self.topic.name(), next = ?self.next, "another instance has moved the position");
        let since = *self.lost_since.get_or_insert_with(Instant::now);
        if since.elapsed() > LOST_TOO_LONG {
            self.stall("partitions are always lost to another instance", shutdown).await;
        } else {
            wait(RETRY_FIRST, shutdown).await;
        }
        self.begin_again();
    }

    async fn stall(&mut self, detail: &str, shutdown: &CancellationToken) {
        self.metrics.stalled.set(1.0);
        error!(topic = self.topic.name(), next = ?self.next, detail, "settlement cannot go on");
        wait(self.pause, shutdown).await;
        self.pause = (self.pause * 2).min(RETRY_MOST);
        self.troubled = Some(Instant::now());
        self.begin_again();
    }

    /// Nothing has gone wrong; `settled`: something went well.
    fn went_on(&mut self, settled: bool) {
        let is_calm = settled || self.troubled.is_none_or(|troubled| troubled.elapsed() > CALM);
        if self.stuck.is_empty() && is_calm {
            self.metrics.stalled.set(0.0);
            self.troubled = None;
            self.pause = RETRY_FIRST;
        }
        if !settled {
            self.lost_since = None;
        }
    }
}

/// Consumes until `shutdown`.
pub(super) async fn run<S: EventSource, T: TakeBatch>(
    mut consumer: Consumer,
    mut source: S,
    mut taker: T,
    shutdown: CancellationToken,
) {
    let topic = consumer.topic.name();
    while !shutdown.is_cancelled() {
        let step = async {
            consumer.take_over(&mut source).await?;
            consumer.try_stopped(&mut source).await?;
            let wait = Duration::from_millis(consumer.settings.batch_wait_ms);
            match source.poll(consumer.room, wait).await {
                Ok(batch) => consumer.prove(&mut source, batch).await,
                Err(error) => match error.partition() {
                    Some(partition) => {
                        consumer.not_readable(&mut source, partition, error).await.map(|()| Vec::new())
                    }
                    None => Err(error.to_string()),
                },
            }
        };
        let polled = tokio::select! {
            () = shutdown.cancelled() => break,
            polled = step => polled,
        };
        let batch = match polled {
            Ok(batch) => batch,
            Err(detail) => {
                consumer.stall(&detail, &shutdown).await;
                continue;
            }
        };
        // Not for partitions that are gone; what stays ours is read again from its stored position.
        if consumer.generation != Some(source.assignment().generation) {
            consumer.begin_again();
            continue;
        }
        if batch.is_empty() {
            consumer.went_on(false);
            continue;
        }
        match consumer.settle(&mut taker, &batch, &shutdown).await {
            Ended::Settled => consumer.went_on(true),
            Ended::Lost => {
                consumer.lost(&shutdown).await;
                continue;
            }
            Ended::Stopped(partitions) => {
                for (partition, error) in partitions {
                    consumer.stop(&mut source, partition, Cause::Event, &error.to_string());
                }
            }
            Ended::Stuck(error) => {
                consumer.stall(&error.to_string(), &shutdown).await;
                continue;
            }
        }
        let partitions: BTreeSet<i32> = batch.iter().map(|delivery| delivery.partition).collect();
        for partition in partitions {
            if let Some(&next) = consumer.next.get(&partition)
                && let Err(error) = source.consumed(partition, next).await
            {
                warn!(topic, %error, "the event log could not be told what is consumed");
            }
        }
    }
    info!(topic, next = ?consumer.next, "consumer stopped");
}

/// Events of the next batch at most, after one of at most `room` that took `spent`.
fn room_after(room: usize, spent: Duration, most: usize) -> usize {
    if spent > BATCH_TIME {
        (room / 2).max(LEAST_BATCH.min(most))
    } else if spent < BATCH_TIME / 2 {
        (room * 2).min(most)
    } else {
        room
    }
}

async fn wait(time: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sleep(time) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(101);
    const QUICK: Duration = Duration::from_millis(49);

    #[test]
    fn a_batch_grows_while_it_is_quick_and_shrinks_when_it_is_slow() {
        assert_eq!(room_after(50, QUICK, 1_000), 100);
        assert_eq!(room_after(800, QUICK, 1_000), 1_000);
        assert_eq!(room_after(800, SLOW, 1_000), 400);
        assert_eq!(room_after(800, BATCH_TIME, 1_000), 800);
    }

    #[test]
    fn a_store_that_is_slow_to_commit_does_not_take_events_one_by_one() {
        let room = (0..20).fold(1_000, |room, _| room_after(room, SLOW, 1_000));
        assert_eq!(room, LEAST_BATCH);
        assert_eq!(room_after(10, SLOW, 10), 10, "never more than the setting");
    }
}
