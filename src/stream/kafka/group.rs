//! One member of a consumer group: the partitions that are its own, and a queue for each of them.
//!
//! A thread of its own asks librdkafka for what happens to the group. Records do not come that way: each partition
//! has a queue of its own, read when settlement asks, so a full settlement slows the fetching and never the group.
//! librdkafka's word that partitions come or go is only noted where it arrives (inside `poll`) and acted upon after.
//! That a partition is ours is confirmed at once, without a place to begin at: the group never waits for our store.
//! It is fetched once [`Group::seek`] names the place.
//!
//! All that is handed out of a partition goes through one lock with its coming and going, so nothing of a partition
//! is handed out after it is gone. What was handed out before and commits too late is stopped by the store, where
//! positions move by compare-and-set.

mod listener;
mod look;
mod partition;
mod patience;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, KafkaResult},
    types::RDKafkaErrorCode,
};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

pub(super) use self::{listener::Listener, patience::Patience};
use self::{
    listener::{News, give_back},
    look::Looks,
    partition::Partition,
};
use crate::{
    stream::{Assignment, Delivery, Ends, SourceError, Topic},
    telemetry::kafka_consumer::KafkaConsumerMetrics,
};

/// How long the thread waits for news at a time; a wish to stop is seen after it.
const NEWS: Duration = Duration::from_millis(100);

/// How often the lag is looked at, and the group is told where we stand.
const LOOK: Duration = Duration::from_secs(2);

/// What one question to the brokers may take; meanwhile news of the group wait.
const ANSWER: Duration = Duration::from_secs(1);

/// What a seek may take; it asks nobody but librdkafka's own threads.
const SEEK: Duration = Duration::from_secs(1);

/// How long the word of leaving may take to go out. A consumer that is closed sooner, while it still waits for the
/// answer to a commit, ends without that word.
const GRACE: Duration = Duration::from_millis(500);

/// What leaving the group may take; then the others notice by the session's end.
const LEAVE: Duration = Duration::from_secs(2);

/// The brokers repeat a refusal as often as librdkafka asks again; it is over when they have not for so long.
const REFUSED: Duration = Duration::from_secs(10);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Held {
    generation: u64,
    partitions: BTreeMap<i32, Partition>,
    /// Whose turn it is to be read first.
    turn: i32,
    /// When records were last handed out.
    delivered: Option<Instant>,
    /// Since when the group has not said which partitions are ours, from the beginning or from when it took some.
    outside: Option<Instant>,
    /// Of partitions that a client was given up for, the record that it never brought.
    awaited: BTreeMap<i32, i64>,
    /// librdkafka has given up for good, and since when.
    fatal: Option<(String, Instant)>,
    /// The brokers do not want us, and since when.
    refused: Option<(String, Instant)>,
}

/// Errors that do not pass by waiting: somebody has to look at the settings or at the brokers' rights.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        Authentication, GroupAuthorizationFailed, GroupMaxSizeReached, InconsistentGroupProtocol,
        InvalidGroupId, InvalidSessionTimeout, SaslAuthenticationFailed, TopicAuthorizationFailed,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(
            Authentication
                | GroupAuthorizationFailed
                | GroupMaxSizeReached
                | InconsistentGroupProtocol
                | InvalidGroupId
                | InvalidSessionTimeout
                | SaslAuthenticationFailed
                | TopicAuthorizationFailed
        )
    )
}

/// A member of the group of one topic.
pub(super) struct Group {
    topic: Topic,
    /// The topic at the brokers.
    name: String,
    consumer: Arc<BaseConsumer<Listener>>,
    held: Mutex<Held>,
    /// There may be records, or the assignment has changed.
    pub changed: Arc<Notify>,
    stop: Arc<AtomicBool>,
    metrics: KafkaConsumerMetrics,
}

/// Why a group is not followed any more; it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was to [`stop`](Group::stop).
    Stopped,
    /// Its client is to be replaced.
    Silent,
}

/// What was found when records were asked for.
pub(super) enum Found {
    Records(Vec<Delivery>),
    /// A partition cannot go on.
    Broken(i32),
}

impl Group {
    pub fn new(
        topic: Topic,
        name: String,
        consumer: BaseConsumer<Listener>,
        metrics: KafkaConsumerMetrics,
    ) -> Result<Self, KafkaError> {
        consumer.subscribe(&[&name])?;
        Ok(Self {
            topic,
            name,
            consumer: Arc::new(consumer),
            held: Mutex::new(Held { outside: Some(Instant::now()), ..Held::default() }),
            changed: Arc::default(),
            stop: Arc::default(),
            metrics,
        })
    }

    /// The same member by another client, after this one has left.
    pub fn again(&self, consumer: BaseConsumer<Listener>) -> Result<Self, KafkaError> {
        consumer.subscribe(&[&self.name])?;
        let held = {
            let before = lock(&self.held);
            Held {
                generation: before.generation + 1,
                outside: Some(Instant::now()),
                refused: before.refused.clone(),
                awaited: before.awaited.clone(),
                ..Held::default()
            }
        };
        Ok(Self {
            topic: self.topic,
            name: self.name.clone(),
            consumer: Arc::new(consumer),
            held: Mutex::new(held),
            changed: Arc::clone(&self.changed),
            stop: Arc::clone(&self.stop),
            metrics: self.metrics.clone(),
        })
    }

    /// The topic at the brokers.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn assignment(&self) -> Assignment {
        let held = lock(&self.held);
        Assignment { generation: held.generation, partitions: held.partitions.keys().copied().collect() }
    }

    /// What has arrived, without waiting; partitions in turn.
    pub fn take(&self, max: usize) -> Result<Found, SourceError> {
        let mut held = lock(&self.held);
        if let Some((reason, _)) = &held.fatal {
            return Err(SourceError::Failed(reason.clone()));
        }
        if let Some((reason, at)) = &held.refused
            && at.elapsed() < REFUSED
        {
            return Err(SourceError::Failed(reason.clone()));
        }
        // First: others that have records all the time must not hide it.
        let broken = held.partitions.iter().find(|(_, partition)| {
            // One that is paused is known already.
            partition.broken.is_some() && !partition.paused
        });
        if let Some((&number, _)) = broken {
            return Ok(Found::Broken(number));
        }
        let (turn, now) = (held.turn, Instant::now());
        let mut found = Vec::new();
        let mut last = None;
        let (first, rest): (Vec<_>, Vec<_>) =
            held.partitions.iter_mut().partition(|(number, _)| **number >= turn);
        for (&number, partition) in first.into_iter().chain(rest) {
            if found.len() < max {
                last = Some(number);
                partition.read(number, max, now, &mut found);
            }
        }
        held.turn = last.map_or(0, |last| last.saturating_add(1));
        if !found.is_empty() {
            held.delivered = Some(now);
        }
        Ok(Found::Records(found))
    }

    /// Begins at an offset, or with the first record that there is. Asks the brokers only where the partition could not
    /// go on before. Blocks for [`ANSWER`] and [`SEEK`] at most.
    pub fn seek(&self, number: i32, begin: Offset) -> Result<(), SourceError> {
        let was_broken =
            lock(&self.held).partitions.get(&number).is_some_and(|partition| partition.broken.is_some());
        if was_broken {
            self.check(number, begin)?;
        }
        let mut held = lock(&self.held);
        // Gone again: the next look at the assignment will tell.
        let Some(partition) = held.partitions.get_mut(&number) else { return Ok(()) };
        let is_fetched = partition.next.is_some() && partition.broken.is_none();
        if !is_fetched || self.consumer.seek(&self.name, number, begin, SEEK).is_err() {
            self.fetch_from(number, begin).map_err(|error| SourceError::Failed(error.to_string()))?;
        }
        partition.begin(begin);
        Ok(())
    }

    /// Hands out nothing of a partition until it is sought again.
    pub fn pause(&self, number: i32) {
        if let Some(partition) = lock(&self.held).partitions.get_mut(&number) {
            partition.paused = true;
        }
    }

    fn fetch_from(&self, number: i32, begin: Offset) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, number, begin)?;
        if self.consumer.assignment()?.find_partition(&self.name, number).is_some() {
            self.consumer.incremental_unassign(&list)?;
        }
        self.consumer.incremental_assign(&list)
    }

    /// Whether the log has a record, or will have it next.
    fn check(&self, number: i32, begin: Offset) -> Result<(), SourceError> {
        let (begins, ends) = self.bounds(number)?;
        let Offset::Offset(wanted) = begin else { return Ok(()) };
        let (topic, partition) = (self.topic.name(), number);
        if wanted < begins {
            return Err(SourceError::Truncated { topic, partition, wanted, begins });
        }
        if wanted > ends {
            return Err(SourceError::Beyond { topic, partition, wanted, ends });
        }
        Ok(())
    }

    /// Where a partition begins and ends. Blocks for [`ANSWER`] at most.
    pub fn bounds(&self, number: i32) -> Result<(i64, i64), SourceError> {
        self.consumer
            .fetch_watermarks(&self.name, number, ANSWER)
            .map_err(|error| SourceError::Failed(format!("partition {number}: {error}")))
    }

    /// Where the topic's partitions end, those of others as well. Blocks for [`ANSWER`] and once more for each partition
    /// at most; a group that is left has no time for it.
    pub fn ends(&self) -> Result<Ends, SourceError> {
        let failed = |error: KafkaError| SourceError::Failed(error.to_string());
        let metadata = self.consumer.fetch_metadata(Some(&self.name), ANSWER).map_err(failed)?;
        let topic =
            metadata.topics().iter().find(|topic| topic.name() == self.name && topic.error().is_none());
        let topic = topic.ok_or_else(|| SourceError::Failed(format!("there is no topic {}", self.name)))?;
        let mut ends = Ends::new();
        for partition in topic.partitions() {
            if self.is_stopped() {
                return Err(SourceError::Failed("the group is being left".to_owned()));
            }
            let watermarks = self.consumer.fetch_watermarks(&self.name, partition.id(), ANSWER);
            let (begins, end) = watermarks.map_err(failed)?;
            if end > begins {
                ends.insert(partition.id(), end);
            }
        }
        Ok(ends)
    }

    /// Why a partition cannot go on; none: it is not ours any more. Blocks for [`ANSWER`] at most.
    pub fn examine(&self, number: i32) -> Option<SourceError> {
        let (next, reason) = {
            let held = lock(&self.held);
            let partition = held.partitions.get(&number)?;
            (partition.next?, partition.broken.clone()?)
        };
        let (topic, partition) = (self.topic.name(), number);
        match self.check(number, next) {
            Ok(()) => {}
            Err(SourceError::Failed(detail)) => {
                return Some(SourceError::Interrupted { topic, partition, detail });
            }
            Err(error) => return Some(error),
        }
        Some(match (reason.rdkafka_error_code(), next) {
            // The brokers have that offset now; whether it is that of the same record is another question.
            (Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange), _)
            | (_, Offset::Beginning) => {
                SourceError::Interrupted { topic, partition, detail: reason.to_string() }
            }
            (_, next) => SourceError::Damaged {
                topic,
                partition,
                offset: next.to_raw().unwrap_or_default(),
                detail: format!("partition {number}: {reason}"),
            },
        })
    }

    /// Everything before `offset` has taken effect.
    pub fn consumed(&self, number: i32, offset: i64) {
        if let Some(partition) = lock(&self.held).partitions.get_mut(&number) {
            partition.consumed = Some((offset, false));
        }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Follows the group until [`stop`](Self::stop), or until its client was silent for too long; then leaves it.
    pub fn follow(&self, patience: &mut Patience) -> Ended {
        let ended = self.follow_on(patience);
        self.leave();
        ended
    }

    fn follow_on(&self, patience: &mut Patience) -> Ended {
        let (mut looked, mut looks) = (Instant::now(), Looks::begin());
        while !self.is_stopped() {
            match self.consumer.poll(NEWS) {
                Some(Ok(message)) => self.astray(message.partition()),
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    lock(&self.held).fatal =
                        Some((format!("the consumer has ended: {code}"), Instant::now()));
                    self.changed.notify_one();
                }
                Some(Err(error)) if is_refusal(&error) => {
                    lock(&self.held).refused = Some((error.to_string(), Instant::now()));
                    self.changed.notify_one();
                }
                // The listener has written it down; it passes.
                Some(Err(_)) | None => {}
            }
            self.act();
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.tell_group();
                let silent = patience.is_over(&self.look(&mut looks));
                if let Some(silent) = silent.filter(|_| !self.is_stopped()) {
                    warn!(topic = self.name, ?silent, "a consumer hears nothing; making it anew");
                    self.metrics.restarts.increment(1);
                    self.await_from(silent);
                    return Ended::Silent;
                }
            }
        }
        Ended::Stopped
    }

    /// A record that did not come by its partition's queue: it is fetched again in its place.
    fn astray(&self, number: i32) {
        if let Some(partition) = lock(&self.held).partitions.get_mut(&number) {
            partition.broken = Some(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset));
        }
    }

    /// Acts upon the news. Each wants its answer, also when no partition comes or goes.
    fn act(&self) {
        let news = std::mem::take(&mut *lock(&self.consumer.context().news));
        for word in news {
            let answered = match word {
                News::Given(numbers) => {
                    lock(&self.held).outside = None;
                    self.hold(&numbers);
                    self.consumer.incremental_assign(&TopicPartitionList::new())
                }
                News::Taken(numbers) => give_back(&self.consumer, &self.let_go(&numbers)),
            };
            if let Err(error) = answered {
                warn!(topic = self.name, %error, "the group could not be answered");
            }
        }
    }

    /// Something was given or taken.
    fn moved(&self, held: &mut Held) {
        held.generation += 1;
        self.metrics.rebalances.increment(1);
        self.metrics.partitions.set(count(held.partitions.len()));
        self.changed.notify_one();
    }

    fn let_go(&self, numbers: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        if !numbers.is_empty() {
            info!(topic = self.name, partitions = ?numbers, "partitions were taken from this instance");
            let mut held = lock(&self.held);
            for &number in numbers {
                held.partitions.remove(&number);
                list.add_partition(&self.name, number);
            }
            held.outside.get_or_insert_with(Instant::now);
            self.moved(&mut held);
        }
        list
    }

    fn hold(&self, numbers: &[i32]) {
        if numbers.is_empty() {
            return;
        }
        info!(topic = self.name, partitions = ?numbers, "partitions were given to this instance");
        let mut held = lock(&self.held);
        for &number in numbers {
            // An old queue must be gone before: its end silences the new one.
            held.partitions.remove(&number);
            let Some(mut queue) = self.consumer.split_partition_queue(&self.name, number) else { continue };
            let changed = Arc::clone(&self.changed);
            queue.set_nonempty_callback(move || changed.notify_one());
            let awaited = held.awaited.get(&number).copied();
            held.partitions.insert(number, Partition::new(queue, awaited));
        }
        self.moved(&mut held);
    }

    /// Tells the group where we stand, for tools that show lag.
    fn tell_group(&self) {
        let mut list = TopicPartitionList::new();
        for (number, partition) in &mut lock(&self.held).partitions {
            if let Some((offset, told)) = &mut partition.consumed
                && !*told
                && list.add_partition_offset(&self.name, *number, Offset::Offset(*offset)).is_ok()
            {
                *told = true;
            }
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            debug!(%error, "the group could not be told where settlement stands");
        }
    }

    /// Gives everything back, so that the others need not wait for the session's end. They have to all the same when
    /// the group is just being divided anew: librdkafka leaves only what it has joined.
    fn leave(&self) {
        self.consumer.context().leaving.store(true, Ordering::Release);
        {
            let mut held = lock(&self.held);
            held.partitions.clear();
            held.generation += 1;
        }
        self.metrics.partitions.set(0.0);
        self.act_no_more();
        self.consumer.unsubscribe();
        let begun = Instant::now();
        let is_left = || self.consumer.assignment().is_ok_and(|list| list.count() == 0);
        while begun.elapsed() < GRACE || !is_left() && begun.elapsed() < LEAVE {
            self.consumer.poll(NEWS);
        }
    }

    /// Answers what came between the last look and leaving.
    fn act_no_more(&self) {
        for word in std::mem::take(&mut *lock(&self.consumer.context().news)) {
            let mut list = TopicPartitionList::new();
            let answered = match word {
                News::Given(_) => self.consumer.incremental_assign(&list),
                News::Taken(numbers) => {
                    for number in numbers {
                        list.add_partition(&self.name, number);
                    }
                    give_back(&self.consumer, &list)
                }
            };
            if let Err(error) = answered {
                debug!(%error, "the group could not be answered");
            }
        }
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
