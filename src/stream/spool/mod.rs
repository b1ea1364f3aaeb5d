//! The embedded event log: appended to by the edge, read by settlement, kept in one file on this machine.
//!
//! # What it guarantees
//! - An append that was answered well is on the disk: its commit has been synced. A kill loses none of it, nor does
//!   a power cut that tears what was being written at any byte; a commit is there whole or not at all.
//! - A failed commit answers [`AppendError::Failed`] to all that were in it. The file is then opened anew, and nothing
//!   is acknowledged until a commit succeeds. Refused events can turn up all the same when the sync failed after the
//!   write: their ids make that harmless.
//! - Offsets are per topic, one per event, without gaps, and never given twice, also when everything was consumed and
//!   forgotten. The partition is always 0.
//! - What is handed out is what was appended, in order. A batch that fails its checksum, is missing or is not where it
//!   belongs is [`SourceError::Damaged`](super::SourceError::Damaged), and the reader stays there.
//! - The file holds at most `max_bytes` of compressed batches, and clicks leave a tenth of that to conversions.
//! - What is consumed can be forgotten on a full disk too: a reserve beside the file, which appends leave alone, is
//!   given up for it and made again when there is room. An empty log gives its own room back for that.
//! - Appending never blocks the caller: what does not fit is refused at once, with [`AppendError::Full`] where the file
//!   has no room, with [`AppendError::Stalled`] where the disk does not keep up.
//!
//! Beyond that: bytes that a failing disk changes after the sync are found by checksum in the file. In the part of the
//! WAL that is not copied yet, some MiB at most, SQLite takes them for the end of the log at the next start. A reader
//! that had come further finds its position past the end ([`SourceError::Beyond`](super::SourceError::Beyond)), and
//! settlement begins over; what nobody had read yet shows as a gap in the numbers of the events, as `reconcile` counts
//! them.
//!
//! # When it commits
//! A conversion has somebody waiting for the answer, so it is never delayed: an idle writer commits it at once, with
//! all that waits. While the disk is at one commit the next group gathers, so the batches grow with the load by
//! themselves. Clicks were answered before they come here: alone they wait up to `commit_ms` for company, or until there
//! are `commit_events`. The WAL is copied into the file between two groups, after the first was answered.
//!
//! # What is underneath
//! SQLite in WAL mode with full sync, chosen over redb by `benches/log_append.rs`: sales of 475 bytes (136 compressed),
//! checksummed, one sync per commit, old batches forgotten (medians of two runs; 2 cores, ext4 on a virtual disk whose
//! sync takes a tenth of a millisecond, shared with other work: the slow SQLite figure is a run that was disturbed):
//!
//! | one commit of | SQLite | redb 4 | this log, from `append` to the answer |
//! |---|---|---|---|
//! | 1 event | 0.12 to 0.13 ms | 0.16 to 0.22 ms | 0.12 to 0.13 ms |
//! | 1,000 events | 0.56, 1.12 ms | 0.43 to 0.45 ms | 0.64 to 0.67 ms, 1.5 million events/s |
//! | 64 callers with 1 event each | | | 0.22 to 0.33 ms, 0.2 to 0.3 million events/s |
//!
//! redb is a quarter faster with full batches, where either is far beyond what an edge takes; SQLite is a quarter to
//! two fifths faster with the single conversion that somebody waits for. What decides is that a process apart can read
//! a SQLite file while another writes it, as `settle` does beside `edge`; redb has that as an experiment only.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

mod database;
mod format;
mod queue;
mod reader;
mod rescue;
mod reserve;
mod writer;

use database::Database;
use queue::{GroupLimits, Queue};
pub use reader::{SpoolEnd, SpoolSource};
pub use rescue::{Rescue, damage};
use reserve::Reserve;
use writer::Writer;

use rusqlite::{ErrorCode, ffi};

use super::{Append, AppendDone, AppendError, Durability, EventSink, Record, Topic};
use crate::{
    config::SpoolSettings,
    domain::time::Timestamp,
    telemetry::stream::{StreamMetrics, TopicMetrics},
};

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("there is no event log at {0}")]
    Missing(PathBuf),
    #[error("{0} is not an event log")]
    NotALog(PathBuf),
    #[error("the event log {path} has format {version}, which this build does not know")]
    Version { path: PathBuf, version: i32 },
    /// The disk cannot share memory between processes: network file systems as a rule.
    #[error("the file system of {0} cannot hold an event log")]
    NoWal(PathBuf),
    /// Another process appends to it, or another part of this one.
    #[error("the event log {0} is in use")]
    InUse(PathBuf),
    /// Appending could give an offset twice, so nothing is appended.
    #[error("the event log {path} is damaged: the end of {topic} does not follow its last batch")]
    Damaged { path: PathBuf, topic: &'static str },
    #[error("the event log {path}: {source}")]
    Failed { path: PathBuf, source: rusqlite::Error },
    #[error("the lock file {path}: {source}")]
    Lock { path: PathBuf, source: std::io::Error },
    #[error("the thread of the event log cannot start: {0}")]
    Thread(std::io::Error),
}

impl SpoolError {
    fn at(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => Self::NotALog(path.to_owned()),
            _ => Self::Failed { path: path.to_owned(), source },
        }
    }

    fn lacks_room(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if lacks_room(source))
    }
}

/// Whether room on the disk may help. A quota reads as a failed write, and so does a file system that looks for a
/// place only when it syncs.
fn lacks_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        error.code == ErrorCode::DiskFull
            || matches!(
                error.extended_code,
                ffi::SQLITE_CANTOPEN
                    | ffi::SQLITE_IOERR_WRITE
                    | ffi::SQLITE_IOERR_FSYNC
                    | ffi::SQLITE_IOERR_TRUNCATE
                    | ffi::SQLITE_IOERR_SHMOPEN
                    | ffi::SQLITE_IOERR_SHMSIZE
            )
    })
}

/// What is kept of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicStats {
    pub topic: Topic,
    /// The first offset that can still be read; the next offset when nothing is kept.
    pub begins: i64,
    /// Of the next event.
    pub next_offset: i64,
    /// Everything before it has been settled.
    pub consumed: i64,
    /// Events that are kept: whole batches, so some of them may be consumed.
    pub events: u64,
    /// Their bytes, compressed.
    pub bytes: u64,
    /// When the oldest batch that is kept was written.
    pub oldest: Option<Timestamp>,
}

impl TopicStats {
    fn empty(topic: Topic) -> Self {
        Self { topic, begins: 0, next_offset: 0, consumed: 0, events: 0, bytes: 0, oldest: None }
    }
}

/// The state of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolStats {
    /// In the order of [`Topic::ALL`].
    pub topics: [TopicStats; 2],
    /// The bound of the bytes of all topics.
    pub max_bytes: u64,
    /// The last commit failed: nothing is acknowledged until one succeeds.
    pub failing: bool,
}

/// The log, open for appending: one at a time has it so, by a lock on the file beside it whose name ends in `.lock`.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    queue: Arc<Queue>,
    metrics: StreamMetrics,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Spool {
    /// Opens the log at `path`, makes it when it is not there, and starts its writer.
    ///
    /// `path` wins over the one in `settings`, which may be empty. The folder has to be there.
    pub fn open(settings: &SpoolSettings, path: &Path, metrics: StreamMetrics) -> Result<Self, SpoolError> {
        let lock = lock(path)?;
        let reserve = Reserve::of(path, settings.max_bytes);
        let database = match Database::create(path) {
            Err(error) if error.lacks_room() && reserve.give_up() => Database::create(path)?,
            other => other?,
        };
        let held = Database::open(path)?;
        let stats = database.stats().map_err(SpoolError::at(path))?;
        let queue = Arc::new(Queue::new(settings.max_bytes, stats));
        metrics.max_bytes.set(settings.max_bytes as f64);
        let limits = GroupLimits {
            events: settings.commit_events.max(1),
            wait: Duration::from_millis(settings.commit_ms),
        };
        let databases = [database, held];
        let writer =
            Writer::new(Arc::clone(&queue), path.to_owned(), databases, reserve, limits, metrics.clone());
        writer.show(&stats);
        let thread = thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || {
                writer.run();
                drop(lock);
            })
            .map_err(SpoolError::Thread)?;
        Ok(Self { path: path.to_owned(), queue, metrics, thread: Mutex::new(Some(thread)) })
    }

    /// Takes records from any thread.
    pub fn sink(&self) -> Arc<SpoolSink> {
        Arc::new(SpoolSink { queue: Arc::clone(&self.queue), metrics: self.metrics.clone() })
    }

    /// A reader of this process, woken by every commit. It outlives the log.
    pub fn source(&self, topic: Topic) -> Result<SpoolSource, SpoolError> {
        SpoolSource::new(&self.path, topic, Some(Arc::clone(&self.queue)))
    }

    /// The state as the writer last saw it, a tenth of a second ago at most. Asks no disk.
    pub fn stats(&self) -> SpoolStats {
        let (topics, failing) = self.queue.observed();
        SpoolStats { topics, max_bytes: self.queue.max_bytes(), failing }
    }

    /// Takes nothing more, makes what was handed over durable, answers it and ends the writer. Blocks until then;
    /// may be called twice. Dropping the log does the same.
    pub fn close(&self) {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the event log had panicked");
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}

/// The right to append, held until the file is closed. The kernel ends it with the process, so a file that is left behind
/// means nothing.
fn lock(path: &Path) -> Result<File, SpoolError> {
    let beside = path.with_added_extension("lock");
    let failed = |source| SpoolError::Lock { path: beside.clone(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What a log holds, read from its file while a writer may be at it. Makes no file.
pub fn inspect(path: &Path) -> Result<[TopicStats; 2], SpoolError> {
    Database::open(path)?.stats().map_err(SpoolError::at(path))
}

/// The appending end of a [`Spool`].
#[derive(Debug)]
pub struct SpoolSink {
    queue: Arc<Queue>,
    metrics: StreamMetrics,
}

impl SpoolSink {
    /// As [`append`](EventSink::append), for a promise that was made elsewhere.
    pub fn append_for(&self, records: Vec<Record>, done: AppendDone) {
        if records.is_empty() {
            return done.resolve(Ok(Durability::Local));
        }
        let count = |topic| records.iter().filter(|record| record.topic == topic).count() as u64;
        let counts = Topic::ALL.map(count);
        if let Err((done, why)) = self.queue.push(records, done) {
            for topic in Topic::ALL {
                let metrics = topic_metrics(&self.metrics, topic);
                let refused = match why {
                    AppendError::Full => &metrics.full,
                    AppendError::Stalled => &metrics.stalled,
                    AppendError::Failed => &metrics.failed,
                    AppendError::Closed => &metrics.closed,
                };
                refused.increment(counts[topic.index()]);
            }
            done.resolve(Err(why));
        }
    }
}

impl EventSink for SpoolSink {
    fn append(&self, records: Vec<Record>) -> Append {
        let (done, append) = Append::new();
        self.append_for(records, done);
        append
    }
}

fn topic_metrics(metrics: &StreamMetrics, topic: Topic) -> &TopicMetrics {
    match topic {
        Topic::Clicks => &metrics.clicks,
        Topic::Conversions => &metrics.conversions,
    }
}
