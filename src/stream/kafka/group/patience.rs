//! How long a client may be silent before it is given up for another one.
//!
//! librdkafka goes on by itself when brokers are back, nearly always: a client that was told of a partition without a
//! leader while its broker restarted has been seen to stay silent for good. Another client helps, and costs the group
//! one more division of its partitions. Where another one is as silent, the next is given twice the time: brokers
//! that are away are not helped by it, nor is a log whose end has nothing to hand out, as that of a transaction has.

use std::time::Duration;

/// The longest time that is given.
const MOST: Duration = Duration::from_secs(3_600);

/// The time that a client is given.
#[derive(Debug)]
pub(in crate::stream::kafka) struct Patience {
    least: Duration,
    given: Duration,
}

impl Patience {
    /// `least`: longer than it takes the group to give the partitions of a member away that it does not hear. So nobody
    /// is disturbed where only this instance is cut off.
    pub fn new(least: Duration) -> Self {
        Self { least, given: least }
    }

    /// Whether a client of such an age that is silent for so long is to be given up; then the next one has more time.
    /// One that was heard in the meantime has lived for longer than it was given, which ends that.
    pub(super) fn is_over(&mut self, silence: Duration, age: Duration) -> bool {
        if age > self.given.saturating_mul(2) {
            self.given = self.least;
        }
        let over = silence >= self.given;
        if over {
            self.given = self.given.saturating_mul(2).min(MOST.max(self.least));
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_client_that_helps_nothing_gives_the_next_one_more_time() {
        let mut patience = Patience::new(seconds(30));
        for given in [30, 60, 120, 240] {
            assert!(!patience.is_over(seconds(given - 1), seconds(given + 1)), "{given}");
            assert!(patience.is_over(seconds(given), seconds(given + 2)), "{given}");
        }
    }

    #[test]
    fn a_client_that_was_heard_is_given_up_as_soon_as_the_first() {
        let mut patience = Patience::new(seconds(30));
        assert!(patience.is_over(seconds(30), seconds(32)));
        assert!(
            !patience.is_over(seconds(30), seconds(120)),
            "at twice the time it may still be the first silence"
        );
        assert!(patience.is_over(seconds(30), seconds(121)));
    }

    #[test]
    fn nobody_is_given_more_than_an_hour_unless_the_least_is() {
        let mut patience = Patience::new(seconds(30));
        for _ in 0..20 {
            patience.is_over(MOST, MOST);
        }
        assert!(!patience.is_over(MOST - seconds(1), MOST));
        assert!(patience.is_over(MOST, MOST));
        let mut patience = Patience::new(seconds(10_800));
        for _ in 0..3 {
            assert!(!patience.is_over(seconds(10_799), seconds(10_800)));
            assert!(patience.is_over(seconds(10_800), seconds(10_800)));
        }
    }
}
