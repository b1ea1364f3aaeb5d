//! The lines of a conversion (MONEY 4, 6): one after another, each stopped by the first rule that stops it, cut by what
//! the caps leave, and followed by those of the uplines.

use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};
use serde::{Deserialize, Serialize};

use super::{
    amount::Currency,
    calendar::Span,
    entries::Entry,
    ids::AffiliateId,
    price::{Cap, CapMeasure, Recurrence},
    pricing::{PricedLine, Rule, Terms, in_program_currency, price, whole},
    rates::Fraction,
    reason::{LineKind, Stop},
    time::Timestamp,
};

/// All that the lines of one conversion follow from, as it stood before it.
#[derive(Debug)]
pub struct Plan<'a> {
    pub terms: Terms<'a>,
    pub occurred_at: Timestamp,
    pub affiliate: AffiliateId,
    /// None: every conversion is a first.
    pub customer: Option<CustomerBefore>,
    /// The program's.
    pub recurring: bool,
    pub recurring_cap: Option<u32>,
    pub recurring_period_days: Option<u32>,
    pub caps: &'a [CapBefore],
    /// At least one, in the order given.
    pub entries: &'a [EntryPlan<'a>],
    /// From level 2 on, as far as the program has levels and the chain of parents goes.
    pub uplines: &'a [Upline],
}

/// A customer before the conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerBefore {
    /// When the conversion happened.
    pub canceled: bool,
    /// When the customer's first settled conversion happened; none: this is the first.
    pub first_at: Option<Timestamp>,
    /// An earlier conversion had an amount above 0.
    pub moved_on: bool,
    /// Earlier conversions that earned a line of a type that counts towards the cap.
    pub counted: u32,
}

/// A cap and what its period held before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapBefore {
    pub cap: Cap,
    pub span: Span,
    /// Conversions, or minor units of the program's currency.
    pub before: Fraction,
}

impl CapBefore {
    /// The smallest rest of those that count amounts, in minor units of the program's currency; none without one.
    pub fn least_left(caps: &[Self]) -> Option<BigRational> {
        let amounts = caps.iter().filter(|one| one.cap.measure == CapMeasure::Amount);
        amounts.map(|one| whole(one.cap.limit) - &one.before.0).min()
    }

    fn is_reached(&self) -> bool {
        self.before.0 >= whole(self.cap.limit)
    }
}

/// One part of the conversion and the rule of its regular line.
#[derive(Debug)]
pub struct EntryPlan<'a> {
    pub entry: &'a Entry,
    pub rule: Rule,
    pub recurrence: Recurrence,
    pub count_towards_cap: bool,
    /// Earlier conversions of the customer that earned a line of this type.
    pub earned_before: u32,
    /// The measure, where the rule's price is tiered.
    pub tier: Option<(Span, BigRational)>,
}

/// Somebody above the affiliate.
#[derive(Clone, Debug)]
pub struct Upline {
    /// From 2.
    pub level: u32,
    pub affiliate: AffiliateId,
    pub rule: Rule,
    /// May earn nothing: suspended or not approved in the program.
    pub stopped: Option<Stop>,
}

/// Recurrence and caps of a regular line as they stood before it; kept to explain it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<RecurrenceBefore>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<CapBefore>,
}

impl Limits {
    pub fn is_empty(&self) -> bool {
        self.recurrence.is_none() && self.caps.is_empty()
    }
}

/// What recurrence looked at; kept only where something limits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecurrenceBefore {
    /// With the program's `recurring` taken in.
    pub recurrence: Recurrence,
    pub earned_before: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurring_cap: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurring_period_days: Option<u32>,
    #[serde(flatten)]
    pub customer: CustomerBefore,
}

/// A line as it is made.
#[derive(Clone, Debug)]
pub struct MadeLine {
    /// From 1.
    pub entry: i32,
    /// 1 for a regular line.
    pub level: u32,
    pub kind: LineKind,
    pub affiliate: AffiliateId,
    /// With the full price; `line.amount` is what is left of it.
    pub line: PricedLine,
    /// Minor units of the conversion's currency, as far as they are not refunded.
    pub sub_amount: i64,
    pub stop: Option<Stop>,
    pub earned: bool,
    pub counts_towards_cap: bool,
    pub comment: Option<String>,
}

/// The lines in their order (MONEY 4).
pub fn make(plan: &Plan<'_>) -> Vec<MadeLine> {
    let first = plan.terms.conversion_amount > 0 && plan.customer.is_none_or(|customer| !customer.moved_on);
    let mut made = Vec::with_capacity(plan.entries.len() * (1 + plan.uplines.len()));
    let mut rest = Rest::of(plan);
    for (number, part) in (1..).zip(plan.entries) {
        let regular = regular(plan, part, number, first, &mut rest);
        let stopped = regular.stop.is_some();
        made.push(regular);
        if !stopped {
            made.extend(plan.uplines.iter().map(|upline| level(plan, part, number, upline, first)));
        }
    }
    made
}

fn regular(plan: &Plan<'_>, part: &EntryPlan<'_>, number: i32, first: bool, rest: &mut Rest) -> MadeLine {
    let Entry { sub_amount, commission_type, comment } = part.entry;
    let mut line = price(&plan.terms, &part.rule, commission_type, 1, *sub_amount, part.tier.clone(), first);
    line.pricing.limits = Limits { recurrence: recurrence(plan, part), caps: plan.caps.to_vec() };
    let mut stop = stopped_by(plan, part).or_else(|| rest.begun_full.then_some(Stop::Capped));
    if stop.is_none() {
        stop = rest.cut(&mut line);
    }
    let earned = match stop {
        Some(_) => {
            line.amount = 0;
            false
        }
        None => line.earned(),
    };
    MadeLine {
        entry: number,
        level: 1,
        kind: LineKind::Regular,
        affiliate: plan.affiliate,
        line,
        sub_amount: *sub_amount,
        stop,
        earned,
        counts_towards_cap: part.count_towards_cap,
        comment: comment.clone(),
    }
}

fn level(plan: &Plan<'_>, part: &EntryPlan<'_>, number: i32, upline: &Upline, first: bool) -> MadeLine {
    let Entry { sub_amount, commission_type, .. } = part.entry;
    let mut line = price(&plan.terms, &upline.rule, commission_type, upline.level, *sub_amount, None, first);
    let stop = upline.stopped;
    if stop.is_some() {
        line.amount = 0;
    }
    MadeLine {
        entry: number,
        level: upline.level,
        kind: LineKind::Level,
        affiliate: upline.affiliate,
        earned: stop.is_none() && line.earned(),
        line,
        sub_amount: *sub_amount,
        stop,
        counts_towards_cap: false,
        comment: None,
    }
}

/// The first rule of recurrence that stops a line (MONEY 6).
fn stopped_by(plan: &Plan<'_>, part: &EntryPlan<'_>) -> Option<Stop> {
    let customer = plan.customer?;
    if customer.canceled {
        return Some(Stop::CustomerCanceled);
    }
    let may_earn = match effective(plan, part) {
        Recurrence::Once => part.earned_before == 0,
        Recurrence::Repeating(times) => part.earned_before < times,
        Recurrence::Forever => true,
    };
    if !may_earn {
        return Some(Stop::Recurrence);
    }
    let too_late =
        |days: u32| customer.first_at.is_some_and(|first| plan.occurred_at > first.plus_days(days.into()));
    if plan.recurring_period_days.is_some_and(too_late) {
        return Some(Stop::RecurringPeriod);
    }
    plan.recurring_cap.filter(|cap| customer.counted >= *cap).map(|_| Stop::RecurringCap)
}

fn effective(plan: &Plan<'_>, part: &EntryPlan<'_>) -> Recurrence {
    if plan.recurring { part.recurrence } else { Recurrence::Once }
}

fn recurrence(plan: &Plan<'_>, part: &EntryPlan<'_>) -> Option<RecurrenceBefore> {
    let customer = plan.customer?;
    let recurrence = effective(plan, part);
    let limits = recurrence != Recurrence::Forever
        || plan.recurring_cap.is_some()
        || plan.recurring_period_days.is_some()
        || customer.canceled;
    limits.then_some(RecurrenceBefore {
        recurrence,
        earned_before: part.earned_before,
        recurring_cap: plan.recurring_cap,
        recurring_period_days: plan.recurring_period_days,
        customer,
    })
}

/// What the caps of amounts still leave, while the lines of one conversion are made.
struct Rest {
    /// A cap was reached before the conversion.
    begun_full: bool,
    /// The smallest rest, in minor units of the program's currency; none without a cap of an amount.
    left: Option<BigRational>,
    /// What the lines so far have taken of it.
    taken: BigRational,
    /// Of the conversion's currency to the program's.
    factor: Option<Fraction>,
    program_currency: Currency,
}

impl Rest {
    fn of(plan: &Plan<'_>) -> Self {
        Self {
            begun_full: plan.caps.iter().any(CapBefore::is_reached),
            left: CapBefore::least_left(plan.caps),
            taken: whole(0),
            factor: plan.terms.factor.cloned(),
            program_currency: plan.terms.program_currency,
        }
    }

    /// Takes a line's amount from what is left, and cuts the line where that is less.
    fn cut(&mut self, line: &mut PricedLine) -> Option<Stop> {
        let left = self.left.as_mut()?;
        let factor = self.factor.as_ref().filter(|_| line.currency != self.program_currency);
        let asked = in_program_currency(line.amount, factor);
        if asked <= *left {
            *left -= &asked;
            self.taken += asked;
            return None;
        }
        let in_line_currency = match factor {
            Some(factor) => &*left / &factor.0,
            None => left.clone(),
        };
        // The line was larger, so it fits; and nothing is left below 0.
        let rest = in_line_currency.floor().to_integer().to_i64().unwrap_or(0).max(0);
        line.amount = rest;
        line.pricing.rest = Some(rest);
        line.pricing.rest_taken = (!self.taken.is_zero()).then(|| Fraction(self.taken.clone()));
        let took = in_program_currency(rest, factor);
        *left -= &took;
        self.taken += took;
        debug_assert!(!left.is_negative());
        if rest.is_zero() { Some(Stop::Capped) } else { None }
    }
}

#[cfg(test)]
mod tests;
