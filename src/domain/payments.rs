//! Payments and payouts (MONEY 10): the states through which they go, what each step posts, and which lines they pay.
//!
//! No line remembers that it was paid: that is worked out anew from all that was sent and stands, so a payment that is
//! taken back, or a line that is refunded after it was paid, needs no correction anywhere else.

use super::{
    postings::PaymentEvent,
    reason::{PaymentKind, PaymentStatus},
};

impl PaymentKind {
    /// The status in which one is made, and what that posts.
    pub fn start(self) -> (PaymentStatus, PaymentEvent) {
        match self {
            Self::Payment => (PaymentStatus::Recorded, PaymentEvent::Recorded),
            Self::Payout => (PaymentStatus::Created, PaymentEvent::PayoutCreated),
        }
    }
}

impl PaymentStatus {
    /// What the step to another status posts; none: there is no such step.
    pub fn step(self, to: Self) -> Option<PaymentEvent> {
        use PaymentStatus::{Cancelled, Created, Failed, Paid, Recorded};
        match (self, to) {
            (Recorded, Cancelled) => Some(PaymentEvent::Cancelled),
            (Created, Paid) => Some(PaymentEvent::PayoutPaid),
            (Created, Failed | Cancelled) => Some(PaymentEvent::PayoutReturned),
            (Recorded, Recorded | Created | Paid | Failed)
            | (Created, Recorded | Created)
            | (Paid | Failed | Cancelled, Recorded | Created | Paid | Failed | Cancelled) => None,
        }
    }

    /// Whether its amount pays lines: money that was sent, or is under way.
    pub fn stands(self) -> bool {
        match self {
            Self::Recorded | Self::Created | Self::Paid => true,
            Self::Failed | Self::Cancelled => false,
        }
    }
}

/// What an affiliate was paid in one currency, on its way through the final lines.
///
/// They are paid in the order of their making, each whole, up to the first that is not covered. A negative line is paid
/// too: it leaves that much more for those after it.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Minor units that no line has used; none once a line was not covered.
    rest: Option<i128>,
}

impl Coverage {
    /// By payments and payouts of these states and amounts, in minor units.
    pub fn by(payments: impl IntoIterator<Item = (PaymentStatus, i64)>) -> Self {
        let standing = payments.into_iter().filter(|(status, _)| status.stands());
        Self { rest: Some(standing.map(|(_, amount)| i128::from(amount)).sum()) }
    }

    /// Takes the next final line, and tells whether it is paid. After one that is not, none is.
    pub fn covers(&mut self, amount: i64) -> bool {
        let left = self.rest.map(|rest| rest - i128::from(amount));
        self.rest = left.filter(|left| *left >= 0);
        self.rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use PaymentStatus::{Cancelled, Created, Failed, Paid, Recorded};

    /// How many of the lines are paid.
    fn paid(lines: &[i64], payments: &[(PaymentStatus, i64)]) -> usize {
        let mut coverage = Coverage::by(payments.iter().copied());
        let told: Vec<bool> = lines.iter().map(|amount| coverage.covers(*amount)).collect();
        let paid = told.iter().take_while(|paid| **paid).count();
        assert!(told[paid..].iter().all(|paid| !paid), "{told:?}");
        paid
    }

    #[test]
    fn the_steps_are_those_of_the_table() {
        let steps = [
            (Recorded, Cancelled, PaymentEvent::Cancelled),
            (Created, Paid, PaymentEvent::PayoutPaid),
            (Created, Failed, PaymentEvent::PayoutReturned),
            (Created, Cancelled, PaymentEvent::PayoutReturned),
        ];
        for from in PaymentStatus::ALL {
            for to in PaymentStatus::ALL {
                let step = steps.iter().find(|(a, b, _)| (a, b) == (from, to)).map(|(.., event)| *event);
                assert_eq!(from.step(*to), step, "{from} {to}");
            }
        }
        assert_eq!(PaymentKind::Payment.start(), (Recorded, PaymentEvent::Recorded));
        assert_eq!(PaymentKind::Payout.start(), (Created, PaymentEvent::PayoutCreated));
    }

    #[test]
    fn lines_are_paid_whole_and_in_order() {
        let lines = [499, 250, 0, 1, 1_000];
        assert_eq!(paid(&lines, &[]), 0);
        assert_eq!(paid(&lines, &[(Recorded, 498)]), 0);
        assert_eq!(paid(&lines, &[(Recorded, 499)]), 1);
        // 4.99 and 2.50 are covered, the 0 is with them; for 0.01 nothing is left.
        assert_eq!(paid(&lines, &[(Recorded, 500), (Paid, 249)]), 3);
        assert_eq!(paid(&[499, 1_000, 300], &[(Recorded, 1_500)]), 2);
        // What is left would cover no further line, and a smaller one behind it is not looked for.
        assert_eq!(paid(&[499, 250, 10], &[(Recorded, 509)]), 1);
        assert_eq!(paid(&lines, &[(Created, 5_000)]), 5);
        assert_eq!(paid(&[], &[(Created, 5_000)]), 0);
    }

    #[test]
    fn a_negative_line_pays_too() {
        // 5.00 were paid for the first. The correction of 2.00 pays for the third, which is no more than that.
        assert_eq!(paid(&[500, -200, 200, 1], &[(Recorded, 500)]), 3);
        assert_eq!(paid(&[-300, 300, 1], &[]), 2);
        assert_eq!(paid(&[500, -500], &[(Recorded, 499)]), 0);
    }

    #[test]
    fn a_line_that_was_reduced_after_its_payment_leaves_the_rest_to_others() {
        assert_eq!(paid(&[499, 249], &[(Recorded, 499)]), 1);
        assert_eq!(paid(&[250, 249], &[(Recorded, 499)]), 2);
    }

    fn statuses() -> impl Strategy<Value = PaymentStatus> {
        prop::sample::select(PaymentStatus::ALL)
    }

    fn payments() -> impl Strategy<Value = Vec<(PaymentStatus, i64)>> {
        prop::collection::vec((statuses(), 1..2_000_i64), 0..8)
    }

    fn lines() -> impl Strategy<Value = Vec<i64>> {
        prop::collection::vec(prop_oneof![4 => 0..1_000_i64, 1 => -1_000..0_i64], 0..20)
    }

    proptest! {
        /// The lines up to n are paid exactly when every sum of the first 1, 2, … n lines is covered.
        #[test]
        fn every_sum_from_the_first_line_on_is_covered(lines in lines(), payments in payments()) {
            let sent: i64 = payments.iter().filter(|(s, _)| matches!(s, Recorded | Created | Paid)).map(|p| p.1).sum();
            let covered = (1..=lines.len()).take_while(|n| lines[..*n].iter().sum::<i64>() <= sent).count();
            prop_assert_eq!(paid(&lines, &payments), covered);
        }

        #[test]
        fn another_payment_takes_nothing_back(lines in lines(), payments in payments(), more in 1..2_000_i64) {
            let mut with = payments.clone();
            with.push((Recorded, more));
            prop_assert!(paid(&lines, &with) >= paid(&lines, &payments));
        }

        #[test]
        fn what_was_taken_back_was_never_there(lines in lines(), payments in payments()) {
            let standing: Vec<_> = payments.iter().copied().filter(|(status, _)| status.stands()).collect();
            let reversed: Vec<_> = standing.iter().rev().copied().collect();
            prop_assert_eq!(paid(&lines, &payments), paid(&lines, &standing));
            prop_assert_eq!(paid(&lines, &payments), paid(&lines, &reversed));
        }

        /// New lines come last, so they change nothing for those before.
        #[test]
        fn a_later_line_changes_nothing_before_it(lines in lines(), payments in payments(), amount in -500..500_i64) {
            let mut with = lines.clone();
            with.push(amount);
            prop_assert_eq!(paid(&with, &payments).min(lines.len()), paid(&lines, &payments));
        }
    }
}
