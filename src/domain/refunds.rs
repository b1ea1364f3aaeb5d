//! What a refund takes from the lines (MONEY 8).

use super::{pricing::Pricing, program::RefundPolicy, reason::Rejection};

/// A line as it stands before the refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundableLine {
    /// Minor units, now.
    pub amount: i64,
    pub pricing: Pricing,
}

/// A line as it stands after the refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundedLine {
    pub sub_amount: i64,
    /// Never above what the line was before.
    pub amount: i64,
}

/// What a refund does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// Minor units that this refund takes.
    pub taken: i64,
    /// Minor units that all refunds have taken, this one included.
    pub refunded_in_all: i64,
    /// In the order of the lines given.
    pub lines: Vec<RefundedLine>,
}

/// Works out one refund of a conversion: `asked` minor units, or all that is left. `lines` are all lines of the
/// conversion in their order; `whole_done_before` says that a conversion of amount 0 was refunded before.
///
/// # Errors
/// [`Rejection::RefundOfNothing`], [`Rejection::RefundExceedsConversion`], [`Rejection::AmountNegative`].
pub fn refund(
    conversion_amount: i64,
    refunded_before: i64,
    asked: Option<i64>,
    policy: RefundPolicy,
    whole_done_before: bool,
    lines: &[RefundableLine],
) -> Result<Refunded, Rejection> {
    todo!()
}

/// Splits `total` by `weights`: the parts add up to it exactly, ties go to the lower index.
pub fn largest_remainder(total: i64, weights: &[i64]) -> Vec<i64> {
    todo!()
}
