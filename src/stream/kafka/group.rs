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

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, base_consumer::PartitionQueue},
    error::{KafkaError, KafkaResult},
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::logs::ClientLog;
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

/// What librdkafka said that is not acted upon yet.
#[derive(Debug)]
enum News {
    Given(Vec<i32>),
    Taken(Vec<i32>),
}

/// Notes what librdkafka says.
#[derive(Debug, Default)]
pub(super) struct Listener {
    news: Mutex<Vec<News>>,
    log: ClientLog,
    /// Nobody reads `news` any more: partitions are given back on the spot.
    leaving: AtomicBool,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.line(level, facility, message);
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.log.error(reason);
    }
}

impl ConsumerContext for Listener {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, word: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|element| element.partition()).collect();
        let given = matches!(word, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        if self.leaving.load(Ordering::Acquire) {
            // The last word before the end, which may come when the consumer is dropped.
            let answered = if given {
                consumer.incremental_assign(&TopicPartitionList::new())
            } else {
                give_back(consumer, list)
            };
            if let Err(error) = answered {
                debug!(%error, "partitions could not be given back");
            }
            return;
        }
        let news = if given { News::Given(partitions) } else { News::Taken(partitions) };
        lock(&self.news).push(news);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        // For tools that show lag; our own place is in the store.
        if let Err(error) = result {
            debug!(%error, "the group could not be told where settlement stands");
        }
    }
}

/// Stops fetching those of `list` that are fetched. librdkafka waits for this answer even if there are none.
fn give_back(consumer: &BaseConsumer<Listener>, list: &TopicPartitionList) -> KafkaResult<()> {
    let fetched = consumer.assignment()?;
    let mut ours = TopicPartitionList::new();
    for element in list.elements() {
        if fetched.find_partition(element.topic(), element.partition()).is_some() {
            ours.add_partition(element.topic(), element.partition());
        }
    }
    consumer.incremental_unassign(&ours)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A partition that is ours.
struct Partition {
    queue: PartitionQueue<Listener>,
    /// The next record to hand out; none before the first seek.
    next: Option<Offset>,
    /// Nothing is handed out before the next seek.
    paused: bool,
    /// Everything before it has taken effect, and whether the group was told.
    consumed: Option<(i64, bool)>,
    /// Why it is not fetched any more.
    broken: Option<KafkaError>,
}

#[derive(Default)]
struct Held {
    generation: u64,
    partitions: BTreeMap<i32, Partition>,
    /// Whose turn it is to be read first.
    turn: i32,
    /// librdkafka has given up for good.
    fatal: Option<String>,
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
    stop: AtomicBool,
    metrics: KafkaConsumerMetrics,
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
            held: Mutex::default(),
            changed: Arc::default(),
            stop: AtomicBool::new(false),
            metrics,
        })
    }

    pub fn assignment(&self) -> Assignment {
        let held = lock(&self.held);
        Assignment { generation: held.generation, partitions: held.partitions.keys().copied().collect() }
    }

    /// What has arrived, without waiting; partitions in turn.
    pub fn take(&self, max: usize) -> Result<Found, SourceError> {
        let mut held = lock(&self.held);
        if let Some(reason) = &held.fatal {
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
        let turn = held.turn;
        let mut found = Vec::new();
        let mut last = None;
        let (first, rest): (Vec<_>, Vec<_>) =
            held.partitions.iter_mut().partition(|(number, _)| **number >= turn);
        for (&number, partition) in first.into_iter().chain(rest) {
            if found.len() < max {
                last = Some(number);
                partition.read(number, max, &mut found);
            }
        }
        held.turn = last.map_or(0, |last| last.saturating_add(1));
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
        (partition.next, partition.paused) = (Some(begin), false);
        partition.consumed = Some((begin.to_raw().map_or(0, |offset| offset.max(0)), true));
        partition.broken = None;
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
            if self.stop.load(Ordering::Acquire) {
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

    /// Follows the group until [`stop`](Self::stop); then leaves it.
    pub fn follow(&self) {
        let mut looked = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            match self.consumer.poll(NEWS) {
                Some(Ok(message)) => self.astray(message.partition()),
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    lock(&self.held).fatal = Some(format!("the consumer has ended: {code}"));
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
                self.observe();
            }
        }
        self.leave();
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
            held.partitions
                .insert(number, Partition { queue, next: None, paused: false, consumed: None, broken: None });
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

    /// Brings the gauges up to date. The lag is asked for, not taken from what was fetched: a partition that is
    /// stalled is not fetched, and its lag grows.
    fn observe(&self) {
        let stands: Vec<(i32, i64)> = {
            let held = lock(&self.held);
            let of = |(number, partition): (&i32, &Partition)| Some((*number, partition.consumed?.0));
            held.partitions.iter().filter_map(of).collect()
        };
        let mut lag = 0_u64;
        let mut answered = Ok(());
        for &(number, consumed) in &stands {
            match self.consumer.fetch_watermarks(&self.name, number, ANSWER) {
                Ok((begins, ends)) => {
                    lag += u64::try_from(ends.saturating_sub(consumed.max(begins))).unwrap_or(0);
                }
                Err(error) => {
                    answered = Err(error);
                    break;
                }
            }
        }
        if stands.is_empty() {
            answered = self.consumer.fetch_metadata(Some(&self.name), ANSWER).map(drop);
        }
        match answered {
            Ok(()) => {
                self.metrics.lag.set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
                self.metrics.brokers_up.set(1.0);
            }
            Err(error) => {
                self.metrics.brokers_up.set(0.0);
                self.consumer.context().log.error(&format!("the brokers do not answer: {error}"));
            }
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

impl Partition {
    fn read(&mut self, number: i32, max: usize, found: &mut Vec<Delivery>) {
        let Some(next) = self.next.as_mut().filter(|_| !self.paused) else { return };
        while self.broken.is_none() && found.len() < max {
            match self.queue.poll(Duration::ZERO) {
                None => return,
                Some(Ok(message)) => {
                    let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                    *next = Offset::Offset(message.offset() + 1);
                    found.push(Delivery { partition: number, offset: message.offset(), payload });
                }
                // Whatever it is, librdkafka may go on behind it; we must not.
                Some(Err(error)) => self.broken = Some(error),
            }
        }
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
