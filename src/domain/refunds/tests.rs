use proptest::prelude::*;

use super::*;
use crate::domain::{
    amount::{Currency, MAX_MINOR, Percent, RATE_SCALE},
    price::Price,
    pricing::{Rule, RuleSource, Terms, price},
};

fn percent(whole_percent: i64) -> Price {
    let value: Percent = serde_json::from_value((whole_percent * RATE_SCALE).into()).unwrap();
    Price::Percentage { value }
}

/// Lines of a conversion as they are made: a rule and a sub amount each.
fn made(code: &str, amount: i64, parts: &[(Price, i64)]) -> Vec<RefundableLine> {
    let currency: Currency = code.parse().unwrap();
    parts
        .iter()
        .enumerate()
        .map(|(entry, (rule, sub_amount))| {
            let terms = Terms {
                program_version: 1,
                program_currency: currency,
                conversion_amount: amount,
                conversion_currency: currency,
                factor: None,
                in_program_currency: false,
            };
            let source = RuleSource::CommissionType;
            let rule = Rule { source, price: rule.clone(), first_payment: None };
            let line = price(&terms, &rule, "standard", 1, *sub_amount, None, false);
            RefundableLine {
                entry,
                sub_amount: *sub_amount,
                amount: line.amount,
                pricing: line.pricing,
                set: None,
            }
        })
        .collect()
}

fn one(
    amount: i64,
    refunded: i64,
    asked: Option<i64>,
    policy: RefundPolicy,
    refunded_whole: bool,
    lines: &[RefundableLine],
) -> Result<Refunded, Rejection> {
    let entries: Vec<i64> = lines.iter().map(|line| line.pricing.original_sub_amount).collect();
    refund(&Refundable { amount, refunded, refunded_whole, entries: &entries, policy, lines }, asked)
}

/// Applies refunds one after the other, each `None` for all that is left; the (sub amount, amount) of every
/// line after each.
fn after(
    amount: i64,
    mut lines: Vec<RefundableLine>,
    refunds: &[Option<i64>],
) -> Result<Vec<Vec<(i64, i64)>>, Rejection> {
    let (mut refunded, mut whole_done, mut states) = (0, false, Vec::new());
    for asked in refunds {
        let done = one(amount, refunded, *asked, RefundPolicy::Reverse, whole_done, &lines)?;
        assert_eq!(done.refunded_in_all, refunded + done.taken);
        refunded = done.refunded_in_all;
        assert_eq!(done.whole, refunded == amount);
        whole_done = done.whole;
        for (line, now) in lines.iter_mut().zip(&done.lines) {
            assert!(now.amount <= line.amount, "a refund raised a line");
            line.amount = now.amount;
        }
        states.push(done.lines.iter().map(|line| (line.sub_amount, line.amount)).collect());
    }
    Ok(states)
}

#[test]
fn a_percentage_is_priced_again_from_what_is_left() {
    // 49.90 USD at 10 %; 10.00 back leaves 39.90, 3.99; 0.04 more leaves 39.86: 3.986, 3.99; then nothing.
    let lines = made("USD", 4990, &[(percent(10), 4990)]);
    let states = after(4990, lines, &[Some(1000), Some(4), None]).unwrap();
    assert_eq!(states, [[(3990, 399)], [(3986, 399)], [(0, 0)]]);
}

#[test]
fn a_fixed_value_shrinks_with_the_amount() {
    // 5.00 of 30.00 USD; 20.00 left: 3.333; 10.00 left: 1.667; 0.
    let lines = made("USD", 3000, &[(Price::Fixed { value: 500 }, 3000)]);
    let states = after(3000, lines, &[Some(1000), Some(1000), Some(1000)]).unwrap();
    assert_eq!(states, [[(2000, 333)], [(1000, 167)], [(0, 0)]]);
    // Half a minor unit goes to the even neighbour: 5 × 1/2 = 2.5.
    let lines = made("JPY", 10, &[(Price::Fixed { value: 5 }, 10)]);
    assert_eq!(after(10, lines, &[Some(5)]).unwrap(), [[(5, 2)]]);
}

#[test]
fn currencies_with_other_digits_follow_the_same_rule() {
    // 1,001 JPY at 5 %: 50.05; 500 back leaves 501: 25.05.
    let lines = made("JPY", 1001, &[(percent(5), 1001)]);
    assert_eq!(lines[0].amount, 50);
    assert_eq!(after(1001, lines, &[Some(500)]).unwrap(), [[(501, 25)]]);
    // 10.005 BHD at 10 %: 1.0005, the even 1.000; 0.001 back leaves 10.004: 1.0004.
    let lines = made("BHD", 10_005, &[(percent(10), 10_005)]);
    assert_eq!(lines[0].amount, 1000);
    assert_eq!(after(10_005, lines, &[Some(1), None]).unwrap(), [[(10_004, 1000)], [(0, 0)]]);
}

#[test]
fn sub_amounts_are_split_by_largest_remainder() {
    // Subs 10.00, 10.00, 10.00 of 30.00; 0.01 back: 29.99 is 9.99⅔ thrice, the two first get the rest.
    let lines = made("USD", 3000, &[(percent(10), 1000), (percent(50), 1000), (percent(10), 1000)]);
    let states = after(3000, lines, &[Some(1)]).unwrap();
    assert_eq!(states, [[(1000, 100), (1000, 500), (999, 100)]]);
    // Subs 10.00 and 5.00 of an amount of 30.00; half back: 7.50, split 5.00 and 2.50.
    let lines = made("USD", 3000, &[(percent(10), 1000), (Price::Fixed { value: 100 }, 500)]);
    assert_eq!(after(3000, lines, &[Some(1500)]).unwrap(), [[(500, 50), (250, 50)]]);
}

#[test]
fn the_lines_stay_where_the_program_keeps_them() {
    let lines = made("USD", 4990, &[(percent(10), 4990)]);
    let done = one(4990, 0, Some(1000), RefundPolicy::Keep, false, &lines).unwrap();
    assert_eq!((done.taken, done.refunded_in_all), (1000, 1000));
    assert_eq!(done.lines, [RefundedLine { sub_amount: 4990, amount: 499 }]);
    let done = one(4990, 1000, None, RefundPolicy::Keep, false, &lines).unwrap();
    assert_eq!((done.taken, done.refunded_in_all), (3990, 4990));
    assert_eq!(done.lines, [RefundedLine { sub_amount: 4990, amount: 499 }]);
    // What an earlier refund took, before the program kept them, is not given back.
    let reversed = [RefundableLine { sub_amount: 3990, amount: 399, ..lines[0].clone() }];
    let done = one(4990, 1000, None, RefundPolicy::Keep, false, &reversed).unwrap();
    assert_eq!(done.lines, [RefundedLine { sub_amount: 3990, amount: 399 }]);
}

#[test]
fn an_amount_of_zero_is_refunded_whole_and_once() {
    let parts = [(Price::Fixed { value: 500 }, 0), (percent(10), 1000)];
    let lines = || made("USD", 0, &parts);
    assert_eq!(lines().iter().map(|line| line.amount).collect::<Vec<_>>(), [500, 100]);
    assert_eq!(after(0, lines(), &[None]).unwrap(), [[(0, 0), (0, 0)]]);
    assert_eq!(after(0, lines(), &[None, None]), Err(Rejection::RefundExceedsConversion));
    assert_eq!(after(0, lines(), &[Some(1)]), Err(Rejection::RefundExceedsConversion));
    assert_eq!(after(0, lines(), &[Some(0)]), Err(Rejection::RefundOfNothing));
    let kept = one(0, 0, None, RefundPolicy::Keep, false, &lines()).unwrap();
    assert_eq!(kept.lines.iter().map(|line| line.amount).collect::<Vec<_>>(), [500, 100]);
}

#[test]
fn refunds_are_refused_with_their_reason() {
    let lines = || made("USD", 100, &[(percent(10), 100)]);
    assert_eq!(after(100, lines(), &[Some(101)]), Err(Rejection::RefundExceedsConversion));
    assert_eq!(after(100, lines(), &[Some(60), Some(41)]), Err(Rejection::RefundExceedsConversion));
    assert_eq!(after(100, lines(), &[Some(100), Some(1)]), Err(Rejection::RefundExceedsConversion));
    assert_eq!(after(100, lines(), &[Some(100), None]), Err(Rejection::RefundExceedsConversion));
    assert_eq!(after(100, lines(), &[Some(0)]), Err(Rejection::RefundOfNothing));
    assert_eq!(after(100, lines(), &[Some(-1)]), Err(Rejection::AmountNegative));
}

#[test]
fn a_line_that_was_cut_stays_cut() {
    let mut lines = made("USD", 1000, &[(percent(10), 1000), (percent(10), 0)]);
    lines[0].amount = 20;
    assert_eq!(
        after(1000, lines, &[Some(100), Some(800)]).unwrap(),
        [[(900, 20), (0, 0)], [(100, 10), (0, 0)]]
    );
}

#[test]
fn remainders_go_to_the_largest_and_then_to_the_first() {
    let table: [(i64, &[i64], &[i64]); 9] = [
        (10, &[1, 1, 1], &[4, 3, 3]),
        (11, &[1, 1, 1], &[4, 4, 3]),
        (10, &[3, 3, 1], &[4, 4, 2]),
        (7, &[0, 5], &[0, 7]),
        (5, &[0, 0], &[3, 2]),
        (5, &[-1, 1], &[0, 5]),
        (-10, &[1, 1, 1], &[-4, -3, -3]),
        (0, &[1, 2], &[0, 0]),
        (5, &[], &[]),
    ];
    for (total, weights, parts) in table {
        assert_eq!(largest_remainder(total, weights), parts, "{total} by {weights:?}");
    }
    assert_eq!(largest_remainder(i64::MIN, &[i64::MAX]), [i64::MIN]);
    assert_eq!(largest_remainder(i64::MAX, &[i64::MAX, i64::MAX]), [i64::MAX / 2 + 1, i64::MAX / 2]);
}

fn rules() -> impl Strategy<Value = Price> {
    prop_oneof![
        (0_i64..=100 * RATE_SCALE)
            .prop_map(|scaled| Price::Percentage { value: serde_json::from_value(scaled.into()).unwrap() }),
        (0_i64..=1_000_000).prop_map(|value| Price::Fixed { value }),
    ]
}

proptest! {
    #[test]
    fn parts_add_up_and_are_near(total in -MAX_MINOR..=MAX_MINOR, weights in prop::collection::vec(0..=MAX_MINOR, 1..12)) {
        let parts = largest_remainder(total, &weights);
        prop_assert_eq!(parts.iter().sum::<i64>(), total);
        let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
        for (part, weight) in parts.iter().zip(&weights) {
            // |part - total × weight ÷ sum| < 1
            let difference = i128::from(*part) * sum - i128::from(total) * i128::from(*weight);
            prop_assert!(sum == 0 || difference.abs() < sum);
        }
    }

    /// `after` asserts at every refund that no line was raised.
    #[test]
    fn refunds_that_add_up_to_the_whole_leave_nothing(
        amount in 1_i64..=100_000_000,
        parts in prop::collection::vec((rules(), 0_i64..=100_000_000), 1..6),
        cuts in prop::collection::vec(0_i64..1_000_000, 0..6),
        all_that_is_left in any::<bool>(),
    ) {
        let mut borders: Vec<i64> = cuts.iter().map(|cut| amount * cut / 1_000_000).collect();
        borders.extend([0, amount]);
        borders.sort_unstable();
        borders.dedup();
        let mut refunds: Vec<Option<i64>> = borders.windows(2).map(|pair| Some(pair[1] - pair[0])).collect();
        if all_that_is_left {
            refunds.pop();
            refunds.push(None);
        }
        let states = after(amount, made("USD", amount, &parts), &refunds).unwrap();
        prop_assert_eq!(states.last().unwrap(), &vec![(0, 0); parts.len()]);
    }

    /// How the first part was cut does not matter to sub amounts.
    #[test]
    fn sub_amounts_depend_only_on_what_was_refunded_in_all(
        rest in 0_i64..1_000_000,
        subs in prop::collection::vec(0_i64..=1_000_000, 1..6),
        first in 1_i64..1_000_000,
        second in 1_i64..1_000_000,
    ) {
        let amount = rest + first + second;
        let parts: Vec<_> = subs.iter().map(|sub| (percent(10), *sub)).collect();
        let twice = after(amount, made("USD", amount, &parts), &[Some(first), Some(second)]).unwrap();
        let once = after(amount, made("USD", amount, &parts), &[Some(first + second)]).unwrap();
        let subs = |state: &[(i64, i64)]| state.iter().map(|line| line.0).collect::<Vec<_>>();
        prop_assert_eq!(subs(&twice[1]), subs(&once[0]));
        // A remainder may turn to another line in between: what was taken then is not given back.
        for (cut, straight) in twice[1].iter().zip(&once[0]) {
            prop_assert!(cut.1 <= straight.1);
        }
    }
}
