//! The loop of a consumer: poll, take, commit with the position, one batch after another.

use std::time::{Duration, Instant};

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

/// The embedded log has one partition.
const PARTITION: i32 = 0;

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
    next: i64,
    /// Events of the next batch at most, so that its transaction takes about [`BATCH_TIME`].
    room: usize,
}

impl Consumer {
    pub fn new(topic: Topic, parts: &SettlementParts, metrics: ConsumerMetrics) -> Self {
        let room = FIRST_BATCH.min(parts.settings.batch_events);
        Self { topic, store: parts.store.clone(), settings: parts.settings.clone(), metrics, next: 0, room }
    }

    /// Learns from the time that a transaction took.
    fn make_room(&mut self, spent: Duration) {
        if spent > BATCH_TIME {
            self.room = (self.room / 2).max(1);
        } else if spent < BATCH_TIME / 2 {
            self.room = (self.room * 2).min(self.settings.batch_events);
        }
    }

    /// Reads the stored position and goes there.
    async fn start(&mut self, source: &mut impl EventSource) -> Result<(), String> {
        self.next = streams::position(self.store.reader(), self.topic.name(), PARTITION)
            .await
            .map_err(|error| error.to_string())?;
        source.seek(PARTITION, self.next).await.map_err(|error| error.to_string())?;
        Ok(())
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
        let Some(last) = batch.last() else { return Ok(()) };
        let next = last.offset + 1;
        if !streams::advance(&tx, self.topic.name(), PARTITION, self.next, next).await? {
            return Err(BatchError::NotOwner);
        }
        tx.commit().await?;
        self.next = next;
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
    let mut started = false;
    while !shutdown.is_cancelled() {
        let step = async {
            if !started {
                consumer.start(&mut source).await?;
                started = true;
            }
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
            // From the stored position again.
            started = false;
            continue;
        }
        consumer.metrics.stalled.set(0.0);
        pause = RETRY_FIRST;
        if !batch.is_empty()
            && let Err(error) = source.consumed(PARTITION, consumer.next).await
        {
            warn!(topic, %error, "the event log could not be told what is consumed");
        }
    }
    info!(topic, next_offset = consumer.next, "consumer stopped");
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
    error!(topic = consumer.topic.name(), next_offset = consumer.next, detail, "settlement cannot go on");
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sleep(*pause) => {}
    }
    *pause = (*pause * 2).min(RETRY_MOST);
}
