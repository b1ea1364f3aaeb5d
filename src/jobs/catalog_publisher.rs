//! Publishes the catalog's outbox on its topic, from one process at a time.
//!
//! Versions become visible in the order in which they were given, so "all above the last" misses none. A batch is
//! noted in the store before it is sent and after: a publisher that is killed in between sends it again, and a version
//! that comes twice changes nothing. What the store never noted cannot be on its topic; if it is, the store is an older
//! copy, and its next versions would be refused as old by every edge. Then nothing is published until
//! `waypost catalog republish` has made the store's versions the newest.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::DbErr;
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    catalog::Versioned,
    config::KafkaSettings,
    domain::time::Timestamp,
    store::{Store, catalog, publications},
    stream::kafka::{
        catalog::{
            CatalogProducer, CatalogReader, Outgoing, PublishError, ReadError, TopicIdentity, TopicPosition,
        },
        client::catalog_topic,
    },
    telemetry::catalog::PublisherMetrics,
};

/// How long a change may take to be noticed.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long after a failure it is tried again, and how often another process is asked whether it still publishes.
const AGAIN: Duration = Duration::from_secs(1);

/// A process that is killed keeps the others waiting for so long.
const HOLD: Duration = Duration::from_secs(6);

/// When the hold is renewed.
const RENEW: Duration = Duration::from_secs(2);

/// How often the topic is asked whether it is still the same.
const SAME_TOPIC: Duration = Duration::from_secs(30);

/// How often the outbox is measured.
const MEASURE: Duration = Duration::from_secs(1);

/// Records of one transaction.
const BATCH: u64 = 5_000;

/// Why this process does not publish now.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("another process publishes the catalog now")]
    Lost,
    #[error("the topic was made anew")]
    OtherTopic,
    /// Somebody has to look.
    #[error("{0}")]
    Stalled(&'static str),
    #[error(transparent)]
    Store(#[from] DbErr),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("a record of the catalog cannot be written down: {0}")]
    Unwritable(#[from] serde_json::Error),
    #[error("the publisher was cut off")]
    Cut,
}

const STORE_IS_OLDER: &str = "the catalog's topic has versions that this store never published: the store is an older \
                              copy, or another one; once it is the right one, run `waypost catalog republish`";

/// Publishes until `shutdown`, or waits to, where another process does.
pub async fn run(
    store: Store,
    settings: KafkaSettings,
    metrics: PublisherMetrics,
    shutdown: CancellationToken,
) {
    let publisher = Publisher {
        topic: catalog_topic(&settings),
        store,
        settings: Arc::new(settings),
        metrics,
        holder: Uuid::now_v7(),
        shutdown: shutdown.clone(),
    };
    let measuring = publisher.measure();
    let publishing = publisher.publish_on();
    tokio::join!(measuring, publishing);
    if let Err(error) = publications::release(&publisher.store, &publisher.topic, publisher.holder).await {
        warn!(%error, "the right to publish the catalog could not be given back; others wait for its end");
    }
}

struct Publisher {
    topic: String,
    store: Store,
    settings: Arc<KafkaSettings>,
    metrics: PublisherMetrics,
    holder: Uuid,
    shutdown: CancellationToken,
}

/// Where the one that publishes stands.
struct Standing {
    producer: Arc<CatalogProducer>,
    topic_id: String,
    /// The topic is empty, and its first transaction says what it is.
    introduces: Option<String>,
    position: TopicPosition,
}

impl Publisher {
    async fn publish_on(&self) {
        let mut told = String::new();
        while !self.shutdown.is_cancelled() {
            let stopped = self.lead().await;
            self.metrics.leader.set(0.0);
            match stopped {
                Ok(()) => return,
                // What was wrong is the other process's to say now.
                Err(Stop::Lost) => self.metrics.stalled.set(0.0),
                Err(stop) => {
                    self.metrics.failures.increment(1);
                    self.metrics.stalled.set(if matches!(stop, Stop::Stalled(_)) { 1.0 } else { 0.0 });
                    // The same again and again would bury the log.
                    let text = stop.to_string();
                    if text != told {
                        match stop {
                            Stop::Stalled(why) => error!("the catalog is not published: {why}"),
                            other => warn!(error = %other, "the catalog is not published; trying again"),
                        }
                        told = text;
                    }
                }
            }
            self.pause(AGAIN).await;
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = sleep(time) => {}
        }
    }

    /// Publishes as long as nothing comes between; `Ok`: told to stop.
    async fn lead(&self) -> Result<(), Stop> {
        while !self.hold().await? {
            if self.shutdown.is_cancelled() {
                return Ok(());
            }
            self.pause(AGAIN).await;
        }
        let mut standing = self.begin().await?;
        self.metrics.stalled.set(0.0);
        self.metrics.leader.set(1.0);
        info!(version = standing.position.version, "publishing the catalog");
        let (mut held, mut same) = (Instant::now(), Instant::now());
        while !self.shutdown.is_cancelled() {
            if held.elapsed() > RENEW {
                if !self.hold().await? {
                    return Err(Stop::Lost);
                }
                held = Instant::now();
            }
            if same.elapsed() > SAME_TOPIC {
                let (identity, _) = self.ask().await?;
                if standing.introduces.is_none() && identity.text().as_ref() != Some(&standing.topic_id) {
                    return Err(Stop::OtherTopic);
                }
                same = Instant::now();
            }
            let records = catalog::after(self.store.reader(), standing.position.version, BATCH);
            let records = self.store.in_time(records).await?;
            if records.is_empty() && standing.position.whole {
                self.pause(INTERVAL).await;
            } else {
                self.send(&mut standing, records).await?;
            }
        }
        Ok(())
    }

    async fn hold(&self) -> Result<bool, DbErr> {
        let now = Timestamp::now();
        let until = Timestamp(now.0.saturating_add(i64::try_from(HOLD.as_millis()).unwrap_or(i64::MAX)));
        publications::hold(&self.store, &self.topic, self.holder, now, until).await
    }

    /// What the brokers say of the topic: which it is, and how far it was published.
    async fn ask(&self) -> Result<(TopicIdentity, TopicPosition), Stop> {
        let settings = self.settings.clone();
        let asked = spawn_blocking(move || {
            let reader = CatalogReader::connect(&settings)?;
            Ok::<_, ReadError>((reader.identity()?, reader.position()?.unwrap_or_default()))
        });
        Ok(asked.await.map_err(|_| Stop::Cut)??)
    }

    /// Shuts out who published before, and finds out where to go on.
    async fn begin(&self) -> Result<Standing, Stop> {
        // The brokers may make a topic for a producer that asks for one; this one has to be made with its settings.
        self.ask().await?;
        let settings = self.settings.clone();
        let producer = spawn_blocking(move || CatalogProducer::take_over(&settings));
        let producer = Arc::new(producer.await.map_err(|_| Stop::Cut)??);
        // From here on nobody else can write, so what the topic says holds.
        let (identity, said) = self.ask().await?;
        let row = self.store.in_time(publications::find(self.store.reader(), &self.topic)).await?;
        let row = row.ok_or(Stop::Lost)?;
        let introduces = identity.text().is_none().then(|| Uuid::now_v7().to_string());
        let topic_id = match &introduces {
            Some(id) => identity.text_with(id),
            None => identity.text().unwrap_or_default(),
        };
        if row.topic_id == topic_id {
            if said.version > row.publishing {
                return Err(Stop::Stalled(STORE_IS_OLDER));
            }
            let position = TopicPosition { version: row.published, whole: row.whole };
            return Ok(Standing { producer, topic_id, introduces, position });
        }
        if said.version > 0 {
            return Err(Stop::Stalled(STORE_IS_OLDER));
        }
        if !publications::begin_topic(&self.store, &self.topic, self.holder, &topic_id).await? {
            return Err(Stop::Lost);
        }
        Ok(Standing { producer, topic_id, introduces, position: TopicPosition::default() })
    }

    /// Puts records on the topic, with how far that is.
    async fn send(&self, standing: &mut Standing, records: Vec<Versioned>) -> Result<(), Stop> {
        let from = standing.position.version;
        let position = TopicPosition {
            version: records.last().map_or(from, |last| last.version),
            whole: standing.position.whole || (records.len() as u64) < BATCH,
        };
        if !publications::intend(&self.store, &self.topic, self.holder, from, position.version).await? {
            return Err(Stop::Lost);
        }
        let sent = records.len() as u64;
        let (producer, introduces) = (standing.producer.clone(), standing.introduces.clone());
        let published = spawn_blocking(move || {
            let records = records.iter().map(outgoing).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, Stop>(producer.publish(introduces.as_deref(), &records, position)?)
        });
        published.await.map_err(|_| Stop::Cut)??;
        let noted =
            publications::done(&self.store, &self.topic, self.holder, from, position.version, position.whole);
        if !noted.await? {
            return Err(Stop::Lost);
        }
        if position.whole && !standing.position.whole {
            info!(version = position.version, "the whole catalog is on its topic");
        }
        standing.position = position;
        standing.introduces = None;
        self.metrics.records.increment(sent);
        Ok(())
    }

    /// Says how much waits, and for how long.
    async fn measure(&self) {
        // The newest version when it was first seen to wait, and when that was.
        let mut waiting: Option<(i64, Instant)> = None;
        loop {
            match self.store.in_time(publications::outbox(self.store.reader(), &self.topic)).await {
                Ok(outbox) => {
                    waiting = waiting.filter(|(version, _)| *version > outbox.published);
                    if waiting.is_none() && outbox.waiting > 0 {
                        waiting = Some((outbox.newest, Instant::now()));
                    }
                    self.metrics.published_version.set(outbox.published as f64);
                    self.metrics.unpublished.set(outbox.waiting as f64);
                }
                Err(error) => warn!(%error, "the catalog's outbox cannot be measured"),
            }
            self.metrics.oldest.set(waiting.map_or(0.0, |(_, since)| since.elapsed().as_secs_f64()));
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = sleep(MEASURE) => {}
            }
        }
    }
}

/// A record as it goes out: with its value, or as what was removed.
fn outgoing(versioned: &Versioned) -> Result<Outgoing, serde_json::Error> {
    let value = match versioned.record.is_removal() {
        true => None,
        false => Some(serde_json::to_vec(versioned)?),
    };
    Ok(Outgoing { key: versioned.record.key().to_string(), version: versioned.version, value })
}
