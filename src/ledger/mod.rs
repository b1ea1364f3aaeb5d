//! The only writer of money.
//!
//! [`apply`] takes the account's row lock and its next `seq`, lets the command take effect, and writes it to the
//! account's journal, all in the caller's transaction. "Before" in the rules means a lower `seq`. A command that
//! changes nothing (a repeat, a rejected event) takes no place in the order and is not journaled.

mod command;
mod error;
mod evidence;
mod journal;
pub mod publish;
mod rules;

pub use command::{Command, PutAffiliate, PutCoupon, PutLink, PutProgram};
pub use error::LedgerError;
pub use evidence::{ClickProof, Evidence, ProvenClick};
use journal::Entry;
use sea_orm::DatabaseTransaction;
use uuid::Uuid;

use crate::domain::{
    attribution::PassedOver,
    ids::AccountId,
    reason::{Rejection, Waits},
    time::Timestamp,
};

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A rule, a standing, a link, a coupon, the status of a line is as asked.
    Done,
    /// The conversion (or refund) of this id has settled, and so have others that waited for it.
    Settled {
        id: Uuid,
        woken: Vec<Uuid>,
    },
    /// It was taken before, under this id.
    Duplicate {
        of: Uuid,
    },
    Pending {
        id: Uuid,
        waits: Waits,
    },
    Held {
        id: Uuid,
    },
    /// A held conversion was declined.
    Declined {
        id: Uuid,
    },
    /// Nothing was changed and nothing claimed.
    Rejected {
        reason: Rejection,
        detail: Option<String>,
        passed_over: Vec<PassedOver>,
    },
}

/// Lets a command take effect, in the caller's transaction.
pub async fn apply(
    tx: &DatabaseTransaction,
    account: AccountId,
    at: Timestamp,
    command: &Command,
) -> Result<Effect, LedgerError> {
    let entry = Entry::begin(tx, account, at).await?;
    match command {
        Command::PutProgram(put) => rules::put_program(&entry, put).await?,
        Command::DeleteProgram { program } => rules::delete_program(&entry, *program).await?,
        Command::PutAffiliate(put) => rules::put_affiliate(&entry, put).await?,
        Command::DeleteAffiliate { affiliate } => rules::delete_affiliate(&entry, *affiliate).await?,
        Command::SetStanding { program, affiliate, standing } => {
            rules::set_standing(&entry, *program, *affiliate, *standing).await?;
        }
        Command::PutLink(put) => rules::put_link(&entry, put).await?,
        Command::DeleteLink { link } => rules::delete_link(&entry, *link).await?,
        Command::PutCoupon(put) => rules::put_coupon(&entry, put).await?,
        Command::DeleteCoupon { coupon } => rules::delete_coupon(&entry, *coupon).await?,
        _ => unimplemented!(),
    }
    entry.write(command).await?;
    Ok(Effect::Done)
}
