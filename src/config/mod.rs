//! Settings: parsed once into types, every key documented in `config/default.toml`.
//!
//! Nothing else reads the environment or a file of settings. An unknown key, a value out of its range or a pair of
//! values that do not go together refuses to start and names the key.
//!
//! [`load()`] puts the sources on top of each other, [`Settings::validate`] holds the rules between keys.

mod error;
mod load;
mod redis_url;
mod validate;

pub use error::{ConfigError, Origin, Problem};
pub use load::{DEFAULT_TOML, DEV_TOML, ENV_PREFIX, Loaded, Override, Sources, load};
pub use redis_url::{RedisKind, RedisUrl, RedisUrlError};
pub use validate::{RANGES, Range, Secret, parse_secret};

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::domain::token::KeyState;

/// All settings of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of the embedded parts: store, spool, secrets, locks.
    pub data_dir: PathBuf,
    pub edge: EdgeSettings,
    pub api: ApiSettings,
    pub admin: AdminSettings,
    pub kafka: KafkaSettings,
    pub redis: RedisSettings,
    pub store: StoreSettings,
    pub spool: SpoolSettings,
    pub catalog: CatalogSettings,
    pub secrets: SecretsSettings,
    pub geoip: GeoipSettings,
    pub token: TokenSettings,
    pub visitor: VisitorSettings,
    pub settlement: SettlementSettings,
    pub log: LogSettings,
}

/// The data plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeSettings {
    pub listen: SocketAddr,
    /// Slug of the account that serves hosts which are no tracking domain; empty: such hosts get 404.
    pub default_account: String,
    /// Name of this edge in events, unique in the deployment; empty: the host's name.
    pub name: String,
    /// Runtimes with a listener of their own; 0: one per core.
    pub cores: usize,
    /// Peers whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    pub max_connections: usize,
    pub max_header_bytes: usize,
    pub max_body_bytes: usize,
    pub max_batch_events: usize,
    pub header_read_timeout_ms: u64,
    pub body_read_timeout_ms: u64,
    /// How long the pixel waits until its event is durable.
    pub pixel_wait_ms: u64,
    /// How long a reported event that may be repeated may take to become durable.
    pub append_timeout_ms: u64,
    /// Between readiness 503 and closing the listener.
    pub drain_delay_ms: u64,
    /// From SIGTERM to the end, whatever is still open.
    pub drain_timeout_ms: u64,
}

/// Says what a network looks like: of a wrong prefix length the type itself says that the address is wrong.
fn networks<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<IpNet>, D::Error> {
    struct Network(IpNet);

    impl<'de> Deserialize<'de> for Network {
        fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
            let text = String::deserialize(value)?;
            let network = text.parse().map(Self);
            network.map_err(|_| {
                Error::custom(format!("{text:?} is not a network such as 10.0.0.0/8 or fd00::/8"))
            })
        }
    }

    let networks = Vec::<Network>::deserialize(value)?;
    Ok(networks.into_iter().map(|network| network.0).collect())
}

/// The management API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSettings {
    pub listen: SocketAddr,
    pub max_body_bytes: usize,
    pub request_timeout_ms: u64,
    /// Requests of one key in a minute.
    pub rate_limit_per_minute: u32,
}

/// Metrics and probes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    pub listen: SocketAddr,
}

/// How the connection to a Kafka broker is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaSecurity {
    Plaintext,
    Tls,
    SaslPlaintext,
    SaslTls,
}

impl KafkaSecurity {
    /// Brokers are proved by their certificate.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }

    /// We prove who we are by name and password.
    pub const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslTls)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaslMechanism {
    Plain,
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
}

/// The event log between machines, and the catalog's way to the edges.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port`, several by comma; empty: the embedded event log.
    pub brokers: String,
    pub security: KafkaSecurity,
    /// PEM file of the authorities that may prove a broker; empty: the system's.
    pub ca: PathBuf,
    /// PEM file by which brokers know us; empty: none.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    pub sasl_mechanism: SaslMechanism,
    pub username: String,
    pub password: String,
    /// Stands before the names of topics and of the consumer group.
    pub prefix: String,
    /// After this time without an acknowledgement an event goes to the spool.
    pub spool_after_ms: u64,
    /// After this time librdkafka gives a click up, and a connection that does not answer.
    pub message_timeout_ms: u64,
    /// How long events wait for others of their batch.
    pub linger_ms: u64,
    /// Events that may be under way to the brokers.
    pub queue_events: u64,
    /// Their bytes.
    pub queue_bytes: u64,
    /// A consumer that is silent for so long has lost its partitions.
    pub session_timeout_ms: u64,
}

impl std::fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("security", &self.security)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl KafkaSettings {
    /// Whether events travel by Kafka; else by the embedded event log.
    pub const fn is_used(&self) -> bool {
        !self.brokers.is_empty()
    }
}

/// The duplicate check that all edges share.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Empty: each edge for itself, in memory.
    pub url: String,
    /// PEM file of the authorities that may prove the server; empty: the system's.
    pub ca: PathBuf,
    /// After this time the memory of this process decides.
    pub timeout_ms: u64,
    /// Failures in a row after which Redis is left alone …
    pub breaker_failures: u32,
    /// … for this time.
    pub breaker_ms: u64,
    /// Stands before the keys.
    pub prefix: String,
}

impl std::fmt::Debug for RedisSettings {
    /// The URL may have a password in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSettings").field("timeout_ms", &self.timeout_ms).finish_non_exhaustive()
    }
}

/// Where the state is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// `sqlite:` or `postgres:` URL; empty: `store.db` in the data folder.
    pub url: String,
    /// PEM file of the authorities that may prove the server; empty: the system's.
    pub ca: PathBuf,
    /// Connections to PostgreSQL of one process.
    pub connections: u32,
    /// What one statement may take on PostgreSQL.
    pub statement_timeout_ms: u64,
}

impl std::fmt::Debug for StoreSettings {
    /// The URL may have a password in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSettings").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl StoreSettings {
    /// Whether the state is kept in PostgreSQL; else in a SQLite file.
    pub fn is_postgres(&self) -> bool {
        ["postgres://", "postgresql://"].iter().any(|scheme| self.url.starts_with(scheme))
    }
}

/// What an edge keeps of the catalog from one start to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogSettings {
    /// Empty: `catalog.snapshot` in the data folder.
    pub snapshot: PathBuf,
    /// How often it is written.
    pub snapshot_interval_ms: u64,
    /// A snapshot that is older is thrown away.
    pub snapshot_max_age_ms: u64,
}

/// What protects secrets in the store and in the catalog.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsSettings {
    /// 64 hex digits each: the first encrypts, all decrypt. Empty: made at the first start and kept in the data folder.
    pub keys: Vec<String>,
}

impl std::fmt::Debug for SecretsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretsSettings").field("keys", &self.keys.len()).finish()
    }
}

/// The event log on this machine: all of it when there is no Kafka, else what Kafka does not take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolSettings {
    /// Empty: `spool.db` in the data folder.
    pub path: PathBuf,
    /// Payload bytes, compressed, that may wait.
    pub max_bytes: u64,
    /// One fsync per so many events …
    pub commit_events: usize,
    /// … or after this time.
    pub commit_ms: u64,
}

/// Where visitors are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeoipSettings {
    /// MaxMind-format database with countries; empty: unknown.
    pub country: PathBuf,
    /// MaxMind-format database with networks; empty: unknown.
    pub asn: PathBuf,
    /// Numbers of hosting networks whose clicks are of class `datacenter`.
    pub hosting_networks: Vec<u32>,
    /// How often the files are looked at for a change.
    pub check_interval_ms: u64,
}

impl Default for Settings {
    /// What `config/default.toml` says.
    #[expect(clippy::expect_used, reason = "the file is compiled in and a test reads it")]
    fn default() -> Self {
        toml::from_str(DEFAULT_TOML).expect("config/default.toml is whole")
    }
}

/// Signing keys of click tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// Empty: made at the first start and kept in the data folder.
    pub keys: Vec<TokenKeySettings>,
}

/// One signing key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKeySettings {
    /// 0 to 63.
    pub id: u8,
    pub state: KeyState,
    /// 64 hex digits.
    pub secret: String,
}

impl std::fmt::Debug for TokenKeySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeySettings")
            .field("id", &self.id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Who follows a link.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitorSettings {
    /// 64 hex digits, keys the visitor hash; empty: made at the first start and kept in the data folder.
    pub hash_secret: String,
    /// User agents that each core remembers.
    pub user_agents: usize,
    /// Visits that the duplicate check remembers.
    pub recent_visits: usize,
}

impl std::fmt::Debug for VisitorSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VisitorSettings")
            .field("user_agents", &self.user_agents)
            .field("recent_visits", &self.recent_visits)
            .finish_non_exhaustive()
    }
}

/// From the event log to the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettlementSettings {
    /// Events of one transaction.
    pub batch_events: usize,
    /// How long a batch waits to fill.
    pub batch_wait_ms: u64,
    /// How long an event waits for its click, its key or its conversion.
    pub pending_time_ms: u64,
    /// Days after which a conversion needs a key with the scope `import`.
    pub max_age_days: u32,
    /// Days that clicks are kept.
    pub click_retention_days: u32,
    /// How often the store is added up.
    pub audit_interval_ms: u64,
    /// How often closed intervals of bonuses are looked at.
    pub bonus_interval_ms: u64,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

impl LogFormat {
    /// As it stands in a file of settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What the process says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    /// A filter as of `tracing`: `info`, `waypost=debug,info`.
    pub filter: String,
}
