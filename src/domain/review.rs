//! The review of a line (MONEY 7).

use super::{reason::LineStatus, time::Timestamp};

/// What a reviewer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To approved, also from disapproved.
    Approve,
    /// To disapproved.
    Disapprove,
    /// Back to pending.
    Reopen,
}

/// Why a decision cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    #[error("the commission is {0} already")]
    Already(LineStatus),
    /// It has amount 0 and a reason; only a recalculation could free it.
    #[error("a rule of the program stopped the commission; it cannot be reopened")]
    Stopped,
}

/// The status in which a line starts. `review`: its click sends it to review; `stopped`: a rule stopped it.
pub fn start_status(auto_approve: bool, review: bool, stopped: bool) -> LineStatus {
    todo!()
}

/// The status after a decision. The postings of the change are [`super::postings::reviewed`].
pub fn decide(status: LineStatus, stopped: bool, decision: Decision) -> Result<LineStatus, ReviewError> {
    todo!()
}

/// From when an approved line may be withdrawn.
pub fn final_at(approved_at: Timestamp, occurred_at: Timestamp, payout_delay_days: u32) -> Timestamp {
    todo!()
}
