//! What failed in a database, and whether the same work may succeed when it is done again.

use std::{io, path::PathBuf};

use sea_orm::{DbErr, RuntimeErr, SqlxPostgresError, SqlxSqliteError, sqlx};

use crate::domain::reason::Rejection;

/// A failure that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The transaction lost to another one, or its connection broke: the next try may begin at once.
    Again,
    /// The database is away, starting, full or overloaded: the next try should wait.
    Later,
}

/// Why a store could not be reached. The texts hold no password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the URL of the store cannot be read")]
    Url,
    #[error("the authorities in {path} cannot be used: {detail}")]
    Authorities { path: PathBuf, detail: String },
    #[error("{address} cannot be reached: {detail}")]
    Unreachable { address: String, detail: String },
    #[error("{address} was not proven by TLS: {detail}")]
    Tls { address: String, detail: String },
    #[error("{address} refuses the user or the password: {detail}")]
    Denied { address: String, detail: String },
    #[error("{address} has no such database: {detail}")]
    NoDatabase { address: String, detail: String },
    #[error("the database of {address} is in {encoding}, not in UTF8")]
    Encoding { address: String, encoding: String },
    #[error(transparent)]
    Store(#[from] DbErr),
}

/// Whether the same work may succeed if it is done again, and when; `None`: it fails again.
///
/// After a failed commit whose connection broke nobody knows whether it happened: see [`is_unknown`].
pub fn trouble(error: &DbErr) -> Option<Trouble> {
    if matches!(error, DbErr::ConnectionAcquire(_)) {
        return Some(Trouble::Later);
    }
    match sqlx_error(error)? {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Some(Trouble::Again),
        sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Some(Trouble::Later),
        sqlx::Error::Database(error) => {
            let postgres = error.try_downcast_ref::<SqlxPostgresError>().map(|error| of_state(error.code()));
            let sqlite =
                || error.try_downcast_ref::<SqlxSqliteError>().and_then(|_| of_sqlite(&error.code()?));
            postgres.unwrap_or_else(sqlite)
        }
        _ => None,
    }
}

/// See [`trouble`].
pub fn is_transient(error: &DbErr) -> bool {
    trouble(error).is_some()
}

/// Whether a commit that failed with this error may have happened all the same: the answer was lost, not refused.
pub fn is_unknown(commit: &DbErr) -> bool {
    matches!(
        sqlx_error(commit),
        Some(
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed
        )
    )
}

/// What was asked got no answer, and nobody waits for it any more.
pub(super) fn unanswered() -> DbErr {
    let error = io::Error::new(io::ErrorKind::TimedOut, "the database does not answer");
    DbErr::Conn(RuntimeErr::SqlxError(sqlx::Error::Io(error).into()))
}

/// A value that the database refuses as such, whatever else is done: it would refuse it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedValue {
    /// The checks of the schema are bounds of sums; so is what a column can hold.
    #[error("a sum would be larger than can be kept")]
    Sum,
    #[error("it has a value that cannot be stored")]
    Other,
}

impl RefusedValue {
    pub const fn reason(self) -> Rejection {
        match self {
            Self::Sum => Rejection::AmountTooLarge,
            Self::Other => Rejection::Malformed,
        }
    }
}

/// See [`RefusedValue`].
pub fn refused_value(error: &DbErr) -> Option<RefusedValue> {
    /// SQLite's code for a check of the schema.
    const CONSTRAINT_CHECK: &str = "275";
    let sqlx::Error::Database(error) = sqlx_error(error)? else { return None };
    match error.try_downcast_ref::<SqlxPostgresError>().map(SqlxPostgresError::code) {
        // A check of the schema; a number that is out of range.
        Some("23514" | "22003") => Some(RefusedValue::Sum),
        // Other data exceptions; a text that is too long for an index.
        Some(state) => (state.starts_with("22") || state == "54000").then_some(RefusedValue::Other),
        None => error.code().is_some_and(|code| code == CONSTRAINT_CHECK).then_some(RefusedValue::Sum),
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    let (DbErr::Conn(cause) | DbErr::Exec(cause) | DbErr::Query(cause)) = error else { return None };
    match cause {
        RuntimeErr::SqlxError(error) => Some(error),
        RuntimeErr::Internal(_) => None,
    }
}

/// By PostgreSQL's SQLSTATE.
fn of_state(state: &str) -> Option<Trouble> {
    match state {
        // Serialisation, deadlock, lock not available; the server ended the session or restarts; the connection broke.
        "40001" | "40P01" | "55P03" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Some(Trouble::Again),
        // Cancelled by statement_timeout; connected to a server that has become a standby.
        "57014" | "25006" => Some(Trouble::Later),
        state if state.starts_with("08") => Some(Trouble::Again),
        // Out of disk, memory or connections.
        state if state.starts_with("53") => Some(Trouble::Later),
        _ => None,
    }
}

/// By SQLite's result code: busy or locked, whatever the extension.
fn of_sqlite(code: &str) -> Option<Trouble> {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    let primary = code.parse::<u32>().ok()? & 0xff;
    matches!(primary, BUSY | LOCKED).then_some(Trouble::Later)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn states_and_codes() {
        for state in ["40001", "40P01", "55P03", "57P01", "08006"] {
            assert_eq!(of_state(state), Some(Trouble::Again), "{state}");
        }
        for state in ["57014", "53300", "53100"] {
            assert_eq!(of_state(state), Some(Trouble::Later), "{state}");
        }
        // Unique violation, a value that does not fit, a syntax error.
        for state in ["23505", "22001", "42601"] {
            assert_eq!(of_state(state), None, "{state}");
        }
        // SQLITE_BUSY, SQLITE_BUSY_SNAPSHOT, SQLITE_LOCKED; SQLITE_CONSTRAINT_UNIQUE, SQLITE_FULL.
        for (code, found) in [("5", true), ("517", true), ("6", true), ("2067", false), ("13", false)] {
            assert_eq!(of_sqlite(code).is_some(), found, "{code}");
        }
    }

    #[test]
    fn a_broken_connection_may_be_tried_again_but_not_after_a_commit() {
        let broken = sqlx::Error::Io(io::ErrorKind::BrokenPipe.into());
        let error = DbErr::Exec(RuntimeErr::SqlxError(broken.into()));
        assert_eq!(trouble(&error), Some(Trouble::Again));
        assert!(is_unknown(&error));
        assert_eq!(trouble(&DbErr::RecordNotInserted), None);
    }
}
