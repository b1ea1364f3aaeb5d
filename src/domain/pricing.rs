//! What a line is worth (MONEY 1, 3, 5): exact rationals, rounded half-even once, after the last multiplication.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::ToPrimitive;
use serde::{Deserialize, Serialize};

use super::{
    amount::{AmountError, Currency, DecimalText, MAX_MINOR, round_half_even},
    program::Price,
    reason::{Rejection, Waits},
};

/// One part of a conversion with a commission of its own, after defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Minor units of the conversion's currency.
    pub sub_amount: i64,
    pub commission_type: String,
    pub comment: Option<String>,
}

/// The amounts of a conversion, after defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Minor units of `currency`.
    pub amount: i64,
    pub currency: Currency,
    /// At least one, in the order given.
    pub entries: Vec<Entry>,
    /// Rounding changed a value: the conversion carries the warning `amount_rounded`.
    pub rounded: bool,
}

impl Amounts {
    /// A conversion in another currency than the program's waits for its rate; it is never taken at 1.0.
    pub fn waits(&self, program_currency: Currency) -> Option<Waits> {
        (self.currency != program_currency).then_some(Waits::RateMissing)
    }
}

/// A line with its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedLine {
    /// Minor units of `currency`.
    pub amount: i64,
    /// Of a fixed value the program's, of a percentage the conversion's.
    pub currency: Currency,
    pub pricing: Pricing,
}

impl PricedLine {
    /// Whether a line that no rule stops is earned (MONEY 4); it stays so.
    pub fn earned(&self) -> bool {
        self.pricing.original_sub_amount > 0 || self.amount > 0
    }
}

/// All that explains a line and prices it again; stored with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pricing {
    /// The rule as it was in force.
    #[serde(flatten)]
    pub price: Price,
    /// The version of the program's settings that holds the rule.
    pub program_version: i32,
    pub commission_type: String,
    /// Minor units of `conversion_currency`, before any refund.
    pub original_sub_amount: i64,
    /// Minor units of `conversion_currency`, before any refund.
    pub conversion_amount: i64,
    pub conversion_currency: Currency,
    /// Minor units of the line's currency before rounding: `1234/5`, or `1234` where it is whole.
    pub exact: String,
    /// The same after rounding: what the line was worth at first.
    pub priced_amount: i64,
}

/// Prices one line. Amounts are minor units: of the conversion's currency as given, of the line's as returned.
pub fn price(
    price: &Price,
    program_version: i32,
    commission_type: &str,
    sub_amount: i64,
    conversion_amount: i64,
    conversion_currency: Currency,
    program_currency: Currency,
) -> PricedLine {
    let exact = exact_amount(price, sub_amount);
    let amount = to_minor(&exact);
    let currency = match price {
        Price::Fixed { .. } => program_currency,
        Price::Percentage { .. } => conversion_currency,
    };
    let pricing = Pricing {
        price: *price,
        program_version,
        commission_type: commission_type.to_owned(),
        original_sub_amount: sub_amount,
        conversion_amount,
        conversion_currency,
        exact: exact.to_string(),
        priced_amount: amount,
    };
    PricedLine { amount, currency, pricing }
}

/// What `sub_amount` is worth by this rule, in minor units before rounding.
pub(super) fn exact_amount(price: &Price, sub_amount: i64) -> BigRational {
    match price {
        Price::Fixed { value } => whole(*value),
        Price::Percentage { value } => whole(sub_amount) * value.factor(),
    }
}

pub(super) fn whole(minor: i64) -> BigRational {
    BigRational::from(BigInt::from(minor))
}

/// Half-even. Every price is at most a rule's value or the amount it is a part of, which are i64 themselves, so
/// the bound is never reached.
pub(super) fn to_minor(exact: &BigRational) -> i64 {
    round_half_even(exact).to_i64().unwrap_or(i64::MAX)
}

/// Amount, currency and entries with the defaults of MONEY 3. Each of `entries` is a sub amount, a commission
/// type and a comment; `default_type` is the type that the conversion names, or else the program's default.
///
/// # Errors
/// [`Rejection::UnknownCurrency`], [`Rejection::AmountNegative`], [`Rejection::AmountTooLarge`]; the last also
/// where no amount is given and the sub amounts add up to too much.
pub fn read_amounts(
    amount: Option<&DecimalText>,
    entries: &[(DecimalText, Option<String>, Option<String>)],
    currency: Option<&str>,
    program_currency: Currency,
    default_type: &str,
) -> Result<Amounts, Rejection> {
    let currency = match currency {
        Some(code) => code.parse().map_err(|_| Rejection::UnknownCurrency)?,
        None => program_currency,
    };
    let mut rounded = false;
    let mut read = |text: &DecimalText| -> Result<i64, Rejection> {
        let (minor, changed) = text.to_minor(currency).map_err(rejection)?;
        rounded |= changed;
        Ok(minor)
    };
    let given = amount.map(&mut read).transpose()?;
    let mut parts = Vec::with_capacity(entries.len().max(1));
    let mut sum = 0_i64;
    for (sub_amount, commission_type, comment) in entries {
        let sub_amount = read(sub_amount)?;
        // Only thousands of sub amounts at the limit come near; refunds split the sum, so it has to be a number.
        sum = sum.checked_add(sub_amount).ok_or(Rejection::AmountTooLarge)?;
        parts.push(Entry {
            sub_amount,
            commission_type: commission_type.as_deref().unwrap_or(default_type).to_owned(),
            comment: comment.clone(),
        });
    }
    let amount = given.unwrap_or(sum);
    if amount > MAX_MINOR {
        return Err(Rejection::AmountTooLarge);
    }
    if parts.is_empty() {
        parts.push(Entry { sub_amount: amount, commission_type: default_type.to_owned(), comment: None });
    }
    Ok(Amounts { amount, currency, entries: parts, rounded })
}

fn rejection(error: AmountError) -> Rejection {
    match error {
        AmountError::Invalid | AmountError::TooPrecise => Rejection::AmountInvalid,
        AmountError::Negative => Rejection::AmountNegative,
        AmountError::TooLarge => Rejection::AmountTooLarge,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::amount::Percent;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    fn percent(text: &str) -> Price {
        Price::Percentage { value: Percent::from_decimal(&text.parse().unwrap()).unwrap() }
    }

    /// The amount and what it was before rounding.
    fn priced(rule: &Price, sub_amount: i64, code: &str) -> (i64, String) {
        let line = price(rule, 3, "standard", sub_amount, sub_amount, currency(code), currency(code));
        assert_eq!(line.currency, currency(code));
        assert_eq!(line.pricing.priced_amount, line.amount);
        (line.amount, line.pricing.exact)
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
    fn the_currency_is_that_of_the_rule() {
        let in_euro =
            |rule| price(rule, 1, "standard", 1000, 1000, currency("EUR"), currency("USD")).currency;
        assert_eq!(in_euro(&Price::Fixed { value: 5 }), currency("USD"));
        assert_eq!(in_euro(&percent("10")), currency("EUR"));
    }

    #[test]
    fn a_line_is_earned_when_anything_was_above_zero() {
        let line = |rule: &Price, sub_amount| {
            price(rule, 1, "standard", sub_amount, sub_amount, currency("USD"), currency("USD"))
        };
        assert!(line(&percent("10"), 1).earned());
        assert!(line(&Price::Fixed { value: 5 }, 0).earned());
        assert!(!line(&percent("10"), 0).earned());
        assert!(!line(&Price::Fixed { value: 0 }, 0).earned());
    }

    #[test]
    fn a_stored_price_reads_back() {
        let line = price(&percent("12.5"), 4, "gold", 1001, 3000, currency("BHD"), currency("BHD"));
        let json = serde_json::json!({
            "form": "percentage", "value": 1_250_000_000, "program_version": 4, "commission_type": "gold",
            "original_sub_amount": 1001, "conversion_amount": 3000, "conversion_currency": "BHD",
            "exact": "1001/8", "priced_amount": 125,
        });
        assert_eq!(serde_json::to_value(&line.pricing).unwrap(), json);
        assert_eq!(serde_json::from_value::<Pricing>(json).unwrap(), line.pricing);
    }

    fn read(
        amount: Option<&str>,
        subs: &[(&str, Option<&str>)],
        code: Option<&str>,
    ) -> Result<Amounts, Rejection> {
        let amount = amount.map(|text| text.parse::<DecimalText>().unwrap());
        let entries: Vec<_> =
            subs.iter().map(|(text, kind)| (text.parse().unwrap(), kind.map(str::to_owned), None)).collect();
        read_amounts(amount.as_ref(), &entries, code, currency("USD"), "standard")
    }

    fn entry(sub_amount: i64, commission_type: &str) -> Entry {
        Entry { sub_amount, commission_type: commission_type.to_owned(), comment: None }
    }

    #[test]
    fn amounts_have_defaults() {
        let nothing = read(None, &[], None).unwrap();
        assert_eq!((nothing.amount, nothing.currency.code()), (0, "USD"));
        assert_eq!(nothing.entries, [entry(0, "standard")]);
        assert!(!nothing.rounded);

        assert_eq!(read(Some("49.90"), &[], None).unwrap().entries, [entry(4990, "standard")]);

        let subs = [("10.00", None), ("5", Some("gold"))];
        let summed = read(None, &subs, None).unwrap();
        assert_eq!(summed.amount, 1500);
        assert_eq!(summed.entries, [entry(1000, "standard"), entry(500, "gold")]);
        // The sub amounts need not add up to the amount.
        assert_eq!(read(Some("20"), &subs, None).unwrap().amount, 2000);
        assert_eq!(read(Some("0"), &subs, None).unwrap().amount, 0);
    }

    #[test]
    fn comments_are_kept() {
        let entries = [("1".parse().unwrap(), None, Some("shoes".to_owned()))];
        let amounts = read_amounts(None, &entries, None, currency("USD"), "standard").unwrap();
        assert_eq!(amounts.entries[0].comment.as_deref(), Some("shoes"));
    }

    #[test]
    fn digits_are_those_of_the_currency() {
        let yen = read(Some("1234.5"), &[], Some("jpy")).unwrap();
        assert_eq!((yen.amount, yen.rounded), (1234, true));
        let dinar = read(Some("1.234"), &[], Some("BHD")).unwrap();
        assert_eq!((dinar.amount, dinar.rounded), (1234, false));
        // Each sub amount is rounded, and the sum is that of what came out.
        let subs = read(None, &[("0.005", None), ("0.005", None), ("0.015", None)], None).unwrap();
        assert_eq!((subs.amount, subs.rounded), (2, true));
    }

    #[test]
    fn amounts_are_refused_with_their_reason() {
        assert_eq!(read(Some("1"), &[], Some("XAU")), Err(Rejection::UnknownCurrency));
        assert_eq!(read(Some("1"), &[], Some("")), Err(Rejection::UnknownCurrency));
        assert_eq!(read(Some("-0.001"), &[], None), Err(Rejection::AmountNegative));
        assert_eq!(read(None, &[("-1", None)], None), Err(Rejection::AmountNegative));
        assert_eq!(read(Some("10000000000000.01"), &[], None), Err(Rejection::AmountTooLarge));
        assert_eq!(read(None, &[("1e14", None)], None), Err(Rejection::AmountTooLarge));
        // Two that are fine alone and too much as the amount.
        let large = [("9e12", None), ("9e12", None)];
        assert_eq!(read(None, &large, None), Err(Rejection::AmountTooLarge));
        assert_eq!(read(Some("1"), &large, None).unwrap().amount, 100);
        assert_eq!(read(Some("1"), &vec![("1e13", None); 10_000], None), Err(Rejection::AmountTooLarge));
    }

    #[test]
    fn another_currency_waits_for_its_rate() {
        assert_eq!(
            read(Some("1"), &[], Some("EUR")).unwrap().waits(currency("USD")),
            Some(Waits::RateMissing)
        );
        assert_eq!(read(Some("1"), &[], Some("usd")).unwrap().waits(currency("USD")), None);
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
    }
}
