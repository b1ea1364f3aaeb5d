//! What a line is worth (MONEY 1, 3, 5).

use serde::{Deserialize, Serialize};

use super::{
    amount::{Currency, DecimalText},
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
        todo!()
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
        todo!()
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

/// Prices one line.
pub fn price(
    price: &Price,
    program_version: i32,
    commission_type: &str,
    sub_amount: i64,
    conversion_amount: i64,
    conversion_currency: Currency,
    program_currency: Currency,
) -> PricedLine {
    todo!()
}

/// Amount, currency and entries with the defaults of MONEY 3. Each of `entries` is a sub amount, a commission
/// type and a comment; `default_type` is the type that the conversion names, or else the program's default.
///
/// # Errors
/// [`Rejection::UnknownCurrency`], [`Rejection::AmountNegative`], [`Rejection::AmountTooLarge`].
pub fn read_amounts(
    amount: Option<&DecimalText>,
    entries: &[(DecimalText, Option<String>, Option<String>)],
    currency: Option<&str>,
    program_currency: Currency,
    default_type: &str,
) -> Result<Amounts, Rejection> {
    todo!()
}
