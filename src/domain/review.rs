//! The review of a line (MONEY 7): in which status it starts, what a decision makes of it, when it is final.

use super::{reason::LineStatus, time::Timestamp};

/// What a reviewer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To approved. A disapproved line is reopened on the way.
    Approve,
    /// To disapproved.
    Disapprove,
    /// Back to pending, from approved or disapproved.
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

/// The status in which a line starts. `review`: its click sends it to review; `stopped`: a rule stopped it or it
/// has no taker.
pub fn start_status(auto_approve: bool, review: bool, stopped: bool) -> LineStatus {
    if stopped {
        LineStatus::Disapproved
    } else if auto_approve && !review {
        LineStatus::Approved
    } else {
        LineStatus::Pending
    }
}

/// The status after a decision. The postings of the change are [`super::postings::reviewed`].
///
/// # Errors
/// [`ReviewError::Already`] where nothing would change, [`ReviewError::Stopped`] for a line that a rule stopped.
pub fn decide(status: LineStatus, stopped: bool, decision: Decision) -> Result<LineStatus, ReviewError> {
    let to = match decision {
        Decision::Approve => LineStatus::Approved,
        Decision::Disapprove => LineStatus::Disapproved,
        Decision::Reopen => LineStatus::Pending,
    };
    if status == to {
        return Err(ReviewError::Already(status));
    }
    if stopped && to != LineStatus::Disapproved {
        return Err(ReviewError::Stopped);
    }
    Ok(to)
}

/// From when an approved line may be withdrawn: the later of its approval and its conversion's time plus the
/// program's payout delay.
pub fn final_at(approved_at: Timestamp, occurred_at: Timestamp, payout_delay_days: u32) -> Timestamp {
    approved_at.max(occurred_at.plus_days(payout_delay_days.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::MS_PER_DAY;
    use LineStatus::{Approved, Disapproved, Pending};

    #[test]
    fn a_line_starts_approved_only_where_nothing_speaks_against_it() {
        let table = [
            (false, false, false, Pending),
            (false, true, false, Pending),
            (true, false, false, Approved),
            (true, true, false, Pending),
            (false, false, true, Disapproved),
            (true, false, true, Disapproved),
            (true, true, true, Disapproved),
        ];
        for (auto, review, stopped, status) in table {
            assert_eq!(start_status(auto, review, stopped), status, "{auto} {review} {stopped}");
        }
    }

    #[test]
    fn decisions_lead_from_every_status_to_the_other_two() {
        use Decision::{Approve, Disapprove, Reopen};
        let table = [
            (Pending, Approve, Ok(Approved)),
            (Pending, Disapprove, Ok(Disapproved)),
            (Pending, Reopen, Err(ReviewError::Already(Pending))),
            (Approved, Approve, Err(ReviewError::Already(Approved))),
            (Approved, Disapprove, Ok(Disapproved)),
            (Approved, Reopen, Ok(Pending)),
            (Disapproved, Approve, Ok(Approved)),
            (Disapproved, Disapprove, Err(ReviewError::Already(Disapproved))),
            (Disapproved, Reopen, Ok(Pending)),
        ];
        for (status, decision, expected) in table {
            assert_eq!(decide(status, false, decision), expected, "{status} {decision:?}");
        }
        for decision in [Approve, Reopen] {
            assert_eq!(decide(Disapproved, true, decision), Err(ReviewError::Stopped));
        }
        assert_eq!(decide(Disapproved, true, Disapprove), Err(ReviewError::Already(Disapproved)));
        assert_eq!(ReviewError::Already(Approved).to_string(), "the commission is approved already");
    }

    #[test]
    fn a_line_is_final_at_the_later_of_approval_and_delay() {
        let occurred = Timestamp(1_000);
        assert_eq!(final_at(Timestamp(2_000), occurred, 30), Timestamp(1_000 + 30 * MS_PER_DAY));
        let late = Timestamp(1_001 + 30 * MS_PER_DAY);
        assert_eq!(final_at(late, occurred, 30), late);
        assert_eq!(final_at(Timestamp(2_000), occurred, 0), Timestamp(2_000));
        // Approved before it happened, as the sender's clock has it.
        assert_eq!(final_at(Timestamp(500), occurred, 0), occurred);
    }
}
