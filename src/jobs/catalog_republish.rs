//! Makes the store the topic's master again, after it was restored from an older copy.
//!
//! Edges refuse versions that are not newer than what they have, and a restored store has given up the newest ones. So
//! every record gets a version above all that were ever published, and what the topic has and the store has not is
//! removed. The publisher then sends all of it.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use crate::{
    catalog::RecordKey,
    config::KafkaSettings,
    store::{
        Store,
        publications::{self, Republication},
    },
    stream::kafka::{
        catalog::{CatalogReader, Incoming, ReadError, TopicPosition},
        client::catalog_topic,
    },
};

/// How long one look for a record waits.
const LOOK: Duration = Duration::from_millis(100);

/// A topic from which nothing comes for so long is not read any further.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why nothing is published again. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    #[error("nothing was ever published on the catalog's topic: `waypost settle` will publish everything")]
    NotPublished,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] DbErr),
    #[error("reading the catalog's topic was cut off")]
    Cut,
}

/// What the topic has.
struct OnTopic {
    id: String,
    position: TopicPosition,
    newest: i64,
    live: Vec<RecordKey>,
}

/// Prepares everything to be published again, above all that is on the topic.
///
/// # Errors
/// The topic cannot be read to its end, or the store fails.
pub async fn republish(store: &Store, settings: &KafkaSettings) -> Result<Republication, RepublishError> {
    let read_from = settings.clone();
    let found = spawn_blocking(move || read(&read_from)).await.map_err(|_| RepublishError::Cut)??;
    let topic = catalog_topic(settings);
    let whole = found.position.whole;
    Ok(publications::republish(store, &topic, &found.id, found.newest, whole, &found.live).await?)
}

fn read(settings: &KafkaSettings) -> Result<OnTopic, RepublishError> {
    let reader = CatalogReader::connect(settings)?;
    let id = reader.identity()?.text().ok_or(RepublishError::NotPublished)?;
    let position = reader.position()?.unwrap_or_default();
    let (mut newest, mut live) = (position.version, HashSet::new());
    let mut ended = BTreeSet::new();
    reader.follow(&std::collections::BTreeMap::new())?;
    let mut moved = Instant::now();
    while !reader.partitions().iter().all(|partition| ended.contains(partition)) {
        let came = reader.poll(LOOK, |incoming| match incoming {
            Incoming::Record { key, value, version, .. } => {
                newest = newest.max(value.and_then(version_in).or(version).unwrap_or(0));
                // What this build does not know it cannot remove either.
                if let Some(key) = std::str::from_utf8(key).ok().and_then(|key| key.parse::<RecordKey>().ok())
                {
                    match value {
                        Some(_) => live.insert(key),
                        None => live.remove(&key),
                    };
                }
            }
            Incoming::Position { .. } | Incoming::Other { .. } => {}
            Incoming::End(partition) => {
                ended.insert(partition);
            }
        });
        match came {
            Ok(Some(())) => moved = Instant::now(),
            Ok(None) | Err(ReadError::Disturbed(_)) if moved.elapsed() < PATIENCE => {}
            Ok(None) => return Err(ReadError::Away("nothing comes from the topic".to_owned()).into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(OnTopic { id, position, newest, live: live.into_iter().collect() })
}

fn version_in(value: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Of {
        version: i64,
    }
    serde_json::from_slice::<Of>(value).ok().map(|of| of.version)
}
