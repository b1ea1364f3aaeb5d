//! Double entry (MONEY 7): what each event posts. The postings of every call add up to zero, and where nothing
//! changes there are none.

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

/// Money that goes to an affiliate, or is set aside for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentEvent {
    Recorded,
    Cancelled,
    PayoutCreated,
    PayoutPaid,
    /// The payout failed or was cancelled.
    PayoutReturned,
}

/// A new line of `amount` that starts as `status`. One that starts disapproved posts nothing.
pub fn started(status: LineStatus, affiliate: AffiliateId, currency: Currency, amount: i64) -> Vec<Posting> {
    let book = Book { affiliate, currency };
    let mut postings = Vec::new();
    if status != LineStatus::Disapproved {
        postings.extend(book.entry(
            LedgerEvent::Earned,
            LedgerAccount::Expense,
            LedgerAccount::Accrued,
            amount,
        ));
    }
    if status == LineStatus::Approved {
        postings.extend(book.approved(amount));
    }
    postings
}

/// A line of `amount` goes from one status to another.
pub fn reviewed(
    from: LineStatus,
    to: LineStatus,
    affiliate: AffiliateId,
    currency: Currency,
    amount: i64,
) -> Vec<Posting> {
    use LineStatus::{Approved, Disapproved, Pending};
    let book = Book { affiliate, currency };
    match (from, to) {
        (Pending, Pending) | (Approved, Approved) | (Disapproved, Disapproved) => Vec::new(),
        (Pending, Approved) => book.approved(amount),
        (Approved, Pending) => {
            book.entry(LedgerEvent::BackToPending, LedgerAccount::Payable, LedgerAccount::Accrued, amount)
        }
        (Pending, Disapproved) => {
            book.entry(LedgerEvent::Disapproved, LedgerAccount::Accrued, LedgerAccount::Expense, amount)
        }
        (Approved, Disapproved) => {
            book.entry(LedgerEvent::Disapproved, LedgerAccount::Payable, LedgerAccount::Expense, amount)
        }
        (Disapproved, Pending) => book.reopened(amount),
        (Disapproved, Approved) => {
            let mut postings = book.reopened(amount);
            postings.extend(book.approved(amount));
            postings
        }
    }
}

/// The amount of a line changes while it stands at `status`; `refund` only names the event. A disapproved line
/// changes without postings.
pub fn amount_changed(
    status: LineStatus,
    affiliate: AffiliateId,
    currency: Currency,
    before: i64,
    after: i64,
    refund: bool,
) -> Vec<Posting> {
    let stands = match status {
        LineStatus::Pending => LedgerAccount::Accrued,
        LineStatus::Approved => LedgerAccount::Payable,
        LineStatus::Disapproved => return Vec::new(),
    };
    let book = Book { affiliate, currency };
    if after > before {
        return book.entry(LedgerEvent::Increased, LedgerAccount::Expense, stands, after - before);
    }
    let event = if refund { LedgerEvent::Refunded } else { LedgerEvent::Reduced };
    book.entry(event, stands, LedgerAccount::Expense, before - after)
}

/// A payment or payout of `amount`.
pub fn paid(event: PaymentEvent, affiliate: AffiliateId, currency: Currency, amount: i64) -> Vec<Posting> {
    let (event, debit, credit) = match event {
        PaymentEvent::Recorded => (LedgerEvent::PaymentRecorded, LedgerAccount::Payable, LedgerAccount::Cash),
        PaymentEvent::Cancelled => {
            (LedgerEvent::PaymentCancelled, LedgerAccount::Cash, LedgerAccount::Payable)
        }
        PaymentEvent::PayoutCreated => {
            (LedgerEvent::PayoutCreated, LedgerAccount::Payable, LedgerAccount::Reserved)
        }
        PaymentEvent::PayoutPaid => (LedgerEvent::PayoutPaid, LedgerAccount::Reserved, LedgerAccount::Cash),
        PaymentEvent::PayoutReturned => {
            (LedgerEvent::PayoutReturned, LedgerAccount::Reserved, LedgerAccount::Payable)
        }
    };
    Book { affiliate, currency }.entry(event, debit, credit, amount)
}

/// The accounts of one affiliate in one currency.
struct Book {
    affiliate: AffiliateId,
    currency: Currency,
}

impl Book {
    fn approved(&self, amount: i64) -> Vec<Posting> {
        self.entry(LedgerEvent::Approved, LedgerAccount::Accrued, LedgerAccount::Payable, amount)
    }

    fn reopened(&self, amount: i64) -> Vec<Posting> {
        self.entry(LedgerEvent::Reopened, LedgerAccount::Expense, LedgerAccount::Accrued, amount)
    }

    /// Debit and credit; none for 0. An amount below zero turns the two around, as a negative line does.
    fn entry(
        &self,
        event: LedgerEvent,
        debit: LedgerAccount,
        credit: LedgerAccount,
        amount: i64,
    ) -> Vec<Posting> {
        if amount == 0 {
            return Vec::new();
        }
        let side = |account, amount| Posting {
            event,
            affiliate: self.owner(account),
            account,
            currency: self.currency,
            amount,
        };
        vec![side(debit, amount), side(credit, -amount)]
    }

    fn owner(&self, account: LedgerAccount) -> AffiliateId {
        match account {
            LedgerAccount::Expense | LedgerAccount::Cash => OWN,
            LedgerAccount::Accrued | LedgerAccount::Payable | LedgerAccount::Reserved => self.affiliate,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use LedgerAccount::{Accrued, Cash, Expense, Payable, Reserved};
    use LineStatus::{Approved, Disapproved, Pending};

    const JANE: AffiliateId = AffiliateId(7);

    fn usd() -> Currency {
        "USD".parse().unwrap()
    }

    /// Event, owner, account, amount.
    type Row = (&'static str, i64, LedgerAccount, i64);

    fn rows(postings: &[Posting]) -> Vec<Row> {
        assert!(postings.iter().all(|p| p.currency == usd()));
        postings.iter().map(|p| (p.event.as_str(), p.affiliate.0, p.account, p.amount)).collect()
    }

    #[test]
    fn a_new_line_is_earned_and_approved_where_it_starts_so() {
        let earned = [("earned", 0, Expense, 499), ("earned", 7, Accrued, -499)];
        let approved = [("approved", 7, Accrued, 499), ("approved", 7, Payable, -499)];
        assert_eq!(rows(&started(Pending, JANE, usd(), 499)), earned);
        assert_eq!(rows(&started(Approved, JANE, usd(), 499)), [earned, approved].concat());
        assert_eq!(rows(&started(Disapproved, JANE, usd(), 499)), []);
        assert_eq!(rows(&started(Approved, JANE, usd(), 0)), []);
    }

    #[test]
    fn review_moves_a_line_between_accrued_payable_and_expense() {
        let table: [(LineStatus, LineStatus, Vec<Row>); 9] = [
            (Pending, Approved, vec![("approved", 7, Accrued, 5), ("approved", 7, Payable, -5)]),
            (
                Approved,
                Pending,
                vec![("back_to_pending", 7, Payable, 5), ("back_to_pending", 7, Accrued, -5)],
            ),
            (Pending, Disapproved, vec![("disapproved", 7, Accrued, 5), ("disapproved", 0, Expense, -5)]),
            (Approved, Disapproved, vec![("disapproved", 7, Payable, 5), ("disapproved", 0, Expense, -5)]),
            (Disapproved, Pending, vec![("reopened", 0, Expense, 5), ("reopened", 7, Accrued, -5)]),
            (
                Disapproved,
                Approved,
                vec![
                    ("reopened", 0, Expense, 5),
                    ("reopened", 7, Accrued, -5),
                    ("approved", 7, Accrued, 5),
                    ("approved", 7, Payable, -5),
                ],
            ),
            (Pending, Pending, vec![]),
            (Approved, Approved, vec![]),
            (Disapproved, Disapproved, vec![]),
        ];
        for (from, to, expected) in table {
            assert_eq!(rows(&reviewed(from, to, JANE, usd(), 5)), expected, "{from} to {to}");
            assert_eq!(rows(&reviewed(from, to, JANE, usd(), 0)), [], "{from} to {to}, of 0");
        }
    }

    #[test]
    fn a_change_of_amount_posts_where_the_line_stands() {
        let table: [(LineStatus, i64, i64, bool, Vec<Row>); 9] = [
            (Pending, 5, 8, false, vec![("increased", 0, Expense, 3), ("increased", 7, Accrued, -3)]),
            (Approved, 5, 8, false, vec![("increased", 0, Expense, 3), ("increased", 7, Payable, -3)]),
            (Pending, 8, 5, false, vec![("reduced", 7, Accrued, 3), ("reduced", 0, Expense, -3)]),
            (Approved, 8, 5, false, vec![("reduced", 7, Payable, 3), ("reduced", 0, Expense, -3)]),
            (Pending, 8, 0, true, vec![("refunded", 7, Accrued, 8), ("refunded", 0, Expense, -8)]),
            (Approved, 8, 0, true, vec![("refunded", 7, Payable, 8), ("refunded", 0, Expense, -8)]),
            (Disapproved, 8, 0, true, vec![]),
            (Disapproved, 0, 8, false, vec![]),
            (Approved, 8, 8, true, vec![]),
        ];
        for (status, before, after, refund, expected) in table {
            let postings = amount_changed(status, JANE, usd(), before, after, refund);
            assert_eq!(rows(&postings), expected, "{status}, {before} to {after}");
        }
    }

    #[test]
    fn payments_and_payouts_post_as_the_table_says() {
        let table = [
            (PaymentEvent::Recorded, "payment_recorded", (7, Payable), (0, Cash)),
            (PaymentEvent::Cancelled, "payment_cancelled", (0, Cash), (7, Payable)),
            (PaymentEvent::PayoutCreated, "payout_created", (7, Payable), (7, Reserved)),
            (PaymentEvent::PayoutPaid, "payout_paid", (7, Reserved), (0, Cash)),
            (PaymentEvent::PayoutReturned, "payout_returned", (7, Reserved), (7, Payable)),
        ];
        for (event, name, debit, credit) in table {
            let expected = [(name, debit.0, debit.1, 9), (name, credit.0, credit.1, -9)];
            assert_eq!(rows(&paid(event, JANE, usd(), 9)), expected);
            assert_eq!(rows(&paid(event, JANE, usd(), 0)), []);
        }
    }

    #[test]
    fn a_line_below_zero_posts_the_other_way_round() {
        assert_eq!(
            rows(&started(Pending, JANE, usd(), -5)),
            [("earned", 0, Expense, -5), ("earned", 7, Accrued, 5)]
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Review(LineStatus),
        Amount(i64, bool),
    }

    fn statuses() -> impl Strategy<Value = LineStatus> {
        prop::sample::select(LineStatus::ALL)
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            statuses().prop_map(Step::Review),
            (-1_000_i64..1_000, any::<bool>()).prop_map(|(amount, refund)| Step::Amount(amount, refund)),
        ]
    }

    proptest! {
        /// Whatever happens to a line, its affiliate has what it is worth on the account where it stands.
        #[test]
        fn the_books_follow_the_line(
            start in statuses(),
            amount in -1_000_i64..1_000,
            steps in prop::collection::vec(steps(), 0..12),
        ) {
            let (mut status, mut amount) = (start, amount);
            let mut posted = vec![started(status, JANE, usd(), amount)];
            for step in steps {
                match step {
                    Step::Review(to) => {
                        posted.push(reviewed(status, to, JANE, usd(), amount));
                        status = to;
                    }
                    Step::Amount(after, refund) => {
                        posted.push(amount_changed(status, JANE, usd(), amount, after, refund));
                        amount = after;
                    }
                }
            }
            let mut balances = BTreeMap::new();
            for call in &posted {
                prop_assert_eq!(call.iter().map(|p| p.amount).sum::<i64>(), 0);
                prop_assert!(call.iter().all(|p| p.amount != 0));
                for posting in call {
                    *balances.entry((posting.affiliate.0, posting.account)).or_insert(0) += posting.amount;
                }
            }
            let worth = if status == Disapproved { 0 } else { amount };
            let at = |owner, account| balances.get(&(owner, account)).copied().unwrap_or(0);
            prop_assert_eq!(at(0, Expense), worth);
            prop_assert_eq!(at(7, Accrued), if status == Pending { -worth } else { 0 });
            prop_assert_eq!(at(7, Payable), if status == Approved { -worth } else { 0 });
        }
    }
}
