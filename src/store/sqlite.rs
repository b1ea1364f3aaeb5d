//! A store in one file: any number of readers and one writer, whose transactions hold the write lock from the start.

use std::{path::Path, time::Duration};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};

/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a path cannot have in a URL as it is.
const PATH: AsciiSet = CONTROLS.add(b'%').add(b'?').add(b'#');

/// Readers at once.
const READERS: u32 = 4;

pub(super) fn url(path: &Path) -> String {
    let path = path.to_string_lossy();
    format!("sqlite:{}?mode=rwc", utf8_percent_encode(&path, &PATH))
}

/// The reader and the writer.
pub(super) async fn connect(url: &str) -> Result<(DatabaseConnection, DatabaseConnection), DbErr> {
    // The writer first: it creates the file and sets it to WAL.
    let writer = Database::connect(options(url, 1)).await?;
    let reader = Database::connect(options(url, READERS)).await?;
    Ok((reader, writer))
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
