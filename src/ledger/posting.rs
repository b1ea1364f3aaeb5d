//! Postings and the balances that run along with them. They are written at the end of the transaction.

use sea_orm::Set;
use uuid::Uuid;

use super::journal::Entry;
use crate::{domain::postings::Posting, store::entities::posting};

/// What a posting belongs to.
#[derive(Clone, Copy)]
enum Cause {
    Line(Uuid),
    Payment(Uuid),
}

/// Notes the postings of changed lines, in their order; none is no change.
pub(super) fn post(entry: &mut Entry<'_>, changes: &[(Uuid, Vec<Posting>)]) {
    for (line, sides) in changes {
        note(entry, Cause::Line(*line), sides);
    }
}

/// Notes the postings of a payment or payout.
pub(super) fn post_payment(entry: &mut Entry<'_>, payment: Uuid, sides: &[Posting]) {
    note(entry, Cause::Payment(payment), sides);
}

fn note(entry: &mut Entry<'_>, cause: Cause, sides: &[Posting]) {
    let (line_id, payment_id) = match cause {
        Cause::Line(line) => (Some(line), None),
        Cause::Payment(payment) => (None, Some(payment)),
    };
    for side in sides {
        let row = posting::ActiveModel {
            account_id: Set(entry.account.0),
            seq: Set(entry.seq),
            number: Set(entry.next_posting()),
            affiliate_id: Set(side.affiliate.0),
            ledger_account: Set(side.account.as_str().to_owned()),
            currency: Set(side.currency.code().to_owned()),
            amount: Set(side.amount),
            line_id: Set(line_id),
            event: Set(side.event.as_str().to_owned()),
            at: Set(entry.at.0),
            payment_id: Set(payment_id),
        };
        entry.ends.postings.push(row);
        let name = side.account.as_str().to_owned();
        let key = (entry.account.0, side.affiliate.0, side.currency.code().to_owned(), name);
        *entry.ends.balances.entry(key).or_default() += i128::from(side.amount);
    }
}
