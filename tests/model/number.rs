//! Exact arithmetic of the model's own: rationals, rounded half-even, and splits that lose nothing.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{ToPrimitive, Zero};

pub type Q = BigRational;

pub fn whole(n: i64) -> Q {
    Q::from_integer(n.into())
}

pub fn ratio(n: i64, d: i64) -> Q {
    Q::new(n.into(), d.into())
}

/// 10 to the power of `n`, which may be below 0.
pub fn ten_to(n: i32) -> Q {
    let power = Q::from_integer(BigInt::from(10).pow(n.unsigned_abs()));
    if n < 0 { power.recip() } else { power }
}

/// To the nearest integer; a half to the even one.
pub fn half_even(value: &Q) -> i64 {
    let doubled: Q = value * whole(2);
    let nearest = (value + ratio(1, 2)).floor().to_integer();
    let is_half = doubled.is_integer() && !value.is_integer();
    let nearest = if is_half && nearest.is_odd() { nearest - 1 } else { nearest };
    nearest.to_i64().unwrap()
}

pub fn floor(value: &Q) -> i64 {
    value.floor().to_integer().to_i64().unwrap()
}

/// `total` in parts like the weights, by largest remainder; of equal remainders the first takes the unit.
pub fn split(total: i64, weights: &[i64]) -> Vec<i64> {
    let sum: i64 = weights.iter().sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let shares: Vec<Q> = weights.iter().map(|weight| whole(total) * ratio(*weight, sum)).collect();
    let mut parts: Vec<i64> = shares.iter().map(floor).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    // A stable sort: the lower place stays first.
    by_remainder.sort_by(|a, b| shares[*b].fract().cmp(&shares[*a].fract()));
    let missing = total - parts.iter().sum::<i64>();
    for place in by_remainder.into_iter().take(usize::try_from(missing).unwrap()) {
        parts[place] += 1;
    }
    parts
}

/// Reads a decimal; the generator writes only `[-]digits[.digits]`.
pub fn decimal(text: &str) -> Q {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scaled: BigInt = format!("{integer}{fraction}").parse().unwrap();
    Q::from_integer(scaled * sign) * ten_to(-i32::try_from(fraction.len()).unwrap())
}

/// Minor units of a currency with so many digits after the point, and whether rounding changed the value.
pub fn minor(text: &str, exponent: u32) -> (Q, i64, bool) {
    let exact = decimal(text) * ten_to(exponent.cast_signed());
    let rounded = half_even(&exact);
    let changed = !exact.is_integer();
    (exact, rounded, changed)
}

pub fn is_zero(value: &Q) -> bool {
    value.is_zero()
}
