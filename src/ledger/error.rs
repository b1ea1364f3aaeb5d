//! Why a command was not applied. The transaction is then rolled back by whoever holds it.

use sea_orm::{DbErr, SqlErr};

use crate::{domain::reason::Rejection, store};

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Nothing of that kind and id in the account.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The value of a field is taken by another.
    #[error("{field}: {message}")]
    Conflict { field: &'static str, message: &'static str },
    /// The state of things does not allow it.
    #[error("{message}")]
    NotPossible { code: &'static str, message: String },
    /// An event that waited was looked at again and cannot be taken.
    #[error("the event cannot be taken: {0}")]
    Rejected(Rejection),
    /// What is stored cannot be read; somebody has to look.
    #[error("the stored {what} cannot be read: {detail}")]
    Damaged { what: &'static str, detail: String },
    #[error("the store failed: {0}")]
    Store(#[from] DbErr),
}

impl LedgerError {
    /// Whether the same command may succeed if it is simply applied again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if store::is_transient(error))
    }

    pub(super) fn damaged(what: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Damaged { what, detail: error.to_string() }
    }

    /// Turns the breach of a unique index into a conflict of `field`.
    pub(super) fn unique(field: &'static str, error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => {
                Self::Conflict { field, message: "is taken already" }
            }
            _ => Self::Store(error),
        }
    }
}
