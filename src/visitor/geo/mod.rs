//! Where an address is: country and network, from MaxMind-format databases.
//!
//! Files are read into memory whole, validated, and swapped when they change; a look-up never touches the disk and
//! never waits. A changed file that cannot be used is refused with a warning, and what was in use before stays. Of a
//! file that is not there nothing is known, until it comes.

mod database;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwap, Cache};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{config::GeoipSettings, telemetry::visitor::VisitorMetrics};

pub use database::GeoError;
use database::{Database, Kind};

/// What is known of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// ISO 3166 alpha-2, upper case.
    pub country: Option<[u8; 2]>,
    /// The number of the network (ASN).
    pub network: Option<u32>,
    /// The network is one of `geoip.hosting_networks`.
    pub hosting: bool,
}

impl Place {
    /// The country as text.
    pub fn country_str(&self) -> Option<&str> {
        self.country.as_ref().and_then(|code| std::str::from_utf8(code).ok())
    }
}

#[derive(Clone, Debug, Default)]
struct Databases {
    country: Option<Arc<Database>>,
    network: Option<Arc<Database>>,
    hosting: Arc<HashSet<u32>>,
}

/// Tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok(), size: metadata.len(), inode: metadata.ino() })
    }
}

/// A file that settings name.
#[derive(Debug)]
struct Source {
    kind: Kind,
    path: PathBuf,
    /// The state that was read last, usable or not; none: it was not there.
    seen: Option<Stamp>,
}

/// The databases in use.
#[derive(Debug)]
pub struct Geo {
    current: Arc<ArcSwap<Databases>>,
    sources: Mutex<Vec<Source>>,
    check_interval: Duration,
    metrics: VisitorMetrics,
}

impl Geo {
    /// Reads and validates what the settings name. A file that is not there costs one warning.
    ///
    /// # Errors
    /// A file that is there and cannot be used: better seen at start than in statistics.
    pub fn open(settings: &GeoipSettings) -> Result<Arc<Self>, GeoError> {
        let hosting = Arc::new(settings.hosting_networks.iter().copied().collect());
        let geo = Self {
            current: Arc::new(ArcSwap::from_pointee(Databases { hosting, ..Databases::default() })),
            sources: Mutex::default(),
            // The runtime refuses an interval of 0.
            check_interval: Duration::from_millis(settings.check_interval_ms.max(1)),
            metrics: VisitorMetrics::register(),
        };
        let mut sources = Vec::new();
        for (kind, path) in [(Kind::Country, &settings.country), (Kind::Network, &settings.asn)] {
            if path.as_os_str().is_empty() {
                if kind == Kind::Country {
                    tracing::warn!("no GeoIP database: the country of visitors is unknown (geoip.country)");
                }
                continue;
            }
            let seen = Stamp::of(path);
            match geo.load(kind, path) {
                Ok(()) => {}
                Err(error) if error.is_missing() => {
                    tracing::warn!(path = %path.display(), "the GeoIP database is not there: {} are unknown", kind.wanted());
                }
                Err(error) => return Err(error),
            }
            sources.push(Source { kind, path: path.clone(), seen });
        }
        *geo.sources.lock().unwrap_or_else(PoisonError::into_inner) = sources;
        Ok(Arc::new(geo))
    }

    /// A reader for one core.
    pub fn reader(&self) -> GeoReader {
        GeoReader { databases: Cache::new(Arc::clone(&self.current)) }
    }

    /// Looks for changed files every `check_interval_ms`, until `shutdown`.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.check_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let geo = Arc::clone(&self);
            // Reading and validating takes up to seconds.
            if let Err(error) = tokio::task::spawn_blocking(move || geo.check()).await {
                tracing::error!(%error, "a look at the GeoIP databases broke off");
            }
        }
    }

    /// Takes in files that changed since the last look.
    fn check(&self) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        for source in sources.iter_mut() {
            // Before reading: what changes from here on is seen the next time.
            let stamp = Stamp::of(&source.path);
            if stamp == source.seen {
                continue;
            }
            source.seen = stamp;
            let path = source.path.display();
            match self.load(source.kind, &source.path) {
                Ok(()) => tracing::info!(%path, "the changed GeoIP database is in use"),
                Err(error) => tracing::warn!(%error, "what was known of {} stays", source.kind.wanted()),
            }
        }
    }

    fn load(&self, kind: Kind, path: &Path) -> Result<(), GeoError> {
        let metrics = kind.metrics(&self.metrics);
        let database = Database::open(path, kind).inspect_err(|_| metrics.refused.increment(1))?;
        let built = database.built();
        let mut databases = Databases::clone(&self.current.load());
        match kind {
            Kind::Country => databases.country = Some(Arc::new(database)),
            Kind::Network => databases.network = Some(Arc::new(database)),
        }
        self.current.store(Arc::new(databases));
        metrics.loaded.increment(1);
        // Exact up to the year 2106.
        metrics.built.set(f64::from(u32::try_from(built).unwrap_or(u32::MAX)));
        Ok(())
    }
}

/// Looks addresses up. One per core; a swapped database is seen with the next look-up.
pub struct GeoReader {
    databases: Cache<Arc<ArcSwap<Databases>>, Arc<Databases>>,
}

impl std::fmt::Debug for GeoReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GeoReader")
    }
}

impl GeoReader {
    /// What is known of `ip`.
    pub fn look_up(&mut self, ip: IpAddr) -> Place {
        let databases = self.databases.load();
        let ip = ip.to_canonical();
        let country = databases.country.as_ref().and_then(|database| database.country(ip));
        let network = databases.network.as_ref().and_then(|database| database.network(ip));
        let hosting = network.is_some_and(|number| databases.hosting.contains(&number));
        Place { country, network, hosting }
    }
}
