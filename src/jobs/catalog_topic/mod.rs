//! Brings the catalog from its topic to an edge, and keeps it as a file.
//!
//! One thread follows the topic, another writes snapshots. The catalog counts as loaded when every partition was read
//! to the end that it had, and the publisher has said that this is everything; or when no broker answers and there is a
//! snapshot that may be used. From then on it serves whatever happens to the brokers, and `age` says how old it may be.

mod follow;
mod snapshots;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use snapshots::Snapshots;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    catalog::{
        Catalog,
        snapshot::{self, TopicPlace, Wanted},
    },
    config::{CatalogSettings, KafkaSettings},
    domain::time::Timestamp,
    stream::kafka::client::catalog_topic,
    telemetry::catalog::CatalogMetrics,
};

/// What follows the topic and what keeps it have in common.
struct Shared {
    catalog: Arc<Catalog>,
    metrics: CatalogMetrics,
    /// Cancelled once the catalog may serve.
    loaded: CancellationToken,
    shutdown: CancellationToken,
    standing: Mutex<Standing>,
}

/// Where the catalog stands.
struct Standing {
    place: TopicPlace,
    /// The topic that the catalog is of, also while it is read from its beginning; empty: of none.
    known_topic: String,
    /// The catalog is all that the place says: a snapshot of it may be kept.
    complete: bool,
    /// Records that were applied since the start.
    applied: u64,
}

impl Standing {
    /// The topic is read from its beginning, whichever it is then.
    fn begin_again(&mut self) {
        self.complete = false;
        self.place.topic_id.clear();
    }
}

impl Shared {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark_loaded(&self) {
        if !self.catalog.is_loaded() {
            self.catalog.mark_loaded();
            self.loaded.cancel();
            info!(links = self.catalog.link_count(), "catalog loaded");
        }
    }
}

/// The catalog's way from the topic, as it runs.
pub struct CatalogTopic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for CatalogTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogTopic").field("standing", &self.shared.standing().place).finish()
    }
}

impl CatalogTopic {
    /// Reads the snapshot, where there is one, and begins to follow the topic. Blocks while the snapshot is read.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        kafka: &KafkaSettings,
        settings: &CatalogSettings,
        snapshot: PathBuf,
        catalog: Arc<Catalog>,
        metrics: CatalogMetrics,
    ) -> std::io::Result<Self> {
        let topic = catalog_topic(kafka);
        let max_age = i64::try_from(settings.snapshot_max_age_ms).unwrap_or(i64::MAX);
        let wanted = Wanted { topic: &topic, now: Timestamp::now(), max_age_ms: max_age };
        let found = snapshot::read(&snapshot, wanted, &catalog).unwrap_or_else(|error| {
            warn!(path = %snapshot.display(), %error, "the snapshot of the catalog is not used");
            metrics.snapshots_refused.increment(1);
            None
        });
        if let Some(place) = &found {
            let (links, version) = (catalog.link_count(), place.version);
            info!(path = %snapshot.display(), links, version, "read the snapshot of the catalog");
        }
        let complete = found.is_some();
        let place = found.unwrap_or_else(|| nowhere(topic));
        let shared = Arc::new(Shared {
            catalog,
            metrics,
            loaded: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            standing: Mutex::new(Standing {
                known_topic: place.topic_id.clone(),
                place,
                complete,
                applied: 0,
            }),
        });
        let (following, kafka) = (shared.clone(), kafka.clone());
        let follower = thread("catalog", move || follow::run(&following, &kafka, max_age))?;
        let interval = Duration::from_millis(settings.snapshot_interval_ms);
        // A snapshot of a catalog that never changes must not grow too old.
        let refresh = Duration::from_millis(settings.snapshot_max_age_ms / 10);
        let snapshots = Snapshots::new(shared.clone(), snapshot, interval, refresh);
        let snapshots = thread("catalog-snapshot", move || snapshots.run());
        let snapshots = snapshots.inspect_err(|_| shared.shutdown.cancel())?;
        Ok(Self { shared, threads: vec![follower, snapshots] })
    }

    /// Cancelled once the catalog may serve.
    pub fn loaded(&self) -> CancellationToken {
        self.shared.loaded.clone()
    }

    /// Stops following and writes the last snapshot. Blocks until that is done.
    pub fn close(self) {
        self.shared.shutdown.cancel();
        for thread in self.threads {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn nowhere(topic: String) -> TopicPlace {
    TopicPlace {
        topic,
        topic_id: String::new(),
        offsets: std::collections::BTreeMap::new(),
        version: 0,
        current_at: Timestamp(0),
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}
