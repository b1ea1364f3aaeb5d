//! The writer: one thread, one group of appends after the other, one commit and so one fsync for each.

use std::{mem, path::PathBuf, sync::Arc, time::Duration};

use super::{
    SpoolError, TopicStats,
    database::Database,
    format::Unsealed,
    queue::{GroupLimits, Queue, Waiting, Work},
    topic_metrics,
};
use crate::{
    domain::time::Timestamp,
    stream::{AppendError, Durability, Topic},
    telemetry::stream::StreamMetrics,
};

/// Bytes of frames after which the WAL is copied into the file: with the pages around them about as many as by
/// SQLite's own default of 1,000 pages.
const CHECKPOINT_BYTES: u64 = 3 << 20;

/// As many commits with so little in them that [`CHECKPOINT_BYTES`] is long in coming; each takes a few pages.
const CHECKPOINT_COMMITS: u64 = 250;

#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    path: PathBuf,
    /// None after a failure: what the file holds has to be read anew before anything is added.
    database: Option<Database>,
    limits: GroupLimits,
    metrics: StreamMetrics,
    /// The last commit failed, or a look after it. Logged when it changes, not ten times a second.
    broken: bool,
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
        database: Database,
        limits: GroupLimits,
        metrics: StreamMetrics,
    ) -> Self {
        Self {
            queue,
            path,
            database: Some(database),
            limits,
            metrics,
            broken: false,
            bytes_since_checkpoint: 0,
            commits_since_checkpoint: 0,
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let _abandon = Abandon(Arc::clone(&self.queue));
        loop {
            match self.queue.next(self.limits) {
                Work::Commit(group) => {
                    self.commit(group);
                    if self.bytes_since_checkpoint >= CHECKPOINT_BYTES
                        || self.commits_since_checkpoint >= CHECKPOINT_COMMITS
                    {
                        self.checkpoint();
                    }
                }
                Work::Look => self.look(),
                Work::End => break,
            }
        }
        self.look();
        self.checkpoint();
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
        let stored = self.with_database(|database| database.commit(&mut batches, marks));
        let outcome = match stored {
            Ok(stats) => {
                self.metrics.commits.increment(1);
                if mem::take(&mut self.broken) {
                    tracing::info!("the event log can be written again");
                }
                self.bytes_since_checkpoint += batches.iter().map(Unsealed::bytes).sum::<u64>();
                self.commits_since_checkpoint += 1;
                self.queue.finished(&group, Some(stats));
                self.show(&stats);
                Ok(Durability::Local)
            }
            Err(error) => {
                self.metrics.failed_commits.increment(1);
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
        let (known, _) = self.queue.observed();
        let trims = known.iter().any(|topic| marks[topic.topic.index()] > topic.consumed);
        let seen = self.with_database(
            |database| {
                if trims { database.commit(&mut [], marks) } else { database.stats() }
            },
        );
        match seen {
            Ok(stats) => {
                self.queue.observe(stats);
                self.show(&stats);
            }
            Err(error) => self.report(&error),
        }
    }

    /// Readers and commits do without it: a failure only means that the WAL grows.
    fn checkpoint(&mut self) {
        (self.bytes_since_checkpoint, self.commits_since_checkpoint) = (0, 0);
        if let Err(error) = self.with_database(|database| database.checkpoint()) {
            tracing::warn!(%error, "the write-ahead log of the event log cannot be copied into it");
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
            None => Database::reopen(&self.path)?,
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
