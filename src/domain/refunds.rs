//! What a refund takes from the lines (MONEY 8), and how a conversion's parts are scaled (MONEY 11).
//!
//! Every refund starts from the original sub amounts and from the sum of all refunds, never from what an earlier
//! refund rounded: so refunds that add up to the whole leave exactly 0, however they were cut.

use num_rational::BigRational;

use super::{
    price::FlatPrice,
    pricing::{Pricing, to_minor, whole},
    program::RefundPolicy,
    reason::Rejection,
};

/// A conversion as it stands before the refund.
#[derive(Clone, Debug)]
pub struct Refundable<'a> {
    /// Minor units, before any refund.
    pub amount: i64,
    /// Minor units that were refunded before.
    pub refunded: i64,
    /// A conversion of amount 0 was refunded, or one above 0 whole.
    pub refunded_whole: bool,
    /// Minor units of each entry, before any refund.
    pub entries: &'a [i64],
    pub policy: RefundPolicy,
    /// Regular and level lines, in their order.
    pub lines: &'a [RefundableLine],
}

/// A line as it stands before the refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundableLine {
    /// The place of its entry, from 0.
    pub entry: usize,
    /// Minor units of the conversion's currency, now.
    pub sub_amount: i64,
    /// Minor units, now.
    pub amount: i64,
    pub pricing: Pricing,
    pub set: Option<SetLine>,
}

/// An amount that does not follow from the price any more: set by hand, or left when its conversion was edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLine {
    /// Minor units of the line's currency.
    pub amount: i64,
    /// What was left of the conversion then, in minor units of its currency.
    pub left: i64,
}

/// A line as it stands after the refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundedLine {
    /// Minor units of the conversion's currency.
    pub sub_amount: i64,
    /// Minor units of the line's currency; never above what the line was before.
    pub amount: i64,
}

/// What a refund does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// Minor units that this refund takes.
    pub taken: i64,
    /// Minor units that all refunds have taken, this one included.
    pub refunded_in_all: i64,
    /// Nothing is left.
    pub whole: bool,
    /// In the order of the lines given.
    pub lines: Vec<RefundedLine>,
}

/// Works out one refund of a conversion: `asked` minor units, or all that is left.
///
/// # Errors
/// [`Rejection::RefundOfNothing`], [`Rejection::RefundExceedsConversion`], [`Rejection::AmountNegative`]. What is
/// wrong in the request itself is said before what the conversion does not allow.
pub fn refund(conversion: &Refundable<'_>, asked: Option<i64>) -> Result<Refunded, Rejection> {
    let left_before = conversion.amount - conversion.refunded;
    let taken = match asked {
        Some(asked) if asked < 0 => return Err(Rejection::AmountNegative),
        Some(0) => return Err(Rejection::RefundOfNothing),
        Some(asked) => asked,
        None => left_before,
    };
    if conversion.refunded_whole || taken > left_before {
        return Err(Rejection::RefundExceedsConversion);
    }
    let refunded_in_all = conversion.refunded + taken;
    let whole = refunded_in_all == conversion.amount;
    let lines = match conversion.policy {
        RefundPolicy::Keep => conversion.lines.iter().map(kept).collect(),
        RefundPolicy::Reverse => reversed(conversion, refunded_in_all),
    };
    Ok(Refunded { taken, refunded_in_all, whole, lines })
}

fn kept(line: &RefundableLine) -> RefundedLine {
    RefundedLine { sub_amount: line.sub_amount, amount: line.amount }
}

fn reversed(conversion: &Refundable<'_>, refunded_in_all: i64) -> Vec<RefundedLine> {
    let sub_amounts = sub_amounts_left(conversion.amount, refunded_in_all, conversion.entries);
    let left = conversion.amount - refunded_in_all;
    let reverse = |line: &RefundableLine| {
        let sub_amount = sub_amounts.get(line.entry).copied().unwrap_or_default();
        let amount = worth(&line.pricing, line.set, sub_amount, left).min(line.amount);
        RefundedLine { sub_amount, amount }
    };
    conversion.lines.iter().map(reverse).collect()
}

/// What a line is worth once `left` is left of its conversion and `sub_amount_left` of its entry: priced again by its
/// own rule, and never above what the caps had left for it.
pub fn worth(pricing: &Pricing, set: Option<SetLine>, sub_amount_left: i64, left: i64) -> i64 {
    let amount = to_minor(&exact_after(pricing, set, sub_amount_left, left));
    match (pricing.rest, set) {
        (Some(rest), None) => amount.min(rest),
        (Some(_) | None, _) => amount,
    }
}

/// The same in minor units before rounding and before the caps.
pub fn exact_after(pricing: &Pricing, set: Option<SetLine>, sub_amount_left: i64, left: i64) -> BigRational {
    if let Some(set) = set {
        return whole(set.amount) * share(left, set.left);
    }
    // A conversion of amount 0 can only be refunded whole.
    if pricing.conversion_amount == 0 {
        return whole(0);
    }
    match pricing.flat() {
        Some(FlatPrice::Fixed { value }) => whole(value) * share(left, pricing.conversion_amount),
        Some(FlatPrice::Percentage { .. }) | None => pricing.exact_for(sub_amount_left),
    }
}

/// The sub amounts once `refunded_in_all` is taken off, from the original ones: what is left of their sum, half-even,
/// split by largest remainder. A conversion of amount 0 can only be refunded whole, which leaves 0.
pub fn sub_amounts_left(conversion_amount: i64, refunded_in_all: i64, originals: &[i64]) -> Vec<i64> {
    let sum = originals.iter().fold(0_i64, |sum, original| sum.saturating_add(*original));
    let left = whole(sum) * share(conversion_amount - refunded_in_all, conversion_amount);
    largest_remainder(to_minor(&left), originals)
}

/// The sub amounts of a conversion whose amount is changed from above 0: their sum grows or shrinks with it.
pub fn sub_amounts_scaled(amount_before: i64, amount_after: i64, entries: &[i64]) -> Vec<i64> {
    let sum = entries.iter().fold(0_i64, |sum, entry| sum.saturating_add(*entry));
    largest_remainder(to_minor(&(whole(sum) * share(amount_after, amount_before))), entries)
}

/// `part` ÷ `of`; of nothing it is 0.
fn share(part: i64, of: i64) -> BigRational {
    if of == 0 { whole(0) } else { BigRational::new(part.into(), of.into()) }
}

/// Splits `total` by `weights`: the parts add up to it exactly, ties go to the lower index. A weight below 0
/// counts as 0, and where all are 0 they count alike. Without weights there are no parts.
pub fn largest_remainder(total: i64, weights: &[i64]) -> Vec<i64> {
    let mut weights: Vec<u128> =
        weights.iter().map(|weight| u128::from(weight.max(&0).unsigned_abs())).collect();
    if weights.iter().all(|weight| *weight == 0) {
        weights.fill(1);
    }
    let sum: u128 = weights.iter().sum();
    let magnitude = u128::from(total.unsigned_abs());
    let mut parts: Vec<u128> = weights.iter().map(|weight| magnitude * weight / sum).collect();
    let missing = magnitude - parts.iter().sum::<u128>();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    // The sort is stable: among equal remainders the lower index stays first.
    order.sort_by_key(|index| std::cmp::Reverse(magnitude * weights[*index] % sum));
    // Each part is short by less than one unit, so fewer units are missing than there are parts.
    for (index, _) in order.into_iter().zip(0..missing) {
        parts[index] += 1;
    }
    // No part is larger than the total, which is an i64.
    let signed = |part: u128| i64::try_from(part).map_or(total, |part| part * total.signum());
    parts.into_iter().map(signed).collect()
}

#[cfg(test)]
mod tests;
