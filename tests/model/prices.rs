//! What the lines of a conversion are worth when they are priced (MONEY 4, 5).

use waypost::domain::{
    amount::Currency,
    price::{Cap, CapMeasure, FlatPrice, Price, Target, TierMeasure, TierMode, Tiers},
    program::ProgramSettings,
    reason::{LineKind, LineStatus, Rejection, Stop},
};

use super::{
    Ms,
    calendar::{DAY, span, within},
    number::{Q, floor, half_even, ratio, whole},
    state::*,
    versions::{commission_type, settings},
};

/// A line as it is priced, before any refund.
#[derive(Debug)]
pub struct Drawn {
    pub entry: usize,
    pub level: u32,
    pub affiliate: i64,
    pub commission_type: String,
    pub amount: i64,
    pub currency: Currency,
    pub reason: Option<Stop>,
    pub earned: bool,
    pub counts_towards_cap: bool,
    pub priced: Priced,
}

impl Priced {
    /// What it is for this sub amount, when so much of the conversion is left; in the line's currency.
    pub fn exact(&self, sub_amount: i64, left: &Q) -> Q {
        match &self.form {
            Form::Fixed(value) => whole(*value) * left,
            Form::Share(share) if self.converted => whole(sub_amount) * share * &self.factor,
            Form::Share(share) => whole(sub_amount) * share,
            Form::Marginal { before, brackets } => {
                let end = before + whole(sub_amount) * &self.factor;
                let mut sum = whole(0);
                for (place, (from, share)) in brackets.iter().enumerate() {
                    let low = from.max(before);
                    let high = brackets.get(place + 1).map_or(&end, |next| (&next.0).min(&end));
                    if high > low {
                        sum += (high - low) * share;
                    }
                }
                if self.converted { sum } else { sum / &self.factor }
            }
        }
    }
}

fn share(percent: i64) -> Q {
    ratio(percent, 100 * 100_000_000)
}

fn flat(price: FlatPrice) -> Form {
    match price {
        FlatPrice::Fixed { value } => Form::Fixed(value),
        FlatPrice::Percentage { value } => Form::Share(share(value.scaled())),
    }
}

impl Model {
    /// All lines, by the rules in force at `rules_at`, at the conversion's place in the order.
    pub fn price(&self, ix: usize, rules_at: Ms) -> Result<Vec<Drawn>, Rejection> {
        let conversion = &self.conversions[ix];
        let program = &self.programs[&conversion.program];
        let (rules, versioned) = settings(program, rules_at);
        let caps: &[Cap] = if versioned { &rules.caps } else { &[] };
        let levels: &[FlatPrice] = if versioned { &rules.levels } else { &[] };
        let used: Vec<Q> = caps.iter().map(|cap| self.used(ix, cap)).collect();
        let begins_capped = caps.iter().zip(&used).any(|(cap, used)| *used >= whole(cap.limit));
        let is_first_payment = self.is_first_payment(ix);
        // What the lines before it have taken, in the program's currency.
        let mut taken = whole(0);
        let mut drawn = Vec::new();
        for (entry, part) in (1..).zip(&conversion.parts) {
            let kind = commission_type(program, &part.commission_type, rules_at)
                .ok_or(Rejection::UnknownCommissionType)?;
            let target = Target::CommissionType(part.commission_type.clone());
            let own = self.override_of(
                conversion.program,
                conversion.affiliate,
                &target,
                conversion.occurred_at,
                rules_at,
            );
            let (price, first_payment) = match own {
                Some(rule) => (&rule.price, rule.first_payment),
                None => (&kind.price, kind.first_payment),
            };
            let form = match first_payment {
                Some(first) if is_first_payment => flat(first),
                _ => self.form(ix, price, part),
            };
            let mut line = self.draw(ix, rules, entry, 1, conversion.affiliate, form);
            line.counts_towards_cap = kind.count_towards_cap;
            line.reason = self.stopped_by_customer(ix, kind, rules).or(begins_capped.then_some(Stop::Capped));
            if line.reason.is_none() {
                let to_program = self.to_program(ix, line.currency);
                let amounts = caps.iter().zip(&used).filter(|(cap, _)| cap.measure == CapMeasure::Amount);
                let rest = amounts.map(|(cap, used)| whole(cap.limit) - used - &taken).min();
                if let Some(rest) = rest
                    && line.amount > 0
                    && whole(line.amount) * &to_program > rest
                {
                    let cut = floor(&(rest / &to_program)).max(0);
                    line.amount = cut;
                    line.priced.rest = Some(cut);
                    if cut == 0 {
                        line.reason = Some(Stop::Capped);
                    }
                }
                taken += whole(line.amount) * to_program;
            }
            let stopped = line.reason.is_some();
            if stopped {
                line.amount = 0;
            }
            line.earned = !stopped && (part.sub_amount > 0 || line.amount > 0);
            drawn.push(line);
            if !stopped {
                self.draw_levels(ix, rules, levels, entry, rules_at, is_first_payment, &mut drawn);
            }
        }
        Ok(drawn)
    }

    #[allow(clippy::too_many_arguments, reason = "one call")]
    fn draw_levels(
        &self,
        ix: usize,
        rules: &ProgramSettings,
        levels: &[FlatPrice],
        entry: usize,
        rules_at: Ms,
        is_first_payment: bool,
        drawn: &mut Vec<Drawn>,
    ) {
        let conversion = &self.conversions[ix];
        let mut below = conversion.affiliate;
        for (level, price) in (2..).zip(levels) {
            let Some(upline) = self.parent(below, conversion.occurred_at) else { return };
            let target = Target::Level(level);
            let own = self.override_of(conversion.program, upline, &target, conversion.occurred_at, rules_at);
            let form = match own {
                Some(rule) => match (rule.first_payment, &rule.price) {
                    (Some(first), _) if is_first_payment => flat(first),
                    (_, Price::Fixed { value }) => flat(FlatPrice::Fixed { value: *value }),
                    (_, Price::Percentage { value }) => flat(FlatPrice::Percentage { value: *value }),
                    (_, Price::Tiered(_)) => panic!("a level with tiers"),
                },
                None => flat(*price),
            };
            let mut line = self.draw(ix, rules, entry, level, upline, form);
            line.reason = match self.admit(conversion.program, upline, conversion.occurred_at) {
                Ok(()) => None,
                Err(Rejection::AffiliateSuspended) => Some(Stop::AffiliateSuspended),
                Err(_) => Some(Stop::AffiliateNotApproved),
            };
            if line.reason.is_some() {
                line.amount = 0;
            }
            line.earned =
                line.reason.is_none() && (conversion.parts[entry - 1].sub_amount > 0 || line.amount > 0);
            drawn.push(line);
            below = upline;
        }
    }

    fn draw(
        &self,
        ix: usize,
        rules: &ProgramSettings,
        entry: usize,
        level: u32,
        affiliate: i64,
        form: Form,
    ) -> Drawn {
        let conversion = &self.conversions[ix];
        let program_currency = self.programs[&conversion.program].currency;
        let converted = rules.settle_in_program_currency || matches!(form, Form::Fixed(_));
        let currency = if converted { program_currency } else { conversion.currency.unwrap() };
        let priced = Priced { form, factor: conversion.factor.clone(), converted, rest: None };
        let part = &conversion.parts[entry - 1];
        Drawn {
            entry,
            level,
            affiliate,
            commission_type: part.commission_type.clone(),
            amount: half_even(&priced.exact(part.sub_amount, &whole(1))),
            currency,
            reason: None,
            earned: false,
            counts_towards_cap: false,
            priced,
        }
    }

    fn to_program(&self, ix: usize, currency: Currency) -> Q {
        let conversion = &self.conversions[ix];
        if currency == self.programs[&conversion.program].currency {
            whole(1)
        } else {
            conversion.factor.clone()
        }
    }

    /// The first conversion of its customer with an amount above 0, or one without a customer.
    fn is_first_payment(&self, ix: usize) -> bool {
        let conversion = &self.conversions[ix];
        let paid_before =
            |earlier: &Conversion| earlier.customer == conversion.customer && earlier.amount > 0;
        conversion.amount > 0 && (conversion.customer.is_none() || !self.earlier(ix).any(paid_before))
    }

    fn form(&self, ix: usize, price: &Price, part: &Part) -> Form {
        match price {
            Price::Fixed { value } => Form::Fixed(*value),
            Price::Percentage { value } => Form::Share(share(value.scaled())),
            Price::Tiered(tiers) => self.tier(ix, tiers, part),
        }
    }

    fn tier(&self, ix: usize, tiers: &Tiers, part: &Part) -> Form {
        let conversion = &self.conversions[ix];
        let period = span(tiers.period, conversion.occurred_at, &self.zone);
        let lines =
            self.earlier(ix).filter(|earlier| within(earlier.occurred_at, period)).flat_map(|earlier| {
                let counted = counted_lines(earlier).filter(|line| {
                    line.earned
                        && line.affiliate == conversion.affiliate
                        && line.commission_type == part.commission_type
                });
                counted.map(|line| whole(line.sub_amount) * &earlier.factor)
            });
        let (before, reached) = match tiers.measure {
            TierMeasure::Count => {
                let count = whole(i64::try_from(lines.count()).unwrap());
                (count.clone(), count + whole(1))
            }
            TierMeasure::Revenue => {
                let sum: Q = lines.sum();
                (sum.clone(), sum + whole(part.sub_amount) * &conversion.factor)
            }
        };
        match tiers.mode {
            TierMode::Whole => {
                let holds = |bracket: &&waypost::domain::price::Bracket| whole(bracket.from) <= reached;
                flat(tiers.brackets.iter().rev().find(holds).unwrap().price)
            }
            TierMode::Marginal => {
                let brackets = tiers.brackets.iter().map(|bracket| {
                    let FlatPrice::Percentage { value } = bracket.price else { panic!("marginal and fixed") };
                    (whole(bracket.from), share(value.scaled()))
                });
                Form::Marginal { before, brackets: brackets.collect() }
            }
        }
    }

    /// A line as it begins.
    pub fn start(&self, at: Ms, ix: usize, rules_at: Ms, drawn: Drawn, number: i32) -> Line {
        let conversion = &self.conversions[ix];
        let mut line = Line {
            kind: if drawn.level == 1 { LineKind::Regular } else { LineKind::Level },
            program: Some(conversion.program),
            affiliate: drawn.affiliate,
            made: (self.seq, number),
            entry: drawn.entry,
            level: drawn.level,
            commission_type: drawn.commission_type,
            sub_amount: conversion.parts[drawn.entry - 1].sub_amount,
            amount: drawn.amount,
            currency: drawn.currency,
            status: LineStatus::Disapproved,
            reason: drawn.reason,
            earned: drawn.earned,
            counts_towards_cap: drawn.counts_towards_cap,
            final_at: None,
            dated: conversion.occurred_at,
            priced: drawn.priced,
            set: None,
        };
        if line.reason.is_none() {
            self.begin(at, ix, rules_at, &mut line);
        }
        line
    }

    /// Approved where nothing sends it to review.
    pub fn begin(&self, at: Ms, ix: usize, rules_at: Ms, line: &mut Line) {
        let conversion = &self.conversions[ix];
        let rules = settings(&self.programs[&conversion.program], rules_at).0;
        line.status = LineStatus::Pending;
        if rules.auto_approve_commissions && !conversion.review {
            line.approve(at, self.final_from(line));
        }
    }

    /// Before when a line is not final, by the rules that are known now to have been in force (MONEY 7).
    pub fn final_from(&self, line: &Line) -> Ms {
        match line.program {
            Some(program) if line.kind != LineKind::Adjustment => {
                let delay = settings(&self.programs[&program], line.dated).0.payout_delay;
                line.dated + i64::from(delay) * DAY
            }
            _ => line.dated,
        }
    }

    /// Those settled at a lower place in the order, in the same program.
    pub fn earlier(&self, ix: usize) -> impl Iterator<Item = &Conversion> {
        let this = &self.conversions[ix];
        let (program, seq) = (this.program, this.seq.unwrap());
        self.conversions
            .iter()
            .filter(move |other| other.program == program && other.seq.is_some_and(|other| other < seq))
    }
}

impl Line {
    pub fn approve(&mut self, at: Ms, from: Ms) {
        self.status = LineStatus::Approved;
        self.final_at = Some(from.max(at));
    }
}

/// The regular lines that measures see.
pub fn counted_lines(conversion: &Conversion) -> impl Iterator<Item = &Line> {
    let counts = conversion.state == ConversionState::Settled && !conversion.refunded_whole();
    conversion.lines.iter().filter(move |line| {
        counts && line.kind == LineKind::Regular && line.status != LineStatus::Disapproved
    })
}
