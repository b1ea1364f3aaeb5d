//! Where an address is: country and network, from MaxMind-format databases.
//!
//! Files are read into memory whole, validated, and swapped when they change; a look-up never touches the disk and
//! never waits. A file that cannot be used is refused with a warning, and what was in use before stays.

mod database;

use std::{
    collections::HashSet,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::{ArcSwap, Cache};
use tokio_util::sync::CancellationToken;

use crate::config::GeoipSettings;

use database::Database;
pub use database::GeoError;

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
    pub fn country_str(&self) -> Option<&str> {
        self.country.as_ref().and_then(|code| std::str::from_utf8(code).ok())
    }
}

#[derive(Debug, Default)]
struct Databases {
    country: Option<Database>,
    network: Option<Database>,
    hosting: HashSet<u32>,
}

/// The databases in use.
#[derive(Debug)]
pub struct Geo {
    current: Arc<ArcSwap<Databases>>,
}

impl Geo {
    /// Reads and validates what the settings name.
    ///
    /// # Errors
    /// A file that is named and cannot be used.
    pub fn open(settings: &GeoipSettings) -> Result<Arc<Self>, GeoError> {
        let read = |path: &PathBuf| -> Result<Option<Database>, GeoError> {
            if path.as_os_str().is_empty() { Ok(None) } else { Database::open(path as &Path).map(Some) }
        };
        let databases = Databases {
            country: read(&settings.country)?,
            network: read(&settings.asn)?,
            hosting: settings.hosting_networks.iter().copied().collect(),
        };
        Ok(Arc::new(Self { current: Arc::new(ArcSwap::from_pointee(databases)) }))
    }

    /// A reader of one core.
    pub fn reader(&self) -> GeoReader {
        GeoReader { databases: Cache::new(Arc::clone(&self.current)) }
    }

    /// Looks for changed files until `shutdown`.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        shutdown.cancelled().await;
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
