//! A database of a test's own: a SQLite file.

#![allow(dead_code, reason = "each test takes what it needs")]

use tempfile::TempDir;
use waypost::store::Store;

/// What makes JSON of a text.
pub const AS_JSON: &str = "";

/// Gone when it is dropped.
pub struct Database {
    folder: TempDir,
}

impl Database {
    /// With the schema in it.
    pub async fn create() -> Self {
        let database = Self { folder: tempfile::tempdir().unwrap() };
        Store::open(&database.url()).await.unwrap().close().await.unwrap();
        database
    }

    pub fn url(&self) -> String {
        Store::sqlite_url(&self.folder.path().join("store.db"))
    }

    pub async fn store(&self) -> Store {
        Store::connect(&self.url()).await.unwrap()
    }
}
