//! Amounts, percents and their arithmetic (MONEY 1): integers and exact rationals, rounded half-even once.

use std::{fmt, str::FromStr};

use iso_currency::Currency as Iso;
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};
use serde::{Deserialize, Serialize};

use super::reason::Rejection;

/// The largest amount that is accepted: 10^15 minor units.
pub const MAX_MINOR: i64 = 1_000_000_000_000_000;

/// A percent or rate of 1 is this integer: 8 fractional digits.
pub const RATE_SCALE: i64 = 100_000_000;

/// A currency of ISO 4217 that has a minor unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(Iso);

impl Currency {
    /// The upper-case code, `USD`.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Digits after the point: 0, 2, 3 or 4.
    pub fn exponent(self) -> u32 {
        self.0.exponent().unwrap_or(0).into()
    }

    /// `1234` as `12.34`.
    pub fn format(self, minor: i64) -> String {
        let digits = self.exponent() as usize;
        let sign = if minor < 0 { "-" } else { "" };
        let text = format!("{:0width$}", minor.unsigned_abs(), width = digits + 1);
        let (whole, part) = text.split_at(text.len() - digits);
        if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
    }
}

/// The text is no code of a currency with a minor unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a currency of ISO 4217")]
pub struct UnknownCurrency;

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(text: &str) -> Result<Self, UnknownCurrency> {
        let upper = text.len() == 3 && text.bytes().all(|b| b.is_ascii_alphabetic());
        let iso = upper.then(|| Iso::from_code(&text.to_ascii_uppercase())).flatten();
        // Gold, test codes and the like have no minor unit; nobody is paid in them.
        iso.filter(|iso| iso.exponent().is_some()).map(Self).ok_or(UnknownCurrency)
    }
}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;

    fn try_from(text: String) -> Result<Self, UnknownCurrency> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a text is no amount. The codes are those of MONEY 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("must be a decimal number")]
    Invalid,
    /// A number perhaps, but not one that is looked at: its digits would only cost time.
    #[error("must have at most {} characters, and an exponent from -{max} to {max}", DecimalText::MAX_CHARS, max = DecimalText::MAX_EXPONENT)]
    TooLong,
    #[error("must not be below zero")]
    Negative,
    #[error("must not be above 10^15 minor units")]
    TooLarge,
    /// Only where digits may not be rounded away: values in rules.
    #[error("has more digits after the point than allowed")]
    TooPrecise,
}

/// As a report that has such an amount is rejected (MONEY 1).
impl From<AmountError> for Rejection {
    fn from(error: AmountError) -> Self {
        match error {
            AmountError::Invalid | AmountError::TooLong | AmountError::TooPrecise => Self::AmountInvalid,
            AmountError::Negative => Self::AmountNegative,
            AmountError::TooLarge => Self::AmountTooLarge,
        }
    }
}

/// A decimal number as the text of the request, read only when its currency is known: `12.5`, `-3`, `1.25e2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DecimalText(String);

impl DecimalText {
    /// Characters at most; a number that means money needs no more.
    pub const MAX_CHARS: usize = 64;
    const MAX_EXPONENT: u32 = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The exact value.
    pub fn value(&self) -> BigRational {
        // The constructor has parsed this text before.
        parse_decimal(&self.0).unwrap_or_else(|_| BigRational::zero())
    }

    /// The amount in minor units of `currency`, and whether rounding changed the value.
    pub fn to_minor(&self, currency: Currency) -> Result<(i64, bool), AmountError> {
        let minor = self.value() * BigRational::from(BigInt::from(10).pow(currency.exponent()));
        if minor.is_negative() {
            return Err(AmountError::Negative);
        }
        if minor > BigRational::from(BigInt::from(MAX_MINOR)) {
            return Err(AmountError::TooLarge);
        }
        let rounded = round_half_even(&minor);
        Ok((rounded.to_i64().ok_or(AmountError::TooLarge)?, !minor.is_integer()))
    }

    /// As [`to_minor`](Self::to_minor), for values in rules: nothing may be rounded away.
    pub fn to_minor_exact(&self, currency: Currency) -> Result<i64, AmountError> {
        match self.to_minor(currency)? {
            (minor, false) => Ok(minor),
            (_, true) => Err(AmountError::TooPrecise),
        }
    }

    /// As [`to_minor_exact`](Self::to_minor_exact), for what may also be taken away: an amount below zero is one.
    pub fn to_minor_signed(&self, currency: Currency) -> Result<i64, AmountError> {
        match self.0.strip_prefix('-') {
            Some(positive) => Self(positive.to_owned()).to_minor_exact(currency).map(|minor| -minor),
            None => self.to_minor_exact(currency),
        }
    }
}

impl FromStr for DecimalText {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        parse_decimal(text).map(|_| Self(text.to_owned()))
    }
}

impl TryFrom<String> for DecimalText {
    type Error = AmountError;

    fn try_from(text: String) -> Result<Self, AmountError> {
        text.parse()
    }
}

impl From<DecimalText> for String {
    fn from(text: DecimalText) -> Self {
        text.0
    }
}

/// `[+-]digits[.digits][e[+-]digits]`, with a digit on at least one side of the point.
fn parse_decimal(text: &str) -> Result<BigRational, AmountError> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let unsigned = without_sign(mantissa);
    let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = format!("{whole}{part}");
    if !is_digits(&digits) || !is_digits(without_sign(exponent)) {
        return Err(AmountError::Invalid);
    }
    let exponent: i32 = exponent.parse().map_err(|_| AmountError::TooLong)?;
    if text.len() > DecimalText::MAX_CHARS || exponent.unsigned_abs() > DecimalText::MAX_EXPONENT {
        return Err(AmountError::TooLong);
    }
    let number: BigInt = digits.parse().map_err(|_| AmountError::Invalid)?;
    let number = if mantissa.starts_with('-') { -number } else { number };
    let scale = exponent - i32::try_from(part.len()).map_err(|_| AmountError::TooLong)?;
    let power = BigInt::from(10).pow(scale.unsigned_abs());
    Ok(if scale < 0 { BigRational::new(number, power) } else { BigRational::from(number * power) })
}

fn without_sign(number: &str) -> &str {
    number.strip_prefix(['+', '-']).unwrap_or(number)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The nearest integer; a half goes to the even neighbour.
pub fn round_half_even(value: &BigRational) -> BigInt {
    let (floor, rest) = value.numer().div_mod_floor(value.denom());
    let twice: BigInt = rest * 2;
    let up = match twice.cmp(value.denom()) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => floor.is_odd(),
    };
    if up { floor + 1 } else { floor }
}

/// A percent from 0 to 100 with at most 8 digits after the point, as an integer times 10^8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(i64);

impl Percent {
    pub fn from_decimal(text: &DecimalText) -> Result<Self, AmountError> {
        let scaled = text.value() * BigRational::from(BigInt::from(RATE_SCALE));
        if scaled.is_negative() {
            return Err(AmountError::Negative);
        }
        if scaled > BigRational::from(BigInt::from(100 * RATE_SCALE)) {
            return Err(AmountError::TooLarge);
        }
        if !scaled.is_integer() {
            return Err(AmountError::TooPrecise);
        }
        scaled.to_integer().to_i64().map(Self).ok_or(AmountError::TooLarge)
    }

    /// The percent times 10^8.
    pub fn scaled(self) -> i64 {
        self.0
    }

    /// The factor: 10 % is 1/10.
    pub fn factor(self) -> BigRational {
        BigRational::new(self.0.into(), (100 * RATE_SCALE).into())
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_scaled(self.0))
    }
}

/// A number that is not below zero, kept times 10^8, as the shortest decimal: `12.5`.
pub fn format_scaled(scaled: i64) -> String {
    let part = format!("{:08}", scaled % RATE_SCALE);
    let part = part.trim_end_matches('0');
    let point = if part.is_empty() { "" } else { "." };
    format!("{}{point}{part}", scaled / RATE_SCALE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minor(text: &str, currency: &str) -> Result<(i64, bool), AmountError> {
        text.parse::<DecimalText>()?.to_minor(currency.parse().unwrap())
    }

    #[test]
    fn reads_decimals_exactly() {
        assert_eq!(minor("12.34", "USD"), Ok((1234, false)));
        assert_eq!(minor("1.25e2", "USD"), Ok((12_500, false)));
        assert_eq!(minor("100", "JPY"), Ok((100, false)));
        assert_eq!(minor("1.2345", "BHD"), Ok((1234, true)));
        assert_eq!(minor("1.2355", "BHD"), Ok((1236, true)));
        assert_eq!(minor("-0.0", "USD"), Ok((0, false)));
        assert_eq!(minor("-0.001", "USD"), Err(AmountError::Negative));
        assert_eq!(minor("10000000000000.00", "USD"), Ok((MAX_MINOR, false)));
        assert_eq!(minor("10000000000000.001", "USD"), Err(AmountError::TooLarge));
    }

    #[test]
    fn what_may_be_taken_away_is_read_exactly_too() {
        let signed = |text: &str| text.parse::<DecimalText>()?.to_minor_signed("USD".parse().unwrap());
        assert_eq!(signed("-12.34"), Ok(-1234));
        assert_eq!(signed("+1.2e1"), Ok(1200));
        assert_eq!(signed("-0"), Ok(0));
        assert_eq!(signed("-10000000000000"), Ok(-MAX_MINOR));
        assert_eq!(signed("-10000000000000.01"), Err(AmountError::TooLarge));
        assert_eq!(signed("-0.001"), Err(AmountError::TooPrecise));
        assert_eq!(signed("--1"), Err(AmountError::Invalid));
    }

    #[test]
    fn refuses_what_is_no_number() {
        for bad in ["", " ", "1,0", "NaN", "inf", "1e", "e5", ".", "--1", "1e+-5", "0x10", "1 ", "١"] {
            assert_eq!(bad.parse::<DecimalText>(), Err(AmountError::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn refuses_numbers_that_are_too_long() {
        let long = "9".repeat(65);
        for long in ["1e65", "1e-65", "1e400", "1e-2147483648", "1.5e2147483647", "1.5e99999999999", &long] {
            assert_eq!(long.parse::<DecimalText>(), Err(AmountError::TooLong), "{long:?}");
        }
        assert_eq!(
            AmountError::TooLong.to_string(),
            "must have at most 64 characters, and an exponent from -64 to 64"
        );
        assert!("9".repeat(64).parse::<DecimalText>().is_ok());
    }

    #[test]
    fn currencies_know_their_exponent() {
        for (code, exponent) in [("JPY", 0), ("USD", 2), ("BHD", 3), ("CLF", 4)] {
            assert_eq!(code.parse::<Currency>().unwrap().exponent(), exponent, "{code}");
        }
        assert_eq!("usd".parse::<Currency>().unwrap().code(), "USD");
        for bad in ["XAU", "XXX", "US", "EURO", "ÄÖÜ"] {
            assert!(bad.parse::<Currency>().is_err(), "{bad}");
        }
    }

    #[test]
    fn formats_minor_units() {
        let usd: Currency = "USD".parse().unwrap();
        assert_eq!(usd.format(5), "0.05");
        assert_eq!(usd.format(-1234), "-12.34");
        assert_eq!("JPY".parse::<Currency>().unwrap().format(12), "12");
    }

    #[test]
    fn percents_hold_eight_digits() {
        let percent = |text: &str| Percent::from_decimal(&text.parse().unwrap());
        assert_eq!(percent("12.5").unwrap().to_string(), "12.5");
        assert_eq!(percent("10").unwrap().factor(), BigRational::new(1.into(), 10.into()));
        assert_eq!(percent("0.123456789"), Err(AmountError::TooPrecise));
        assert_eq!(percent("100.00000001"), Err(AmountError::TooLarge));
        assert_eq!(percent("-1"), Err(AmountError::Negative));
    }

    proptest! {
        #[test]
        fn half_even_is_nearest(numer in -10_000_i64..10_000, denom in 1_i64..500) {
            let value = BigRational::new(numer.into(), denom.into());
            let rounded = BigRational::from(round_half_even(&value));
            let twice = (&value - &rounded).abs() * BigRational::from(BigInt::from(2));
            prop_assert!(twice <= BigRational::from(BigInt::from(1)));
            if twice == BigRational::from(BigInt::from(1)) {
                prop_assert!(rounded.to_integer().is_even());
            }
        }

        #[test]
        fn formatting_reads_back(minor_units in 0..=MAX_MINOR) {
            for code in ["JPY", "USD", "BHD", "CLF"] {
                let currency: Currency = code.parse().unwrap();
                let text: DecimalText = currency.format(minor_units).parse().unwrap();
                prop_assert_eq!(text.to_minor(currency), Ok((minor_units, false)));
            }
        }
    }
}
