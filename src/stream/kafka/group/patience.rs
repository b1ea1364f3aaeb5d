//! How long a client may be silent before it is given up for another one.
//!
//! librdkafka goes on by itself when brokers are back, nearly always: a client that was told of a partition without a
//! leader while its broker restarted has been seen to stay silent for good. Another client helps, and costs the group
//! one more division of its partitions. Where another one is as silent, the next is given twice the time: brokers
//! that are away are not helped by it, nor is a log whose end has nothing to hand out, as that of a transaction has.

use std::{collections::BTreeMap, time::Duration};

/// The longest time that is given.
const MOST: Duration = Duration::from_secs(3_600);

/// Of what a client may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Silent {
    /// No broker answers, and no record comes.
    Brokers,
    /// The group gives it no place, or none any more. A member that had a place without a partition is not known to
    /// have lost it.
    Group,
    /// The brokers have records of a partition, and none of them comes.
    Partition(i32),
    /// A partition has a leader that does not answer for it. It may have nothing, and it may be the leader's fault.
    Leader(i32),
}

/// What one look has found of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    /// This client has heard of it, so another one is a new beginning.
    pub heard: bool,
    /// Since it was last heard of, as far as it had to be.
    pub silence: Duration,
    /// Nothing shows that it is the client's fault.
    pub doubtful: bool,
}

impl Sign {
    pub const WELL: Self = Self { heard: true, silence: Duration::ZERO, doubtful: false };
}

/// The time that a client is given.
#[derive(Debug)]
pub(in crate::stream::kafka) struct Patience {
    least: Duration,
    doubt: Duration,
    /// What clients before were given up for, and the time that the next one has.
    given: BTreeMap<Silent, Duration>,
}

impl Patience {
    /// `least`: longer than it takes the group to give the partitions of a member away that it does not hear, so nobody
    /// is disturbed where only this instance is cut off. `doubt`: what is given besides to [doubtful](Sign::doubtful)
    /// signs; the group may wait as long for its slowest member.
    pub fn new(least: Duration, doubt: Duration) -> Self {
        Self { least, doubt, given: BTreeMap::new() }
    }

    /// Of what the client was silent for too long; then the next one has more time.
    pub(super) fn is_over(&mut self, signs: &BTreeMap<Silent, Sign>) -> Option<Silent> {
        self.given.retain(|silent, _| signs.get(silent).is_none_or(|sign| !sign.heard));
        for (silent, sign) in signs {
            let given = self.given.get(silent).copied().unwrap_or(self.least);
            let doubt = if sign.doubtful { self.doubt } else { Duration::ZERO };
            if sign.silence >= given.saturating_add(doubt) {
                self.given.insert(*silent, given.saturating_mul(2).min(MOST.max(self.least)));
                return Some(*silent);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: Silent = Silent::Partition(3);

    fn patience() -> Patience {
        Patience::new(Duration::from_secs(30), Duration::from_secs(300))
    }

    fn signs<const N: usize>(signs: [(Silent, bool, u64); N]) -> BTreeMap<Silent, Sign> {
        let sign = |(silent, heard, seconds)| {
            let doubtful = matches!(silent, Silent::Group | Silent::Leader(_));
            (silent, Sign { heard, silence: Duration::from_secs(seconds), doubtful })
        };
        signs.into_iter().map(sign).collect()
    }

    #[test]
    fn each_client_that_helps_nothing_gives_the_next_one_more_time() {
        let mut patience = patience();
        for given in [30, 60, 120, 240] {
            let well = (Silent::Brokers, true, 0);
            assert_eq!(patience.is_over(&signs([well, (PARTITION, false, given - 1)])), None);
            assert_eq!(patience.is_over(&signs([well, (PARTITION, false, given)])), Some(PARTITION));
            // However long the next one has nothing of it to do.
            assert_eq!(patience.is_over(&signs([well])), None);
        }
    }

    #[test]
    fn one_that_was_heard_begins_anew() {
        let mut patience = patience();
        assert_eq!(patience.is_over(&signs([(PARTITION, false, 30)])), Some(PARTITION));
        assert_eq!(patience.is_over(&signs([(PARTITION, false, 59)])), None);
        assert_eq!(patience.is_over(&signs([(PARTITION, true, 29)])), None);
        assert_eq!(patience.is_over(&signs([(PARTITION, false, 30)])), Some(PARTITION));
    }

    #[test]
    fn what_one_is_given_more_time_for_is_no_excuse_for_another() {
        let mut patience = patience();
        let other = Silent::Partition(5);
        assert_eq!(patience.is_over(&signs([(PARTITION, false, 30)])), Some(PARTITION));
        assert_eq!(patience.is_over(&signs([(other, false, 30)])), Some(other));
        assert_eq!(patience.is_over(&signs([(other, true, 0), (PARTITION, false, 59)])), None);
        assert_eq!(patience.is_over(&signs([(other, false, 30)])), Some(other));
        assert_eq!(patience.is_over(&signs([(PARTITION, false, 60)])), Some(PARTITION));
    }

    #[test]
    fn others_who_may_be_at_fault_are_given_more() {
        for other in [Silent::Group, Silent::Leader(3)] {
            let mut patience = patience();
            assert_eq!(patience.is_over(&signs([(other, false, 329)])), None);
            assert_eq!(patience.is_over(&signs([(other, false, 330)])), Some(other));
            assert_eq!(patience.is_over(&signs([(other, false, 359)])), None);
            assert_eq!(patience.is_over(&signs([(other, false, 360)])), Some(other));
        }
    }

    #[test]
    fn nobody_is_given_more_than_an_hour_unless_the_least_is() {
        let silent = |seconds| signs([(Silent::Brokers, false, seconds)]);
        let mut patience = patience();
        for _ in 0..20 {
            patience.is_over(&silent(3_600));
        }
        assert_eq!(patience.is_over(&silent(3_599)), None);
        assert_eq!(patience.is_over(&silent(3_600)), Some(Silent::Brokers));
        let mut patience = Patience::new(Duration::from_secs(10_800), Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(patience.is_over(&silent(10_799)), None);
            assert_eq!(patience.is_over(&silent(10_800)), Some(Silent::Brokers));
        }
    }
}
