//! Reads the topic from where the catalog stands, again and again after every failure.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::Shared;
use crate::{
    catalog::{CatalogRecord, RecordKey, Versioned},
    config::KafkaSettings,
    domain::time::Timestamp,
    stream::kafka::catalog::{CatalogReader, Incoming, ReadError},
};

/// How long one look for a record waits; also how soon the end is noticed.
const LOOK: Duration = Duration::from_millis(100);

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// A connection that for so long has neither brought anything nor known that there is no more is made anew. The client
/// library may go on by itself, and may not: a client that was told of a partition without a leader while its broker
/// restarted has been seen to stay silent for good.
const SILENT: Duration = Duration::from_secs(15);

/// A start with a snapshot waits no longer than this for a topic from which nothing comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Records that this build cannot read are told one by one up to here.
const TOLD: u64 = 10;

/// Why it has to begin again.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("nobody has published on the catalog's topic yet")]
    NotPublished,
    /// The brokers were away. What they have now may be another topic.
    #[error("the brokers answer again")]
    Back,
    #[error("nothing is heard of the catalog's topic")]
    Silent,
    #[error("this edge was cut off for too long to know what was removed")]
    CutOff,
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Follows until told to stop. What a defect of this program ends is begun anew, from the beginning of the topic; the
/// age of the catalog tells when that does not help.
pub(super) fn run(shared: &Arc<Shared>, settings: &KafkaSettings, max_age_ms: i64) {
    loop {
        let follower = Follower::new(shared.clone(), settings.clone(), max_age_ms);
        if catch_unwind(AssertUnwindSafe(|| follower.run())).is_ok() {
            return;
        }
        error!(
            "following the catalog's topic was ended by a defect of this program; reading it from its beginning"
        );
        shared.standing().begin_again();
        std::thread::sleep(AGAIN);
    }
}

struct Follower {
    shared: Arc<Shared>,
    settings: KafkaSettings,
    /// What was removed longer ago than this, the topic may have forgotten.
    max_age_ms: i64,
    /// Partitions that were read to their end since the following began.
    ended: BTreeSet<i32>,
    /// The publisher has said that everything is on the topic.
    whole: bool,
    /// The first record of a partition that this build could not read: a later build begins there.
    unread: BTreeMap<i32, i64>,
    /// While a catalog that serves is read anew: what was found, to forget the rest.
    found: Option<Found>,
    unreadable: u64,
}

/// Hashes of keys. They are under a secret of this process, so that two keys of one hash are chance alone.
#[derive(Default)]
struct Found {
    secret: RandomState,
    keys: HashSet<u64>,
}

impl Follower {
    fn new(shared: Arc<Shared>, settings: KafkaSettings, max_age_ms: i64) -> Self {
        // A snapshot is only ever made of a whole catalog.
        let whole = shared.standing().complete;
        Self {
            whole,
            shared,
            settings,
            max_age_ms,
            ended: BTreeSet::new(),
            unread: BTreeMap::new(),
            found: None,
            unreadable: 0,
        }
    }

    fn run(mut self) {
        let mut told = String::new();
        while !self.shared.shutdown.is_cancelled() {
            self.say_age();
            match self.follow(&mut told) {
                Ok(()) => return,
                Err(Stop::Back) => info!("the brokers answer again; following the catalog's topic"),
                Err(stop) => {
                    if matches!(stop, Stop::CutOff | Stop::Read(ReadError::OffsetGone(_))) {
                        self.shared.standing().begin_again();
                    }
                    let text = stop.to_string();
                    if text != told {
                        warn!(error = %stop, "the catalog's topic cannot be followed; trying again");
                        told = text;
                    }
                    self.serve_from_snapshot();
                    std::thread::sleep(AGAIN);
                }
            }
        }
    }

    /// Follows until told to stop.
    fn follow(&mut self, told: &mut String) -> Result<(), Stop> {
        let reader = CatalogReader::connect(&self.settings)?;
        let topic_id = reader.identity()?.text().ok_or(Stop::NotPublished)?;
        let stands_at = self.shared.standing().place.topic_id.clone();
        if stands_at != topic_id {
            let other = {
                let known = &self.shared.standing().known_topic;
                !known.is_empty() && *known != topic_id
            };
            if other {
                warn!("the catalog's topic is another one than before; reading it from its beginning");
            }
            self.start_over(topic_id, other);
        }
        let offsets = self.shared.standing().place.offsets.clone();
        reader.follow(&offsets)?;
        self.ended.clear();
        let (mut away, mut moved): (Option<Instant>, _) = (None, Instant::now());
        while !self.shared.shutdown.is_cancelled() {
            match reader.poll(LOOK, |incoming| self.take(incoming)) {
                Ok(Some(())) if away.is_some() => return Err(Stop::Back),
                Ok(Some(())) => moved = Instant::now(),
                Ok(None) => {}
                Err(ReadError::Disturbed(_)) => away = away.or(Some(Instant::now())),
                Err(ReadError::Away(error)) => {
                    warn!(%error, "no broker answers; serving the catalog as it is");
                    away = away.or(Some(Instant::now()));
                    self.serve_from_snapshot();
                }
                Err(error) => return Err(error.into()),
            }
            if reader.at_end().map_or(moved, |since| since.max(moved)).elapsed() > SILENT {
                return Err(Stop::Silent);
            }
            if !self.shared.catalog.is_loaded() && moved.elapsed() > PATIENCE {
                self.serve_from_snapshot();
            }
            if self.whole && reader.partitions().iter().all(|partition| self.ended.contains(partition)) {
                self.caught_up();
                told.clear();
                if let Some(since) = reader.at_end() {
                    if away.is_some_and(|away| since > away) {
                        return Err(Stop::Back);
                    }
                    self.current_as_of(since)?;
                }
            }
            self.say_age();
        }
        Ok(())
    }

    /// From the beginning. What serves goes on serving; what does not is emptied. The versions of another topic may be
    /// those of a store that was restored from an older copy: they count anew.
    fn start_over(&mut self, topic_id: String, other: bool) {
        self.shared.metrics.reloads.increment(1);
        let mut standing = self.shared.standing();
        standing.complete = false;
        standing.known_topic.clone_from(&topic_id);
        standing.place.topic_id = topic_id;
        standing.place.offsets.clear();
        standing.place.version = 0;
        drop(standing);
        self.whole = false;
        self.unread.clear();
        if self.shared.catalog.is_loaded() {
            self.found = Some(Found::default());
            if other {
                self.shared.catalog.forget_versions();
            }
        } else {
            self.shared.catalog.clear();
        }
    }

    /// Without brokers a snapshot that may be used is better than nothing.
    fn serve_from_snapshot(&self) {
        if !self.shared.catalog.is_loaded() && self.shared.standing().complete {
            warn!("the catalog's topic does not answer; serving from the snapshot");
            self.shared.mark_loaded();
        }
    }

    fn take(&mut self, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Record { partition, offset, key, value, version } => {
                self.shared.metrics.records.increment(1);
                match read(key, value, version) {
                    Some(versioned) => self.apply(partition, offset, versioned),
                    None => self.pass_over(partition, offset, key),
                }
            }
            Incoming::Position { offset, position } => {
                self.whole |= position.whole;
                self.move_to(0, offset, 0);
            }
            Incoming::Other { partition, offset } => self.move_to(partition, offset, 0),
            Incoming::End(partition) => {
                self.ended.insert(partition);
            }
        }
    }

    fn apply(&mut self, partition: i32, offset: i64, versioned: Versioned) {
        if let Some(found) = &mut self.found {
            let hash = found.secret.hash_one(versioned.record.key());
            found.keys.insert(hash);
        }
        let version = versioned.version;
        self.shared.catalog.apply(versioned);
        self.move_to(partition, offset, version);
    }

    /// A build that knows the record has to find it: it begins there, also with a snapshot of this build.
    fn pass_over(&mut self, partition: i32, offset: i64, key: &[u8]) {
        self.unreadable += 1;
        self.shared.metrics.unreadable.increment(1);
        if self.unreadable <= TOLD {
            let key = String::from_utf8_lossy(key);
            warn!(%key, partition, offset, "a record of the catalog cannot be read and is passed over");
        }
        self.unread.entry(partition).or_insert(offset);
    }

    fn move_to(&self, partition: i32, offset: i64, version: i64) {
        let next = self.unread.get(&partition).copied().unwrap_or(offset.saturating_add(1));
        let mut standing = self.shared.standing();
        standing.place.offsets.insert(partition, next);
        standing.applied += 1;
        if version > standing.place.version {
            standing.place.version = version;
            self.shared.metrics.version.set(version as f64);
        }
    }

    /// Everything was read that was there.
    fn caught_up(&mut self) {
        if let Some(found) = self.found.take() {
            let keep = |key: &RecordKey| found.keys.contains(&found.secret.hash_one(key));
            let forgotten = self.shared.catalog.retain(keep);
            info!(forgotten, "read the catalog's topic anew; forgot what it does not have");
        }
        let mut standing = self.shared.standing();
        if !standing.complete || !self.shared.catalog.is_loaded() {
            standing.complete = true;
            standing.place.current_at = Timestamp::now();
            drop(standing);
            self.shared.mark_loaded();
        }
        self.shared.metrics.links.set(self.shared.catalog.link_count() as f64);
    }

    /// Nothing was missing then.
    fn current_as_of(&self, since: Instant) -> Result<(), Stop> {
        let ago = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
        let at = Timestamp(Timestamp::now().0.saturating_sub(ago));
        let mut standing = self.shared.standing();
        if at > standing.place.current_at {
            if at.0.saturating_sub(standing.place.current_at.0) > self.max_age_ms {
                return Err(Stop::CutOff);
            }
            standing.place.current_at = at;
        }
        Ok(())
    }

    fn say_age(&self) {
        let current_at = self.shared.standing().place.current_at;
        // Before anything is known there is no age to tell.
        if current_at.0 > 0 {
            let age = Timestamp::now().0.saturating_sub(current_at.0).max(0);
            self.shared.metrics.age.set(Duration::from_millis(age.unsigned_abs()).as_secs_f64());
        }
    }
}

/// A record of the topic; `None`: this build cannot read it.
fn read(key: &[u8], value: Option<&[u8]>, version: Option<i64>) -> Option<Versioned> {
    let key: RecordKey = std::str::from_utf8(key).ok()?.parse().ok()?;
    match value {
        Some(value) => {
            let versioned: Versioned = serde_json::from_slice(value).ok()?;
            (versioned.record.key() == key).then_some(versioned)
        }
        None => Some(Versioned { version: version?, record: CatalogRecord::Removed(key) }),
    }
}
