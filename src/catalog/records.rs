//! The records of the catalog. Each has a key; the higher version of a key replaces the lower, in any order of
//! arrival.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::domain::{
    ids::{AccountId, AffiliateId, LinkId, ProgramId},
    program::ProgramSettings,
    reason::Standing,
    sealed::Sealed,
    time::Timestamp,
};

/// A record with the version that orders it against others of its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versioned {
    pub version: i64,
    pub record: CatalogRecord,
}

/// One thing that an edge knows. `deleted` records stay as tombstones so that an older version cannot return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatalogRecord {
    Account(AccountRecord),
    Domain(DomainRecord),
    Key(KeyRecord),
    Program(Box<ProgramRecord>),
    Affiliate(AffiliateRecord),
    Link(LinkRecord),
    /// There is nothing under this key; what there was is not said.
    Removed(RecordKey),
}

impl CatalogRecord {
    /// The key under which versions replace each other.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Account(account) => RecordKey::Account(account.id),
            Self::Domain(domain) => RecordKey::Domain(domain.host.clone()),
            Self::Key(key) => RecordKey::Key(key.hash.clone()),
            Self::Program(program) => RecordKey::Program(program.id),
            Self::Affiliate(affiliate) => RecordKey::Affiliate(affiliate.id),
            Self::Link(link) => RecordKey::Link(link.id),
            Self::Removed(key) => key.clone(),
        }
    }

    /// Whether it says that something is gone. Nothing of it but its key is needed then.
    pub const fn is_removal(&self) -> bool {
        match self {
            Self::Account(_) => false,
            Self::Domain(domain) => domain.deleted,
            Self::Key(key) => key.revoked,
            Self::Program(program) => program.deleted,
            Self::Affiliate(affiliate) => affiliate.deleted,
            Self::Link(link) => link.deleted,
            Self::Removed(_) => true,
        }
    }
}

/// What a record is about. As text: `link/42`, `domain/go.shop.example`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RecordKey {
    Account(AccountId),
    /// Lower case, without a port.
    Domain(String),
    /// BLAKE3 of the key, 64 hex digits.
    Key(String),
    Program(ProgramId),
    Affiliate(AffiliateId),
    Link(LinkId),
}

/// The text is not the key of a record that this build knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the key of a known kind of record")]
pub struct UnknownKey;

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "account/{id}"),
            Self::Domain(host) => write!(f, "domain/{host}"),
            Self::Key(hash) => write!(f, "key/{hash}"),
            Self::Program(id) => write!(f, "program/{id}"),
            Self::Affiliate(id) => write!(f, "affiliate/{id}"),
            Self::Link(id) => write!(f, "link/{id}"),
        }
    }
}

impl FromStr for RecordKey {
    type Err = UnknownKey;

    fn from_str(text: &str) -> Result<Self, UnknownKey> {
        let (kind, name) = text.split_once('/').ok_or(UnknownKey)?;
        let id = || name.parse::<i64>().map_err(|_| UnknownKey);
        match kind {
            "account" => Ok(Self::Account(AccountId(id()?))),
            "domain" => Ok(Self::Domain(name.to_owned())),
            "key" => Ok(Self::Key(name.to_owned())),
            "program" => Ok(Self::Program(ProgramId(id()?))),
            "affiliate" => Ok(Self::Affiliate(AffiliateId(id()?))),
            "link" => Ok(Self::Link(LinkId(id()?))),
            _ => Err(UnknownKey),
        }
    }
}

impl TryFrom<String> for RecordKey {
    type Error = UnknownKey;

    fn try_from(text: String) -> Result<Self, UnknownKey> {
        text.parse()
    }
}

impl From<RecordKey> for String {
    fn from(key: RecordKey) -> Self {
        key.to_string()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountRecord {
    pub id: AccountId,
    pub slug: String,
    /// Where an unknown code leads; none: 404.
    pub fallback_url: Option<String>,
}

/// A host name under which an account's links and pixels live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// Lower case, without a port.
    pub host: String,
    pub account: AccountId,
    /// The `Domain` attribute of cookies; none: the host alone.
    pub cookie_domain: Option<String>,
    pub deleted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// May send everything; stays on the merchant's servers.
    Secret,
    /// May send clicks and leads; stands in web pages.
    Publishable,
}

impl KeyKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Publishable => "publishable",
        }
    }
}

/// What a key may do beyond its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send events to the edge.
    Events,
    /// Read through the management API.
    Read,
    /// Change through the management API.
    Write,
    /// Send conversions that happened long ago.
    Import,
    /// Claim and give up tracking domains. A host decides whose links are served there, and nobody asks the name
    /// system who owns it: this is the operator's to give.
    Domains,
}

impl Scope {
    pub const ALL: [Self; 5] = [Self::Events, Self::Read, Self::Write, Self::Import, Self::Domains];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Read => "read",
            Self::Write => "write",
            Self::Import => "import",
            Self::Domains => "domains",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// An API key, known by its hash only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// BLAKE3 of the key, 64 hex digits.
    pub hash: String,
    pub account: AccountId,
    pub kind: KeyKind,
    pub scopes: Vec<Scope>,
    pub revoked: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramRecord {
    pub id: ProgramId,
    pub account: AccountId,
    pub slug: String,
    pub settings: Arc<ProgramSettings>,
    /// Signs the merchant's pixels.
    pub pixel_secret: Sealed,
    pub deleted: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AffiliateRecord {
    pub id: AffiliateId,
    pub account: AccountId,
    pub slug: String,
    /// In every program.
    pub suspended: bool,
    /// Programs with their standing there.
    pub programs: Vec<(ProgramId, Standing)>,
    pub deleted: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkRecord {
    pub id: LinkId,
    pub account: AccountId,
    /// Case matters.
    pub code: String,
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    /// None: the program's.
    pub destination: Option<String>,
    pub source_id: Option<String>,
    pub asset_id: Option<String>,
    /// From then on clicks redirect unattributed.
    pub expires_at: Option<Timestamp>,
    pub deleted: bool,
}
