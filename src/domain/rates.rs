//! Exchange rates (MONEY 5): which row of the table converts an amount, and the exact fraction that it stands for.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive};
use serde::{Deserialize, Serialize};

use super::amount::{Currency, DecimalText, RATE_SCALE, format_scaled};

/// Days before a conversion's own in which a rate is looked for.
pub const LOOK_BACK_DAYS: i32 = 7;

/// The largest rate: 10^10 units of one currency for one of another, times 10^8.
pub const MAX_RATE: i64 = 10_000_000_000 * RATE_SCALE;

/// Why a text is no rate (MONEY 1, 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    #[error("must be a decimal number")]
    Invalid,
    #[error("must be above zero")]
    NotPositive,
    #[error("must not be above 10^10")]
    TooLarge,
    #[error("has more than 8 digits after the point")]
    TooPrecise,
}

/// Reads a decimal as a rate, times 10^8; nothing is rounded away.
pub fn parse_rate(text: &str) -> Result<i64, RateError> {
    let decimal: DecimalText = text.parse().map_err(|_| RateError::Invalid)?;
    let scaled = decimal.value() * BigRational::from(BigInt::from(RATE_SCALE));
    if !scaled.is_positive() {
        return Err(RateError::NotPositive);
    }
    if !scaled.is_integer() {
        return Err(RateError::TooPrecise);
    }
    scaled.to_integer().to_i64().filter(|rate| *rate <= MAX_RATE).ok_or(RateError::TooLarge)
}

/// A rate as the shortest decimal: `1.0825` for 108,250,000.
pub fn format_rate(rate: i64) -> String {
    format_scaled(rate)
}

/// One row of the table: one unit of `base` is `rate` units of `quote` on that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateRow {
    pub base: Currency,
    pub quote: Currency,
    /// Days since 1970-01-01 in the account's time zone.
    pub day: i32,
    /// Times 10^8, above 0.
    pub rate: i64,
}

/// How a conversion's amounts become amounts of its program's currency; stored with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRate {
    /// Minor units of the program's currency for one minor unit of the conversion's, exactly.
    pub factor: Fraction,
    /// The rows that were used: one, or the two legs over EUR.
    pub rows: Vec<RateRow>,
}

/// An exact number, written as `3/2`, or `2` where it is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fraction(pub BigRational);

impl Fraction {
    pub fn one() -> Self {
        Self(BigRational::from(BigInt::from(1)))
    }
}

impl std::fmt::Display for Fraction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Fraction> for String {
    fn from(fraction: Fraction) -> Self {
        fraction.to_string()
    }
}

impl TryFrom<String> for Fraction {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Fraction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{text} is no fraction"))
    }
}

/// The rate for a conversion of `day`, among the rows of the table: the direct one, else the inverse, else the cross
/// over EUR, each by its nearest day. Rows of other days and currencies are passed over.
pub fn find(rows: &[RateRow], from: Currency, to: Currency, day: i32) -> Option<StoredRate> {
    let (factor, rows) = leg(rows, from, to, day).map(|(factor, row)| (factor, vec![row])).or_else(|| {
        let euro: Currency = "EUR".parse().ok()?;
        if from == euro || to == euro {
            return None;
        }
        let (into, first) = leg(rows, from, euro, day)?;
        let (out, second) = leg(rows, euro, to, day)?;
        Some((into * out, vec![first, second]))
    })?;
    let shift = ten_to(to.exponent()) / ten_to(from.exponent());
    Some(StoredRate { factor: Fraction(factor * shift), rows })
}

/// One step between two currencies: units of `to` for one unit of `from`.
fn leg(rows: &[RateRow], from: Currency, to: Currency, day: i32) -> Option<(BigRational, RateRow)> {
    let nearest = |base, quote| {
        let fits = |row: &&RateRow| {
            row.base == base && row.quote == quote && row.day <= day && day - row.day <= LOOK_BACK_DAYS
        };
        rows.iter().filter(fits).max_by_key(|row| row.day).copied()
    };
    let exact = |row: RateRow| BigRational::new(row.rate.into(), RATE_SCALE.into());
    match nearest(from, to) {
        Some(row) => Some((exact(row), row)),
        None => nearest(to, from).map(|row| (exact(row).recip(), row)),
    }
}

fn ten_to(exponent: u32) -> BigRational {
    BigRational::from(BigInt::from(10).pow(exponent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    fn row(base: &str, quote: &str, day: i32, rate: i64) -> RateRow {
        RateRow { base: currency(base), quote: currency(quote), day, rate }
    }

    fn found(rows: &[RateRow], from: &str, to: &str, day: i32) -> Option<(String, usize)> {
        find(rows, currency(from), currency(to), day).map(|rate| (rate.factor.to_string(), rate.rows.len()))
    }

    #[test]
    fn the_direct_rate_goes_before_the_inverse_and_the_cross() {
        let rows = [
            row("EUR", "USD", 100, 110_000_000),
            row("EUR", "JPY", 99, 16_500_000_000),
            row("USD", "JPY", 95, 15_000_000_000),
            row("JPY", "GBP", 93, 500_000),
        ];
        // 1.10 USD for a euro, both with two digits.
        assert_eq!(found(&rows, "EUR", "USD", 100), Some(("11/10".into(), 1)));
        assert_eq!(found(&rows, "USD", "EUR", 100), Some(("10/11".into(), 1)));
        // A cent is 1.5 yen by the direct rate.
        assert_eq!(found(&rows, "USD", "JPY", 100), Some(("3/2".into(), 1)));
        // That rate is too old on day 103, and the cross over the euro is not: 165 / 1.1 yen a dollar.
        assert_eq!(found(&rows, "USD", "JPY", 103), Some(("3/2".into(), 2)));
        assert_eq!(found(&rows, "JPY", "USD", 103), Some(("2/3".into(), 2)));
        assert_eq!(found(&rows, "JPY", "GBP", 100), Some(("1/2".into(), 1)));
        assert_eq!(found(&rows, "JPY", "GBP", 101), None);
        assert_eq!(found(&rows, "EUR", "USD", 99), None);
        assert_eq!(found(&rows, "EUR", "USD", 107), Some(("11/10".into(), 1)));
        assert_eq!(found(&rows, "EUR", "USD", 108), None);
    }

    #[test]
    fn rates_are_exact_positive_and_bounded() {
        for (text, rate) in [
            ("1.0825", 108_250_000),
            ("0.00000001", 1),
            ("165.20", 16_520_000_000),
            ("1.100000000", 110_000_000),
            ("1.5e2", 15_000_000_000),
            ("10000000000", MAX_RATE),
        ] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for (text, error) in [
            ("", RateError::Invalid),
            ("N/A", RateError::Invalid),
            ("1,1", RateError::Invalid),
            ("1 000", RateError::Invalid),
            ("inf", RateError::Invalid),
            ("0", RateError::NotPositive),
            ("-1.1", RateError::NotPositive),
            ("-0.000000001", RateError::NotPositive),
            ("0.000000001", RateError::TooPrecise),
            ("1.123456789", RateError::TooPrecise),
            ("10000000000.00000001", RateError::TooLarge),
            ("1e60", RateError::TooLarge),
        ] {
            assert_eq!(parse_rate(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_rate_is_written_and_read_back(rate in 1..=MAX_RATE) {
            prop_assert_eq!(parse_rate(&format_rate(rate)), Ok(rate));
        }
    }

    #[test]
    fn fractions_read_back() {
        for text in ["3/2", "7", "-1/3"] {
            let fraction: Fraction = text.parse().unwrap();
            assert_eq!(serde_json::to_string(&fraction).unwrap(), format!("\"{text}\""));
        }
        assert!("1/0x".parse::<Fraction>().is_err());
    }
}
