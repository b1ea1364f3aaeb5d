//! The only writer of money.
//!
//! [`apply`] takes the account's row lock and its next `seq`, lets the command take effect, and writes it to the
//! account's journal, all in the caller's transaction. "Before" in the rules means a lower `seq`. A command that
//! changes nothing (a repeat, a rejected event) takes no place in the order and is not journaled.

mod adjustments;
pub mod bonuses;
mod case;
mod claims;
mod command;
mod conversion;
mod corrections;
mod counts;
mod customers;
mod error;
mod evidence;
mod explain;
mod facts;
mod held;
mod history;
pub mod intake;
mod journal;
mod known;
mod lines;
mod measures;
mod overrides;
mod payments;
mod people;
mod plan;
mod posting;
mod programs;
mod refund;
pub mod replay;
mod rules;
mod status;
pub mod verify;
mod work;

pub use command::{
    Adjust, Command, Pay, PayoutEnd, PutAffiliate, PutBonus, PutCoupon, PutGroup, PutLink, PutOverride,
    PutProgram, RulesOf, Terms, Whose,
};
pub use customers::recurring_cap;
pub use error::LedgerError;
pub use evidence::{ClickProof, Evidence, ProvenClick};
pub use explain::explain;
pub use intake::Intake;
use journal::Entry;
pub use overrides::subject as override_subject;
pub use payments::{PaidLines, not_final};
use sea_orm::DatabaseTransaction;
use uuid::Uuid;
pub use work::Work;

use crate::{
    domain::{
        attribution::PassedOver,
        ids::AccountId,
        reason::{Rejection, Waits},
        review::Decision,
        time::Timestamp,
    },
    events::Body,
};

/// A refund that had come before the conversion that has now settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    pub refund: Uuid,
    pub rejected: Option<Rejection>,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A rule, a standing, a link, a coupon, the status of a line is as asked.
    Done,
    /// The conversion or refund of this id has settled. Held ones that it replaced are its duplicates now, refunds
    /// that waited for it were applied.
    Settled {
        id: Uuid,
        replaced: Vec<Uuid>,
        woken: Vec<Woken>,
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
    /// These lines were made for a bonus; none: there was nothing to award, or it is worth nothing.
    Awarded {
        lines: Vec<Uuid>,
    },
    /// It was not taken, and claims nothing.
    Rejected {
        reason: Rejection,
        detail: Option<String>,
        passed_over: Vec<PassedOver>,
    },
}

/// An effect, and whether it has a place in the account's order.
#[derive(Debug)]
struct Applied {
    effect: Effect,
    changed: bool,
}

impl Applied {
    fn changed(effect: Effect) -> Self {
        Self { effect, changed: true }
    }

    fn unchanged(effect: Effect) -> Self {
        Self { effect, changed: false }
    }

    fn rejected(reason: Rejection, detail: Option<String>, passed_over: Vec<PassedOver>) -> Self {
        Self::unchanged(Effect::Rejected { reason, detail, passed_over })
    }
}

/// Lets a command take effect, in the caller's transaction. Several of them: [`Work`].
pub async fn apply(
    tx: &DatabaseTransaction,
    account: AccountId,
    at: Timestamp,
    command: &Command,
) -> Result<Effect, LedgerError> {
    let mut work = Work::new(tx);
    let effect = work.apply(account, at, command).await?;
    work.finish().await?;
    Ok(effect)
}

async fn execute(entry: &mut Entry<'_>, command: &Command) -> Result<Applied, LedgerError> {
    match command {
        Command::PutProgram(put) => rules::put_program(entry, put).await?,
        Command::DeleteProgram { program } => rules::delete_program(entry, *program).await?,
        Command::PutAffiliate(put) => rules::put_affiliate(entry, put).await?,
        Command::DeleteAffiliate { affiliate } => rules::delete_affiliate(entry, *affiliate).await?,
        Command::SetStanding { program, affiliate, standing } => {
            rules::set_standing(entry, *program, *affiliate, *standing).await?;
        }
        Command::PutLink(put) => rules::put_link(entry, put).await?,
        Command::DeleteLink { link } => rules::delete_link(entry, *link).await?,
        Command::PutCoupon(put) => rules::put_coupon(entry, put).await?,
        Command::DeleteCoupon { coupon } => rules::delete_coupon(entry, *coupon).await?,
        Command::PutGroup(put) => people::put_group(entry, put).await?,
        Command::DeleteGroup { group } => people::delete_group(entry, *group).await?,
        Command::SetGroup { affiliate, group } => people::set_group(entry, *affiliate, *group).await?,
        Command::SetParent { affiliate, parent } => people::set_parent(entry, *affiliate, *parent).await?,
        Command::PutOverride(put) => overrides::put(entry, put).await?,
        Command::Receive { event, evidence, terms } => match &event.body {
            Body::Conversion(body) => {
                return conversion::receive(entry, event, body, evidence, *terms).await;
            }
            Body::Refund(body) => return refund::receive(entry, event, body, *terms).await,
            Body::Click(_) | Body::End => return Err(LedgerError::NotFound("money in this event")),
        },
        Command::RetryConversion { conversion, evidence, waited_out } => {
            return conversion::retry(entry, *conversion, evidence, *waited_out).await;
        }
        Command::GiveUpRefund { refund } => return refund::give_up(entry, *refund).await,
        Command::AcceptHeld { conversion, evidence, terms } => {
            return conversion::accept(entry, *conversion, evidence, *terms).await;
        }
        Command::DeclineHeld { conversion } => return held::decline(entry, *conversion).await,
        Command::ApproveLine { line } => return lines::review(entry, *line, Decision::Approve).await,
        Command::DisapproveLine { line } => return lines::review(entry, *line, Decision::Disapprove).await,
        Command::ReopenLine { line } => return lines::review(entry, *line, Decision::Reopen).await,
        Command::EditLine { line, amount, comment } => {
            return lines::edit(entry, *line, *amount, comment.as_deref()).await;
        }
        Command::EditConversion { conversion, amount } => {
            corrections::edit(entry, *conversion, *amount).await?;
        }
        Command::Recalculate { conversion, rules } => {
            corrections::recalculate(entry, *conversion, *rules).await?;
        }
        Command::DeleteConversion { conversion } => corrections::delete(entry, *conversion).await?,
        Command::CreateCustomer { id, inputs, track, evidence } => {
            return customers::create(entry, *id, inputs, *track, evidence).await;
        }
        Command::MoveCustomer { customer, affiliate, link } => {
            customers::move_to(entry, *customer, *affiliate, *link).await?;
        }
        Command::SetCanceled { customer, canceled } => {
            return customers::set_canceled(entry, *customer, *canceled).await;
        }
        Command::PutBonus(put) => bonuses::put(entry, put).await?,
        Command::DeleteBonus { bonus } => bonuses::delete(entry, *bonus).await?,
        Command::AwardBonus { bonus, affiliate, interval } => {
            return bonuses::award(entry, *bonus, *affiliate, *interval).await;
        }
        Command::Adjust(adjust) => adjustments::adjust(entry, adjust).await?,
        Command::RecordPayment(pay) => payments::record(entry, pay).await?,
        Command::CancelPayment { payment } => payments::cancel(entry, *payment).await?,
        Command::CreatePayout(pay) => payments::create_payout(entry, pay).await?,
        Command::EndPayout { payout, end } => payments::end_payout(entry, *payout, *end).await?,
        Command::SetPayoutMinimum { currency, amount } => {
            payments::set_minimum(entry, *currency, *amount).await?;
        }
    }
    Ok(Applied::changed(Effect::Done))
}
