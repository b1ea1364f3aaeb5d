//! What merchants have set up, as all who act know it: accounts, programs with their prices, affiliates.

use std::sync::{Arc, RwLock};

/// The two programs of each account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// A percentage of the amount.
    Share,
    /// The same for every sale.
    Fixed,
}

impl Program {
    pub const ALL: [Self; 2] = [Self::Share, Self::Fixed];

    pub const fn slug(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Fixed => "fixed",
        }
    }

    pub const fn form(self) -> &'static str {
        match self {
            Self::Share => "percentage",
            Self::Fixed => "fixed",
        }
    }

    /// The values that its merchant goes through; the first is there from the beginning.
    pub const fn values(self) -> &'static [&'static str] {
        match self {
            Self::Share => &["10", "12.5", "7.25", "3.333", "0.5", "33.33333333"],
            Self::Fixed => &["7.00", "4.99", "0.35", "12.34"],
        }
    }

    /// What `left` of `amount` minor units earns by this value: exact, rounded half-even once.
    pub fn worth(self, value: &str, amount: i64, left: i64) -> i64 {
        let (numerator, denominator) = fraction(value);
        let worth = match self {
            Self::Share => half_even(numerator * i128::from(left), denominator * 100),
            // Values have two digits after the point, as the currency has.
            Self::Fixed if amount == left => half_even(numerator * 100, denominator),
            Self::Fixed => half_even(numerator * 100 * i128::from(left), denominator * i128::from(amount)),
        };
        i64::try_from(worth).unwrap()
    }
}

/// A decimal as an exact fraction.
fn fraction(text: &str) -> (i128, i128) {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let denominator = 10_i128.pow(u32::try_from(digits.len()).unwrap());
    (format!("{whole}{digits}").parse().unwrap(), denominator)
}

/// Neither is negative.
fn half_even(numerator: i128, denominator: i128) -> i128 {
    let (whole, rest) = (numerator / denominator, numerator % denominator);
    match (rest * 2).cmp(&denominator) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + whole % 2,
    }
}

/// Somebody who is approved in both programs, with a link and a coupon in each.
#[derive(Clone, Debug)]
pub struct Affiliate {
    pub slug: String,
    /// Since when all of it was answered, in milliseconds since 1970.
    pub since: i64,
    /// Every edge has been seen to know it; the others learn of it as soon as they reach Kafka.
    pub known: bool,
}

impl Affiliate {
    pub fn link(&self, program: Program) -> String {
        format!("{}-{}", self.slug, program.slug())
    }

    pub fn coupon(&self, program: Program) -> String {
        self.link(program).to_ascii_uppercase()
    }
}

#[derive(Debug)]
pub struct Account {
    pub slug: &'static str,
    /// The host under which its links live.
    pub host: &'static str,
    /// A secret key.
    pub key: String,
    pub affiliates: RwLock<Vec<Affiliate>>,
}

/// The first account gets most of the events.
pub type Market = Arc<Vec<Account>>;

#[test]
fn worth_is_rounded_half_even_once() {
    let share = |value, left| Program::Share.worth(value, 10_000, left);
    assert_eq!(
        [share("10", 5_000), share("0.5", 100), share("0.5", 300), share("3.333", 6_000)],
        [500, 0, 2, 200]
    );
    let fixed = |value, left| Program::Fixed.worth(value, 1_000, left);
    assert_eq!(
        [fixed("7.00", 1_000), fixed("0.35", 500), fixed("0.35", 0), fixed("4.99", 333)],
        [700, 18, 0, 166]
    );
}
