//! What reaching a target pays (MONEY 9).

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use uuid::Uuid;
use waypost::domain::{
    bonuses::{BonusInterval, BonusMeasure, BonusSettings},
    calendar::Period,
    price::FlatPrice,
    reason::{LineKind, LineStatus, Waits},
};

use super::{
    Ms,
    calendar::{day_number, span, within},
    number::{Q, half_even, ratio, whole},
    state::*,
    versions::{in_force, settings},
};

pub fn period_of(interval: BonusInterval) -> Period {
    match interval {
        BonusInterval::Day => Period::Day,
        BonusInterval::Week => Period::Week,
        BonusInterval::Month => Period::Month,
        BonusInterval::Quarter => Period::Quarter,
        BonusInterval::Year => Period::Year,
        BonusInterval::AllTime => Period::Lifetime,
    }
}

/// The interval in which a time lies.
pub fn interval_of(interval: BonusInterval, at: Ms, zone: &TimeZone) -> (Ms, Ms) {
    span(period_of(interval), at, zone)
}

impl Model {
    /// An interval that has closed is decided, if nothing stands in the way.
    pub fn award(&mut self, at: Ms, id: Uuid, affiliate: i64, interval: Ms) {
        let bonus = &self.bonuses[&id];
        if bonus.deleted || self.awards.contains_key(&(id, affiliate, interval)) {
            return;
        }
        let kind = bonus.versions[0].1.interval;
        let (start, end) = interval_of(kind, interval, &self.zone);
        let first_from = bonus.versions.iter().map(|(from, _)| *from).min().unwrap();
        let Some(version) = in_force(&bonus.versions, end - 1) else { return };
        if kind == BonusInterval::AllTime
            || start != interval
            || end > at
            || end <= first_from
            || !version.active
            || self.suspended(bonus.program, affiliate, at)
        {
            return;
        }
        let in_interval = |each: &&Conversion| within(each.occurred_at, (start, end));
        let waits = self.conversions.iter().filter(in_interval).any(|each| {
            each.state == ConversionState::Pending(Waits::RateMissing)
                && each.found == Some((bonus.program, affiliate))
        });
        let undecided =
            self.settled(bonus.program).filter(in_interval).flat_map(|each| &each.lines).any(|line| {
                line.affiliate == affiliate && line.status == LineStatus::Pending && line.amount > 0
            });
        if waits || undecided {
            return;
        }
        let program = bonus.program;
        if let Some((target, amount)) = self.reached(version, program, affiliate, (start, end)) {
            self.pay_bonus(at, (id, affiliate, interval), program, target, amount, amount);
        }
    }

    /// After every command.
    pub fn award_alltime(&mut self, at: Ms) {
        let ids: Vec<Uuid> = self.bonuses.keys().copied().collect();
        let affiliates: Vec<i64> = self.affiliates.keys().copied().collect();
        for id in ids {
            for &affiliate in &affiliates {
                let bonus = &self.bonuses[&id];
                let program = bonus.program;
                let Some(version) = in_force(&bonus.versions, at) else { continue };
                if bonus.deleted
                    || version.interval != BonusInterval::AllTime
                    || !version.active
                    || self.suspended(program, affiliate, at)
                {
                    continue;
                }
                let Some((target, amount)) = self.reached(version, program, affiliate, (Ms::MIN, Ms::MAX))
                else {
                    continue;
                };
                let key = (id, affiliate, 0);
                let before = self.awards.get(&key).cloned().unwrap_or(Award { target: 0, amount: 0 });
                if target > before.target {
                    let difference = (amount - before.amount).max(0);
                    self.pay_bonus(at, key, program, target, difference, before.amount + difference);
                }
            }
        }
    }

    fn settled(&self, program: i64) -> impl Iterator<Item = &Conversion> {
        let settled = self.conversions.iter().filter(|each| each.state == ConversionState::Settled);
        settled.filter(move |each| each.program == program)
    }

    /// The highest target reached, and what it pays.
    fn reached(
        &self,
        version: &BonusSettings,
        program: i64,
        affiliate: i64,
        interval: (Ms, Ms),
    ) -> Option<(i64, i64)> {
        let counted: Vec<&Conversion> = self
            .settled(program)
            .filter(|each| each.affiliate == affiliate && within(each.occurred_at, interval))
            .filter(|each| {
                let day = day_number(each.occurred_at, &self.zone);
                version.start_date.is_none_or(|start| start <= day)
                    && version.end_date.is_none_or(|end| day <= end)
            })
            .filter(|each| !each.refunded_whole())
            .filter(|each| {
                each.lines.iter().any(|line| {
                    line.kind == LineKind::Regular && line.earned && line.status == LineStatus::Approved
                })
            })
            .collect();
        let amount: Q = counted.iter().map(|each| whole(each.left()) * &each.factor).sum();
        let measure = match version.measure {
            BonusMeasure::ConversionCount => whole(i64::try_from(counted.len()).unwrap()),
            BonusMeasure::ConversionAmount => amount.clone(),
            BonusMeasure::CustomerCount => {
                let firsts: BTreeSet<usize> = counted.iter().filter_map(|each| self.first_of(each)).collect();
                whole(i64::try_from(firsts.len()).unwrap())
            }
        };
        let target = version.targets.iter().rev().find(|target| whole(target.target) <= measure)?;
        let pays = match target.pays {
            FlatPrice::Fixed { value } => value,
            FlatPrice::Percentage { value } => {
                half_even(&(amount * ratio(value.scaled(), 100 * 100_000_000)))
            }
        };
        Some((target.target, pays))
    }

    /// The customer whose first conversion above 0 this is.
    fn first_of(&self, conversion: &Conversion) -> Option<usize> {
        let customer = conversion.customer?;
        let above = self.conversions.iter().filter(|each| each.customer == Some(customer) && each.amount > 0);
        let first = above.min_by_key(|each| each.seq)?;
        (first.seq == conversion.seq).then_some(customer)
    }

    fn pay_bonus(
        &mut self,
        at: Ms,
        key: (Uuid, i64, Ms),
        program: i64,
        target: i64,
        amount: i64,
        total: i64,
    ) {
        self.awards.insert(key, Award { target, amount: total });
        let currency = self.programs[&program].currency;
        let rules = settings(&self.programs[&program], at).0;
        let auto = rules.auto_approve_commissions;
        if amount == 0 {
            return;
        }
        let mut line = self.loose_line(LineKind::Bonus, Some(program), key.1, currency, amount);
        line.dated = at;
        if auto {
            line.approve(at, self.final_from(&line));
        }
        self.loose.push(line);
    }

    pub fn loose_line(
        &self,
        kind: LineKind,
        program: Option<i64>,
        affiliate: i64,
        currency: waypost::domain::amount::Currency,
        amount: i64,
    ) -> Line {
        Line {
            kind,
            program,
            affiliate,
            // After the lines of a conversion.
            made: (self.seq, 1_000 + i32::try_from(self.loose.len()).unwrap()),
            entry: 1,
            level: 1,
            commission_type: String::new(),
            sub_amount: 0,
            amount,
            currency,
            status: LineStatus::Pending,
            reason: None,
            earned: false,
            counts_towards_cap: false,
            final_at: None,
            dated: 0,
            priced: Priced { form: Form::Fixed(amount), factor: whole(1), converted: true, rest: None },
            set: None,
        }
    }
}
