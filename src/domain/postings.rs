//! Double entry (MONEY 7): what each event posts. The postings of every call add up to zero.

use serde::{Deserialize, Serialize};

use super::{
    amount::Currency,
    ids::AffiliateId,
    reason::{LedgerAccount, LedgerEvent, LineStatus},
};

/// The account's own side, that of `expense` and `cash`.
pub const OWN: AffiliateId = AffiliateId(0);

/// One side of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    pub event: LedgerEvent,
    /// [`OWN`] or the affiliate's.
    pub affiliate: AffiliateId,
    pub account: LedgerAccount,
    pub currency: Currency,
    /// Minor units; a debit above zero, a credit below.
    pub amount: i64,
}

/// A new line of `amount` that starts as `status`.
pub fn started(status: LineStatus, affiliate: AffiliateId, currency: Currency, amount: i64) -> Vec<Posting> {
    todo!()
}

/// A line of `amount` goes from one status to another.
pub fn reviewed(
    from: LineStatus,
    to: LineStatus,
    affiliate: AffiliateId,
    currency: Currency,
    amount: i64,
) -> Vec<Posting> {
    todo!()
}

/// The amount of a line changes while it stands at `status`; `refund` only names the event.
pub fn amount_changed(
    status: LineStatus,
    affiliate: AffiliateId,
    currency: Currency,
    before: i64,
    after: i64,
    refund: bool,
) -> Vec<Posting> {
    todo!()
}
