//! The event log between edge and settlement, and the one outcome of each event that is handed to it.
//!
//! Two traits are the seam between the engines: an [`EventSink`] takes records and answers when they are durable;
//! an [`EventSource`] hands them out in order. Where a reader stands is not kept here: settlement keeps it in the
//! store, in the transaction that has the effect, and [`seek`](EventSource::seek)s there.

pub mod kafka;
pub mod spool;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::domain::ids::AccountId;

/// The two logs. Clicks and conversions are read apart, so that a burst of clicks never delays money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    Clicks,
    Conversions,
}

impl Topic {
    pub const ALL: [Self; 2] = [Self::Clicks, Self::Conversions];

    /// Its place in arrays with one element per topic, as in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        match self {
            Self::Clicks => 0,
            Self::Conversions => 1,
        }
    }

    /// Whether records of one key have to keep their order.
    pub const fn is_ordered(self) -> bool {
        match self {
            Self::Clicks => false,
            Self::Conversions => true,
        }
    }

    /// The name on Kafka, and in the store's positions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clicks => "waypost.clicks.v1",
            Self::Conversions => "waypost.conversions.v1",
        }
    }
}

/// One event on its way to the log, serialised.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: Topic,
    /// Records of one key keep their order.
    pub key: Option<AccountId>,
    pub payload: Bytes,
}

/// How safe a record is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disks of several machines.
    Replicated,
    /// On this machine's disk.
    Local,
}

impl Durability {
    /// The value of the `Waypost-Durability` header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replicated => "replicated",
            Self::Local => "local",
        }
    }
}

/// Why records were not stored. None of a refused batch is in the log, but for what [`Failed`](Self::Failed) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The log has reached its size: try again later.
    #[error("the event log is full")]
    Full,
    /// More is under way to the disk than memory may be given for: try again later.
    #[error("the event log's disk does not keep up")]
    Stalled,
    /// The disk or the broker failed. Where it failed after writing, the records can turn up all the same; their ids
    /// make that harmless.
    #[error("the event log cannot write")]
    Failed,
    /// The process is stopping.
    #[error("the event log is closed")]
    Closed,
}

/// The promise of one batch: resolves when its records are durable or refused, all alike.
#[must_use = "an event leaves by one counted outcome: await it, or count it as lost"]
pub struct Append(oneshot::Receiver<Result<Durability, AppendError>>);

impl Append {
    /// The promise, and the end by which a sink keeps it.
    pub fn new() -> (AppendDone, Self) {
        let (done, receiver) = oneshot::channel();
        (AppendDone { waiter: Some(done), told: None }, Self(receiver))
    }
}

impl Future for Append {
    type Output = Result<Durability, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|done| done.unwrap_or(Err(AppendError::Closed)))
    }
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Append")
    }
}

/// The sink's end of an [`Append`]. Dropped without an outcome, it reads as [`AppendError::Closed`].
#[must_use = "somebody waits for the outcome"]
pub struct AppendDone {
    waiter: Option<oneshot::Sender<Result<Durability, AppendError>>>,
    told: Option<Told>,
}

type Told = Box<dyn FnOnce(Result<Durability, AppendError>) + Send>;

impl AppendDone {
    pub fn resolve(mut self, outcome: Result<Durability, AppendError>) {
        self.settle(outcome);
    }

    /// Tells `told` too, before the one who waits.
    pub fn telling(mut self, told: impl FnOnce(Result<Durability, AppendError>) + Send + 'static) -> Self {
        self.told = Some(match self.told.take() {
            None => Box::new(told),
            Some(earlier) => Box::new(move |outcome| {
                told(outcome);
                earlier(outcome);
            }),
        });
        self
    }

    fn settle(&mut self, outcome: Result<Durability, AppendError>) {
        if let Some(told) = self.told.take() {
            told(outcome);
        }
        if let Some(waiter) = self.waiter.take() {
            // Nobody waits any more when the client went away; the records are what they are.
            let _ = waiter.send(outcome);
        }
    }
}

impl Drop for AppendDone {
    fn drop(&mut self) {
        self.settle(Err(AppendError::Closed));
    }
}

impl fmt::Debug for AppendDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppendDone")
    }
}

/// Takes records. Handing over never blocks; records of one call and one topic keep their order.
pub trait EventSink: Send + Sync + 'static {
    fn append(&self, records: Vec<Record>) -> Append;
}

/// A record as it is handed out.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Always 0 in the embedded log.
    pub partition: i32,
    /// Ascending in its partition; there may be gaps.
    pub offset: i64,
    pub payload: Bytes,
}

/// Tells one record from another: what a position remembers of the record before it, so that the log can be told
/// from one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The first half of the payload's BLAKE3 hash.
    pub fn of(payload: &[u8]) -> Self {
        let hash = blake3::hash(payload);
        let (first, _) = hash.as_bytes().split_at(16);
        Self(first.try_into().unwrap_or_default())
    }

    /// As it was stored; none: these are not the bytes of one.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Why nothing can be handed out, of one partition or of all. The reader tries again later; nothing is skipped.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A stored batch does not match its checksum.
    #[error("the event log is damaged at offset {offset} of {topic}: {detail}")]
    Damaged { topic: &'static str, partition: i32, offset: i64, detail: String },
    /// The stored position is older than what the log still has, so events would be skipped.
    #[error("offset {wanted} of {topic} is gone, the log begins at {begins}")]
    Truncated { topic: &'static str, partition: i32, wanted: i64, begins: i64 },
    /// The stored position is one that the log does not have yet: it is another log, or has lost its end.
    #[error("offset {wanted} of {topic} is not there, the log ends at {ends}: was the topic made anew?")]
    Beyond { topic: &'static str, partition: i32, wanted: i64, ends: i64 },
    /// Reading was interrupted: by now other records may stand where the next ones were.
    #[error("reading partition {partition} of {topic} was interrupted: {detail}")]
    Interrupted { topic: &'static str, partition: i32, detail: String },
    #[error("the event log cannot be read: {0}")]
    Failed(String),
}

impl SourceError {
    /// The partition that cannot go on; none: nothing can.
    pub const fn partition(&self) -> Option<i32> {
        match self {
            Self::Damaged { partition, .. }
            | Self::Truncated { partition, .. }
            | Self::Beyond { partition, .. }
            | Self::Interrupted { partition, .. } => Some(*partition),
            Self::Failed(_) => None,
        }
    }
}

/// The partitions of one topic that are a reader's now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Another number: the partitions have changed.
    pub generation: u64,
    pub partitions: BTreeSet<i32>,
}

/// The offset behind the last record of each partition that holds any.
pub type Ends = BTreeMap<i32, i64>;

/// Tells where a topic ends, in all of its partitions, whoever reads them.
pub trait EndOfLog: Send + Sync + 'static {
    /// # Errors
    /// Nobody can say: the log is away.
    fn ends(&self) -> impl Future<Output = Result<Ends, SourceError>> + Send;
}

/// Hands out the records of one topic, in order within each partition, from where it was told to begin.
pub trait EventSource: Send + 'static {
    type End: EndOfLog;

    /// Tells where the topic ends, for somebody else than the reader.
    fn end(&self) -> Self::End;

    /// The partitions that are this reader's now. Of one that is new nothing is handed out before it was
    /// [`seek`](Self::seek)ed; of one that is gone nothing more is handed out.
    fn assignment(&self) -> Assignment;

    /// The next records: at most `max`, none when `wait` passes without one or the assignment changes.
    fn poll(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Delivery>, SourceError>> + Send;

    /// The next record handed out of `partition` will be the first that it has.
    fn rewind(&mut self, partition: i32) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The next record handed out of `partition` will be the first at or after `offset`, which it must have.
    fn seek(&mut self, partition: i32, offset: i64) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The offset of the first record that `partition` still has, and the one behind its last.
    fn bounds(&self, partition: i32) -> impl Future<Output = Result<(i64, i64), SourceError>> + Send;

    /// Nothing more is handed out of `partition` before it is [`seek`](Self::seek)ed again.
    fn hold(&mut self, partition: i32);

    /// Everything of `partition` before `offset` has taken effect in the store and may be forgotten.
    fn consumed(
        &mut self,
        partition: i32,
        offset: i64,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;
}
