use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::{amount::MAX_MINOR, calendar::Period, price::OverrideRule};

fn currency(code: &str) -> Currency {
    code.parse().unwrap()
}

fn percent(text: &str) -> Price {
    Price::Percentage { value: Percent::from_decimal(&text.parse().unwrap()).unwrap() }
}

fn terms<'a>(conversion: &str, program: &str, factor: Option<&'a Fraction>) -> Terms<'a> {
    Terms {
        program_version: 3,
        program_currency: currency(program),
        conversion_amount: 10_000,
        conversion_currency: currency(conversion),
        factor,
        in_program_currency: false,
    }
}

fn rule(price: Price) -> Rule {
    Rule { source: RuleSource::CommissionType, price, first_payment: None }
}

/// The amount and what it was before rounding.
fn priced(price_of: &Price, sub_amount: i64, code: &str) -> (i64, String) {
    let line =
        price(&terms(code, code, None), &rule(price_of.clone()), "standard", 1, sub_amount, None, false);
    assert_eq!(line.currency, currency(code));
    assert_eq!(line.pricing.priced_amount, line.amount);
    (line.amount, line.pricing.exact.to_string())
}

#[test]
fn a_percentage_is_rounded_half_even_once() {
    let table = [
        // 49.90 USD
        ("10", 4990, "USD", 499, "499"),
        // 49.95 USD: 499.5 goes to the even 500; 49.85 USD: 498.5 goes to the even 498.
        ("10", 4995, "USD", 500, "999/2"),
        ("10", 4985, "USD", 498, "997/2"),
        // 1,234 JPY at 7.5 %: 92.55
        ("7.5", 1234, "JPY", 93, "1851/20"),
        // 10.005 BHD at 12.5 %: 1250.625
        ("12.5", 10_005, "BHD", 1251, "10005/8"),
        ("0", 4990, "USD", 0, "0"),
        ("100", 4990, "USD", 4990, "4990"),
        // 0.01 USD at 50 %: half a cent goes to 0.
        ("50", 1, "USD", 0, "1/2"),
        ("0.00000001", 1_000_000_000_000_000, "USD", 100_000, "100000"),
    ];
    for (value, sub_amount, code, amount, exact) in table {
        let expected = (amount, exact.to_owned());
        assert_eq!(priced(&percent(value), sub_amount, code), expected, "{value} % of {sub_amount}");
    }
}

#[test]
fn a_fixed_value_does_not_look_at_the_amount() {
    for (sub_amount, code) in [(0, "USD"), (4990, "JPY"), (1, "BHD")] {
        assert_eq!(priced(&Price::Fixed { value: 500 }, sub_amount, code), (500, "500".to_owned()));
    }
}

#[test]
fn the_currency_is_that_of_the_rule_or_the_program() {
    // 1.10 USD for a euro.
    let factor: Fraction = "11/10".parse().unwrap();
    let mut terms = terms("EUR", "USD", Some(&factor));
    let line = |terms: &Terms<'_>, one: Price| {
        let line = price(terms, &rule(one), "standard", 1, 1005, None, false);
        (line.currency.code(), line.amount, line.pricing.exact.to_string())
    };
    assert_eq!(line(&terms, Price::Fixed { value: 5 }), ("USD", 5, "5".to_owned()));
    assert_eq!(line(&terms, percent("10")), ("EUR", 100, "201/2".to_owned()));
    terms.in_program_currency = true;
    assert_eq!(line(&terms, Price::Fixed { value: 5 }), ("USD", 5, "5".to_owned()));
    // Converted before it is rounded: 100.5 euro cents are 110.55 cents.
    assert_eq!(line(&terms, percent("10")), ("USD", 111, "2211/20".to_owned()));
}

fn tiered(measure: &str, mode: &str, brackets: &[(i64, &str, i64)]) -> Price {
    let brackets: Vec<_> = brackets
        .iter()
        .map(|(from, form, value)| json!({"from": from, "form": form, "value": value}))
        .collect();
    serde_json::from_value(json!({
        "form": "tiered", "measure": measure, "period": "month", "mode": mode, "brackets": brackets,
    }))
    .unwrap()
}

const P: i64 = RATE_SCALE;

fn with_tier(terms: &Terms<'_>, one: &Price, before: i64, sub_amount: i64) -> PricedLine {
    let tier = Some((Span::ALWAYS, whole(before)));
    price(terms, &rule(one.clone()), "standard", 1, sub_amount, tier, false)
}

#[test]
fn a_whole_tier_prices_by_the_bracket_that_is_reached() {
    let terms = terms("USD", "USD", None);
    let by_count = tiered("count", "whole", &[(0, "percentage", 5 * P), (10, "percentage", 10 * P)]);
    let by_revenue = tiered("revenue", "whole", &[(0, "fixed", 100), (100_000, "fixed", 250)]);
    let table = [
        // The 9th and the 10th line.
        (&by_count, 8, 1000, 50, 0),
        (&by_count, 9, 1000, 100, 1),
        // 999.99 and 1000.00 with this one.
        (&by_revenue, 99_000, 999, 100, 0),
        (&by_revenue, 99_000, 1000, 250, 1),
        (&by_revenue, 500_000, 0, 250, 1),
    ];
    for (one, before, sub_amount, amount, bracket) in table {
        let line = with_tier(&terms, one, before, sub_amount);
        assert_eq!(line.amount, amount, "{before} and {sub_amount}");
        assert_eq!(line.pricing.tier.unwrap().bracket, Some(bracket));
    }
}

#[test]
fn a_marginal_tier_cuts_the_amount_at_the_borders() {
    let one = tiered(
        "revenue",
        "marginal",
        &[(0, "percentage", 5 * P), (10_000, "percentage", 10 * P), (20_000, "percentage", 20 * P)],
    );
    let dollars = terms("USD", "USD", None);
    // From 90.00 to 215.00: 10.00 at 5 %, 100.00 at 10 %, 15.00 at 20 %.
    let line = with_tier(&dollars, &one, 9_000, 12_500);
    assert_eq!((line.amount, line.pricing.exact.to_string()), (1350, "1350".to_owned()));
    let parts: Vec<_> = line
        .pricing
        .parts(12_500)
        .iter()
        .map(|part| (part.percent.to_string(), part.amount.to_string()))
        .collect();
    let expected = [("5", "1000"), ("10", "10000"), ("20", "1500")];
    assert_eq!(parts, expected.map(|(percent, amount)| (percent.to_owned(), amount.to_owned())));
    assert_eq!(with_tier(&dollars, &one, 0, 0).amount, 0);
    assert_eq!(with_tier(&dollars, &one, 50_000, 100).amount, 20);
    // 2 JPY are a cent: 5,000 JPY are 25.00, from 90.00 to 115.00: 50 + 150 cents, 400 JPY.
    let factor: Fraction = "1/2".parse().unwrap();
    let yen = terms("JPY", "USD", Some(&factor));
    let line = with_tier(&yen, &one, 9_000, 5_000);
    assert_eq!((line.currency.code(), line.amount), ("JPY", 400));
}

#[test]
fn a_first_payment_replaces_the_price() {
    let once = Rule {
        first_payment: Some(FlatPrice::Fixed { value: 2_000 }),
        ..rule(tiered("count", "whole", &[(0, "percentage", P)]))
    };
    let terms = terms("USD", "USD", None);
    let tier = Some((Span::ALWAYS, whole(0)));
    let first = price(&terms, &once, "standard", 1, 5_000, tier.clone(), true);
    assert_eq!((first.amount, first.pricing.first_payment, first.pricing.tier), (2_000, true, None));
    let later = price(&terms, &once, "standard", 1, 5_000, tier, false);
    assert_eq!((later.amount, later.pricing.first_payment), (50, false));
}

#[test]
fn a_line_is_earned_when_anything_was_above_zero() {
    let line = |one: Price, sub_amount| {
        price(&terms("USD", "USD", None), &rule(one), "standard", 1, sub_amount, None, false)
    };
    assert!(line(percent("10"), 1).earned());
    assert!(line(Price::Fixed { value: 5 }, 0).earned());
    assert!(!line(percent("10"), 0).earned());
    assert!(!line(Price::Fixed { value: 0 }, 0).earned());
}

#[test]
fn a_stored_price_reads_back() {
    let line = price(&terms("BHD", "BHD", None), &rule(percent("12.5")), "gold", 1, 1001, None, false);
    let stored = json!({
        "form": "percentage", "value": 1_250_000_000, "rule": "commission_type", "program_version": 3,
        "commission_type": "gold", "level": 1, "original_sub_amount": 1001, "conversion_amount": 10_000,
        "conversion_currency": "BHD", "program_currency": "BHD", "exact": "1001/8", "priced_amount": 125,
    });
    assert_eq!(serde_json::to_value(&line.pricing).unwrap(), stored);
    assert_eq!(serde_json::from_value::<Pricing>(stored).unwrap(), line.pricing);
    let tiers = tiered("revenue", "marginal", &[(0, "percentage", 5 * P)]);
    let line = with_tier(&terms("USD", "USD", None), &tiers, 7, 10);
    let read: Pricing = serde_json::from_value(serde_json::to_value(&line.pricing).unwrap()).unwrap();
    assert_eq!(read, line.pricing);
    let over: OverrideRule = serde_json::from_value(json!({"form": "fixed", "value": 5})).unwrap();
    assert_eq!(over, OverrideRule { price: Price::Fixed { value: 5 }, first_payment: None });
    assert_eq!(Period::Month.as_str(), "month");
}

proptest! {
    /// Against long division in integers: scaled percent times sub amount over 10^10, half to even.
    #[test]
    fn rounding_is_half_even(scaled in 0..=10_000_000_000_i64, sub_amount in 0..=MAX_MINOR) {
        let value: Percent = serde_json::from_value(scaled.into()).unwrap();
        let (amount, _) = priced(&Price::Percentage { value }, sub_amount, "USD");
        let product = i128::from(scaled) * i128::from(sub_amount);
        let (floor, rest) = (product / 10_000_000_000, product % 10_000_000_000);
        let up = rest > 5_000_000_000 || (rest == 5_000_000_000 && floor % 2 == 1);
        prop_assert_eq!(i128::from(amount), floor + i128::from(up));
    }

    #[test]
    fn halves_go_to_the_even_neighbour(whole in 0..1_000_000_i64) {
        // 50 % of an odd amount always ends in a half.
        let (amount, _) = priced(&percent("50"), 2 * whole + 1, "USD");
        prop_assert_eq!(amount, whole + whole % 2);
    }

    /// Wherever a sub amount lies, its marginal price is that of its units one by one, before rounding.
    #[test]
    fn a_marginal_price_adds_up(before in 0..300_i64, sub_amount in 0..300_i64) {
        let brackets = [(0, "percentage", 10 * P), (100, "percentage", 30 * P), (150, "percentage", 70 * P)];
        let one = tiered("revenue", "marginal", &brackets);
        let line = with_tier(&terms("USD", "USD", None), &one, before, sub_amount);
        let percent = |unit: i64| if unit < 100 { 10 } else if unit < 150 { 30 } else { 70 };
        let sum: i64 = (before..before + sub_amount).map(percent).sum();
        prop_assert_eq!(line.pricing.exact.0, BigRational::new(sum.into(), 100.into()));
    }
}
