//! Bonuses (MONEY 9): what reaching a target in an interval pays.
//!
//! The highest target that was reached pays, once for an interval. What a percentage pays is exact until it is rounded
//! half-even, once.

use num_rational::BigRational;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    calendar::{Period, Span, Zone},
    price::FlatPrice,
    pricing::{to_minor, whole},
    rates::Fraction,
    time::Timestamp,
};

/// One version of a bonus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BonusSettings {
    /// Unique in its program.
    pub identifier: String,
    pub title: String,
    pub interval: BonusInterval,
    pub measure: BonusMeasure,
    /// Ascending, all of one form; at least one.
    pub targets: Vec<BonusTarget>,
    /// The first and the last day that count, both included; days since 1970-01-01 in the account's time zone.
    pub start_date: Option<i32>,
    pub end_date: Option<i32>,
    pub active: bool,
}

/// In which time conversions are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BonusInterval {
    #[serde(rename = "calday")]
    Day,
    #[serde(rename = "calweek")]
    Week,
    #[serde(rename = "calmo")]
    Month,
    #[serde(rename = "calqu")]
    Quarter,
    #[serde(rename = "calyr")]
    Year,
    #[serde(rename = "alltime")]
    AllTime,
}

impl BonusInterval {
    pub const ALL: [Self; 6] = [Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year, Self::AllTime];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "calday",
            Self::Week => "calweek",
            Self::Month => "calmo",
            Self::Quarter => "calqu",
            Self::Year => "calyr",
            Self::AllTime => "alltime",
        }
    }

    pub const fn period(self) -> Period {
        match self {
            Self::Day => Period::Day,
            Self::Week => Period::Week,
            Self::Month => Period::Month,
            Self::Quarter => Period::Quarter,
            Self::Year => Period::Year,
            Self::AllTime => Period::Lifetime,
        }
    }

    /// The interval in which an instant lies.
    pub fn span(self, at: Timestamp, zone: &Zone) -> Span {
        self.period().span(at, zone)
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BonusMeasure {
    ConversionCount,
    /// Minor units of the program's currency.
    ConversionAmount,
    /// Customers whose first conversion above 0 is among those that count.
    CustomerCount,
}

impl BonusMeasure {
    pub const ALL: [Self; 3] = [Self::ConversionCount, Self::ConversionAmount, Self::CustomerCount];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConversionCount => "conversion_count",
            Self::ConversionAmount => "conversion_amount",
            Self::CustomerCount => "customer_count",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BonusTarget {
    /// A number, or minor units of the program's currency; above 0.
    pub target: i64,
    /// A percentage is one of the amount that was counted.
    #[serde(flatten)]
    pub pays: FlatPrice,
}

/// What is wrong with the settings of a bonus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BonusError {
    #[error("must have at least one entry")]
    NoTargets,
    /// The place of the target, from 0.
    #[error("must be above 0")]
    NotAboveZero(usize),
    #[error("must be above the target before it")]
    Order(usize),
    #[error("must be of the form of the first target: all fixed, or all percentages")]
    Form(usize),
    #[error("must not be below 0")]
    Value(usize),
    #[error("must not be before start_date")]
    Dates,
}

impl BonusError {
    /// The setting that is wrong, as clients name it: `targets[1].target`.
    pub fn field(self) -> String {
        match self {
            Self::NoTargets => "targets".to_owned(),
            Self::NotAboveZero(place) | Self::Order(place) => format!("targets[{place}].target"),
            Self::Form(_) => "form".to_owned(),
            Self::Value(place) => format!("targets[{place}].value"),
            Self::Dates => "end_date".to_owned(),
        }
    }
}

impl BonusSettings {
    /// Whether the settings make sense together; the first thing that does not.
    pub fn check(&self) -> Result<(), BonusError> {
        let first = self.targets.first().ok_or(BonusError::NoTargets)?;
        let is_fixed = |target: &BonusTarget| matches!(target.pays, FlatPrice::Fixed { .. });
        let mut before = 0;
        for (place, target) in self.targets.iter().enumerate() {
            if target.target <= 0 {
                return Err(BonusError::NotAboveZero(place));
            }
            if target.target <= before {
                return Err(BonusError::Order(place));
            }
            if is_fixed(target) != is_fixed(first) {
                return Err(BonusError::Form(place));
            }
            if matches!(target.pays, FlatPrice::Fixed { value } if value < 0) {
                return Err(BonusError::Value(place));
            }
            before = target.target;
        }
        match (self.start_date, self.end_date) {
            (Some(start), Some(end)) if end < start => Err(BonusError::Dates),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// The part of an interval whose conversions count: cut to the start and end days. None: no part of it does.
    pub fn counted_span(&self, interval: Span, zone: &Zone) -> Option<Span> {
        let start = self.start_date.map_or(interval.start, |day| zone.start_of(day).max(interval.start));
        let after = |day: i32| zone.start_of(day.saturating_add(1));
        let end = self.end_date.map_or(interval.end, |day| after(day).min(interval.end));
        (start < end).then_some(Span { start, end })
    }

    /// The highest target that `counted` reaches.
    pub fn reached(&self, counted: &Counted) -> Option<BonusTarget> {
        let reaches = |target: &&BonusTarget| match self.measure {
            BonusMeasure::ConversionCount | BonusMeasure::CustomerCount => target.target <= counted.number,
            BonusMeasure::ConversionAmount => whole(target.target) <= counted.amount,
        };
        self.targets.iter().rev().find(reaches).copied()
    }

    /// What `counted` pays, in view of what was paid `before`: only a higher target pays again, and then what it is
    /// worth more.
    pub fn award(&self, counted: &Counted, before: Option<Awarded>) -> Option<Award> {
        let target = self.reached(counted)?;
        if before.is_some_and(|before| target.target <= before.target) {
            return None;
        }
        let before = before.map_or(0, |before| before.amount);
        let exact = target.exact(&counted.amount);
        let amount = to_minor(&exact).saturating_sub(before).max(0);
        Some(Award { target, exact: Fraction(exact), before, amount })
    }
}

impl BonusTarget {
    /// What it pays before rounding, in minor units of the program's currency.
    fn exact(&self, counted: &BigRational) -> BigRational {
        match self.pays {
            FlatPrice::Fixed { value } => whole(value),
            FlatPrice::Percentage { value } => counted * value.factor(),
        }
    }
}

/// What an affiliate brought, as a bonus counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Of conversions, or of customers where the bonus counts those.
    pub number: i64,
    /// Minor units of the program's currency, exactly.
    pub amount: BigRational,
}

impl Default for Counted {
    fn default() -> Self {
        Self { number: 0, amount: whole(0) }
    }
}

impl Counted {
    /// Adds conversions whose amounts are in one currency; `factor`: minor units of the program's for one of theirs.
    pub fn add(&mut self, number: i64, amount: i64, factor: Option<&Fraction>) {
        self.number += number;
        self.amount += match factor {
            Some(factor) => whole(amount) * &factor.0,
            None => whole(amount),
        };
    }
}

/// What a bonus has paid an affiliate for an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awarded {
    /// The highest target that was paid for.
    pub target: i64,
    /// In all, in minor units of the program's currency.
    pub amount: i64,
}

/// What a bonus pays now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Award {
    pub target: BonusTarget,
    /// What the target is worth before rounding, in minor units of the program's currency.
    pub exact: Fraction,
    /// What was paid for a lower one, in the same.
    pub before: i64,
    /// The rounded worth less `before`, never below 0.
    pub amount: i64,
}

/// All that explains the line of a bonus; stored with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BonusPricing {
    pub bonus: Uuid,
    /// The version that was in force.
    pub version: i32,
    pub interval: BonusInterval,
    pub span: Span,
    /// The part of it whose conversions count.
    pub counted_span: Span,
    pub measure: BonusMeasure,
    /// Conversions, or customers where the bonus counts those.
    pub number: i64,
    /// Minor units of the program's currency.
    pub amount: Fraction,
    pub target: BonusTarget,
    /// What the target is worth before rounding, in minor units of the program's currency.
    pub exact: Fraction,
    /// What a lower target had paid.
    pub before: i64,
}

#[cfg(test)]
mod tests;
