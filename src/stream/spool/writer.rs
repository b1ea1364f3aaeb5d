//! The writer: one thread, one group of appends after the other, one commit and so one fsync for each.
//!
//! # On a full disk
//! A commit writes to the WAL, and the WAL can be used from its beginning again only when all of it is in the file. So
//! a log would be stuck for good whose file cannot grow by what its WAL has. That may never be more than the
//! [`Reserve`] can give:
//! - while the reserve is there, the WAL is copied whenever the file has to grow by half of the reserve for it;
//! - while it is not, and while the WAL could not be copied, appends get only pages that the file has already.
//!
//! A commit that finds no room is tried again with the WAL copied. When it is to forget something and there is still
//! none, the reserve goes, and comes back as soon as it fits: at the latest when the log is empty, whose file is made
//! small where room is short.

use std::{
    io, mem,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    SpoolError, TopicStats,
    database::Database,
    format::Unsealed,
    queue::{GroupLimits, Queue, Waiting, Work},
    reserve::Reserve,
    topic_metrics,
};
use crate::{
    domain::time::Timestamp,
    stream::{AppendError, Durability, Topic},
    telemetry::stream::StreamMetrics,
};

/// Bytes of frames after which the WAL is copied into the file: with the pages around them about as many as by
/// SQLite's own default of 1,000 pages. Less where the reserve is small, and so the disk.
const CHECKPOINT_BYTES: u64 = 3 << 20;

/// As many commits with so little in them that [`CHECKPOINT_BYTES`] is long in coming; each takes a few pages.
const CHECKPOINT_COMMITS: u64 = 250;

/// How often the reserve is looked at, and how long after a failure forgetting is tried again without an append.
const TEND_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    path: PathBuf,
    /// None after a failure: what the file holds has to be read anew before anything is added.
    database: Option<Database>,
    /// Keeps the shared memory of the WAL while `database` is made anew. Where it was given back with the last connection,
    /// others may take its room on a full disk, and nobody could open the log.
    _held: Database,
    reserve: Reserve,
    limits: GroupLimits,
    metrics: StreamMetrics,
    /// The last commit failed, or a look at the file. Logged when it changes, not ten times a second.
    broken: bool,
    /// What is consumed could not be forgotten, and not before then. Logged as well.
    stuck: Option<Instant>,
    /// The reserve is not there and cannot be made. Logged as well.
    bare: bool,
    /// What the WAL has found no room in the file. Logged as well.
    crowded: bool,
    /// Whether appends may make the file greater.
    growing: bool,
    tended: Option<Instant>,
    bytes_since_checkpoint: u64,
    commits_since_checkpoint: u64,
}

/// Whatever ends the thread, a panic too: nobody is left waiting.
struct Abandon(Arc<Queue>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Writer {
    pub(super) fn new(
        queue: Arc<Queue>,
        path: PathBuf,
        [database, held]: [Database; 2],
        reserve: Reserve,
        limits: GroupLimits,
        metrics: StreamMetrics,
    ) -> Self {
        Self {
            queue,
            path,
            database: Some(database),
            _held: held,
            reserve,
            limits,
            metrics,
            broken: false,
            stuck: None,
            bare: false,
            crowded: false,
            growing: true,
            tended: None,
            bytes_since_checkpoint: 0,
            commits_since_checkpoint: 0,
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let _abandon = Abandon(Arc::clone(&self.queue));
        loop {
            self.tend();
            match self.queue.next(self.limits) {
                Work::Commit(group) => self.commit(group),
                Work::Look => self.look(),
                Work::End => break,
            }
            if self.is_checkpoint_due() {
                self.checkpoint();
            }
        }
        self.look();
        self.checkpoint();
    }

    fn is_checkpoint_due(&mut self) -> bool {
        if self.commits_since_checkpoint == 0 {
            return false;
        }
        self.bytes_since_checkpoint >= self.reserve.part_of(CHECKPOINT_BYTES)
            || self.commits_since_checkpoint >= self.reserve.part_of(CHECKPOINT_COMMITS)
            // Without an answer nothing is committed either.
            || self.growth().is_ok_and(|growth| growth > self.reserve.room_of_growth())
    }

    fn growth(&mut self) -> Result<u64, SpoolError> {
        self.with_database(|database| database.growth())
    }

    /// Makes a group durable and answers it. Nothing is acknowledged unless the commit that holds it came back well.
    fn commit(&mut self, group: Vec<Waiting>) {
        let payloads = |topic| {
            let records = group.iter().flat_map(|waiting| &waiting.records);
            records.filter(move |record| record.topic == topic).map(|record| &record.payload)
        };
        let mut batches: Vec<Unsealed> =
            Topic::ALL.into_iter().filter_map(|topic| Unsealed::new(topic, payloads(topic))).collect();
        let marks = self.queue.marks();
        let stored = self.store(&mut batches, marks);
        let outcome = match stored {
            Ok(stats) => {
                if mem::take(&mut self.broken) {
                    tracing::info!("the event log can be written again");
                }
                self.forgotten();
                self.queue.finished(&group, Some(stats));
                self.show(&stats);
                Ok(Durability::Local)
            }
            Err(error) => {
                self.report(&error);
                self.queue.finished(&group, None);
                Err(AppendError::Failed)
            }
        };
        for waiting in group {
            for record in &waiting.records {
                let topic = topic_metrics(&self.metrics, record.topic);
                if outcome.is_ok() { &topic.stored } else { &topic.failed }.increment(1);
            }
            if outcome.is_ok() {
                self.metrics.append_seconds.record(waiting.since.elapsed());
            }
            waiting.done.resolve(outcome);
        }
    }

    /// Applies the marks of the readers, and sees what another process has forgotten.
    fn look(&mut self) {
        let marks = self.queue.marks();
        while self.forgets(marks) && self.stuck.is_none_or(|since| since.elapsed() >= TEND_EVERY) {
            match self.store(&mut [], marks) {
                Ok(stats) => {
                    self.forgotten();
                    self.queue.observe(stats);
                }
                Err(error) => {
                    if self.stuck.replace(Instant::now()).is_none() {
                        tracing::error!(
                            %error,
                            "the event log cannot forget what is consumed: it stays full, and hands it out again at \
                             the next start"
                        );
                    }
                }
            }
            // Much is forgotten in parts, with the appends that come in between.
            if self.queue.is_waited_for() {
                break;
            }
        }
        match self.with_database(|database| database.stats()) {
            Ok(stats) => {
                self.queue.observe(stats);
                self.show(&stats);
            }
            Err(error) => self.report(&error),
        }
    }

    /// Whether something that is kept has been consumed.
    fn forgets(&self, marks: [i64; 2]) -> bool {
        let (known, _) = self.queue.observed();
        known.iter().any(|topic| marks[topic.topic.index()].min(topic.next_offset) > topic.consumed)
    }

    fn forgotten(&mut self) {
        if self.stuck.take().is_some() {
            tracing::info!("the event log can forget what is consumed again");
        }
    }

    /// Commits `batches` and applies `marks`, with the room that can be made for it. Counts its outcome.
    fn store(&mut self, batches: &mut [Unsealed], marks: [i64; 2]) -> Result<[TopicStats; 2], SpoolError> {
        let stored = self.try_to_store(batches, marks);
        if stored.is_ok() {
            self.metrics.commits.increment(1);
            self.bytes_since_checkpoint += batches.iter().map(Unsealed::bytes).sum::<u64>();
            self.commits_since_checkpoint += 1;
        } else {
            self.metrics.failed_commits.increment(1);
        }
        stored
    }

    fn try_to_store(
        &mut self,
        batches: &mut [Unsealed],
        marks: [i64; 2],
    ) -> Result<[TopicStats; 2], SpoolError> {
        match self.with_database(|database| database.commit(batches, marks)) {
            Err(error) if error.lacks_room() => {}
            other => return other,
        }
        self.checkpoint();
        let error = match self.with_database(|database| database.commit(batches, marks)) {
            Err(error) if error.lacks_room() => error,
            other => return other,
        };
        if !self.forgets(marks) {
            // An empty file may have taken the room that the WAL needs.
            if !self.shrink() {
                return Err(error);
            }
            return self.with_database(|database| database.commit(batches, marks));
        }
        if !self.reserve.give_up() {
            return Err(error);
        }
        self.grow(false);
        tracing::warn!("the disk is full: the event log gives its reserve up to forget what is consumed");
        let stats = self.with_database(|database| database.commit(&mut [], marks))?;
        self.checkpoint();
        if batches.is_empty() {
            return Ok(stats);
        }
        self.with_database(|database| database.commit(batches, marks))
    }

    /// Readers and commits do without it: a failure only means that the WAL grows.
    fn checkpoint(&mut self) {
        (self.bytes_since_checkpoint, self.commits_since_checkpoint) = (0, 0);
        match self.with_database(|database| database.checkpoint()) {
            Ok(()) => self.crowded = false,
            Err(error) => {
                if !mem::replace(&mut self.crowded, true) {
                    tracing::warn!(%error, "the write-ahead log of the event log cannot be copied into it");
                }
                self.grow(false);
            }
        }
    }

    /// Sees to the reserve, and to what appends may do with it or without.
    fn tend(&mut self) {
        if self.tended.is_some_and(|last| last.elapsed() < TEND_EVERY) {
            return;
        }
        self.tended = Some(Instant::now());
        if self.crowded {
            self.checkpoint();
        }
        let made = if self.reserve.is_whole() { Ok(()) } else { self.make_reserve() };
        match &made {
            Ok(()) => {
                if mem::take(&mut self.bare) {
                    tracing::info!("the event log has its reserve again");
                }
            }
            Err(error) => {
                if !mem::replace(&mut self.bare, true) {
                    tracing::warn!(
                        %error,
                        "the disk has no room for the reserve of the event log: its file does not grow until it has"
                    );
                }
            }
        }
        self.grow(made.is_ok() && !self.crowded);
    }

    fn make_reserve(&mut self) -> io::Result<()> {
        let made = self.reserve.make();
        if made.is_ok() || !self.shrink() { made } else { self.reserve.make() }
    }

    /// Gives the room of an empty log back to the disk. False when it is not empty or has taken little.
    fn shrink(&mut self) -> bool {
        if self.queue.observed().0.iter().any(|topic| topic.events > 0) {
            return false;
        }
        match self.with_database(|database| database.shrink()) {
            Ok(shrunk) => shrunk,
            Err(error) => {
                tracing::debug!(%error, "the file of the event log cannot be made smaller");
                false
            }
        }
    }

    fn grow(&mut self, may: bool) {
        if may == mem::replace(&mut self.growing, may) {
            return;
        }
        if let Err(error) = self.with_database(|database| database.may_grow(may)) {
            tracing::debug!(%error, "the event log cannot be told whether to grow");
        }
    }

    /// Does `work` on the file. After a failure the connection is given up and the next work begins with a new one:
    /// what a failed sync left behind is then taken as the file has it, not as it was thought to be.
    fn with_database<T>(
        &mut self,
        work: impl FnOnce(&mut Database) -> rusqlite::Result<T>,
    ) -> Result<T, SpoolError> {
        let mut database = match self.database.take() {
            Some(database) => database,
            None => {
                let database = Database::reopen(&self.path)?;
                database.may_grow(self.growing).map_err(SpoolError::at(&self.path))?;
                database
            }
        };
        let done = work(&mut database).map_err(SpoolError::at(&self.path))?;
        self.database = Some(database);
        Ok(done)
    }

    fn report(&mut self, error: &SpoolError) {
        if !mem::replace(&mut self.broken, true) {
            tracing::error!(%error, "the event log cannot be used, nothing is acknowledged until it can");
        }
    }

    /// Sets the gauges.
    pub(super) fn show(&self, stats: &[TopicStats; 2]) {
        let now = Timestamp::now();
        for topic in stats {
            let metrics = topic_metrics(&self.metrics, topic.topic);
            metrics.events.set(topic.events as f64);
            metrics.bytes.set(topic.bytes as f64);
            let age_ms = topic.oldest.map_or(0, |oldest| (now.0 - oldest.0).max(0));
            metrics.oldest_age_seconds.set(Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64());
        }
    }
}
