//! The loop of a consumer: poll, take, commit with the position, one batch after another.

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
    batch::{BatchError, Tally},
};
use crate::{
    config::SettlementSettings,
    domain::time::Timestamp,
    store::{Store, streams},
    stream::{Delivery, EventSource, Topic},
    telemetry::settlement::ConsumerMetrics,
};

/// What a transaction may take: others wait for its locks, and a process that ends in its middle does it again.
const BATCH_TIME: Duration = Duration::from_millis(100);

/// Events of the first batch.
const FIRST_BATCH: usize = 50;

/// Between two tries of what cannot go on.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(5);

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
        detail: String,
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
    /// Events of the next batch at most, so that its transaction takes about [`BATCH_TIME`].
    room: usize,
}

impl Consumer {
    pub fn new(topic: Topic, parts: &SettlementParts, metrics: ConsumerMetrics) -> Self {
        let room = FIRST_BATCH.min(parts.settings.batch_events);
        Self {
            topic,
            store: parts.store.clone(),
            settings: parts.settings.clone(),
            metrics,
            generation: None,
            next: BTreeMap::new(),
            room,
        }
    }

    /// Learns from the time that a transaction took.
    fn make_room(&mut self, spent: Duration) {
        if spent > BATCH_TIME {
            self.room = (self.room / 2).max(1);
        } else if spent < BATCH_TIME / 2 {
            self.room = (self.room * 2).min(self.settings.batch_events);
        }
    }

    /// Goes to the stored position of every partition that is newly ours.
    async fn take_over(&mut self, source: &mut impl EventSource) -> Result<(), String> {
        let assignment = source.assignment();
        if self.generation == Some(assignment.generation) {
            return Ok(());
        }
        self.next.retain(|partition, _| assignment.partitions.contains(partition));
        for partition in assignment.partitions {
            if self.next.contains_key(&partition) {
                continue;
            }
            let position = streams::position(self.store.reader(), self.topic.name(), partition)
                .await
                .map_err(|error| error.to_string())?;
            source.seek(partition, position).await.map_err(|error| error.to_string())?;
            self.next.insert(partition, position);
        }
        self.generation = Some(assignment.generation);
        Ok(())
    }

    /// From the stored positions again.
    fn begin_again(&mut self) {
        self.generation = None;
        self.next.clear();
    }

    /// Takes a batch and moves the position, in one transaction.
    async fn commit(&mut self, taker: &mut impl TakeBatch, batch: &[Delivery]) -> Result<(), BatchError> {
        let begun = Instant::now();
        let mut tally = Tally::default();
        let tx = self.store.begin().await?;
        taker.take(&tx, batch, Timestamp::now(), &mut tally).await?;
        self.finish(tx, batch, taker, tally, begun).await
    }

    async fn refuse(
        &mut self,
        taker: &mut impl TakeBatch,
        delivery: &Delivery,
        detail: String,
    ) -> Result<(), BatchError> {
        let begun = Instant::now();
        let mut tally = Tally::default();
        let tx = self.store.begin().await?;
        taker.refuse(&tx, delivery, detail, Timestamp::now(), &mut tally).await?;
        self.finish(tx, std::slice::from_ref(delivery), taker, tally, begun).await
    }

    async fn finish(
        &mut self,
        tx: DatabaseTransaction,
        batch: &[Delivery],
        taker: &mut impl TakeBatch,
        tally: Tally,
        begun: Instant,
    ) -> Result<(), BatchError> {
        // In the order of partitions: consumers that meet on several rows take them in one order.
        let ends: BTreeMap<i32, i64> =
            batch.iter().map(|delivery| (delivery.partition, delivery.offset + 1)).collect();
        for (&partition, &end) in &ends {
            let from = self.next.get(&partition).copied().ok_or(BatchError::NotOwner)?;
            if !streams::advance(&tx, self.topic.name(), partition, from, end).await? {
                return Err(BatchError::NotOwner);
            }
        }
        tx.commit().await?;
        self.next.extend(ends);
        taker.committed();
        for (outcome, events) in tally.outcomes {
            self.metrics.count(outcome, events);
        }
        self.metrics.redelivered.increment(tally.redelivered);
        self.metrics.settle.record(begun.elapsed());
        self.make_room(begun.elapsed());
        if let Some(received_at) = tally.last_received {
            let lag = Timestamp::now().0.saturating_sub(received_at.0).max(0);
            self.metrics.lag.set(Duration::from_millis(lag.unsigned_abs()).as_secs_f64());
        }
        Ok(())
    }

    /// Takes a failed batch event by event, up to the first that cannot go on; answers why.
    async fn one_by_one(&mut self, taker: &mut impl TakeBatch, batch: &[Delivery]) -> Option<BatchError> {
        for delivery in batch {
            let error = match self.commit(taker, std::slice::from_ref(delivery)).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            let Some(detail) = error.blames_the_event() else { return Some(error) };
            warn!(topic = self.topic.name(), offset = delivery.offset, detail, "an event was refused");
            if let Err(error) = self.refuse(taker, delivery, detail).await {
                return Some(error);
            }
        }
        None
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
    let mut pause = RETRY_FIRST;
    while !shutdown.is_cancelled() {
        let step = async {
            consumer.take_over(&mut source).await?;
            let wait = Duration::from_millis(consumer.settings.batch_wait_ms);
            source.poll(consumer.room, wait).await.map_err(|error| error.to_string())
        };
        let polled = tokio::select! {
            () = shutdown.cancelled() => break,
            polled = step => polled,
        };
        let batch = match polled {
            Ok(batch) => batch,
            Err(detail) => {
                stall(&consumer, &mut pause, &detail, &shutdown).await;
                continue;
            }
        };
        if !batch.is_empty() && !settle(&mut consumer, &mut taker, &batch, &mut pause, &shutdown).await {
            consumer.begin_again();
            continue;
        }
        consumer.metrics.stalled.set(0.0);
        pause = RETRY_FIRST;
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

/// Lets a batch take effect; `false`: begin again from the stored position. What cannot go on is read anew each time,
/// so that it goes on when somebody has helped in the log as well as in the store.
async fn settle(
    consumer: &mut Consumer,
    taker: &mut impl TakeBatch,
    batch: &[Delivery],
    pause: &mut Duration,
    shutdown: &CancellationToken,
) -> bool {
    let error = match consumer.commit(taker, batch).await {
        Ok(()) => return true,
        Err(error) => error,
    };
    warn!(topic = consumer.topic.name(), %error, events = batch.len(), "a batch failed, taking it one by one");
    consumer.metrics.retried.increment(1);
    let Some(error) = consumer.one_by_one(taker, batch).await else { return true };
    if !shutdown.is_cancelled() {
        stall(consumer, pause, &error.to_string(), shutdown).await;
    }
    false
}

async fn stall(consumer: &Consumer, pause: &mut Duration, detail: &str, shutdown: &CancellationToken) {
    consumer.metrics.stalled.set(1.0);
    error!(topic = consumer.topic.name(), next = ?consumer.next, detail, "settlement cannot go on");
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sleep(*pause) => {}
    }
    *pause = (*pause * 2).min(RETRY_MOST);
}
