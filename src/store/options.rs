//! Where a store is, and what its connections promise.

use std::{fmt, path::PathBuf, time::Duration};

use crate::config::StoreSettings;

/// Connections to PostgreSQL where nobody says otherwise.
const CONNECTIONS: u32 = 8;

/// What a statement may take on PostgreSQL where nobody says otherwise.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a transaction may take at least, however little a statement may.
const LEAST_WORK: Duration = Duration::from_secs(10);

/// How to reach a store. A plain URL turns into one by `From`.
#[derive(Clone)]
pub struct StoreOptions {
    /// `sqlite:` or `postgres:` URL. It may hold a password.
    pub url: String,
    /// PEM file of authorities that may prove the PostgreSQL server, besides the public ones; none: TLS where the server
    /// has it, unproven.
    pub ca: Option<PathBuf>,
    /// Connections to PostgreSQL, readers and writers together.
    pub connections: u32,
    /// What one statement may take on PostgreSQL.
    pub statement_timeout: Duration,
}

impl StoreOptions {
    /// The options of the settings, whose URL is not empty.
    pub fn of(settings: &StoreSettings) -> Self {
        Self {
            url: settings.url.clone(),
            ca: (!settings.ca.as_os_str().is_empty()).then(|| settings.ca.clone()),
            connections: settings.connections,
            statement_timeout: Duration::from_millis(settings.statement_timeout_ms),
        }
    }

    /// What the work of one transaction, or of a few queries, may take on PostgreSQL: twice what one statement may.
    pub(super) fn work_timeout(&self) -> Duration {
        (2 * self.statement_timeout).max(LEAST_WORK)
    }

    pub fn is_postgres(&self) -> bool {
        ["postgres://", "postgresql://"].iter().any(|scheme| self.url.starts_with(scheme))
    }
}

impl From<&str> for StoreOptions {
    fn from(url: &str) -> Self {
        Self { url: url.to_owned(), ca: None, connections: CONNECTIONS, statement_timeout: STATEMENT_TIMEOUT }
    }
}

impl From<&String> for StoreOptions {
    fn from(url: &String) -> Self {
        Self::from(url.as_str())
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions").field("connections", &self.connections).finish_non_exhaustive()
    }
}
