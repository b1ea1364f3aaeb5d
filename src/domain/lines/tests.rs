use super::*;
use crate::domain::{
    amount::{Percent, RATE_SCALE},
    calendar::Period,
    price::{CapScope, FlatPrice, Price},
    pricing::RuleSource,
    time::MS_PER_DAY,
};

const JANE: AffiliateId = AffiliateId(7);
const NOW: Timestamp = Timestamp(1_772_366_400_000);

fn percent(whole: i64) -> Price {
    let value: Percent = serde_json::from_value((whole * RATE_SCALE).into()).unwrap();
    Price::Percentage { value }
}

fn rule(source: RuleSource, price: Price) -> Rule {
    Rule { source, price, first_payment: None }
}

fn entry(sub_amount: i64) -> Entry {
    Entry { sub_amount, commission_type: "standard".to_owned(), comment: None }
}

fn upline(level: u32, price: Price, stopped: Option<Stop>) -> Upline {
    let affiliate = AffiliateId(100 + i64::from(level));
    Upline { level, affiliate, rule: rule(RuleSource::Level, price), stopped }
}

fn cap(measure: CapMeasure, limit: i64, before: i64) -> CapBefore {
    CapBefore {
        cap: Cap { scope: CapScope::Affiliate, period: Period::Lifetime, measure, limit },
        span: Span::ALWAYS,
        before: Fraction(whole(before)),
    }
}

fn customer() -> CustomerBefore {
    CustomerBefore { canceled: false, first_at: Some(NOW), moved_on: true, counted: 0 }
}

/// A plan of entries at 10 % in USD, and what differs from it.
struct Case {
    subs: Vec<i64>,
    price: Price,
    factor: Option<Fraction>,
    currency: &'static str,
    customer: Option<CustomerBefore>,
    recurrence: Recurrence,
    earned_before: u32,
    recurring: bool,
    recurring_cap: Option<u32>,
    recurring_period_days: Option<u32>,
    caps: Vec<CapBefore>,
    uplines: Vec<Upline>,
    occurred_at: Timestamp,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            subs: vec![10_000],
            price: percent(10),
            factor: None,
            currency: "USD",
            customer: Some(customer()),
            recurrence: Recurrence::Forever,
            earned_before: 0,
            recurring: true,
            recurring_cap: None,
            recurring_period_days: None,
            caps: Vec::new(),
            uplines: Vec::new(),
            occurred_at: NOW,
        }
    }
}

impl Case {
    fn made(&self) -> Vec<MadeLine> {
        let entries: Vec<Entry> = self.subs.iter().map(|sub| entry(*sub)).collect();
        let plan_of = |entry| EntryPlan {
            entry,
            rule: rule(RuleSource::CommissionType, self.price.clone()),
            recurrence: self.recurrence,
            count_towards_cap: true,
            earned_before: self.earned_before,
            tier: None,
        };
        let plans: Vec<EntryPlan<'_>> = entries.iter().map(plan_of).collect();
        make(&Plan {
            terms: Terms {
                program_version: 1,
                program_currency: "USD".parse().unwrap(),
                conversion_amount: self.subs.iter().sum(),
                conversion_currency: self.currency.parse().unwrap(),
                factor: self.factor.as_ref(),
                in_program_currency: false,
            },
            occurred_at: self.occurred_at,
            affiliate: JANE,
            customer: self.customer,
            recurring: self.recurring,
            recurring_cap: self.recurring_cap,
            recurring_period_days: self.recurring_period_days,
            caps: &self.caps,
            entries: &plans,
            uplines: &self.uplines,
        })
    }

    /// Entry, level, amount, and the reason.
    fn rows(&self) -> Vec<(i32, u32, i64, Option<Stop>)> {
        self.made().iter().map(|made| (made.entry, made.level, made.line.amount, made.stop)).collect()
    }

    fn stop(&self) -> Option<Stop> {
        let rows = self.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].2 == 0, rows[0].3.is_some());
        rows[0].3
    }
}

#[test]
fn each_entry_is_followed_by_its_levels() {
    let uplines = vec![upline(2, percent(5), None), upline(3, Price::Fixed { value: 100 }, None)];
    let case = Case { subs: vec![10_000, 500], uplines, ..Case::default() };
    assert_eq!(
        case.rows(),
        [
            (1, 1, 1_000, None),
            (1, 2, 500, None),
            (1, 3, 100, None),
            (2, 1, 50, None),
            // The percent of a level is one of the same sub amount, not of the line.
            (2, 2, 25, None),
            (2, 3, 100, None),
        ]
    );
    let made = case.made();
    assert_eq!(made[1].affiliate, AffiliateId(102));
    assert_eq!((made[0].kind, made[1].kind), (LineKind::Regular, LineKind::Level));
}

#[test]
fn an_upline_that_may_not_earn_keeps_its_place() {
    let uplines = vec![upline(2, percent(5), Some(Stop::AffiliateSuspended)), upline(3, percent(1), None)];
    let case = Case { uplines, ..Case::default() };
    let expected = [(1, 1, 1_000, None), (1, 2, 0, Some(Stop::AffiliateSuspended)), (1, 3, 100, None)];
    assert_eq!(case.rows(), expected);
    assert!(!case.made()[1].earned);
}

#[test]
fn a_stopped_line_has_no_levels() {
    let canceled = Some(CustomerBefore { canceled: true, ..customer() });
    let uplines = vec![upline(2, percent(5), None)];
    let case = Case { customer: canceled, uplines, ..Case::default() };
    assert_eq!(case.rows(), [(1, 1, 0, Some(Stop::CustomerCanceled))]);
}

#[test]
fn recurrence_stops_after_as_many_as_it_pays() {
    let table = [
        (Recurrence::Once, true, 0, None),
        (Recurrence::Once, true, 1, Some(Stop::Recurrence)),
        (Recurrence::Repeating(3), true, 2, None),
        (Recurrence::Repeating(3), true, 3, Some(Stop::Recurrence)),
        (Recurrence::Forever, true, 1_000, None),
        (Recurrence::Forever, false, 0, None),
        (Recurrence::Forever, false, 1, Some(Stop::Recurrence)),
    ];
    for (recurrence, recurring, earned_before, stop) in table {
        let case = Case { recurrence, recurring, earned_before, ..Case::default() };
        assert_eq!(case.stop(), stop, "{recurrence:?} after {earned_before}");
    }
    // Without a customer every conversion is a first.
    let case = Case { customer: None, recurring: false, earned_before: 0, ..Case::default() };
    assert_eq!(case.stop(), None);
}

#[test]
fn the_period_and_the_cap_of_a_customer_include_their_limit() {
    let days = |days: i64, more: i64| {
        let occurred_at = NOW + (days * MS_PER_DAY + more);
        Case { recurring_period_days: Some(30), occurred_at, ..Case::default() }.stop()
    };
    assert_eq!(days(30, 0), None);
    assert_eq!(days(30, 1), Some(Stop::RecurringPeriod));
    let counted = |counted| {
        let customer = Some(CustomerBefore { counted, ..customer() });
        Case { customer, recurring_cap: Some(2), ..Case::default() }.stop()
    };
    assert_eq!(counted(1), None);
    assert_eq!(counted(2), Some(Stop::RecurringCap));
}

#[test]
fn the_first_reason_that_applies_is_the_one() {
    let mut case = Case {
        customer: Some(CustomerBefore { canceled: true, counted: 9, ..customer() }),
        recurrence: Recurrence::Once,
        earned_before: 9,
        recurring_period_days: Some(0),
        recurring_cap: Some(1),
        caps: vec![cap(CapMeasure::Conversions, 1, 1)],
        occurred_at: NOW + 1,
        ..Case::default()
    };
    assert_eq!(case.stop(), Some(Stop::CustomerCanceled));
    case.customer = Some(CustomerBefore { counted: 9, ..customer() });
    assert_eq!(case.stop(), Some(Stop::Recurrence));
    case.earned_before = 0;
    assert_eq!(case.stop(), Some(Stop::RecurringPeriod));
    case.recurring_period_days = None;
    assert_eq!(case.stop(), Some(Stop::RecurringCap));
    case.recurring_cap = None;
    assert_eq!(case.stop(), Some(Stop::Capped));
}

#[test]
fn a_cap_of_conversions_is_asked_once() {
    let at = |before| Case { caps: vec![cap(CapMeasure::Conversions, 5, before)], ..Case::default() };
    assert_eq!(at(4).stop(), None);
    assert_eq!(at(5).stop(), Some(Stop::Capped));
    let two = Case { subs: vec![100, 100], ..at(4) };
    assert_eq!(two.rows(), [(1, 1, 10, None), (2, 1, 10, None)]);
}

#[test]
fn a_cap_of_amounts_cuts_the_line_that_crosses_it() {
    let at = |before| Case {
        subs: vec![10_000, 10_000, 10_000],
        caps: vec![cap(CapMeasure::Amount, 5_000, before), cap(CapMeasure::Amount, 9_999, 0)],
        uplines: vec![upline(2, percent(5), None)],
        ..Case::default()
    };
    // Three lines of 10.00 into 15.00: the second is cut, the third gets nothing and has no level.
    let expected = [
        (1, 1, 1_000, None),
        (1, 2, 500, None),
        (2, 1, 500, None),
        (2, 2, 500, None),
        (3, 1, 0, Some(Stop::Capped)),
    ];
    assert_eq!(at(3_500).rows(), expected);
    let made = at(3_500).made();
    assert_eq!((made[2].line.pricing.priced_amount, made[2].line.pricing.rest), (1_000, Some(500)));
    // The first had taken 10.00 of them.
    assert_eq!(made[2].line.pricing.rest_taken, Some(Fraction(whole(1_000))));
    assert!(made[2].earned && !made[4].earned);
    // Exactly full is not cut.
    assert_eq!(at(2_000).rows().iter().filter(|row| row.3.is_some()).count(), 0);
    let full = at(5_000).rows();
    assert!(full.iter().all(|row| row.3 == Some(Stop::Capped)) && full.len() == 3);
}

#[test]
fn what_a_cap_leaves_is_floored_in_the_currency_of_the_line() {
    // A yen is 0.65 cents, so 10.00 USD leave 1,538.46 JPY.
    let case = Case {
        subs: vec![100_000],
        factor: Some("13/20".parse().unwrap()),
        currency: "JPY",
        caps: vec![cap(CapMeasure::Amount, 1_000, 0)],
        ..Case::default()
    };
    assert_eq!(case.rows(), [(1, 1, 1_538, None)]);
    // Half a cent is no yen.
    let little = Case { caps: vec![cap(CapMeasure::Amount, 1_000, 1_000)], ..case };
    assert_eq!(little.stop(), Some(Stop::Capped));
}

#[test]
fn a_first_payment_is_for_the_first_conversion_above_zero() {
    let first = |customer: Option<CustomerBefore>, subs: Vec<i64>| {
        let entries = [entry(subs[0])];
        let rule = Rule {
            first_payment: Some(FlatPrice::Fixed { value: 7 }),
            ..rule(RuleSource::CommissionType, percent(10))
        };
        let plans = [EntryPlan {
            entry: &entries[0],
            rule,
            recurrence: Recurrence::Forever,
            count_towards_cap: true,
            earned_before: 0,
            tier: None,
        }];
        let made = make(&Plan {
            terms: Terms {
                program_version: 1,
                program_currency: "USD".parse().unwrap(),
                conversion_amount: subs[0],
                conversion_currency: "USD".parse().unwrap(),
                factor: None,
                in_program_currency: false,
            },
            occurred_at: NOW,
            affiliate: JANE,
            customer,
            recurring: true,
            recurring_cap: None,
            recurring_period_days: None,
            caps: &[],
            entries: &plans,
            uplines: &[],
        });
        made[0].line.amount
    };
    let new = CustomerBefore { moved_on: false, first_at: None, ..customer() };
    assert_eq!(first(Some(new), vec![1_000]), 7);
    assert_eq!(first(Some(new), vec![0]), 0);
    assert_eq!(first(Some(customer()), vec![1_000]), 100);
    assert_eq!(first(None, vec![1_000]), 7);
}
