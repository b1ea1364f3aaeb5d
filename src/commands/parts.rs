//! The parts that several commands are made of.

use std::{path::Path, sync::Arc};

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
    edge::EdgeParts,
    ledger::{Intake, LedgerError, Terms},
    store::{
        Store, accounts,
        entities::{account, program},
    },
    stream::{
        EventSink,
        spool::{Spool, SpoolError},
    },
    telemetry::{edge::EdgeMetrics, stream::StreamMetrics, visitor::VisitorMetrics},
    visitor::{Geo, MemoryRecentVisits, TrustedProxies, VisitorHasher},
};

/// The store of a data folder, made or brought up to date.
pub async fn open_store(folder: &DataDir, settings: &Settings) -> Result<Store, Failure> {
    let store = connect(&folder.store_path(settings)).await?;
    store.migrate().await.map_err(store_failed)?;
    Ok(store)
}

/// Connects to the store in a file as it is; an empty one is made when it is not there.
pub async fn connect(path: &Path) -> Result<Store, Failure> {
    Store::connect(&Store::sqlite_url(path)).await.map_err(|error| {
        if is_damage(&error) {
            let message = format!("{} is not a store, or is damaged: {error}", path.display());
            return Failure::new(Code::Data, message)
                .with_hint("Restore the file from a copy, or name another folder with --data-dir.");
        }
        let message = format!("the store at {} cannot be opened: {error}", path.display());
        Failure::new(Code::Unavailable, message).with_hint("Check the path and that the disk has room.")
    })
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

/// Fails where the data folder has no store.
pub fn require_store(folder: &DataDir, settings: &Settings) -> Result<(), Failure> {
    let path = folder.store_path(settings);
    if path.exists() {
        return Ok(());
    }
    let message = format!("there is no store at {}", path.display());
    let hint = "`waypost dev` and `waypost migrate` make one; --data-dir names another folder.";
    Err(Failure::new(Code::NoInput, message).with_hint(hint))
}

/// The store of a data folder as it is; it must be there with this build's schema.
pub async fn existing_store(folder: &DataDir, settings: &Settings) -> Result<Store, Failure> {
    require_store(folder, settings)?;
    let path = folder.store_path(settings);
    let store = connect(&path).await?;
    let pending = store.pending_migrations().await.map_err(store_failed)?;
    if !pending.is_empty() {
        let message = format!("the store at {} has an older schema ({})", path.display(), pending.join(", "));
        return Err(Failure::new(Code::Unavailable, message).with_hint("Run `waypost migrate` first."));
    }
    Ok(store)
}

pub fn store_failed(error: DbErr) -> Failure {
    let code = if is_damage(&error) { Code::Data } else { Code::Unavailable };
    Failure::new(code, format!("the store failed: {error}"))
        .with_hint("Check that the disk has room and that the file is a store of Waypost.")
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
    let code = match error {
        SpoolError::NotALog(_) | SpoolError::Version { .. } | SpoolError::Damaged { .. } => Code::Data,
        SpoolError::Missing(_) | SpoolError::NoWal(_) | SpoolError::Failed { .. } | SpoolError::Thread(_) => {
            Code::Io
        }
    };
    Failure::new(code, format!("the event log cannot be opened: {error}"))
        .with_hint("Check that the disk has room and that the file is an event log of Waypost.")
}

pub fn intake(settings: &Settings, secrets: &Secrets) -> Arc<Intake> {
    let terms = Terms {
        max_age_days: settings.settlement.max_age_days,
        pending_time_ms: i64::try_from(settings.settlement.pending_time_ms).unwrap_or(i64::MAX),
    };
    Arc::new(Intake::new(Arc::new(secrets.tokens.clone()), terms))
}

/// What an edge serves with.
pub fn edge_parts(
    settings: &Settings,
    secrets: &Secrets,
    catalog: Arc<Catalog>,
    geo: Arc<Geo>,
    sink: Arc<dyn EventSink>,
) -> EdgeParts {
    VisitorMetrics::register();
    EdgeParts {
        name: edge_name(&settings.edge.name).into(),
        catalog,
        keys: Arc::new(secrets.tokens.clone()),
        sealing: Arc::new(secrets.sealing.clone()),
        geo,
        hasher: VisitorHasher::new(secrets.visitor_hash),
        proxies: TrustedProxies::new(settings.edge.trusted_proxies.clone()),
        user_agents: settings.visitor.user_agents,
        recent: Arc::new(MemoryRecentVisits::new(settings.visitor.recent_visits)),
        sink,
        metrics: EdgeMetrics::register(),
    }
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
