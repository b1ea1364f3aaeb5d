//! What one line is worth (MONEY 1, 5): exact rationals, rounded half-even once, after the last multiplication.
//!
//! A line keeps all that priced it ([`Pricing`]), so that a refund prices it again from the same rule, rate and measure.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{ToPrimitive, Zero};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    amount::{Currency, Percent, RATE_SCALE, round_half_even},
    calendar::Span,
    lines::Limits,
    price::{Bracket, FlatPrice, Price, TierMeasure, TierMode, Tiers},
    rates::Fraction,
};

/// Where the rule of a line comes from: the most specific there was (MONEY 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleSource {
    CommissionType,
    /// The program's price of the line's level.
    Level,
    AffiliateOverride {
        id: Uuid,
        version: i32,
    },
    GroupOverride {
        group: Uuid,
        id: Uuid,
        version: i32,
    },
}

/// The rule that prices a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub source: RuleSource,
    pub price: Price,
    /// Instead of `price` for a customer's first conversion with an amount above 0.
    pub first_payment: Option<FlatPrice>,
}

/// What every line of one conversion is priced with.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    pub program_version: i32,
    pub program_currency: Currency,
    /// Minor units of `conversion_currency`.
    pub conversion_amount: i64,
    pub conversion_currency: Currency,
    /// Minor units of the program's currency for one of the conversion's; none where they are the same.
    pub factor: Option<&'a Fraction>,
    /// The program's `settle_in_program_currency`.
    pub in_program_currency: bool,
}

/// The measure that chose a line's bracket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    pub span: Span,
    /// M: what the affiliate had brought in the span before, in minor units of the program's currency or in lines.
    pub before: Fraction,
    /// The place of the bracket that priced a line of mode `whole`, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bracket: Option<usize>,
}

/// A line with its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedLine {
    /// Minor units of `currency`.
    pub amount: i64,
    /// Of a fixed value the program's; of a percentage the conversion's, or the program's where it settles in that.
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
    pub rule: RuleSource,
    /// The price is the rule's first payment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first_payment: bool,
    /// The version of the program's settings that was in force.
    pub program_version: i32,
    pub commission_type: String,
    /// 1: the affiliate's own; from 2 an upline's.
    pub level: u32,
    /// Minor units of `conversion_currency`, before any refund.
    pub original_sub_amount: i64,
    /// Minor units of `conversion_currency`, before any refund.
    pub conversion_amount: i64,
    pub conversion_currency: Currency,
    pub program_currency: Currency,
    /// Minor units of the program's currency for one of the conversion's; none where they are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<Fraction>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_program_currency: bool,
    /// Of a tiered price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Minor units of the line's currency before rounding: `1234/5`, or `1234` where it is whole.
    pub exact: Fraction,
    /// The same after rounding: what the line was worth at first, unless a cap cut it.
    pub priced_amount: i64,
    /// What the caps had left for it, in minor units of the line's currency, where that was less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<i64>,
    /// What the lines before it in its conversion had taken of what the caps had left, in minor units of the program's
    /// currency, where `rest` is what they left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_taken: Option<Fraction>,
    /// Recurrence and caps as they stood before; of a regular line.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

impl Pricing {
    pub fn currency(&self) -> Currency {
        match self.flat() {
            Some(FlatPrice::Fixed { .. }) => self.program_currency,
            Some(FlatPrice::Percentage { .. }) | None if self.in_program_currency => self.program_currency,
            Some(FlatPrice::Percentage { .. }) | None => self.conversion_currency,
        }
    }

    /// The price that does not look at a measure any more; none where a sub amount is cut at the brackets.
    pub fn flat(&self) -> Option<FlatPrice> {
        match &self.price {
            Price::Fixed { value } => Some(FlatPrice::Fixed { value: *value }),
            Price::Percentage { value } => Some(FlatPrice::Percentage { value: *value }),
            Price::Tiered(tiers) => {
                let place = self.tier.as_ref().and_then(|tier| tier.bracket)?;
                tiers.brackets.get(place).map(|bracket| bracket.price)
            }
        }
    }

    /// What `sub_amount` is worth by this rule, in minor units of the line's currency before rounding.
    pub fn exact_for(&self, sub_amount: i64) -> BigRational {
        let Some(flat) = self.flat() else { return self.marginal(sub_amount) };
        match flat {
            FlatPrice::Fixed { value } => whole(value),
            FlatPrice::Percentage { value } => self.in_line_currency(percent_of(value, sub_amount)),
        }
    }

    /// An amount of the conversion's currency as one of the line's.
    fn in_line_currency(&self, amount: BigRational) -> BigRational {
        match &self.factor {
            Some(factor) if self.in_program_currency => amount * &factor.0,
            Some(_) | None => amount,
        }
    }

    /// The span from M to M + sub amount, cut at the borders of the brackets (MONEY 5).
    pub fn parts(&self, sub_amount: i64) -> Vec<Part> {
        let (Price::Tiered(tiers), Some(tier)) = (&self.price, &self.tier) else { return Vec::new() };
        let begin = tier.before.0.clone();
        let end = &begin + in_program_currency(sub_amount, self.factor.as_ref());
        let borders = tiers.brackets.iter().map(|bracket| whole(bracket.from));
        let borders: Vec<BigRational> = borders.collect();
        let mut parts = Vec::new();
        for (place, bracket) in tiers.brackets.iter().enumerate() {
            let FlatPrice::Percentage { value } = bracket.price else { continue };
            let from = borders[place].clone().max(begin.clone());
            let to = borders.get(place + 1).map_or_else(|| end.clone(), |next| next.clone().min(end.clone()));
            if from < to {
                parts.push(Part { percent: value, amount: Fraction(to - from) });
            }
        }
        parts
    }

    fn marginal(&self, sub_amount: i64) -> BigRational {
        let parts = self.parts(sub_amount);
        let sum =
            parts.iter().fold(BigRational::zero(), |sum, part| sum + &part.amount.0 * part.percent.factor());
        match &self.factor {
            Some(factor) if !self.in_program_currency => sum / &factor.0,
            Some(_) | None => sum,
        }
    }
}

/// A piece of a sub amount that lies in one bracket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub percent: Percent,
    /// Minor units of the program's currency.
    pub amount: Fraction,
}

/// Prices one line of `sub_amount` minor units of the conversion's currency. `tier` is the measure of a tiered price,
/// whose bracket is chosen here; `first` says that it is the customer's first conversion with an amount above 0.
pub fn price(
    terms: &Terms<'_>,
    rule: &Rule,
    commission_type: &str,
    level: u32,
    sub_amount: i64,
    tier: Option<(Span, BigRational)>,
    first: bool,
) -> PricedLine {
    let first_payment = rule.first_payment.filter(|_| first);
    let price = first_payment.map_or_else(|| rule.price.clone(), Price::from);
    let tier = match (&price, tier) {
        (Price::Tiered(tiers), Some((span, before))) => {
            let bracket = chosen(tiers, &before, sub_amount, terms.factor);
            Some(Tier { span, before: Fraction(before), bracket })
        }
        (Price::Fixed { .. } | Price::Percentage { .. } | Price::Tiered(_), _) => None,
    };
    let mut pricing = Pricing {
        price,
        rule: rule.source,
        first_payment: first_payment.is_some(),
        program_version: terms.program_version,
        commission_type: commission_type.to_owned(),
        level,
        original_sub_amount: sub_amount,
        conversion_amount: terms.conversion_amount,
        conversion_currency: terms.conversion_currency,
        program_currency: terms.program_currency,
        factor: terms.factor.cloned(),
        in_program_currency: terms.in_program_currency,
        tier,
        exact: Fraction(BigRational::zero()),
        priced_amount: 0,
        rest: None,
        rest_taken: None,
        limits: Limits::default(),
    };
    let exact = pricing.exact_for(sub_amount);
    pricing.priced_amount = to_minor(&exact);
    pricing.exact = Fraction(exact);
    PricedLine { amount: pricing.priced_amount, currency: pricing.currency(), pricing }
}

/// The bracket that holds M + 1, or M + the sub amount; none of mode `marginal`.
fn chosen(tiers: &Tiers, before: &BigRational, sub_amount: i64, factor: Option<&Fraction>) -> Option<usize> {
    if tiers.mode == TierMode::Marginal {
        return None;
    }
    let reached = match tiers.measure {
        TierMeasure::Count => before + whole(1),
        TierMeasure::Revenue => before + in_program_currency(sub_amount, factor),
    };
    let holds = |bracket: &Bracket| whole(bracket.from) <= reached;
    Some(tiers.brackets.iter().rposition(holds).unwrap_or(0))
}

/// Minor units of the conversion's currency as minor units of the program's, exactly.
pub fn in_program_currency(amount: i64, factor: Option<&Fraction>) -> BigRational {
    match factor {
        Some(factor) => whole(amount) * &factor.0,
        None => whole(amount),
    }
}

/// By one reduction of the fraction, which is most of the work of a price.
fn percent_of(percent: Percent, amount: i64) -> BigRational {
    let scaled = i128::from(percent.scaled()) * i128::from(amount);
    BigRational::new(scaled.into(), BigInt::from(100 * i128::from(RATE_SCALE)))
}

pub(super) fn whole(minor: i64) -> BigRational {
    BigRational::from(BigInt::from(minor))
}

/// Half-even. Prices are at most 10^15 minor units; those of another currency are larger by their rate, which is
/// refused where amounts are read, so the bound is never reached.
pub(super) fn to_minor(exact: &BigRational) -> i64 {
    round_half_even(exact).to_i64().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
