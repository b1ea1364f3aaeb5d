//! What stops a line: recurrence and the customer's limits, and the caps of programs (MONEY 6).

use waypost::domain::{
    price::{Cap, CapMeasure, CapScope, Recurrence},
    program::{CommissionType, ProgramSettings},
    reason::{LineKind, Stop},
};

use super::{
    attribution::canceled,
    calendar::{DAY, span, within},
    number::{Q, whole},
    prices::counted_lines,
    state::*,
};

fn earned_regular(conversion: &Conversion) -> impl Iterator<Item = &Line> {
    conversion.lines.iter().filter(|line| line.kind == LineKind::Regular && line.earned)
}

impl Model {
    pub fn stopped_by_customer(
        &self,
        ix: usize,
        kind: &CommissionType,
        rules: &ProgramSettings,
    ) -> Option<Stop> {
        let conversion = &self.conversions[ix];
        let customer = &self.customers[conversion.customer?];
        if canceled(customer, conversion.occurred_at) {
            return Some(Stop::CustomerCanceled);
        }
        let before: Vec<&Conversion> =
            self.earlier(ix).filter(|earlier| earlier.customer == conversion.customer).collect();
        let of_type = before
            .iter()
            .filter(|earlier| earned_regular(earlier).any(|line| line.commission_type == kind.identifier))
            .count();
        let recurrence = if rules.recurring { kind.recurrence } else { Recurrence::Once };
        let most = match recurrence {
            Recurrence::Once => 1,
            Recurrence::Repeating(most) => most as usize,
            Recurrence::Forever => usize::MAX,
        };
        if of_type >= most {
            return Some(Stop::Recurrence);
        }
        let first = before.iter().min_by_key(|earlier| earlier.seq);
        if let (Some(days), Some(first)) = (rules.recurring_period_days, first)
            && conversion.occurred_at - first.occurred_at > i64::from(days) * DAY
        {
            return Some(Stop::RecurringPeriod);
        }
        let counted =
            before.iter().filter(|earlier| earned_regular(earlier).any(|line| line.counts_towards_cap));
        if let Some(cap) = rules.recurring_cap
            && counted.count() >= cap as usize
        {
            return Some(Stop::RecurringCap);
        }
        None
    }

    /// How much of a cap the earlier conversions of the period have used.
    pub fn used(&self, ix: usize, cap: &Cap) -> Q {
        let conversion = &self.conversions[ix];
        let period = span(cap.period, conversion.occurred_at, &self.zone);
        let counted = self.earlier(ix).filter(|earlier| {
            within(earlier.occurred_at, period)
                && (cap.scope == CapScope::Program || earlier.affiliate == conversion.affiliate)
        });
        match cap.measure {
            CapMeasure::Conversions => {
                let earned = counted.filter(|earlier| counted_lines(earlier).any(|line| line.earned));
                whole(i64::try_from(earned.count()).unwrap())
            }
            CapMeasure::Amount => counted
                .flat_map(|earlier| counted_lines(earlier).map(move |line| (earlier, line)))
                .map(|(earlier, line)| {
                    let program_currency = self.programs[&earlier.program].currency;
                    let amount = whole(line.amount);
                    if line.currency == program_currency { amount } else { amount * &earlier.factor }
                })
                .sum(),
        }
    }

    /// The customer has had a conversion with an amount above 0.
    pub fn moved_on(&self, customer: usize) -> bool {
        self.conversions.iter().any(|each| each.customer == Some(customer) && each.amount > 0)
    }

    /// When the first of the customer's conversions happened.
    pub fn first_at(&self, customer: usize) -> Option<super::Ms> {
        let of = self.conversions.iter().filter(|each| each.customer == Some(customer));
        of.min_by_key(|each| each.seq).map(|each| each.occurred_at)
    }
}
