//! The parts that several commands are made of.

use std::sync::Arc;

use rusqlite::ErrorCode;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, RuntimeErr};

use super::{
    data_dir::DataDir,
    exit::{Code, Failure},
    secrets::Secrets,
};
use crate::{
    catalog::Catalog,
    config::Settings,
    domain::ids::AccountId,
    edge::{self, EdgeParts},
    ledger::{Intake, LedgerError, Terms},
    store::{
        ConnectError, Store, StoreOptions, accounts,
        entities::{account, program},
    },
    stream::{
        EventSink,
        spool::{Spool, SpoolError},
    },
    telemetry::{edge::EdgeMetrics, redis::RedisMetrics, stream::StreamMetrics, visitor::VisitorMetrics},
    visitor::{
        Geo, MemoryRecentVisits, RecentVisits, RedisRecentVisits, ServerError, TrustedProxies, VisitorHasher,
    },
};

/// What helps where the disk has lost a part of the spool.
pub const DAMAGED: &str =
    "docs/operations.md, WaypostSpoolNotReplayed, says how to go on and how to save what can be read.";

const IN_THE_WAY: &str = "Check that the disk has room and that the file may be read and written.";

/// The store, made or brought up to date.
pub async fn open_store(folder: &DataDir, settings: &Settings) -> Result<Store, Failure> {
    let place = StorePlace::new(folder, settings);
    let store = place.connect().await?;
    store.migrate().await.map_err(|error| place.failed(error))?;
    Ok(store)
}

/// Fails where SQLite is asked for and the data folder has no store.
pub fn require_store(folder: &DataDir, settings: &Settings) -> Result<(), Failure> {
    let path = folder.store_path(settings);
    if settings.store.is_postgres() || path.exists() {
        return Ok(());
    }
    let message = format!("there is no store at {}", path.display());
    let hint = "`waypost dev` and `waypost migrate` make one; --data-dir names another folder.";
    Err(Failure::new(Code::NoInput, message).with_hint(hint))
}

/// The store as it is; it must be there with this build's schema.
pub async fn existing_store(folder: &DataDir, settings: &Settings) -> Result<Store, Failure> {
    require_store(folder, settings)?;
    let place = StorePlace::new(folder, settings);
    let store = place.connect().await?;
    let pending = store.pending_migrations().await.map_err(store_failed)?;
    if !pending.is_empty() {
        let message = format!("the store at {place} has an older schema ({})", pending.join(", "));
        return Err(Failure::new(Code::Unavailable, message).with_hint("Run `waypost migrate` first."));
    }
    Ok(store)
}

/// Where the store of this deployment is. Shown without user and password.
#[derive(Debug)]
pub struct StorePlace {
    options: StoreOptions,
    shown: String,
}

impl std::fmt::Display for StorePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl StorePlace {
    pub fn new(folder: &DataDir, settings: &Settings) -> Self {
        if settings.store.is_postgres() {
            let shown = without_password(&settings.store.url);
            return Self { options: StoreOptions::of(&settings.store), shown };
        }
        let path = folder.store_path(settings);
        let shown = path.display().to_string();
        Self { options: StoreOptions::from(&Store::sqlite_url(&path)), shown }
    }

    /// Connects to the store as it is; a SQLite file is made when it is not there.
    pub async fn connect(&self) -> Result<Store, Failure> {
        Store::connect(self.options.clone()).await.map_err(|error| self.failed(error))
    }

    /// What a failure to connect or to migrate means to whoever has to help.
    pub fn failed(&self, error: ConnectError) -> Failure {
        let hint = match &error {
            ConnectError::Store(error) if is_damage(error) => {
                let message = format!("{self} is not a store, or is damaged: {error}");
                return Failure::new(Code::Data, message)
                    .with_hint("Restore the file from a copy, or name another folder with --data-dir.");
            }
            ConnectError::Store(error) if !self.options.is_postgres() => {
                let message = format!("the store at {self} cannot be opened: {error}");
                return Failure::new(Code::Unavailable, message)
                    .with_hint("Check the path and that the disk has room.");
            }
            ConnectError::Url => {
                let message = "`store.url` cannot be read as a URL of PostgreSQL";
                return Failure::new(Code::Config, message)
                    .with_hint("It looks like postgres://user:password@host:5432/database.");
            }
            ConnectError::Authorities { .. } => {
                let message = format!("`store.ca`: {error}");
                return Failure::new(Code::Config, message).with_hint("It is a PEM file with certificates.");
            }
            ConnectError::Unreachable { .. } => {
                "Check that the server runs, and host and port in `store.url`."
            }
            ConnectError::Tls { .. } => {
                "Check that `store.ca` names the authority of the server's certificate, that the certificate has the \
                 host of `store.url`, and that the server has TLS switched on."
            }
            ConnectError::Denied { .. } => {
                "Check user and password in `store.url`, and the server's pg_hba.conf."
            }
            ConnectError::NoDatabase { .. } => {
                "Make it with `createdb --encoding=UTF8`, or name another in `store.url`."
            }
            ConnectError::Encoding { .. } => {
                "Make a database with `createdb --encoding=UTF8 --template=template0`."
            }
            ConnectError::Store(_) => "Look into the server's log.",
        };
        Failure::new(Code::Unavailable, format!("the store cannot be used: {error}")).with_hint(hint)
    }
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(url) => {
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            format!("{}://{host}{port}{}", url.scheme(), url.path())
        }
        Err(_) => "PostgreSQL".to_owned(),
    }
}

/// What SQLite says of a file that is none of its own, or no longer.
fn is_damage(error: &DbErr) -> bool {
    const CORRUPT: &str = "11";
    const NOT_A_DATABASE: &str = "26";
    let (DbErr::Conn(cause) | DbErr::Exec(cause) | DbErr::Query(cause)) = error else { return false };
    let RuntimeErr::SqlxError(cause) = cause else { return false };
    let code = cause.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some(CORRUPT | NOT_A_DATABASE))
}

pub fn store_failed(error: DbErr) -> Failure {
    if is_damage(&error) {
        return Failure::new(Code::Data, format!("the store failed: {error}"))
            .with_hint("Check that the disk has room and that the file is a store of Waypost.");
    }
    Failure::new(Code::Unavailable, format!("the store failed: {error}")).with_hint(
        "Check that its disk has room, and that it is a store of Waypost which this user may change.",
    )
}

pub fn ledger_failed(error: LedgerError) -> Failure {
    match error {
        LedgerError::Store(error) => store_failed(error),
        LedgerError::Conflict { .. } | LedgerError::NotFound(_) => {
            Failure::new(Code::Data, error.to_string())
        }
        other => Failure::new(Code::Software, other.to_string()),
    }
}

/// The account of a slug.
pub async fn find_account(store: &Store, slug: &str) -> Result<account::Model, Failure> {
    let row = accounts::find_by_slug(store.reader(), slug).await.map_err(store_failed)?;
    row.ok_or_else(|| {
        Failure::new(Code::Data, format!("there is no account `{slug}`"))
            .with_hint(format!("Make it with `waypost account create {slug}`."))
    })
}

/// The program of a slug, unless it was deleted.
pub async fn find_program(
    store: &Store,
    account: AccountId,
    slug: &str,
) -> Result<Option<program::Model>, Failure> {
    program::Entity::find()
        .filter(program::Column::AccountId.eq(account.0))
        .filter(program::Column::Slug.eq(slug))
        .filter(program::Column::DeletedAt.is_null())
        .one(store.reader())
        .await
        .map_err(store_failed)
}

pub fn open_spool(folder: &DataDir, settings: &Settings) -> Result<Spool, Failure> {
    let path = folder.spool_path(settings);
    Spool::open(&settings.spool, &path, StreamMetrics::register()).map_err(|error| spool_failed(&error))
}

pub fn spool_failed(error: &SpoolError) -> Failure {
    let (code, hint) = match error {
        SpoolError::Damaged { .. } => (Code::Data, DAMAGED),
        SpoolError::Failed { source, .. } => match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => (Code::Data, DAMAGED),
            Some(ErrorCode::SystemIoFailure) => (Code::Io, DAMAGED),
            Some(_) | None => (Code::Io, IN_THE_WAY),
        },
        SpoolError::Missing(_) | SpoolError::Lock { .. } | SpoolError::Thread(_) => (Code::Io, IN_THE_WAY),
        SpoolError::NoWal(_) => (Code::Io, "Keep it on a disk of this machine: network file systems cannot."),
        SpoolError::NotALog(_) => {
            (Code::Data, "--data-dir or `spool.path` names another; if it was one, its disk has lost it.")
        }
        SpoolError::Version { .. } => (Code::Data, "Run the build that wrote it, or a newer one."),
        SpoolError::InUse(_) => (
            Code::TempFail,
            "Stop the process that has it, or name another by `spool.path`, which goes before --data-dir.",
        ),
    };
    Failure::new(code, format!("the event log cannot be opened: {error}")).with_hint(hint)
}

pub fn intake(settings: &Settings, secrets: &Secrets) -> Arc<Intake> {
    let terms = Terms {
        max_age_days: settings.settlement.max_age_days,
        pending_time_ms: i64::try_from(settings.settlement.pending_time_ms).unwrap_or(i64::MAX),
    };
    Arc::new(Intake::new(Arc::new(secrets.tokens.clone()), terms))
}

/// Every series of an edge is there from its start, also while it waits for its catalog.
pub fn register_edge_metrics(settings: &Settings) -> EdgeMetrics {
    VisitorMetrics::register();
    if !settings.redis.url.is_empty() {
        RedisMetrics::register();
    }
    EdgeMetrics::register()
}

/// What an edge serves with.
pub fn edge_parts(
    settings: &Settings,
    secrets: &Secrets,
    catalog: Arc<Catalog>,
    geo: Arc<Geo>,
    recent: Arc<dyn RecentVisits>,
    sink: Arc<dyn EventSink>,
    metrics: EdgeMetrics,
) -> EdgeParts {
    EdgeParts {
        name: edge_name(&settings.edge.name).into(),
        catalog,
        keys: Arc::new(secrets.tokens.clone()),
        sealing: Arc::new(secrets.sealing.clone()),
        geo,
        hasher: VisitorHasher::new(secrets.visitor_hash),
        proxies: TrustedProxies::new(settings.edge.trusted_proxies.clone()),
        user_agents: settings.visitor.user_agents,
        recent,
        sink,
        metrics,
    }
}

/// The duplicate check: all edges together where there is a Redis, else this one alone.
///
/// # Errors
/// Settings of Redis that can never work.
pub fn recent_visits(settings: &Settings) -> Result<Arc<dyn RecentVisits>, Failure> {
    let memory = MemoryRecentVisits::new(settings.visitor.recent_visits);
    if settings.redis.url.is_empty() {
        return Ok(Arc::new(memory));
    }
    let shared = RedisRecentVisits::start(&settings.redis, memory, edge::core_count(settings.edge.cores));
    let shared = shared.map_err(|error: ServerError| Failure::new(Code::Config, error.to_string()))?;
    Ok(Arc::new(shared))
}

pub fn open_geo(settings: &Settings) -> Result<Arc<Geo>, Failure> {
    Geo::open(&settings.geoip).map_err(|error| {
        Failure::new(Code::Config, format!("the GeoIP database cannot be used: {error}"))
            .with_hint("`scripts/geoip` fetches one; without `geoip.country` the country is unknown.")
    })
}

/// The configured name, else the host's, else a constant: one machine has one edge then.
fn edge_name(configured: &str) -> String {
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "edge".to_owned() } else { host.to_owned() }
}
