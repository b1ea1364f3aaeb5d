//! One MaxMind-format file in memory.
//!
//! Countries are read in both shapes that are about: `country.iso_code`, MaxMind's own, and a flat `country_code`.
//! Networks are read from `autonomous_system_number`.

use std::{
    collections::HashSet,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions};
use serde::de::IgnoredAny;

use crate::telemetry::visitor::{DatabaseMetrics, VisitorMetrics};

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    #[error("cannot read the GeoIP database {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no sound GeoIP database: {source}", path.display())]
    Damaged { path: PathBuf, source: MaxMindDbError },
    /// As when the files of `geoip.country` and `geoip.asn` are exchanged.
    #[error("the GeoIP database {} ({found}) holds no {wanted}", path.display())]
    WrongKind { path: PathBuf, found: String, wanted: &'static str },
}

impl GeoError {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What a database is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Country,
    Network,
}

impl Kind {
    pub(super) const fn wanted(self) -> &'static str {
        match self {
            Self::Country => "countries",
            Self::Network => "networks",
        }
    }

    pub(super) fn metrics(self, metrics: &VisitorMetrics) -> &DatabaseMetrics {
        match self {
            Self::Country => &metrics.country,
            Self::Network => &metrics.network,
        }
    }
}

/// Where the answer stands in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    FlatCountry,
    NestedCountry,
    Network,
}

impl Shape {
    const fn candidates(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Country => &[Self::FlatCountry, Self::NestedCountry],
            Kind::Network => &[Self::Network],
        }
    }

    const fn path(self) -> &'static [PathElement<'static>] {
        match self {
            Self::FlatCountry => &[PathElement::Key("country_code")],
            Self::NestedCountry => &[PathElement::Key("country"), PathElement::Key("iso_code")],
            Self::Network => &[PathElement::Key("autonomous_system_number")],
        }
    }
}

#[derive(Debug)]
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    shape: Shape,
}

impl Database {
    /// Reads the whole file and goes through all of its tree and entries.
    pub(super) fn open(path: &Path, kind: Kind) -> Result<Self, GeoError> {
        let bytes =
            std::fs::read(path).map_err(|source| GeoError::Unreadable { path: path.into(), source })?;
        let damaged = |source| GeoError::Damaged { path: path.into(), source };
        let reader = Reader::from_source(bytes).map_err(damaged)?;
        let shape = walk(&reader, kind).map_err(damaged)?.ok_or_else(|| GeoError::WrongKind {
            path: path.into(),
            found: reader.metadata().database_type.clone(),
            wanted: kind.wanted(),
        })?;
        Ok(Self { reader, shape })
    }

    /// In seconds since 1970.
    pub(super) fn built(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    pub(super) fn country(&self, ip: IpAddr) -> Option<[u8; 2]> {
        country(&self.reader.lookup(ip).ok()?, self.shape)
    }

    pub(super) fn network(&self, ip: IpAddr) -> Option<u32> {
        network_number(&self.reader.lookup(ip).ok()?, self.shape)
    }
}

/// Goes through every network and reads every entry whole, and says where the first answer stands.
///
/// The crate's own `verify` does the same, but it also demands what the format does not: a description in the
/// metadata, which the free country databases leave empty.
fn walk(reader: &Reader<Vec<u8>>, kind: Kind) -> Result<Option<Shape>, MaxMindDbError> {
    // A tree of n nodes has 2n ends, a few more when parts of it are shared; one that has many more goes in circles.
    let most = usize::try_from(reader.metadata().node_count).unwrap_or(usize::MAX).saturating_mul(3);
    let mut shape = None;
    let mut read = HashSet::new();
    let networks = reader.networks(WithinOptions::default().include_networks_without_data())?;
    for (number, network) in networks.enumerate() {
        if number > most {
            return Err(MaxMindDbError::invalid_database("the search tree goes in circles"));
        }
        let entry = network?;
        // Networks share entries: one for each country, say.
        if !entry.offset().is_some_and(|offset| read.insert(offset)) {
            continue;
        }
        entry.decode::<IgnoredAny>()?;
        let answers = |shape: &Shape| match kind {
            Kind::Country => country(&entry, *shape).is_some(),
            Kind::Network => network_number(&entry, *shape).is_some(),
        };
        shape = shape.or_else(|| Shape::candidates(kind).iter().copied().find(answers));
    }
    Ok(shape)
}

fn country(entry: &LookupResult<'_, Vec<u8>>, shape: Shape) -> Option<[u8; 2]> {
    let code: &str = entry.decode_path(shape.path()).ok()??;
    let code: [u8; 2] = code.as_bytes().try_into().ok()?;
    code.iter().all(u8::is_ascii_alphabetic).then(|| code.map(|letter| letter.to_ascii_uppercase()))
}

fn network_number(entry: &LookupResult<'_, Vec<u8>>, shape: Shape) -> Option<u32> {
    entry.decode_path(shape.path()).ok()?
}
