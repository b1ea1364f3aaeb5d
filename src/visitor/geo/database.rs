//! One MaxMind-format file in memory.
//!
//! Countries are read in both shapes that are about: `country.iso_code` (MaxMind's own) and a flat `country_code`;
//! networks from `autonomous_system_number`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    #[error("cannot read the GeoIP database {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is no usable GeoIP database: {source}", path.display())]
    Damaged { path: PathBuf, source: MaxMindDbError },
}

#[derive(Debug)]
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
}

#[derive(Deserialize)]
struct CountryEntry<'a> {
    #[serde(borrow)]
    country: Option<Country<'a>>,
    country_code: Option<&'a str>,
}

#[derive(Deserialize)]
struct Country<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Deserialize)]
struct NetworkEntry {
    autonomous_system_number: Option<u32>,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, GeoError> {
        let bytes =
            std::fs::read(path).map_err(|source| GeoError::Unreadable { path: path.into(), source })?;
        let damaged = |source| GeoError::Damaged { path: path.into(), source };
        let reader = Reader::from_source(bytes).map_err(damaged)?;
        reader.verify().map_err(damaged)?;
        Ok(Self { reader })
    }

    pub(super) fn country(&self, ip: IpAddr) -> Option<[u8; 2]> {
        let entry: CountryEntry<'_> = self.reader.lookup(ip).ok()?.decode().ok()??;
        let code = entry.country_code.or_else(|| entry.country?.iso_code)?;
        let code: [u8; 2] = code.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_alphabetic).then(|| code.map(|letter| letter.to_ascii_uppercase()))
    }

    pub(super) fn network(&self, ip: IpAddr) -> Option<u32> {
        let entry: NetworkEntry = self.reader.lookup(ip).ok()?.decode().ok()??;
        entry.autonomous_system_number
    }
}
