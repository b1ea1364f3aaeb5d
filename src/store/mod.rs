//! The store: entities, migrations and queries, the same code for SQLite and PostgreSQL.
//!
//! Writers go through [`Store::begin`]: on SQLite there is one of them at a time and its transaction holds the write
//! lock from the start, so that no transaction fails half-way for want of it. Readers go through
//! [`Store::reader`] and see the last commit. What differs between databases stands in this file and nowhere else.

pub mod accounts;
pub mod catalog;
pub mod entities;
pub mod keys;
mod migrations;
pub mod pixel_secrets;
pub mod publications;
pub mod publish;
pub mod sequences;
pub mod streams;

use std::{fmt, path::Path, time::Duration};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

/// Rows of one insert: with 30 columns they stay below the 32,766 values that SQLite takes in a statement.
pub const INSERT_ROWS: usize = 1_000;

/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a path cannot have in a URL as it is.
const PATH: AsciiSet = CONTROLS.add(b'%').add(b'?').add(b'#');

/// Readers at once.
const READERS: u32 = 4;

/// A connected database.
#[derive(Clone)]
pub struct Store {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// The URL of a SQLite file, whatever its name has in it.
    pub fn sqlite_url(path: &Path) -> String {
        let path = path.to_string_lossy();
        format!("sqlite:{}?mode=rwc", utf8_percent_encode(&path, &PATH))
    }

    /// Connects and brings the schema up to date.
    pub async fn open(url: &str) -> Result<Self, DbErr> {
        let store = Self::connect(url).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Connects to a database as it is.
    pub async fn connect(url: &str) -> Result<Self, DbErr> {
        // The writer first: it creates the file and sets it to WAL.
        let writer = Database::connect(options(url, 1)).await?;
        let reader = Database::connect(options(url, READERS)).await?;
        Ok(Self { reader, writer })
    }

    pub async fn migrate(&self) -> Result<(), DbErr> {
        migrations::Migrator::up(&self.writer, None).await
    }

    /// Names of migrations that have not been applied.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, DbErr> {
        let pending = migrations::Migrator::get_pending_migrations(&self.writer).await?;
        Ok(pending.iter().map(|migration| migration.name().to_owned()).collect())
    }

    /// For queries only.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// A transaction for queries that must all see the same state, while others go on writing.
    pub async fn snapshot(&self) -> Result<DatabaseTransaction, DbErr> {
        self.reader.begin().await
    }

    /// Begins a transaction that may write. Dropped without a commit it leaves nothing behind.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.writer
            .begin_with_options(TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            })
            .await
    }

    pub async fn close(self) -> Result<(), DbErr> {
        self.reader.close().await?;
        self.writer.close().await
    }
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .sqlx_logging(false)
        .acquire_timeout(BUSY_TIMEOUT)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .pragma("journal_mode", "WAL")
                // A commit that was answered is on the disk.
                .pragma("synchronous", "FULL")
                .pragma("foreign_keys", "ON")
                .busy_timeout(BUSY_TIMEOUT)
        });
    options
}

/// Whether the same work may succeed if it is simply done again.
pub fn is_transient(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        other => {
            let text = other.to_string();
            text.contains("database is locked") || text.contains("database table is locked")
        }
    }
}
