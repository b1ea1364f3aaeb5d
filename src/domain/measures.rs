//! What one conversion adds to the measures of tiers and caps (MONEY 5, 6).
//!
//! A measure is never summed when it is asked for: whatever changes a conversion or its lines moves the measures by the
//! difference between what it adds now and what it added before.

use std::{collections::BTreeMap, fmt, ops::AddAssign, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    amount::Currency,
    calendar::Period,
    ids::AffiliateId,
    price::{CapScope, Price},
    program::ProgramSettings,
    rates::Fraction,
    reason::LineStatus,
};

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Earned regular lines of a commission type: their number, and their present sub amounts.
    CommissionType(String),
    /// Conversions with an earned regular line, and the amounts of their regular lines.
    Cap,
    /// What a bonus that counts from ever counts.
    Bonus(Uuid),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommissionType(identifier) => write!(f, "type:{identifier}"),
            Self::Cap => f.write_str("cap"),
            Self::Bonus(id) => write!(f, "bonus:{}", id.simple()),
        }
    }
}

/// The text is no subject's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the subject of a measure")]
pub struct UnknownSubject;

impl FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(text: &str) -> Result<Self, UnknownSubject> {
        if let Some(identifier) = text.strip_prefix("type:") {
            return Ok(Self::CommissionType(identifier.to_owned()));
        }
        if let Some(id) = text.strip_prefix("bonus:") {
            return Uuid::try_parse(id).map(Self::Bonus).map_err(|_| UnknownSubject);
        }
        if text == "cap" { Ok(Self::Cap) } else { Err(UnknownSubject) }
    }
}

/// A measure that some version of a program's rules asks for: it is kept from then on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kept {
    /// Of a tier; none: of a cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commission_type: Option<String>,
    /// Of all affiliates together.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_program: bool,
    pub period: Period,
}

impl Kept {
    pub fn subject(&self) -> Subject {
        self.commission_type.clone().map_or(Subject::Cap, Subject::CommissionType)
    }

    /// What the measure of one affiliate is kept under.
    pub fn owner(&self, affiliate: AffiliateId) -> AffiliateId {
        if self.whole_program { EVERYBODY } else { affiliate }
    }
}

/// The owner of what all affiliates of a program have brought.
pub const EVERYBODY: AffiliateId = AffiliateId(0);

/// The measures that a program's settings ask for.
pub fn asked_by(settings: &ProgramSettings) -> Vec<Kept> {
    let types = settings.commission_types.iter();
    let tiers = types.filter_map(|kind| asked_by_price(&kind.identifier, &kind.price));
    let caps = settings.caps.iter().map(|cap| Kept {
        commission_type: None,
        whole_program: cap.scope == CapScope::Program,
        period: cap.period,
    });
    tiers.chain(caps).collect()
}

/// The measure that a price of lines of a commission type asks for.
pub fn asked_by_price(commission_type: &str, price: &Price) -> Option<Kept> {
    let Price::Tiered(tiers) = price else { return None };
    Some(Kept {
        commission_type: Some(commission_type.to_owned()),
        whole_program: false,
        period: tiers.period,
    })
}

/// A conversion as measures see it.
#[derive(Clone, Debug)]
pub struct Counted<'a> {
    pub deleted: bool,
    pub refunded_whole: bool,
    /// Of the conversion's currency to the program's; none where they are the same.
    pub factor: Option<&'a Fraction>,
    pub program_currency: Currency,
    /// The regular ones.
    pub lines: Vec<CountedLine<'a>>,
}

/// A regular line as measures see it.
#[derive(Clone, Copy, Debug)]
pub struct CountedLine<'a> {
    pub commission_type: &'a str,
    /// Minor units of the conversion's currency, now.
    pub sub_amount: i64,
    /// Minor units of `currency`, now.
    pub amount: i64,
    pub currency: Currency,
    pub earned: bool,
    pub status: LineStatus,
}

/// A number, and an amount in minor units of the currency whose factor is the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub count: i64,
    pub amount: i64,
}

impl AddAssign for Sum {
    fn add_assign(&mut self, more: Self) {
        self.count += more.count;
        self.amount += more.amount;
    }
}

/// What one conversion adds, by subject and the factor of the amounts' currency.
pub type Added = BTreeMap<(Subject, String), Sum>;

/// What a conversion adds to every measure of the period in which it happened.
pub fn added_by(conversion: &Counted<'_>) -> Added {
    let mut added = Added::new();
    if conversion.deleted || conversion.refunded_whole {
        return added;
    }
    let one = Fraction::one().to_string();
    let factor = conversion.factor.map_or_else(|| one.clone(), ToString::to_string);
    let mut counts = false;
    for line in conversion.lines.iter().filter(|line| line.status != LineStatus::Disapproved) {
        let in_program_currency = line.currency == conversion.program_currency;
        let of_line = if in_program_currency { one.clone() } else { factor.clone() };
        added.entry((Subject::Cap, of_line)).or_default().amount += line.amount;
        if line.earned {
            counts = true;
            let subject = Subject::CommissionType(line.commission_type.to_owned());
            let sum = added.entry((subject, factor.clone())).or_default();
            sum.count += 1;
            sum.amount += line.sub_amount;
        }
    }
    if counts {
        added.entry((Subject::Cap, one)).or_default().count += 1;
    }
    added
}

/// What has to be added to get from one to the other; nothing where they are the same.
pub fn difference(before: &Added, after: &Added) -> Added {
    let mut moved = after.clone();
    for (key, sum) in before {
        let now = moved.entry(key.clone()).or_default();
        now.count -= sum.count;
        now.amount -= sum.amount;
    }
    moved.retain(|_, sum| *sum != Sum::default());
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd() -> Currency {
        "USD".parse().unwrap()
    }

    fn line(commission_type: &str, sub_amount: i64, amount: i64) -> CountedLine<'_> {
        CountedLine {
            commission_type,
            sub_amount,
            amount,
            currency: usd(),
            earned: true,
            status: LineStatus::Pending,
        }
    }

    fn counted(lines: Vec<CountedLine<'_>>) -> Counted<'_> {
        Counted { deleted: false, refunded_whole: false, factor: None, program_currency: usd(), lines }
    }

    fn sums(added: &Added) -> Vec<(String, i64, i64)> {
        added
            .iter()
            .map(|((subject, rate), sum)| (format!("{subject} {rate}"), sum.count, sum.amount))
            .collect()
    }

    #[test]
    fn lines_add_up_by_type_and_conversions_once() {
        let lines = vec![line("gold", 100, 10), line("gold", 50, 5), line("lead", 0, 500)];
        let expected = [("type:gold 1", 2, 150), ("type:lead 1", 1, 0), ("cap 1", 1, 515)];
        let expected = expected.map(|(key, count, amount)| (key.to_owned(), count, amount));
        assert_eq!(sums(&added_by(&counted(lines))), expected);
    }

    #[test]
    fn what_was_stopped_disapproved_or_refunded_whole_counts_nothing() {
        let stopped =
            CountedLine { earned: false, amount: 0, status: LineStatus::Disapproved, ..line("a", 5, 0) };
        assert!(added_by(&counted(vec![stopped])).is_empty());
        for (deleted, refunded_whole) in [(true, false), (false, true)] {
            let gone = Counted { deleted, refunded_whole, ..counted(vec![line("a", 5, 1)]) };
            assert!(added_by(&gone).is_empty());
        }
    }

    #[test]
    fn amounts_of_another_currency_keep_their_factor() {
        let factor: Fraction = "11/10".parse().unwrap();
        let euro = CountedLine { currency: "EUR".parse().unwrap(), ..line("a", 100, 10) };
        let fixed = line("b", 0, 500);
        let conversion = Counted { factor: Some(&factor), ..counted(vec![euro, fixed]) };
        let expected =
            [("type:a 11/10", 1, 100), ("type:b 11/10", 1, 0), ("cap 1", 1, 500), ("cap 11/10", 0, 10)];
        let expected = expected.map(|(key, count, amount)| (key.to_owned(), count, amount));
        assert_eq!(sums(&added_by(&conversion)), expected);
    }

    #[test]
    fn a_difference_leads_from_one_to_the_other() {
        let before = added_by(&counted(vec![line("a", 100, 10)]));
        let after = added_by(&counted(vec![line("a", 60, 6), line("b", 1, 1)]));
        let expected = [("type:a 1", 0, -40), ("type:b 1", 1, 1), ("cap 1", 0, -3)];
        let expected = expected.map(|(key, count, amount)| (key.to_owned(), count, amount));
        assert_eq!(sums(&difference(&before, &after)), expected);
        assert!(difference(&after, &after).is_empty());
    }

    #[test]
    fn subjects_read_back() {
        for subject in [Subject::Cap, Subject::CommissionType("a:b".to_owned())] {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        assert_eq!("bonus".parse::<Subject>(), Err(UnknownSubject));
    }
}
