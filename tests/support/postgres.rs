//! A database of a test's own: one of the PostgreSQL that `scripts/services` started.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::time::{Duration, Instant};

use sea_orm::sqlx::{self, AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;
use waypost::store::Store;

use crate::services;

/// An advisory lock of the tests.
const TEMPLATE: i64 = 0x5741_5954_4553_5401;

/// What the schema is made from: another schema needs another template.
const SCHEMA: [&str; 6] = [
    include_str!("../../src/store/migrations/mod.rs"),
    include_str!("../../src/store/migrations/m0001_events.rs"),
    include_str!("../../src/store/migrations/m0001_money.rs"),
    include_str!("../../src/store/migrations/m0001_rules.rs"),
    include_str!("../../src/store/migrations/m0002_catalog.rs"),
    include_str!("../../src/store/migrations/m0003_engine.rs"),
];

/// What makes JSON of a text.
pub const AS_JSON: &str = "::jsonb";

/// Gone when it is dropped, whoever is still connected.
pub struct Database {
    /// A database of the same server, from which others are made.
    admin: String,
    name: String,
}

impl Database {
    /// With the schema in it, as a copy of a database that was migrated once.
    pub async fn create() -> Self {
        static TEMPLATE_NAME: OnceCell<String> = OnceCell::const_new();
        Self::copy(services::postgres(), TEMPLATE_NAME.get_or_init(template).await).await
    }

    /// With the schema in it, on a server of one's own.
    pub async fn on(server: &str) -> Self {
        let database = Self::copy(server.to_owned(), "template0").await;
        Store::open(&database.url()).await.unwrap().close().await.unwrap();
        database
    }

    /// Without a schema.
    pub async fn empty() -> Self {
        Self::copy(services::postgres(), "template0").await
    }

    /// Without a schema, in another encoding than UTF8.
    pub async fn encoded(encoding: &str) -> Self {
        Self::copy(services::postgres(), &format!("template0 ENCODING '{encoding}' LOCALE 'C'")).await
    }

    async fn copy(admin: String, template: &str) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        run(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        connection.close().await.unwrap();
        Self { admin, name }
    }

    pub fn url(&self) -> String {
        url_of(&self.admin, &self.name)
    }

    pub async fn store(&self) -> Store {
        Store::connect(&self.url()).await.unwrap()
    }

    /// A connection without a pool, for what a store does not do.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }
}

/// Ends everybody else's connections to the database of `connection`; how many there were.
pub async fn end_others(connection: &mut PgConnection) -> usize {
    // Not the server's own processes, as a worker of autovacuum: they may not be ended.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    sqlx::query(end).fetch_all(connection).await.unwrap().len()
}

impl Drop for Database {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), self.name.clone());
        // A runtime of its own: the test's may be the one that drops this.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&admin).await.unwrap();
                let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                let deadline = Instant::now() + Duration::from_secs(30);
                // A worker of autovacuum in there is the server's own and may not be ended: it is soon done.
                while let Err(error) =
                    sqlx::raw_sql(AssertSqlSafe(drop.clone())).execute(&mut connection).await
                {
                    assert!(Instant::now() < deadline, "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        });
        if !std::thread::panicking() {
            dropped.join().unwrap();
        }
    }
}

/// The URL of another database on the server of `admin`.
fn url_of(admin: &str, name: &str) -> String {
    let (server, _) = admin.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

pub async fn run(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

/// The database that the others are copies of, made by whoever comes first.
async fn template() -> String {
    let hash = blake3::hash(SCHEMA.concat().as_bytes()).to_hex();
    let name = format!("template_{}", &hash[..16]);
    let url = services::postgres();
    let mut admin = PgConnection::connect(&url).await.unwrap();
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
        Store::open(&url_of(&url, &half)).await.unwrap().close().await.unwrap();
        run(&mut admin, format!("ALTER DATABASE {half} RENAME TO {name}")).await;
    }
    admin.close().await.unwrap();
    name
}
