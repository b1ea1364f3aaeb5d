//! Where an edge's catalog comes from: Kafka's topic and a snapshot of it, or the store of the same machine. And who
//! puts it on the topic.

use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    data_dir::DataDir,
    exit::{Code, Failure},
    parts,
};
use crate::{
    catalog::Catalog,
    config::Settings,
    jobs::{catalog_feed, catalog_publisher, catalog_topic::CatalogTopic},
    store::Store,
    telemetry::catalog::{CatalogMetrics, PublisherMetrics},
};

/// What brings the catalog, as it runs.
pub enum CatalogSource {
    Topic(CatalogTopic),
    Store { feed: JoinHandle<()>, stop: CancellationToken },
}

/// Fails where the settings want a store in the data folder and there is none; before anything is made in the folder.
pub fn require(settings: &Settings) -> Result<(), Failure> {
    if settings.kafka.is_used() {
        return Ok(());
    }
    // A folder without a store is a wrong path.
    parts::require_store(&DataDir::of_store(settings)?, settings)
}

/// Brings the catalog until [`CatalogSource::close`]; waits until it may serve. `None`: told to stop before.
pub async fn start(
    folder: &DataDir,
    settings: &Settings,
    shutdown: &CancellationToken,
) -> Result<Option<(CatalogSource, Arc<Catalog>)>, Failure> {
    let catalog = Arc::new(Catalog::new());
    if !settings.kafka.is_used() {
        let store = parts::existing_store(folder, settings).await?;
        catalog_feed::catch_up(&store, &catalog, &mut 0).await.map_err(parts::store_failed)?;
        catalog.mark_loaded();
        let stop = CancellationToken::new();
        let feed = tokio::spawn(catalog_feed::run(store, catalog.clone(), stop.clone()));
        return Ok(Some((CatalogSource::Store { feed, stop }, catalog)));
    }
    let metrics = CatalogMetrics::register();
    let (kafka, snapshot) = (settings.kafka.clone(), folder.snapshot_path(settings));
    let (of, into) = (settings.catalog.clone(), catalog.clone());
    let started = spawn_blocking(move || CatalogTopic::start(&kafka, &of, snapshot, into, metrics)).await;
    let failed = |why: String| Failure::new(Code::Software, format!("the catalog cannot be followed: {why}"));
    let topic =
        started.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    let loaded = topic.loaded();
    let source = CatalogSource::Topic(topic);
    tokio::select! {
        () = loaded.cancelled() => Ok(Some((source, catalog))),
        () = shutdown.cancelled() => {
            source.close().await;
            Ok(None)
        }
    }
}

/// Publishes the catalog beside settlement, where edges get it by Kafka.
pub fn publish(store: &Store, settings: &Settings, shutdown: &CancellationToken) -> Option<JoinHandle<()>> {
    settings.kafka.is_used().then(|| {
        let metrics = PublisherMetrics::register();
        tokio::spawn(catalog_publisher::run(store.clone(), settings.kafka.clone(), metrics, shutdown.clone()))
    })
}

impl CatalogSource {
    /// Ends what brings the catalog; what it knows is kept for the next start.
    pub async fn close(self) {
        match self {
            Self::Topic(topic) => {
                // A panic in there has said so.
                let _ = spawn_blocking(move || topic.close()).await;
            }
            Self::Store { feed, stop } => {
                stop.cancel();
                let _ = feed.await;
            }
        }
    }
}
