//! The store: entities, migrations and queries, the same code for SQLite and PostgreSQL.
//!
//! Writers go through [`Store::begin`], readers through [`Store::reader`], which sees the last commit. What differs
//! between databases stands in this file, in `sqlite`, in `postgres`, in `partitions` and in the migrations, and
//! nowhere else.
//!
//! **SQLite** has one writer at a time, whose transaction holds the write lock from the start, so that no transaction
//! fails half-way for want of it.
//!
//! **PostgreSQL** has many, at READ COMMITTED: each statement sees what was committed before it. What is read in order
//! to be written is locked first, what is added to is added to by the database, and what must be unique is so by an
//! index. Locks are held to the end of the transaction, and all take them in this order, so that none waits in a
//! circle:
//!
//! 1. positions, by partition: a consumer that has lost its partition stops here and has locked nothing else;
//! 2. accounts, by id ([`accounts::lock`]): money and rules of an account change under the lock of its row;
//! 3. the rows that a command is about;
//! 4. the number of the last load of rates, by a conversion that finds none ([`exchange_rates`]);
//! 5. numbers of new accounts, programs, affiliates and links, then of the catalog's next version ([`sequences`]);
//! 6. partitions that are made for a batch ([`partitions`]);
//! 7. rollups, by their key;
//! 8. streams and the counts of their outcomes, by their key ([`streams`]);
//! 9. how far the catalog was published ([`publications`]).
//!
//! A transaction that meets a circle all the same is ended by the database and begun again: [`trouble`].

pub mod accounts;
pub mod answers;
pub mod bulk;
pub mod catalog;
pub mod entities;
pub mod exchange_rates;
pub mod keys;
mod migrations;
mod options;
pub mod partitions;
pub mod pixel_secrets;
mod postgres;
pub mod publications;
pub mod publish;
pub mod sequences;
mod sqlite;
pub mod streams;
mod trouble;

use std::{fmt, path::Path};

pub use options::StoreOptions;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
pub use trouble::{ConnectError, RefusedValue, Trouble, is_transient, is_unknown, refused_value, trouble};

/// Rows of one insert: with 30 columns they stay below the 32,766 values that SQLite takes in a statement, and below
/// PostgreSQL's 65,535.
pub const INSERT_ROWS: usize = 1_000;

/// Connections that may turn out to be broken, one after another, before somebody is told: after a restart of the
/// server all of them are.
const BROKEN: u32 = 8;

/// A connected database.
#[derive(Clone)]
pub struct Store {
    options: StoreOptions,
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
        sqlite::url(path)
    }

    /// Connects and brings the schema up to date.
    pub async fn open(options: impl Into<StoreOptions>) -> Result<Self, ConnectError> {
        let store = Self::connect(options).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Connects to a database as it is.
    pub async fn connect(options: impl Into<StoreOptions>) -> Result<Self, ConnectError> {
        let options = options.into();
        let (reader, writer) = if options.is_postgres() {
            postgres::connect(&options).await?
        } else {
            sqlite::connect(&options.url).await?
        };
        Ok(Self { options, reader, writer })
    }

    /// Brings the schema up to date; answers the names of the migrations that were applied. Any number of processes
    /// may do it at once: one does, the others wait and find it done.
    pub async fn migrate(&self) -> Result<Vec<String>, ConnectError> {
        let pending = self.pending_migrations().await?;
        if pending.is_empty() {
            return Ok(pending);
        }
        if !self.options.is_postgres() {
            migrations::Migrator::up(&self.writer, None).await?;
            return Ok(pending);
        }
        let locked = postgres::lock_migrations(&self.options).await?;
        let pending = pending_migrations(&locked).await?;
        let migrated = migrations::Migrator::up(&locked, None).await;
        // The lock ends with its connection, also when this fails.
        let closed = locked.close().await;
        migrated.and(closed)?;
        Ok(pending)
    }

    /// Names of migrations that have not been applied. Changes nothing.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, DbErr> {
        pending_migrations(&self.writer).await
    }

    /// For queries only.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// A transaction for queries that must all see the same state, while others go on writing.
    pub async fn snapshot(&self) -> Result<DatabaseTransaction, DbErr> {
        if self.options.is_postgres() {
            let isolation = Some(IsolationLevel::RepeatableRead);
            self.reader.begin_with_config(isolation, Some(AccessMode::ReadOnly)).await
        } else {
            self.reader.begin().await
        }
    }

    /// As [`Self::snapshot`], for reading all there is: no statement of it is cut off for its time.
    pub async fn long_snapshot(&self) -> Result<DatabaseTransaction, DbErr> {
        let snapshot = self.snapshot().await?;
        if is_postgres(&snapshot) {
            snapshot.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
        }
        Ok(snapshot)
    }

    /// Begins a transaction that may write. Dropped without a commit it leaves nothing behind.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = || TransactionOptions {
            sqlite_transaction_mode: (!self.options.is_postgres())
                .then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let mut tries = 0;
        loop {
            match self.writer.begin_with_options(options()).await {
                // Nothing has happened on it: the next connection does as well.
                Err(error) if tries < BROKEN && trouble(&error) == Some(Trouble::Again) => tries += 1,
                begun => return begun,
            }
        }
    }

    /// Waits for the work of one transaction, or of a few queries, and gives it up where PostgreSQL has not answered in
    /// twice the time of a statement. A server whose machine is gone ends no connection, and who has asked it something
    /// would wait for ever. Work that was given up failed as if its connection had broken: whether a commit happened is
    /// not known ([`is_unknown`]).
    pub async fn in_time<T, E: From<DbErr>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        if !self.options.is_postgres() {
            return work.await;
        }
        match tokio::time::timeout(self.options.work_timeout(), work).await {
            Ok(done) => done,
            Err(_) => Err(trouble::unanswered().into()),
        }
    }

    pub async fn close(self) -> Result<(), DbErr> {
        self.reader.close().await?;
        self.writer.close().await
    }
}

async fn pending_migrations(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let pending = migrations::Migrator::get_pending_migrations_read_only(db).await?;
    Ok(pending.iter().map(|migration| migration.name().to_owned()).collect())
}

/// Lets transactions that work under the same keys take turns, until they end.
async fn lock(tx: &impl ConnectionTrait, keys: Vec<i64>) -> Result<(), DbErr> {
    // On SQLite every writer waits for every other.
    if is_postgres(tx) { postgres::lock(tx, keys).await } else { Ok(()) }
}

fn is_postgres(db: &impl ConnectionTrait) -> bool {
    db.get_database_backend() == DbBackend::Postgres
}
