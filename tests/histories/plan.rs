//! What a step means where a history stands: which conversion, which line, how much.

use uuid::{Builder, Uuid};
use waypost::{
    domain::{
        amount::Currency,
        bonuses::BonusInterval,
        ids::{AccountId, LinkId},
        price::Target,
        program::ProgramSettings,
        reason::{LineStatus, Standing},
        token::{ClickToken, KeyRing, KeyState, TokenKey},
    },
    events::{Body, Event},
};

use crate::{
    model::{
        Act, Bonus, Click, ConversionState, Coupon, DAY, Holder, LineKey, Link, Model, Ms, Payment,
        PaymentState, Rate, day_number, interval_of,
    },
    rules,
    steps::{AFFILIATES, CLICKS, CURRENCIES, GROUPS, History, PROGRAMS, PutBonus, What, Who},
};

/// The place of the euro, by which all others are counted, among the currencies.
const EURO: usize = 1;
/// Days between two tables of rates; each holds for seven days more.
const RATED_EVERY: i32 = 5;
/// Days before the history begins from which there are rates; sales are not that old.
const RATED_BEFORE: i32 = 45;

/// How long events wait.
pub const PENDING_TIME: Ms = 3_600_000;

/// Who and what there is, under ids of this history's own.
pub struct Stage {
    /// Ids begin above it.
    pub base: i64,
    /// The day on which the history begins.
    first_day: i32,
    /// The next day for which rates are loaded.
    unrated: i32,
    pub clicks: Vec<(Click, bool)>,
    pub events: Vec<Event>,
    pub made: u32,
}

/// Where a history stands.
#[derive(Clone, Copy)]
pub struct Now<'a> {
    pub history: &'a History,
    pub model: &'a Model,
    pub at: Ms,
    pub account: AccountId,
}

pub fn ring() -> KeyRing {
    KeyRing::new(vec![TokenKey { id: 1, state: KeyState::Active, secret: [1; 32] }]).unwrap()
}

pub fn named(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

pub fn currency(n: usize) -> Currency {
    CURRENCIES[n].parse().unwrap()
}

impl Stage {
    pub fn new(number: i64, history: &History) -> Self {
        let mut stage = Self {
            base: number * 100,
            first_day: 0,
            unrated: 0,
            clicks: Vec::new(),
            events: Vec::new(),
            made: 0,
        };
        let zone = jiff::tz::TimeZone::get(history.zone).unwrap();
        stage.first_day = day_number(history.begins, &zone);
        stage.unrated = stage.first_day - RATED_BEFORE;
        let keys = ring();
        for n in 0..CLICKS {
            let days = [-10, -1, 0, 1, 5, 12, 30, 45][n];
            let at = history.begins + days * DAY;
            let mut random = [0; 10];
            random.copy_from_slice(&named(&format!("{}/click/{n}", stage.base)).as_bytes()[..10]);
            let id = Builder::from_unix_timestamp_millis(at.unsigned_abs(), &random).into_uuid();
            let link = stage.link_id(n % PROGRAMS, n % AFFILIATES);
            let (attributable, review) = (n != 4, n % 3 == 1);
            let is_token = n % 2 == 1;
            let token = ClickToken { click_id: id, link: LinkId(link), attributable, review };
            let token = is_token.then(|| keys.sign(&token));
            let tracking_id = (!is_token).then(|| format!("visitor-{}", n % 3));
            // The first is there from the beginning; those of tokens need not be.
            stage.clicks.push((Click { id, link, at, attributable, review, tracking_id, token }, false));
        }
        stage
    }

    pub fn account_slug(&self) -> String {
        format!("history-{}", self.base)
    }

    pub fn program(&self, n: usize) -> i64 {
        self.base + 1 + i64::try_from(n).unwrap()
    }

    pub fn affiliate(&self, n: usize) -> i64 {
        self.base + 1 + i64::try_from(n).unwrap()
    }

    fn link_id(&self, program: usize, affiliate: usize) -> i64 {
        self.base + 1 + i64::try_from(program * AFFILIATES + affiliate).unwrap()
    }

    pub fn group(&self, n: usize) -> Uuid {
        named(&format!("{}/group/{n}", self.base))
    }

    fn bonus(&self, n: usize) -> Uuid {
        named(&format!("{}/bonus/{n}", self.base))
    }

    /// Programs, affiliates in them, their links and coupons.
    pub fn furnish(&mut self, history: &History) -> Vec<Act> {
        let mut acts = Vec::new();
        for (n, (of, grouped, settings)) in history.programs.iter().enumerate() {
            acts.push(Act::PutProgram {
                program: self.program(n),
                slug: format!("p{n}"),
                currency: currency(*of),
                settings: Box::new(grouped_as(settings, *grouped)),
                from: None,
            });
        }
        acts.extend((0..GROUPS).map(|n| Act::PutGroup(self.group(n))));
        for n in 0..AFFILIATES {
            let affiliate = self.affiliate(n);
            acts.push(Act::PutAffiliate { affiliate, suspended: false });
            if let Some(Some(group)) = history.groups.get(n) {
                acts.push(Act::SetGroup { affiliate, group: Some(self.group(*group)) });
            }
            if let Some(Some(parent)) = history.parents.get(n)
                && *parent < n
            {
                acts.push(Act::SetParent { affiliate, parent: Some(self.affiliate(*parent)) });
            }
            for p in 0..PROGRAMS {
                let program = self.program(p);
                acts.push(Act::SetStanding { program, affiliate, standing: Standing::Approved });
                acts.push(Act::PutLink(Link {
                    id: self.link_id(p, n),
                    program,
                    affiliate,
                    code: format!("p{p}a{n}"),
                    asset: format!("banner-p{p}a{n}"),
                    source: "letter".to_owned(),
                }));
                let dates = [(None, None), (Some(DAY), Some(9 * DAY)), (None, Some(2 * DAY))][(n + p) % 3];
                acts.push(Act::PutCoupon(Coupon {
                    id: named(&format!("{}/coupon/{p}/{n}", self.base)),
                    program,
                    affiliate,
                    code: format!("P{p}A{n}"),
                    starts_at: dates.0.map(|after| history.begins + after),
                    ends_at: dates.1.map(|after| history.begins + after),
                }));
            }
        }
        acts.extend(history.bonuses.iter().map(|put| self.put_bonus(put, history.begins)));
        acts.extend(self.rates_until(history, self.first_day));
        for n in 0..CLICKS {
            if self.clicks[n].0.token.is_some() || n == 0 {
                self.clicks[n].1 = true;
                acts.push(Act::StoreClick(self.clicks[n].0.clone()));
            }
        }
        acts
    }

    /// The rates of the days up to now, then what the step means: nothing perhaps.
    pub fn plan(&mut self, now: &Now<'_>, what: &What) -> Vec<Act> {
        let mut acts = Vec::from_iter(self.rates_until(now.history, day_number(now.at, &now.model.zone)));
        acts.extend(self.meant(now, what));
        acts
    }

    fn meant(&mut self, now: &Now<'_>, what: &What) -> Vec<Act> {
        let Now { history, model, at, account } = *now;
        let act = match what {
            What::Sale(sale) => {
                let event = self.sale(history, at, account, sale);
                self.events.push(event.clone());
                Act::Receive(Box::new(event))
            }
            What::Refund { of, by_id, order, permille, id } => {
                let refund = self.refund(model, account, (*of, *by_id, *order), *permille, *id);
                let Some(refund) = refund else { return Vec::new() };
                let id = refund.external_id.as_ref().map(|id| format!("{}/refund/{id}", self.base));
                let event = self.wrap(id, Body::Refund(Box::new(refund)), at);
                self.events.push(event.clone());
                Act::Receive(Box::new(event))
            }
            What::Repeat(n, anew) => {
                let Some(event) = pick(&self.events, *n).cloned() else { return Vec::new() };
                Act::Receive(Box::new(if *anew { self.again(&event, at) } else { event }))
            }
            What::Click(n) => {
                let (click, stored) = &mut self.clicks[*n];
                if *stored {
                    return Vec::new();
                }
                *stored = true;
                Act::StoreClick(click.clone())
            }
            What::Rates(rows) => {
                let today = day_number(at, &model.zone);
                let rows = rows.iter().filter(|(base, quote, ..)| base != quote);
                Act::LoadRates(
                    rows.map(|(base, quote, ago, rate)| Rate {
                        base: currency(*base),
                        quote: currency(*quote),
                        day: today - ago,
                        rate: *rate,
                    })
                    .collect(),
                )
            }
            What::Expire => Act::Expire,
            What::Accept(n) | What::Decline(n) => {
                let held = having(model, |state| state == ConversionState::Held);
                let Some(ix) = pick(&held, *n) else { return Vec::new() };
                if matches!(what, What::Accept(_)) { Act::Accept(*ix) } else { Act::Decline(*ix) }
            }
            What::ApproveAll => return approve_all(model),
            What::Approve(n) | What::Disapprove(n) | What::Reopen(n) | What::EditLine(n, _) => {
                let lines = lines(model);
                let Some(key) = pick(&lines, *n) else { return Vec::new() };
                match what {
                    What::Approve(_) => Act::Approve(key.clone()),
                    What::Disapprove(_) => Act::Disapprove(key.clone()),
                    What::EditLine(_, amount) => Act::EditLine(key.clone(), *amount),
                    _ => Act::Reopen(key.clone()),
                }
            }
            What::Adjust { affiliate, program, currency: of, amount } => Act::Adjust {
                id: self.new_id(),
                affiliate: self.affiliate(*affiliate),
                program: program.map(|n| self.program(n)),
                currency: currency(*of),
                amount: if *amount == 0 { 1 } else { *amount },
            },
            What::EditConversion(n, _) | What::Recalculate(n, _) | What::Delete(n) => {
                let settled = having(model, |state| {
                    matches!(state, ConversionState::Settled | ConversionState::Deleted)
                });
                let Some(ix) = pick(&settled, *n) else { return Vec::new() };
                match what {
                    What::EditConversion(_, amount) => Act::EditConversion(*ix, *amount),
                    What::Recalculate(_, current) => Act::Recalculate(*ix, *current),
                    _ => Act::Delete(*ix),
                }
            }
            What::Program { program, settings, back } => {
                self.put_program(now, *program, settings, back.map(|back| at - back))
            }
            What::Reprice { of, settings, current } => return self.reprice(now, *of, settings, *current),
            What::Suspend(n, suspended) => {
                Act::PutAffiliate { affiliate: self.affiliate(*n), suspended: *suspended }
            }
            What::Standing(program, affiliate, standing) => Act::SetStanding {
                program: self.program(*program),
                affiliate: self.affiliate(*affiliate),
                standing: *standing,
            },
            What::Group(n, group) => {
                Act::SetGroup { affiliate: self.affiliate(*n), group: group.map(|group| self.group(group)) }
            }
            What::Parent(n, parent) => {
                Act::SetParent { affiliate: self.affiliate(*n), parent: parent.map(|n| self.affiliate(n)) }
            }
            What::Override { program, holder, target, rule, back } => Act::PutOverride {
                program: self.program(*program),
                whose: if *holder < AFFILIATES {
                    Holder::Affiliate(self.affiliate(*holder))
                } else {
                    Holder::Group(self.group(holder - AFFILIATES))
                },
                target: match rules::TYPES.get(*target) {
                    Some(name) => Target::CommissionType((*name).to_owned()),
                    None => Target::Level(u32::try_from(target - rules::TYPES.len() + 2).unwrap()),
                },
                rule: rule.clone(),
                from: back.map(|back| at - back),
            },
            What::Bonus(put) => {
                if model.bonuses.get(&self.bonus(put.bonus)).is_some_and(|row| row.deleted) {
                    return Vec::new();
                }
                self.put_bonus(put, at)
            }
            What::DeleteBonus(n) => {
                let id = self.bonus(*n);
                if model.bonuses.get(&id).is_none_or(|row| row.deleted) {
                    return Vec::new();
                }
                Act::DeleteBonus(id)
            }
            What::Award { bonus, of, review } => {
                let kind_of = |row: &Bonus| row.versions[0].1.interval;
                let of_intervals: Vec<_> = model
                    .bonuses
                    .iter()
                    .filter(|(_, row)| !row.deleted && kind_of(row) != BonusInterval::AllTime)
                    .collect();
                let Some((id, row)) = pick(&of_intervals, *bonus).copied() else { return Vec::new() };
                let closed: Vec<Ms> = having(model, |state| state == ConversionState::Settled)
                    .into_iter()
                    .map(|ix| &model.conversions[ix])
                    .filter(|conversion| conversion.program == row.program)
                    .map(|conversion| interval_of(kind_of(row), conversion.occurred_at, &model.zone))
                    .filter(|(_, end)| *end <= at)
                    .map(|(start, _)| start)
                    .collect();
                let Some(interval) = pick(&closed, *of).copied() else { return Vec::new() };
                let mut acts = if *review { approve_all(model) } else { Vec::new() };
                acts.extend((0..AFFILIATES).map(|n| Act::Award {
                    bonus: *id,
                    affiliate: self.affiliate(n),
                    interval,
                }));
                return acts;
            }
            What::Customer { program, customer, affiliate, track } => {
                let standing = model.admit(self.program(*program), self.affiliate(*affiliate), at);
                if standing.is_err() {
                    return Vec::new();
                }
                Act::CreateCustomer {
                    program: self.program(*program),
                    customer: format!("c-{customer}"),
                    code: format!("p{program}a{affiliate}"),
                    track: *track,
                }
            }
            What::Move(n, affiliate) => {
                let customers: Vec<usize> = (0..model.customers.len()).collect();
                let Some(customer) = pick(&customers, *n) else { return Vec::new() };
                Act::MoveCustomer { customer: *customer, affiliate: self.affiliate(*affiliate) }
            }
            What::Cancel(n, canceled) => {
                let customers: Vec<usize> = (0..model.customers.len()).collect();
                let Some(customer) = pick(&customers, *n) else { return Vec::new() };
                Act::SetCanceled { customer: *customer, canceled: *canceled }
            }
            What::Pay(who, permille) => {
                let Some(pay) = self.pay(who, |affiliate, of| model.payable(affiliate, of), *permille) else {
                    return Vec::new();
                };
                Act::RecordPayment(pay)
            }
            What::Payout(who, permille) => {
                let pay = self.pay(who, |affiliate, of| model.available(affiliate, of, at), *permille);
                let Some(pay) = pay else { return Vec::new() };
                Act::CreatePayout(Payment { is_payout: true, state: PaymentState::Created, ..pay })
            }
            What::CancelPayment(n) => {
                let Some(id) = payment(model, *n, &[PaymentState::Recorded, PaymentState::Cancelled], true)
                else {
                    return Vec::new();
                };
                Act::CancelPayment(id)
            }
            What::EndPayout(n, end) => {
                let ends = [PaymentState::Paid, PaymentState::Failed, PaymentState::Cancelled];
                let Some(id) = payment(model, *n, &[PaymentState::Created], false) else { return Vec::new() };
                Act::EndPayout(id, ends[*end])
            }
            What::Minimum(of, amount) => Act::SetMinimum(currency(*of), *amount),
        };
        vec![act]
    }
}

impl Stage {
    /// What a euro is in each other currency, so often that there is a rate for every day.
    fn rates_until(&mut self, history: &History, today: i32) -> Option<Act> {
        let euros = history.rates?;
        let mut rows = Vec::new();
        while self.unrated <= today {
            let day = self.unrated;
            let others = (0..CURRENCIES.len()).filter(|of| *of != EURO);
            rows.extend(others.map(|of| Rate {
                base: currency(EURO),
                quote: currency(of),
                day,
                rate: euros[of] + euros[of] / 100 * i64::from(day % 7),
            }));
            self.unrated += RATED_EVERY;
        }
        (!rows.is_empty()).then_some(Act::LoadRates(rows))
    }

    fn put_program(&self, now: &Now<'_>, n: usize, settings: &ProgramSettings, from: Option<Ms>) -> Act {
        let program = self.program(n);
        let row = &now.model.programs[&program];
        Act::PutProgram {
            program,
            slug: row.slug.clone(),
            currency: row.currency,
            settings: Box::new(grouped_as(settings, now.history.programs[n].1)),
            from,
        }
    }

    fn reprice(&self, now: &Now<'_>, of: usize, settings: &ProgramSettings, current: bool) -> Vec<Act> {
        let model = now.model;
        let program = |ix: usize| &model.programs[&model.conversions[ix].program];
        let settled = having(model, |state| state == ConversionState::Settled);
        let foreign = |ix: &usize| model.conversions[*ix].currency != Some(program(*ix).currency);
        let foreign: Vec<usize> = settled.iter().copied().filter(foreign).collect();
        let Some(&ix) = pick(if foreign.is_empty() { &settled } else { &foreign }, of) else {
            return Vec::new();
        };
        let conversion = &model.conversions[ix];
        let n = (0..PROGRAMS).find(|n| self.program(*n) == conversion.program).unwrap();
        let from = Some(conversion.occurred_at.min(now.at));
        vec![self.put_program(now, n, settings, from), Act::Recalculate(ix, current)]
    }

    fn put_bonus(&self, put: &PutBonus, at: Ms) -> Act {
        let mut settings = put.settings.clone();
        settings.identifier = format!("bonus-{}", put.bonus);
        settings.title = settings.identifier.clone();
        settings.start_date = settings.start_date.map(|days| self.first_day + days);
        let start = settings.start_date.unwrap_or(0);
        settings.end_date = settings.end_date.map(|days| (self.first_day + days).max(start));
        Act::PutBonus {
            bonus: self.bonus(put.bonus),
            // Where most sales are, but for some.
            program: self.program(put.bonus.saturating_sub(6) % PROGRAMS),
            settings,
            from: put.back.map(|back| at - back),
        }
    }

    /// A share of what one of those has who have something; of somebody's nothing it is the least there is.
    fn pay(&mut self, who: &Who, has: impl Fn(i64, Currency) -> i64, permille: i64) -> Option<Payment> {
        let all = (0..AFFILIATES).flat_map(|n| (0..CURRENCIES.len()).map(move |of| (n, of)));
        let all: Vec<_> = all.map(|(n, of)| (self.affiliate(n), currency(of))).collect();
        let rich: Vec<_> = all.iter().copied().filter(|(affiliate, of)| has(*affiliate, *of) > 0).collect();
        let (affiliate, currency) = match who {
            Who::Anybody(n) => *pick(&all, *n)?,
            Who::Rich(n) => *pick(&rich, *n)?,
        };
        let amount = (has(affiliate, currency) * permille / 1_000).max(1);
        let state = PaymentState::Recorded;
        Some(Payment { id: self.new_id(), affiliate, currency, amount, is_payout: false, state })
    }
}

fn approve_all(model: &Model) -> Vec<Act> {
    let pending = lines(model).into_iter().filter(|key| model.line(key).status == LineStatus::Pending);
    pending.map(Act::Approve).collect()
}

fn grouped_as(settings: &ProgramSettings, grouped: bool) -> ProgramSettings {
    ProgramSettings { program_group: grouped.then(|| rules::GROUP.to_owned()), ..settings.clone() }
}

pub fn pick<T>(from: &[T], n: usize) -> Option<&T> {
    // From the end: what is new is of interest.
    let place = from.len().checked_sub(1)? - n % from.len();
    from.get(place)
}

pub fn having(model: &Model, is: impl Fn(ConversionState) -> bool) -> Vec<usize> {
    (0..model.conversions.len()).filter(|ix| is(model.conversions[*ix].state)).collect()
}

pub fn lines(model: &Model) -> Vec<LineKey> {
    let of = (0..model.conversions.len()).flat_map(|ix| {
        (1..=model.conversions[ix].lines.len()).map(move |n| LineKey::Of(ix, i32::try_from(n).unwrap()))
    });
    of.chain((0..model.loose.len()).map(LineKey::Loose)).collect()
}

fn payment(model: &Model, n: usize, states: &[PaymentState], payments: bool) -> Option<Uuid> {
    let fit = model.payments.iter().filter(|each| states.contains(&each.state));
    // A cancelled payout is no payment.
    let ids: Vec<Uuid> = fit.filter(|each| each.is_payout != payments).map(|each| each.id).collect();
    pick(&ids, n).copied()
}
