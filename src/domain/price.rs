//! What a rule pays (MONEY 5): the forms of prices, tiers, first payments, levels and overrides, and what limits them
//! (MONEY 6).

use serde::{Deserialize, Serialize};

use super::{amount::Percent, calendar::Period};

/// What a regular line is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "form")]
pub enum Price {
    /// Minor units of the program's currency.
    Fixed {
        value: i64,
    },
    /// Percent of the sub amount, in the conversion's currency.
    Percentage {
        value: Percent,
    },
    Tiered(Tiers),
}

/// A price that looks at nothing but the sub amount: of a level, a bracket, a first payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "form")]
pub enum FlatPrice {
    /// Minor units of the program's currency.
    Fixed { value: i64 },
    /// Percent of the sub amount, in the conversion's currency.
    Percentage { value: Percent },
}

impl FlatPrice {
    /// Whether it is an amount of the program's currency.
    pub const fn is_amount(self) -> bool {
        match self {
            Self::Fixed { .. } => true,
            Self::Percentage { .. } => false,
        }
    }

    /// Its part of a sale; none of an amount.
    pub const fn percent(self) -> Option<Percent> {
        match self {
            Self::Fixed { .. } => None,
            Self::Percentage { value } => Some(value),
        }
    }
}

impl Price {
    /// Whether it says something in amounts of the program's currency.
    pub fn holds_amounts(&self) -> bool {
        match self {
            Self::Fixed { .. } => true,
            Self::Percentage { .. } => false,
            Self::Tiered(tiers) => {
                // The border 0 is the same in every currency.
                let bordered = tiers.measure == TierMeasure::Revenue && tiers.brackets.len() > 1;
                bordered || tiers.brackets.iter().any(|bracket| bracket.price.is_amount())
            }
        }
    }

    /// The largest part of a sale that it may be, with what the first payment has instead; none where both know amounts
    /// alone.
    pub fn highest_percent(&self, first_payment: Option<FlatPrice>) -> Option<Percent> {
        let highest = match self {
            Self::Fixed { .. } => None,
            Self::Percentage { value } => Some(*value),
            Self::Tiered(tiers) => tiers.brackets.iter().filter_map(|bracket| bracket.price.percent()).max(),
        };
        highest.max(first_payment.and_then(FlatPrice::percent))
    }
}

impl From<FlatPrice> for Price {
    fn from(price: FlatPrice) -> Self {
        match price {
            FlatPrice::Fixed { value } => Self::Fixed { value },
            FlatPrice::Percentage { value } => Self::Percentage { value },
        }
    }
}

/// Brackets of what the affiliate has brought in a period before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tiers {
    pub measure: TierMeasure,
    pub period: Period,
    pub mode: TierMode,
    /// The first begins at 0; ascending; all of one form.
    pub brackets: Vec<Bracket>,
}

/// What decides about the bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierMeasure {
    /// The sum of the sub amounts, in the program's currency.
    Revenue,
    /// The number of lines.
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierMode {
    /// One bracket prices the whole line.
    Whole,
    /// Each part of the sub amount is priced by the bracket in which it lies: `revenue` with percentages alone.
    Marginal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bracket {
    /// From this measure on: minor units of the program's currency, or a number of lines.
    pub from: i64,
    #[serde(flatten)]
    pub price: FlatPrice,
}

/// What is wrong with tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    #[error("must have at least one bracket")]
    Empty,
    #[error("must begin with a bracket from 0")]
    Start,
    #[error("must ascend: bracket {0} does not begin above the one before")]
    Order(usize),
    #[error("must be all fixed or all percentages")]
    Forms,
    #[error("can be marginal only with the measure revenue and percentages")]
    Marginal,
}

impl Tiers {
    /// Whether the brackets make sense together (MONEY 5).
    pub fn check(&self) -> Result<(), TierError> {
        let first = self.brackets.first().ok_or(TierError::Empty)?;
        if first.from != 0 {
            return Err(TierError::Start);
        }
        let disorder = self.brackets.windows(2).position(|pair| pair[1].from <= pair[0].from);
        if let Some(place) = disorder {
            return Err(TierError::Order(place + 1));
        }
        let is_fixed = |bracket: &Bracket| matches!(bracket.price, FlatPrice::Fixed { .. });
        if self.brackets.iter().any(|bracket| is_fixed(bracket) != is_fixed(first)) {
            return Err(TierError::Forms);
        }
        if self.mode == TierMode::Marginal && (self.measure != TierMeasure::Revenue || is_fixed(first)) {
            return Err(TierError::Marginal);
        }
        Ok(())
    }
}

/// How often a customer earns a line of a type (MONEY 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recurrence {
    Once,
    /// So many conversions.
    Repeating(u32),
    #[default]
    Forever,
}

/// A limit of what a program pays in a period (MONEY 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    pub scope: CapScope,
    pub period: Period,
    pub measure: CapMeasure,
    /// Conversions, or minor units of the program's currency.
    pub limit: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapScope {
    /// For each affiliate by itself.
    Affiliate,
    /// For all affiliates together.
    Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapMeasure {
    /// Conversions with an earned regular line.
    Conversions,
    /// The sum of the regular lines.
    Amount,
}

/// What an override says of one commission type or level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideRule {
    /// Not tiered for a level.
    #[serde(flatten)]
    pub price: Price,
    /// The override's own: that of the type does not apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_payment: Option<FlatPrice>,
}

impl OverrideRule {
    /// Whether it says something in amounts of the program's currency.
    pub fn holds_amounts(&self) -> bool {
        self.price.holds_amounts() || self.first_payment.is_some_and(FlatPrice::is_amount)
    }

    /// The largest part of a sale that it may be.
    pub fn highest_percent(&self) -> Option<Percent> {
        self.price.highest_percent(self.first_payment)
    }
}

/// What an override is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    CommissionType(String),
    /// From 2.
    Level(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers(mode: &str, measure: &str, brackets: serde_json::Value) -> Tiers {
        let json = serde_json::json!({
            "measure": measure, "period": "month", "mode": mode, "brackets": brackets,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn tiers_make_sense_together() {
        let percent = |from: i64| serde_json::json!({"from": from, "form": "percentage", "value": 100});
        let fixed = |from: i64| serde_json::json!({"from": from, "form": "fixed", "value": 100});
        let table = [
            (tiers("whole", "count", serde_json::json!([percent(0), percent(5)])), Ok(())),
            (tiers("whole", "count", serde_json::json!([])), Err(TierError::Empty)),
            (tiers("whole", "count", serde_json::json!([percent(1)])), Err(TierError::Start)),
            (tiers("whole", "count", serde_json::json!([percent(0), percent(0)])), Err(TierError::Order(1))),
            (tiers("whole", "count", serde_json::json!([percent(0), fixed(2)])), Err(TierError::Forms)),
            (tiers("marginal", "revenue", serde_json::json!([percent(0)])), Ok(())),
            (tiers("marginal", "revenue", serde_json::json!([fixed(0)])), Err(TierError::Marginal)),
            (tiers("marginal", "count", serde_json::json!([percent(0)])), Err(TierError::Marginal)),
        ];
        for (tiers, expected) in table {
            assert_eq!(tiers.check(), expected, "{tiers:?}");
        }
    }
}
