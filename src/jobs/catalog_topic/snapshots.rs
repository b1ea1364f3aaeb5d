//! Writes the catalog as a file: from time to time if anything changed, and at the end.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::Shared;
use crate::catalog::snapshot;

/// How soon the end is noticed.
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct Snapshots {
    shared: Arc<Shared>,
    path: PathBuf,
    interval: Duration,
    /// One that says the same is written again after this time.
    refresh: Duration,
    /// What had been applied when the last one was written, and when that was.
    last: (u64, Instant),
}

impl Snapshots {
    pub(super) fn new(shared: Arc<Shared>, path: PathBuf, interval: Duration, refresh: Duration) -> Self {
        Self { shared, path, interval, refresh, last: (0, Instant::now()) }
    }

    pub(super) fn run(mut self) {
        let mut due = Instant::now() + self.interval;
        while !self.shared.shutdown.is_cancelled() {
            std::thread::sleep(LOOK.min(self.interval));
            if Instant::now() >= due {
                self.keep(false);
                due = Instant::now() + self.interval;
            }
        }
        self.keep(true);
    }

    fn keep(&mut self, at_the_end: bool) {
        let standing = self.shared.standing();
        let (applied, since) = self.last;
        let is_old = since.elapsed() >= self.refresh || at_the_end;
        if !standing.complete || (standing.applied == applied && !is_old) {
            return;
        }
        // The place is noted first: what is applied from here on comes again from the topic.
        let (place, applied) = (standing.place.clone(), standing.applied);
        drop(standing);
        let began = Instant::now();
        match snapshot::write(&self.path, &self.shared.catalog, &place) {
            Ok(written) => {
                self.last = (applied, Instant::now());
                self.shared.metrics.snapshots.increment(1);
                self.shared.metrics.snapshot_seconds.set(began.elapsed().as_secs_f64());
                self.shared.metrics.snapshot_bytes.set(written.bytes as f64);
                if at_the_end {
                    let records = written.records;
                    info!(path = %self.path.display(), records, "wrote the snapshot of the catalog");
                }
            }
            Err(error) => {
                self.shared.metrics.snapshot_failures.increment(1);
                warn!(path = %self.path.display(), %error, "the snapshot of the catalog cannot be written");
            }
        }
    }
}
