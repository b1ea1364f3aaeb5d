//! A database of a test's own: one of the PostgreSQL that `scripts/services` started.

#![allow(dead_code, reason = "each test takes what it needs")]

use sea_orm::sqlx::{self, AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;
use waypost::store::Store;

use crate::services;

/// An advisory lock of the tests.
const TEMPLATE: i64 = 0x5741_5954_4553_5401;

/// What the schema is made from: another schema needs another template.
const SCHEMA: [&str; 4] = [
    include_str!("../../src/store/migrations/mod.rs"),
    include_str!("../../src/store/migrations/m0001_events.rs"),
    include_str!("../../src/store/migrations/m0001_money.rs"),
    include_str!("../../src/store/migrations/m0001_rules.rs"),
];

/// What makes JSON of a text.
pub const AS_JSON: &str = "::jsonb";

/// Gone when it is dropped, whoever is still connected.
pub struct Database {
    name: String,
}

impl Database {
    /// With the schema in it, as a copy of a database that was migrated once.
    pub async fn create() -> Self {
        static TEMPLATE_NAME: OnceCell<String> = OnceCell::const_new();
        Self::copy(TEMPLATE_NAME.get_or_init(template).await).await
    }

    /// Without a schema.
    pub async fn empty() -> Self {
        Self::copy("template0").await
    }

    async fn copy(template: &str) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut admin = admin().await;
        run(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        admin.close().await.unwrap();
        Self { name }
    }

    pub fn url(&self) -> String {
        url_of(&self.name)
    }

    pub async fn store(&self) -> Store {
        Store::connect(&self.url()).await.unwrap()
    }

    /// A connection without a pool, for what a store does not do.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = self.name.clone();
        // A runtime of its own: the test's may be the one that drops this.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                run(&mut admin().await, format!("DROP DATABASE {name} WITH (FORCE)")).await;
            });
        });
        if !std::thread::panicking() {
            dropped.join().unwrap();
        }
    }
}

pub fn url_of(name: &str) -> String {
    let (server, _) =
        services::postgres().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    format!("{server}/{name}")
}

pub async fn run(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

async fn admin() -> PgConnection {
    PgConnection::connect(&services::postgres()).await.unwrap()
}

/// The database that the others are copies of, made by whoever comes first.
async fn template() -> String {
    let hash = blake3::hash(SCHEMA.concat().as_bytes()).to_hex();
    let name = format!("template_{}", &hash[..16]);
    let mut admin = admin().await;
    run(&mut admin, format!("SELECT pg_advisory_lock({TEMPLATE})")).await;
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    if !known {
        // Under another name until it is whole.
        let half = format!("half_{}", Uuid::now_v7().simple());
        run(&mut admin, format!("CREATE DATABASE {half} TEMPLATE template0")).await;
        Store::open(&url_of(&half)).await.unwrap().close().await.unwrap();
        run(&mut admin, format!("ALTER DATABASE {half} RENAME TO {name}")).await;
    }
    admin.close().await.unwrap();
    name
}
