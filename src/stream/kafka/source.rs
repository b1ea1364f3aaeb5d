//! Settlement's way to read a topic: as one of the instances that share its partitions.
//!
//! Each topic has a consumer group of its own, with the cooperative protocol: when instances come and go, only the
//! partitions that move stop. Where to begin is the store's word, never the group's: nothing is stored with the
//! brokers but a copy for tools that show lag, and a position that the log does not have is an error, for settlement
//! to decide about. Members are not static (`group.instance.id`): a name that two instances share would shut one of
//! them out for good, and a copy that is gone would keep its partitions for the whole session all the same.
//!
//! While the brokers are away nothing is handed out, which the metrics show; it goes on by itself. Should the client
//! not find back to them, it is made anew; see `membership`.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use rdkafka::{ClientConfig, Offset, error::KafkaError};
use tokio::{
    sync::oneshot,
    task,
    time::{Instant, timeout, timeout_at},
};

use super::{
    client,
    group::{Found, Group, Patience},
    logs,
    membership::Membership,
};
use crate::{
    config::KafkaSettings,
    stream::{Assignment, Delivery, EndOfLog, Ends, EventSource, SourceError, Topic},
    telemetry::kafka_consumer::KafkaConsumerMetrics,
};

/// How often a member says that it lives, unless its session is short: by the answer it also hears that others come or
/// go, so this is what a rebalance takes.
const HEARTBEAT_MS: u64 = 1_000;

/// The longest time between two looks at the group that librdkafka allows, unless a session is longer.
const LONGEST_SILENCE_MS: u64 = 300_000;

/// A client that is silent for so many sessions is made anew, and never sooner than several looks at the brokers.
const SILENT_SESSIONS: u32 = 3;
const LEAST_SILENCE: Duration = Duration::from_secs(15);

/// Hands out the records of one topic's partitions that are this instance's.
pub struct KafkaSource {
    membership: Arc<Membership>,
}

/// The end of a source's thread: it has left the group.
#[derive(Debug)]
pub struct Left(oneshot::Receiver<Infallible>);

impl Left {
    /// Waits until the group is left, at most for `most`. Comes after the source was dropped.
    pub async fn wait(self, most: Duration) {
        // The sender never sends; it is dropped with the thread.
        let _ = timeout(most, self.0).await;
    }
}

impl KafkaSource {
    /// Joins the group of `topic`. The brokers need not be there.
    ///
    /// # Errors
    /// The settings cannot be used: a certificate that is not there, TLS in a build without it.
    pub fn join(
        settings: &KafkaSettings,
        topic: Topic,
        metrics: KafkaConsumerMetrics,
    ) -> Result<(Self, Left), SourceError> {
        let failed = |error: KafkaError| SourceError::Failed(client::describe(&error));
        let name = client::topic(settings, topic);
        let membership = Membership::join(config(settings, topic), topic, name, metrics).map_err(failed)?;
        let silence = Duration::from_millis(settings.session_timeout_ms) * SILENT_SESSIONS;
        let patience =
            Patience::new(silence.max(LEAST_SILENCE), Duration::from_millis(division_ms(settings)));
        let membership = Arc::new(membership);
        let (ended, left) = oneshot::channel();
        let followed = Arc::clone(&membership);
        thread::Builder::new()
            .name(match topic {
                Topic::Clicks => "kafka-clicks".to_owned(),
                Topic::Conversions => "kafka-sales".to_owned(),
            })
            .spawn(move || {
                followed.follow(patience);
                // Before the word that it has ended: this may be the consumer's last owner.
                drop(followed);
                drop::<oneshot::Sender<Infallible>>(ended);
            })
            .map_err(|error| SourceError::Failed(format!("cannot start a thread: {error}")))?;
        Ok((Self { membership }, Left(left)))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Group) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        blocking(self.membership.current(), work).await
    }
}

async fn blocking<T: Send + 'static>(
    group: Arc<Group>,
    work: impl FnOnce(&Group) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let work = move || work(&group);
    task::spawn_blocking(work).await.map_err(|error| SourceError::Failed(error.to_string()))?
}

/// Asks the brokers where the topic ends, as long as its source is there: it keeps no group from being left.
#[derive(Debug)]
pub struct KafkaEnd(Weak<Membership>);

impl EndOfLog for KafkaEnd {
    async fn ends(&self) -> Result<Ends, SourceError> {
        let group = self.0.upgrade().map(|membership| membership.current());
        let group = group.ok_or_else(|| SourceError::Failed("the group was left".to_owned()))?;
        blocking(group, Group::ends).await
    }
}

/// The name of the group that settles `topic`, without the prefix.
const fn group_name(topic: Topic) -> &'static str {
    match topic {
        Topic::Clicks => "waypost-settlement-clicks",
        Topic::Conversions => "waypost-settlement-conversions",
    }
}

/// The longest time that the group waits for a member when it is divided: as long as one may look at nothing.
fn division_ms(settings: &KafkaSettings) -> u64 {
    settings.session_timeout_ms.max(LONGEST_SILENCE_MS)
}

fn config(settings: &KafkaSettings, topic: Topic) -> ClientConfig {
    let session = settings.session_timeout_ms;
    let mut config = client::connection(settings);
    logs::ask_for(&mut config);
    config
        .set("group.id", format!("{}{}", settings.prefix, group_name(topic)))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session.to_string())
        .set("heartbeat.interval.ms", HEARTBEAT_MS.min(session / 4).to_string())
        .set("max.poll.interval.ms", division_ms(settings).to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        // A topic that is made later is noticed within this time.
        .set("topic.metadata.refresh.interval.ms", "5000")
        // Per partition, what is fetched ahead of settlement: some batches.
        .set("queued.min.messages", "5000")
        .set("queued.max.messages.kbytes", "4096")
        .set("fetch.max.bytes", "4194304")
        .set("max.partition.fetch.bytes", "1048576")
        // An event is settled as soon as it is there.
        .set("fetch.min.bytes", "1")
        .set("fetch.error.backoff.ms", "100");
    config
}

impl EventSource for KafkaSource {
    type End = KafkaEnd;

    fn end(&self) -> KafkaEnd {
        KafkaEnd(Arc::downgrade(&self.membership))
    }

    fn assignment(&self) -> Assignment {
        self.membership.with(Group::assignment)
    }

    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, SourceError> {
        let deadline = Instant::now() + wait;
        let generation = self.assignment().generation;
        loop {
            match self.membership.with(|group| group.take(max))? {
                Found::Records(found) if !found.is_empty() => return Ok(found),
                Found::Records(_) => {}
                Found::Broken(partition) => {
                    let examined = self.blocking(move |group| Ok(group.examine(partition))).await?;
                    if let Some(error) = examined {
                        return Err(error);
                    }
                }
            }
            if self.assignment().generation != generation
                || timeout_at(deadline, self.membership.changed.notified()).await.is_err()
            {
                return Ok(Vec::new());
            }
        }
    }

    async fn rewind(&mut self, partition: i32) -> Result<(), SourceError> {
        self.blocking(move |group| group.seek(partition, Offset::Beginning)).await
    }

    async fn seek(&mut self, partition: i32, offset: i64) -> Result<(), SourceError> {
        self.blocking(move |group| group.seek(partition, Offset::Offset(offset))).await
    }

    async fn bounds(&self, partition: i32) -> Result<(i64, i64), SourceError> {
        self.blocking(move |group| group.bounds(partition)).await
    }

    fn hold(&mut self, partition: i32) {
        self.membership.with(|group| group.pause(partition));
    }

    async fn consumed(&mut self, partition: i32, offset: i64) -> Result<(), SourceError> {
        self.membership.with(|group| group.consumed(partition, offset));
        Ok(())
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.membership.with(Group::stop);
    }
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KafkaSource")
    }
}
