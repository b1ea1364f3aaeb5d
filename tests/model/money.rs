//! Commands one after the other; review, balances and payments (MONEY 7, 10).

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use waypost::{
    domain::{
        amount::Currency,
        price::Target,
        reason::{CustomerTrack, LedgerAccount, LineKind, LineStatus, Standing, Waits},
    },
    events::Body,
};

use super::{Ms, attribution::canceled, settle::said, state::*, versions::settings};

impl Model {
    pub fn new(zone: &str, pending_time: Ms) -> Self {
        Self {
            zone: TimeZone::get(zone).unwrap(),
            pending_time,
            seq: 0,
            programs: BTreeMap::new(),
            affiliates: BTreeMap::new(),
            standings: BTreeMap::new(),
            links: Vec::new(),
            coupons: Vec::new(),
            clicks: Vec::new(),
            rates: Vec::new(),
            overrides: Vec::new(),
            bonuses: BTreeMap::new(),
            awards: BTreeMap::new(),
            customers: Vec::new(),
            conversions: Vec::new(),
            refunds: Vec::new(),
            loose: Vec::new(),
            payments: Vec::new(),
            minimums: Vec::new(),
        }
    }

    pub fn apply(&mut self, at: Ms, act: &Act) -> Outcome {
        self.seq += 1;
        let outcome = self.take(at, act);
        self.award_alltime(at);
        outcome
    }

    fn take(&mut self, at: Ms, act: &Act) -> Outcome {
        match act {
            Act::PutProgram { program, slug, currency, settings, from } => {
                let row = self.programs.entry(*program).or_insert_with(|| Program {
                    slug: slug.clone(),
                    currency: *currency,
                    versions: Vec::new(),
                });
                row.versions.push((from.unwrap_or(at), (**settings).clone()));
            }
            Act::PutAffiliate { affiliate, suspended } => {
                self.affiliates.entry(*affiliate).or_default().suspended.push((at, *suspended));
            }
            Act::SetStanding { program, affiliate, standing } => {
                self.standings.entry((*program, *affiliate)).or_default().push((at, *standing));
            }
            Act::PutLink(link) => self.links.push(link.clone()),
            Act::PutCoupon(coupon) => self.coupons.push(coupon.clone()),
            Act::StoreClick(click) => {
                let woken = self.woken(at, act);
                self.clicks.push(click.clone());
                self.retry(at, &woken);
            }
            Act::LoadRates(rates) => {
                let woken = self.woken(at, act);
                self.rates.extend(rates);
                for ix in woken {
                    // It was past its click once, and does not begin to wait for it again.
                    self.conversions[ix].waited_out = true;
                    self.retry(at, &[ix]);
                }
            }
            Act::Receive(event) => {
                return match &event.body {
                    Body::Conversion(_) => self.receive_conversion(at, event),
                    Body::Refund(_) => self.receive_refund(at, event),
                    Body::Click(_) | Body::End => panic!("no money: {event:?}"),
                };
            }
            Act::Expire => {
                for ix in self.woken(at, act) {
                    self.conversions[ix].waited_out = true;
                    self.retry(at, &[ix]);
                }
                self.give_up_refunds(at);
            }
            Act::Accept(ix) => return self.accept(at, *ix),
            Act::Decline(ix) => return self.decline(*ix),
            Act::Approve(key) => {
                let from = self.final_from(self.line(key));
                return self.review(key, |line| line.approve(at, from), LineStatus::Approved);
            }
            Act::Disapprove(key) => return self.review(key, Line::disapprove, LineStatus::Disapproved),
            Act::Reopen(key) => {
                let reopen = |line: &mut Line| (line.status, line.final_at) = (LineStatus::Pending, None);
                return self.review(key, reopen, LineStatus::Pending);
            }
            Act::EditLine(key, amount) => return self.edit_line(key, *amount),
            Act::Adjust { affiliate, program, currency, amount, .. } => {
                let mut line =
                    self.loose_line(LineKind::Adjustment, *program, *affiliate, *currency, *amount);
                line.dated = at;
                line.approve(at, at);
                self.loose.push(line);
            }
            Act::EditConversion(ix, amount) => return self.edit_conversion(*ix, *amount),
            Act::Recalculate(ix, current) => return self.recalculate(at, *ix, *current),
            Act::Delete(ix) => return self.delete(*ix),
            Act::PutGroup(_) => {}
            Act::SetGroup { affiliate, group } => {
                self.affiliates.get_mut(affiliate).unwrap().groups.push((at, *group));
            }
            Act::SetParent { affiliate, parent } => {
                let mut above = *parent;
                while let Some(upline) = above {
                    if upline == *affiliate {
                        return Outcome::Refused;
                    }
                    above = self.parent(upline, at);
                }
                self.affiliates.get_mut(affiliate).unwrap().parents.push((at, *parent));
            }
            Act::PutOverride { program, whose, target, rule, from } => {
                let same = |each: &&mut Override| {
                    each.program == *program && each.whose == *whose && each.target == *target
                };
                let version = (from.unwrap_or(at), rule.clone());
                // Of a type that the program has now, or had when it begins.
                let knows = |name: &str, then| {
                    let types = &settings(&self.programs[program], then).0.commission_types;
                    types.iter().any(|kind| kind.identifier == name)
                };
                if let (Target::CommissionType(name), Some(_)) = (target, rule)
                    && ![at, version.0].into_iter().any(|then| knows(name, then))
                {
                    return Outcome::Refused;
                }
                match self.overrides.iter_mut().find(same) {
                    Some(found) => found.versions.push(version),
                    None if rule.is_none() => return Outcome::Refused,
                    None => self.overrides.push(Override {
                        program: *program,
                        whose: *whose,
                        target: target.clone(),
                        versions: vec![version],
                    }),
                }
            }
            Act::PutBonus { bonus, program, settings, from } => {
                let row = self.bonuses.entry(*bonus).or_insert_with(|| Bonus {
                    program: *program,
                    versions: Vec::new(),
                    deleted: false,
                });
                row.versions.push((from.unwrap_or(at), settings.clone()));
            }
            Act::DeleteBonus(bonus) => self.bonuses.get_mut(bonus).unwrap().deleted = true,
            Act::Award { bonus, affiliate, interval } => self.award(at, *bonus, *affiliate, *interval),
            Act::CreateCustomer { program, customer, code, track } => {
                if self.customer_named(*program, customer).is_some() {
                    return Outcome::Refused;
                }
                let link = self.links.iter().find(|link| link.code == *code).unwrap();
                let (affiliate, link) = (link.affiliate, Some(link.id));
                self.customers.push(Customer {
                    program: *program,
                    name: customer.clone(),
                    affiliate,
                    link,
                    track: *track,
                    cancellations: Vec::new(),
                });
            }
            Act::MoveCustomer { customer, affiliate } => {
                // To somebody whom the program has, or who waits for it.
                let standing = self.standing(self.customers[*customer].program, *affiliate, at);
                if !matches!(standing, Some(Standing::Approved | Standing::Pending)) {
                    return Outcome::Refused;
                }
                let row = &mut self.customers[*customer];
                (row.affiliate, row.link) = (*affiliate, None);
            }
            Act::SetCanceled { customer, canceled: now } => {
                let row = &mut self.customers[*customer];
                if canceled(row, at) != *now {
                    row.cancellations.push((at, *now));
                }
            }
            Act::RecordPayment(payment) => self.payments.push(payment.clone()),
            Act::CancelPayment(id) => {
                let payment = self.payments.iter_mut().find(|payment| payment.id == *id).unwrap();
                if payment.state != PaymentState::Recorded {
                    return Outcome::Refused;
                }
                payment.state = PaymentState::Cancelled;
            }
            Act::CreatePayout(payout) => {
                let least = self.minimums.iter().rev().find(|(currency, _)| *currency == payout.currency);
                if self.suspended_everywhere(payout.affiliate, at)
                    || payout.amount > self.available(payout.affiliate, payout.currency, at)
                    || least.is_some_and(|(_, least)| payout.amount < *least)
                {
                    return Outcome::Refused;
                }
                self.payments.push(payout.clone());
            }
            Act::EndPayout(id, end) => {
                let payout = self.payments.iter_mut().find(|payment| payment.id == *id).unwrap();
                if payout.state != PaymentState::Created {
                    return Outcome::Refused;
                }
                payout.state = *end;
            }
            Act::SetMinimum(currency, amount) => {
                let had = self.minimums.iter().any(|(of, _)| of == currency);
                if amount.is_none() && !had {
                    return Outcome::Refused;
                }
                self.minimums.retain(|(of, _)| of != currency);
                self.minimums.extend(amount.map(|amount| (*currency, amount)));
            }
        }
        Outcome::Done
    }

    /// The pending conversions that are tried again by it, in order of arrival.
    pub fn woken(&self, at: Ms, act: &Act) -> Vec<usize> {
        let wakes = |each: &Conversion| {
            let ConversionState::Pending(waits) = each.state else { return false };
            match act {
                Act::StoreClick(click) => {
                    waits == Waits::ClickNotStored && said(&each.event).click_id == Some(click.id.to_string())
                }
                Act::LoadRates(_) => waits == Waits::RateMissing,
                Act::Expire => waits == Waits::ClickNotStored && each.waits_until <= at,
                _ => false,
            }
        };
        (0..self.conversions.len()).filter(|ix| wakes(&self.conversions[*ix])).collect()
    }

    pub fn line(&self, key: &LineKey) -> &Line {
        match key {
            LineKey::Of(ix, number) => &self.conversions[*ix].lines[usize::try_from(number - 1).unwrap()],
            LineKey::Loose(place) => &self.loose[*place],
        }
    }

    fn line_mut(&mut self, key: &LineKey) -> &mut Line {
        match key {
            LineKey::Of(ix, number) => &mut self.conversions[*ix].lines[usize::try_from(number - 1).unwrap()],
            LineKey::Loose(place) => &mut self.loose[*place],
        }
    }

    /// Stopped lines and those of deleted conversions stay as they are.
    fn is_fixed(&self, key: &LineKey) -> bool {
        let deleted = match key {
            LineKey::Of(ix, _) => self.conversions[*ix].state == ConversionState::Deleted,
            LineKey::Loose(_) => false,
        };
        deleted || self.line(key).reason.is_some()
    }

    fn review(&mut self, key: &LineKey, change: impl Fn(&mut Line), status: LineStatus) -> Outcome {
        if self.is_fixed(key) || self.line(key).status == status {
            return Outcome::Refused;
        }
        change(self.line_mut(key));
        Outcome::Done
    }

    fn edit_line(&mut self, key: &LineKey, amount: i64) -> Outcome {
        if self.is_fixed(key) {
            return Outcome::Refused;
        }
        let left = match key {
            LineKey::Of(ix, _) => self.conversions[*ix].left(),
            LineKey::Loose(_) => 0,
        };
        let line = self.line_mut(key);
        line.amount = amount;
        line.set = Some((amount, left));
        Outcome::Done
    }

    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.conversions.iter().flat_map(|each| &each.lines).chain(&self.loose)
    }

    /// What the affiliate has to get.
    pub fn payable(&self, affiliate: i64, currency: Currency) -> i64 {
        let approved = self.lines().filter(|line| line.status == LineStatus::Approved);
        let earned: i64 = approved
            .filter(|line| (line.affiliate, line.currency) == (affiliate, currency))
            .map(|line| line.amount)
            .sum();
        earned - self.sent(affiliate, currency, true)
    }

    /// By payments that stand; with those that are only reserved.
    fn sent(&self, affiliate: i64, currency: Currency, reserved: bool) -> i64 {
        let stands = |payment: &&Payment| match payment.state {
            PaymentState::Recorded | PaymentState::Paid => true,
            PaymentState::Created => reserved,
            PaymentState::Failed | PaymentState::Cancelled => false,
        };
        let own =
            self.payments.iter().filter(|each| (each.affiliate, each.currency) == (affiliate, currency));
        own.filter(stands).map(|payment| payment.amount).sum()
    }

    pub fn available(&self, affiliate: i64, currency: Currency, at: Ms) -> i64 {
        let later = self.lines().filter(|line| {
            (line.affiliate, line.currency) == (affiliate, currency)
                && line.status == LineStatus::Approved
                && line.final_at.is_some_and(|final_at| final_at > at)
        });
        self.payable(affiliate, currency) - later.map(|line| line.amount).sum::<i64>()
    }

    /// Balances that are not 0, credits below 0, by affiliate (0: the account's own).
    pub fn balances(&self) -> BTreeMap<(i64, ByCode, LedgerAccount), i64> {
        let mut sums = BTreeMap::new();
        let mut add = |affiliate: i64, currency: Currency, account: LedgerAccount, amount: i64| {
            *sums.entry((affiliate, ByCode(currency), account)).or_insert(0) += amount;
        };
        for line in self.lines() {
            let account = match line.status {
                LineStatus::Pending => LedgerAccount::Accrued,
                LineStatus::Approved => LedgerAccount::Payable,
                LineStatus::Disapproved => continue,
            };
            add(line.affiliate, line.currency, account, -line.amount);
            add(0, line.currency, LedgerAccount::Expense, line.amount);
        }
        for payment in &self.payments {
            let to = match payment.state {
                PaymentState::Recorded | PaymentState::Paid => (0, LedgerAccount::Cash),
                PaymentState::Created => (payment.affiliate, LedgerAccount::Reserved),
                PaymentState::Failed | PaymentState::Cancelled => continue,
            };
            add(payment.affiliate, payment.currency, LedgerAccount::Payable, payment.amount);
            add(to.0, payment.currency, to.1, -payment.amount);
        }
        sums.retain(|_, amount| *amount != 0);
        sums
    }

    /// The lines of an affiliate that are paid: final ones as far as what was sent covers each whole.
    pub fn paid(&self, affiliate: i64, currency: Currency, at: Ms) -> BTreeSet<(i64, i32)> {
        let mut lines: Vec<&Line> = self
            .lines()
            .filter(|line| {
                (line.affiliate, line.currency) == (affiliate, currency)
                    && line.status == LineStatus::Approved
                    && line.final_at.is_some_and(|final_at| final_at <= at)
            })
            .collect();
        lines.sort_by_key(|line| line.made);
        let mut left = self.sent(affiliate, currency, true);
        let covered = lines.into_iter().take_while(|line| {
            left -= line.amount;
            left >= 0
        });
        covered.map(|line| line.made).collect()
    }

    /// `trial`, `paying`, …, `capped`, `canceled` (MONEY 6).
    pub fn customer_status(&self, customer: usize, at: Ms) -> &'static str {
        let row = &self.customers[customer];
        let rules = settings(&self.programs[&row.program], at).0;
        let counted = self.conversions.iter().filter(|each| {
            each.customer == Some(customer)
                && each
                    .lines
                    .iter()
                    .any(|line| line.kind == LineKind::Regular && line.earned && line.counts_towards_cap)
        });
        if canceled(row, at) {
            return "canceled";
        }
        if rules.recurring_cap.is_some_and(|cap| counted.count() >= cap as usize) {
            return "capped";
        }
        match (row.track, self.moved_on(customer)) {
            (CustomerTrack::Trial, false) => "trial",
            (CustomerTrack::Trial, true) => "paying",
            (CustomerTrack::Lead, false) => "lead",
            (CustomerTrack::Lead, true) => "won",
            (CustomerTrack::New, false) => "new",
            (CustomerTrack::New, true) => "active",
        }
    }
}

/// Ordered by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByCode(pub Currency);

impl Ord for ByCode {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.code().cmp(other.0.code())
    }
}

impl PartialOrd for ByCode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
