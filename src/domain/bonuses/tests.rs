use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::calendar::parse_day;

fn fixed(target: i64, value: i64) -> Value {
    json!({"target": target, "form": "fixed", "value": value})
}

/// `percent` in whole percents.
fn percentage(target: i64, percent: i64) -> Value {
    json!({"target": target, "form": "percentage", "value": percent * 100_000_000})
}

fn bonus(interval: &str, measure: &str, targets: &[Value]) -> BonusSettings {
    let json = json!({
        "identifier": "gold", "title": "Gold", "interval": interval, "measure": measure, "targets": targets,
        "start_date": null, "end_date": null, "active": true,
    });
    serde_json::from_value(json).unwrap()
}

fn counted(number: i64, amount: i64) -> Counted {
    Counted { number, amount: whole(amount) }
}

fn day(text: &str) -> Option<i32> {
    Some(parse_day(text).unwrap())
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn settings_make_sense_together() {
    let with = |targets: &[Value]| bonus("calmo", "conversion_count", targets);
    let table = [
        (with(&[fixed(1, 0), fixed(5, 100)]), Ok(())),
        (with(&[percentage(1, 100)]), Ok(())),
        (with(&[]), Err(BonusError::NoTargets)),
        (with(&[fixed(0, 1)]), Err(BonusError::NotAboveZero(0))),
        (with(&[fixed(1, 1), fixed(-5, 1)]), Err(BonusError::NotAboveZero(1))),
        (with(&[fixed(1, 1), fixed(3, 1), fixed(3, 2)]), Err(BonusError::Order(2))),
        (with(&[fixed(1, 1), percentage(2, 1)]), Err(BonusError::Form(1))),
        (with(&[fixed(1, -1)]), Err(BonusError::Value(0))),
    ];
    for (settings, expected) in table {
        assert_eq!(settings.check(), expected, "{settings:?}");
    }
    let one_day =
        BonusSettings { start_date: day("2026-03-01"), end_date: day("2026-03-01"), ..with(&[fixed(1, 1)]) };
    assert_eq!(one_day.check(), Ok(()));
    let backwards = BonusSettings { end_date: day("2026-02-28"), ..one_day };
    assert_eq!(backwards.check(), Err(BonusError::Dates));
}

#[test]
fn what_is_wrong_has_its_field() {
    let table = [
        (BonusError::NoTargets, "targets"),
        (BonusError::NotAboveZero(0), "targets[0].target"),
        (BonusError::Order(2), "targets[2].target"),
        (BonusError::Form(1), "form"),
        (BonusError::Value(3), "targets[3].value"),
        (BonusError::Dates, "end_date"),
    ];
    for (error, field) in table {
        assert_eq!(error.field(), field);
    }
}

#[test]
fn words_are_those_of_the_stored_settings() {
    for interval in BonusInterval::ALL {
        assert_eq!(serde_json::to_value(interval).unwrap(), interval.as_str());
    }
    for measure in BonusMeasure::ALL {
        assert_eq!(serde_json::to_value(measure).unwrap(), measure.as_str());
    }
}

#[test]
fn intervals_are_cut_in_the_zone_of_the_account() {
    let table = [
        // The days on which the clocks change have 23 and 25 hours.
        (BonusInterval::Day, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        (BonusInterval::Day, "2026-10-25T22:59:59.999Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        (BonusInterval::Day, "2026-10-25T23:00:00Z", "2026-10-25T23:00:00Z", "2026-10-26T23:00:00Z"),
        (BonusInterval::Week, "2026-03-29T21:59:59.999Z", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"),
        (BonusInterval::Month, "2026-03-31T22:00:00Z", "2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z"),
        (BonusInterval::Quarter, "2026-02-01T00:00:00Z", "2025-12-31T23:00:00Z", "2026-03-31T22:00:00Z"),
        (BonusInterval::Year, "2026-07-01T00:00:00Z", "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
    ];
    let berlin = Zone::named("Europe/Berlin").unwrap();
    for (interval, time, start, end) in table {
        let expected = Span { start: at(start), end: at(end) };
        assert_eq!(interval.span(at(time), &berlin), expected, "{interval:?} {time}");
    }
    assert_eq!(BonusInterval::AllTime.span(at("2026-01-01T00:00:00Z"), &berlin), Span::ALWAYS);
}

#[test]
fn start_and_end_days_cut_what_counts() {
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let march = BonusInterval::Month.span(at("2026-03-15T00:00:00Z"), &berlin);
    let of = |start: Option<i32>, end: Option<i32>| BonusSettings {
        start_date: start,
        end_date: end,
        ..bonus("calmo", "conversion_count", &[fixed(1, 1)])
    };
    assert_eq!(of(None, None).counted_span(march, &berlin), Some(march));
    // The last day is one of 23 hours, and it counts to its end.
    let cut = of(day("2026-03-02"), day("2026-03-29")).counted_span(march, &berlin);
    let expected = Span { start: at("2026-03-01T23:00:00Z"), end: at("2026-03-29T22:00:00Z") };
    assert_eq!(cut, Some(expected));
    assert_eq!(of(day("2020-01-01"), day("2030-01-01")).counted_span(march, &berlin), Some(march));
    assert_eq!(of(day("2026-04-01"), None).counted_span(march, &berlin), None);
    assert_eq!(of(None, day("2026-02-28")).counted_span(march, &berlin), None);
    let always = of(day("2026-03-02"), None).counted_span(Span::ALWAYS, &berlin).unwrap();
    assert_eq!((always.start, always.end), (at("2026-03-01T23:00:00Z"), Timestamp::MAX));
}

#[test]
fn the_highest_target_that_was_reached_pays() {
    let settings = bonus("calmo", "conversion_count", &[fixed(3, 500), fixed(10, 2_000)]);
    let pays = |number: i64| settings.award(&counted(number, 1), None).map(|award| award.amount);
    assert_eq!([2, 3, 9, 10, 11].map(pays), [None, Some(500), Some(500), Some(2_000), Some(2_000)]);

    let settings = bonus("calmo", "conversion_amount", &[percentage(10_000, 1), percentage(20_000, 3)]);
    let pays = |amount: i64| settings.award(&counted(1, amount), None).map(|award| award.amount);
    // 1 % of 100.50 is 1.005, of 101.50 it is 1.015: to the even cent. 3 % of 200.00.
    let amounts = [9_999, 10_000, 10_050, 10_150, 20_000];
    assert_eq!(amounts.map(pays), [None, Some(100), Some(100), Some(102), Some(600)]);
}

#[test]
fn amounts_are_not_rounded_before_they_are_compared() {
    let settings = bonus("calmo", "conversion_amount", &[percentage(100, 50)]);
    let third: Fraction = "1/3".parse().unwrap();
    let mut sum = Counted::default();
    sum.add(1, 299, Some(&third));
    assert_eq!(settings.award(&sum, None), None);
    // Two thirds of a cent more, in two parts that would each round to nothing or one.
    sum.add(1, 1, Some(&third));
    assert_eq!(settings.award(&sum, None).map(|award| award.amount), Some(50));
    sum.add(1, 3, None);
    let award = settings.award(&sum, None).unwrap();
    assert_eq!((sum.number, award.exact.to_string(), award.amount), (3, "103/2".to_owned(), 52));
}

#[test]
fn a_higher_target_later_pays_the_difference() {
    let settings = bonus("alltime", "conversion_count", &[percentage(2, 10), percentage(4, 5), fixed(6, 0)]);
    let first = settings.award(&counted(2, 1_000), None).unwrap();
    assert_eq!((first.target.target, first.before, first.amount), (2, 0, 100));
    let awarded = Awarded { target: 2, amount: 100 };
    // More for the same target pays nothing.
    assert_eq!(settings.award(&counted(3, 9_000), Some(awarded)), None);
    let more = settings.award(&counted(4, 3_000), Some(awarded)).unwrap();
    assert_eq!((more.target.target, more.before, more.amount), (4, 100, 50));
    // A higher target that is worth less takes nothing back.
    assert_eq!(settings.award(&counted(4, 1_000), Some(awarded)).unwrap().amount, 0);
    assert_eq!(settings.award(&counted(6, 1_000), Some(awarded)).unwrap().amount, 0);
    // Targets that were lost to refunds are not paid again.
    assert_eq!(settings.award(&counted(2, 1_000), Some(Awarded { target: 4, amount: 150 })), None);
}

/// Ascending targets that pay fixed values.
fn targets() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::btree_map(1_i64..40, 0_i64..10_000, 1..6)
        .prop_map(|targets| targets.into_iter().map(|(target, value)| fixed(target, value)).collect())
}

proptest! {
    #[test]
    fn no_higher_target_was_reached(targets in targets(), number in 0_i64..50) {
        let settings = bonus("calday", "customer_count", &targets);
        prop_assert_eq!(settings.check(), Ok(()));
        let reached = settings.reached(&counted(number, 0)).map_or(0, |target| target.target);
        prop_assert!(reached <= number);
        for target in &settings.targets {
            prop_assert!(target.target <= reached || target.target > number);
        }
    }

    /// However the count goes up and down, an all-time bonus has paid what its highest targets were worth at the most.
    #[test]
    fn steps_add_up(targets in targets(), steps in prop::collection::vec(0_i64..50, 1..20)) {
        let settings = bonus("alltime", "conversion_count", &targets);
        let (mut awarded, mut worth) = (None::<Awarded>, 0);
        for number in &steps {
            if let Some(award) = settings.award(&counted(*number, 0), awarded) {
                prop_assert!(award.amount >= 0);
                prop_assert_eq!(award.before, awarded.map_or(0, |before| before.amount));
                awarded = Some(Awarded { target: award.target.target, amount: award.before + award.amount });
                worth = worth.max(to_minor(&award.exact.0));
            }
        }
        let highest = settings.reached(&counted(steps.iter().copied().max().unwrap_or(0), 0));
        prop_assert_eq!(awarded.map(|awarded| awarded.target), highest.map(|target| target.target));
        prop_assert_eq!(awarded.map_or(0, |awarded| awarded.amount), worth);
    }

    /// The intervals of a kind follow one another without a gap, daylight saving or not.
    #[test]
    fn intervals_leave_no_gap(ms in 0_i64..4_000_000_000_000, kind in 0_usize..5) {
        let kind = BonusInterval::ALL[kind];
        for name in ["UTC", "Europe/Berlin", "America/Santiago", "Pacific/Auckland", "Asia/Kathmandu"] {
            let zone = Zone::named(name).unwrap();
            let span = kind.span(Timestamp(ms), &zone);
            prop_assert!(span.contains(Timestamp(ms)));
            prop_assert_eq!(kind.span(span.start, &zone), span);
            prop_assert_eq!(kind.span(span.end + -1, &zone), span);
            prop_assert_eq!(kind.span(span.end, &zone).start, span.end);
        }
    }
}
