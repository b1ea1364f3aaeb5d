//! A store in PostgreSQL: pools, TLS, and the locks that only many processes need.

use std::{panic::resume_unwind, path::Path, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, SqlxPostgresConnector, Statement,
    sqlx::{
        self, ConnectOptions, Connection, PgConnection,
        postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
    },
};

use super::{options::StoreOptions, trouble::ConnectError};

/// How long somebody waits for a connection of the pool, and for the server when it is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the first connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that was not used for so long is asked whether it still lives before it is used.
const TEST_AFTER: Duration = Duration::from_secs(1);

/// A connection that somebody gives back has to answer within this and the time of a statement, which may still run for
/// nobody: else the server is gone without a word.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections beyond what is needed are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// A transaction waits for a row at most so long: longer than any of ours holds one.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A transaction whose process does not go on is ended after that, and its locks with it.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(30);

/// Names of advisory locks; the first half says that they are Waypost's.
const MIGRATIONS: i64 = 0x5741_5950_0000_0001;
pub(super) const PARTITIONS: i64 = 0x5741_5950_0000_0002;

/// The reader and the writer: pools of their own, so that long lists never keep a commit waiting.
pub(super) async fn connect(
    options: &StoreOptions,
) -> Result<(DatabaseConnection, DatabaseConnection), ConnectError> {
    let connect = connect_options(options)?;
    probe(&connect).await?;
    let readers = (options.connections / 2).max(1);
    let writers = options.connections.saturating_sub(readers).max(1);
    let released_within = options.statement_timeout + RELEASE_TIMEOUT;
    let pool = |connections| pool(&connect, connections, released_within);
    Ok((pool(readers), pool(writers)))
}

fn pool(connect: &PgConnectOptions, connections: u32, released_within: Duration) -> DatabaseConnection {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for >= TEST_AFTER {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(move |connection, _| {
            Box::pin(async move {
                match tokio::time::timeout(released_within, connection.ping()).await {
                    Ok(answered) => answered.map(|()| true),
                    // To close it would be to wait for the server once more, as TLS ends with a word to it. This is a
                    // task of the connection's own: it ends here, and the connection and its place are dropped with it.
                    Err(_) => resume_unwind(Box::new("the server does not answer")),
                }
            })
        })
        .connect_lazy_with(connect.clone());
    SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
}

fn connect_options(options: &StoreOptions) -> Result<PgConnectOptions, ConnectError> {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let mut connect: PgConnectOptions = options.url.parse().map_err(|_| ConnectError::Url)?;
    connect = match &options.ca {
        Some(ca) => connect.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert_from_pem(authorities(ca)?),
        None => connect.ssl_mode(PgSslMode::Prefer),
    };
    Ok(connect.application_name("waypost").disable_statement_logging().options([
        ("statement_timeout", milliseconds(options.statement_timeout)),
        ("lock_timeout", milliseconds(LOCK_TIMEOUT)),
        ("client_min_messages", "warning".to_owned()),
        ("idle_in_transaction_session_timeout", milliseconds(IDLE_IN_TRANSACTION)),
        // The locks of a process whose machine is gone end with its connection.
        ("tcp_keepalives_idle", "30".to_owned()),
        ("tcp_keepalives_interval", "10".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
    ]))
}

fn authorities(path: &Path) -> Result<Vec<u8>, ConnectError> {
    let failed = |detail: String| ConnectError::Authorities { path: path.to_owned(), detail };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(pem),
        Ok(_) => Err(failed("there is no certificate in it".to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// One connection without a pool: a pool would try again and again, and then only say that it timed out.
async fn probe(connect: &PgConnectOptions) -> Result<(), ConnectError> {
    let mut connection = dedicated(connect).await?;
    let encoding: String = sqlx::query_scalar("SHOW server_encoding")
        .fetch_one(&mut connection)
        .await
        .map_err(|error| explain(connect, error))?;
    let _ = connection.close().await;
    if encoding == "UTF8" {
        Ok(())
    } else {
        Err(ConnectError::Encoding { address: address(connect), encoding })
    }
}

async fn dedicated(connect: &PgConnectOptions) -> Result<PgConnection, ConnectError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(connect)).await {
        Ok(connected) => connected.map_err(|error| explain(connect, error)),
        Err(_) => Err(ConnectError::Unreachable {
            address: address(connect),
            detail: format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
        }),
    }
}

fn address(connect: &PgConnectOptions) -> String {
    format!("PostgreSQL at {}:{}", connect.get_host(), connect.get_port())
}

fn explain(connect: &PgConnectOptions, error: sqlx::Error) -> ConnectError {
    let address = address(connect);
    let detail = match &error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        error => error.to_string(),
    };
    let state = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    match (&error, state.as_str()) {
        (sqlx::Error::Tls(_), _) => ConnectError::Tls { address, detail },
        // rustls gives its own errors as I/O errors of this kind.
        (sqlx::Error::Io(cause), _) if cause.kind() == std::io::ErrorKind::InvalidData => {
            ConnectError::Tls { address, detail: cause.to_string() }
        }
        (sqlx::Error::Io(cause), _) => ConnectError::Unreachable { address, detail: cause.to_string() },
        (_, "28000" | "28P01") => ConnectError::Denied { address, detail },
        (_, "3D000") => ConnectError::NoDatabase { address, detail },
        (_, "57P03" | "53300") => ConnectError::Unreachable { address, detail },
        _ => ConnectError::Store(DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into()))),
    }
}

/// A connection that holds the lock of the migrations until it is closed; waits for others who hold it, however long
/// their migrations take.
pub(super) async fn lock_migrations(options: &StoreOptions) -> Result<DatabaseConnection, ConnectError> {
    let connect = connect_options(options)?.options([("statement_timeout", "0"), ("lock_timeout", "0")]);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        // One session from beginning to end: the lock is the session's.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(connect.clone())
        .await
        .map_err(|error| explain(&connect, error))?;
    let db = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    let lock = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT pg_advisory_lock($1)",
        [MIGRATIONS.into()],
    );
    db.query_one_raw(lock).await?;
    Ok(db)
}

/// Takes advisory locks until the transaction ends, in ascending order.
pub(super) async fn lock(tx: &impl ConnectionTrait, mut keys: Vec<i64>) -> Result<(), DbErr> {
    keys.sort_unstable();
    keys.dedup();
    // A set-returning function in FROM keeps the order of the array.
    let sql = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) WITH ORDINALITY AS keys(key, place) \
               ORDER BY place";
    let keys = format!("{{{}}}", keys.iter().map(i64::to_string).collect::<Vec<_>>().join(","));
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, [keys.into()]);
    tx.query_all_raw(statement).await?;
    Ok(())
}
