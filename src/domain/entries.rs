//! A conversion's amount, its currency and its parts, after defaults (MONEY 3).

use serde::{Deserialize, Serialize};

use super::{
    amount::{Currency, DecimalText, MAX_MINOR},
    reason::Rejection,
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

/// Amount, currency and entries with the defaults of MONEY 3. Each of `entries` is a sub amount, a commission
/// type and a comment; `default_type` is the type that the conversion names, or else the program's default.
///
/// # Errors
/// [`Rejection::UnknownCurrency`], [`Rejection::AmountNegative`], [`Rejection::AmountTooLarge`]; the last also
/// where the sub amounts add up to too much.
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
        let (minor, changed) = text.to_minor(currency).map_err(Rejection::from)?;
        rounded |= changed;
        Ok(minor)
    };
    let given = amount.map(&mut read).transpose()?;
    let mut parts = Vec::with_capacity(entries.len().max(1));
    let mut sum = 0_i64;
    for (sub_amount, commission_type, comment) in entries {
        let sub_amount = read(sub_amount)?;
        // Each is within the limit, so the sum of two is a number.
        sum += sub_amount;
        if sum > MAX_MINOR {
            return Err(Rejection::AmountTooLarge);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
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
        // Two that are fine alone and too much together, whatever the amount: sums are kept of them.
        let large = [("9e12", None), ("9e12", None)];
        assert_eq!(read(None, &large, None), Err(Rejection::AmountTooLarge));
        assert_eq!(read(Some("1"), &large, None), Err(Rejection::AmountTooLarge));
        assert_eq!(read(Some("1"), &vec![("1e13", None); 10_000], None), Err(Rejection::AmountTooLarge));
    }
}
