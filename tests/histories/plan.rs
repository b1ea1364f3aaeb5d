//! What a step means where a history stands: which conversion, which line, how much.

use uuid::{Builder, Uuid};
use waypost::{
    domain::{
        amount::Currency,
        ids::{AccountId, LinkId},
        price::Target,
        program::ProgramSettings,
        reason::{ConversionKind, Standing},
        time::Timestamp,
        token::{ClickToken, KeyRing, KeyState, TokenKey},
    },
    events::{Authority, Body, Channel, CommissionEntry, Conversion, Event, Origin, Refund, VERSION},
};

use crate::{
    model::{
        Act, Click, ConversionState, Coupon, DAY, Holder, LineKey, Link, Model, Ms, Payment, PaymentState,
        Rate, day_number, interval_of,
    },
    rules,
    steps::{AFFILIATES, CLICKS, CURRENCIES, GROUPS, History, PROGRAMS, Sale, What},
};

/// How long events wait.
pub const PENDING_TIME: Ms = 3_600_000;

/// Who and what there is, under ids of this history's own.
pub struct Stage {
    /// Ids begin above it.
    base: i64,
    /// The day on which the history begins.
    first_day: i32,
    pub clicks: Vec<(Click, bool)>,
    events: Vec<Event>,
    made: u32,
}

pub fn ring() -> KeyRing {
    KeyRing::new(vec![TokenKey { id: 1, state: KeyState::Active, secret: [1; 32] }]).unwrap()
}

fn named(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

fn fingerprint(body: &impl serde::Serialize) -> String {
    blake3::hash(&serde_json::to_vec(body).unwrap()).to_hex()[..32].to_owned()
}

pub fn currency(n: usize) -> Currency {
    CURRENCIES[n].parse().unwrap()
}

impl Stage {
    pub fn new(number: i64, history: &History) -> Self {
        let mut stage =
            Self { base: number * 100, first_day: 0, clicks: Vec::new(), events: Vec::new(), made: 0 };
        let zone = jiff::tz::TimeZone::get(history.zone).unwrap();
        stage.first_day = day_number(history.begins, &zone);
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
        for n in 0..CLICKS {
            if self.clicks[n].0.token.is_some() || n == 0 {
                self.clicks[n].1 = true;
                acts.push(Act::StoreClick(self.clicks[n].0.clone()));
            }
        }
        acts
    }

    /// None: there is nothing that it could mean.
    pub fn plan(
        &mut self,
        history: &History,
        model: &Model,
        at: Ms,
        account: AccountId,
        what: &What,
    ) -> Vec<Act> {
        let act = match what {
            What::Sale(sale) => {
                let event = self.sale(history, model, at, account, sale);
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
            What::Repeat(n) => {
                let Some(event) = pick(&self.events, *n) else { return Vec::new() };
                Act::Receive(Box::new(event.clone()))
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
            What::ApproveAll => {
                let pending = lines(model)
                    .into_iter()
                    .filter(|key| model.line(key).status == waypost::domain::reason::LineStatus::Pending);
                return pending.map(Act::Approve).collect();
            }
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
                let row = &model.programs[&self.program(*program)];
                Act::PutProgram {
                    program: self.program(*program),
                    slug: row.slug.clone(),
                    currency: row.currency,
                    settings: Box::new(grouped_as(settings, history.programs[*program].1)),
                    from: back.map(|back| at - back),
                }
            }
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
            What::Bonus { bonus, program, settings, back } => {
                let id = self.bonus(*bonus);
                if model.bonuses.get(&id).is_some_and(|row| row.deleted) {
                    return Vec::new();
                }
                let mut settings = settings.clone();
                settings.identifier = format!("bonus-{bonus}");
                settings.title = settings.identifier.clone();
                settings.start_date = settings.start_date.map(|days| self.first_day + days);
                let start = settings.start_date.unwrap_or(0);
                settings.end_date = settings.end_date.map(|days| (self.first_day + days).max(start));
                Act::PutBonus {
                    bonus: id,
                    program: self.program(*program),
                    settings,
                    from: back.map(|back| at - back),
                }
            }
            What::DeleteBonus(n) => {
                let id = self.bonus(*n);
                if model.bonuses.get(&id).is_none_or(|row| row.deleted) {
                    return Vec::new();
                }
                Act::DeleteBonus(id)
            }
            What::Award(n, days) => {
                let id = self.bonus(*n);
                let Some(row) = model.bonuses.get(&id) else { return Vec::new() };
                let kind = row.versions[0].1.interval;
                if kind == waypost::domain::bonuses::BonusInterval::AllTime || row.deleted {
                    return Vec::new();
                }
                let (interval, _) = interval_of(kind, at - days * DAY, &model.zone);
                return (0..AFFILIATES)
                    .map(|n| Act::Award { bonus: id, affiliate: self.affiliate(n), interval })
                    .collect();
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
            What::Pay { affiliate, currency: of, permille } => {
                let (affiliate, of) = (self.affiliate(*affiliate), currency(*of));
                let amount = (model.payable(affiliate, of) * permille / 1_000).max(1);
                let id = self.new_id();
                let state = PaymentState::Recorded;
                Act::RecordPayment(Payment {
                    id,
                    affiliate,
                    currency: of,
                    amount,
                    is_payout: state == PaymentState::Created,
                    state,
                })
            }
            What::Payout { affiliate, currency: of, permille } => {
                let (affiliate, of) = (self.affiliate(*affiliate), currency(*of));
                let amount = (model.available(affiliate, of, at) * permille / 1_000).max(1);
                let id = self.new_id();
                let state = PaymentState::Created;
                Act::CreatePayout(Payment {
                    id,
                    affiliate,
                    currency: of,
                    amount,
                    is_payout: state == PaymentState::Created,
                    state,
                })
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

    fn new_id(&mut self) -> Uuid {
        self.made += 1;
        named(&format!("{}/made/{}", self.base, self.made))
    }

    fn wrap(&mut self, id: Option<String>, body: Body, at: Ms) -> Event {
        let id = id.map_or_else(|| self.new_id(), |name| named(&name));
        // Of no stream.
        let origin = Origin { edge: "".into(), boot: Uuid::nil(), stream: "".into(), n: 0 };
        Event { v: VERSION, id, origin, received_at: Timestamp(at), body }
    }

    fn sale(&mut self, history: &History, _model: &Model, at: Ms, account: AccountId, sale: &Sale) -> Event {
        let slug = format!("p{}", sale.program);
        let digits = currency(sale.currency.unwrap_or(history.programs[sale.program].0));
        let text = |minor: i64| {
            let text = digits.format(minor);
            let extra = match (sale.odd, text.contains('.')) {
                (0, _) => String::new(),
                (odd, true) => odd.to_string(),
                (odd, false) => format!(".{odd}"),
            };
            format!("{text}{extra}").parse().unwrap()
        };
        let who = |code: &str| format!("p{}{code}{}", sale.program, sale.affiliate);
        let other = (sale.affiliate + sale.inputs.others) % AFFILIATES;
        let parts = sale.parts.iter().map(|(sub_amount, kind)| CommissionEntry {
            sub_amount: text(*sub_amount),
            commission_type: kind.map(|n| rules::TYPES[n].to_owned()),
            comment: None,
        });
        let click = sale.inputs.click.map(|n| {
            let click = &self.clicks[n].0;
            click.token.clone().unwrap_or_else(|| click.id.to_string())
        });
        let ago = sale.ago.unwrap_or(0);
        let mut body = Conversion {
            account,
            kind: if sale.lead { ConversionKind::Lead } else { ConversionKind::Conversion },
            channel: Channel::Rest,
            authority: match (sale.held, ago > 30 * DAY) {
                (true, _) => Authority::HeldPixel,
                (false, true) => Authority::Import,
                (false, false) => Authority::Secret,
            },
            fingerprint: String::new(),
            program: sale.named.then(|| slug.clone()),
            program_group: sale.grouped.then(|| rules::GROUP.to_owned()),
            external_id: sale.order.map(|order| format!("o-{order}")),
            amount: sale.amount.map(text),
            currency: sale.currency.map(|n| CURRENCIES[n].to_owned()),
            customer_id: sale.customer.map(|n| format!("c-{n}")),
            coupon: sale.inputs.coupon.then(|| who("a")),
            referral_code: sale.inputs.code.then(|| format!("p{}a{other}", sale.program)),
            click_id: click,
            asset_id: sale.inputs.asset.then(|| format!("banner-{}", who("a"))),
            source_id: sale.inputs.asset.then(|| "letter".to_owned()),
            tracking_id: sale.inputs.tracking.map(|n| format!("visitor-{n}")),
            commission_type: sale.commission_type.map(|n| rules::TYPES[n].to_owned()),
            commissions: parts.collect(),
            occurred_at: sale.ago.map(|ago| Timestamp(at - ago)),
            sub_ids: Default::default(),
            meta_data: serde_json::Map::new(),
        };
        body.fingerprint = fingerprint(&body);
        let id = match (&body.program, &body.external_id) {
            (Some(program), Some(external)) => {
                Some(format!("{}/{program}/{}/{external}", self.base, body.kind))
            }
            _ => None,
        };
        self.wrap(id, Body::Conversion(Box::new(body)), at)
    }

    fn refund(
        &self,
        model: &Model,
        account: AccountId,
        (of, by_id, order): (usize, bool, Option<u8>),
        permille: Option<i64>,
        id: Option<u8>,
    ) -> Option<Refund> {
        let known = having(model, |state| {
            matches!(state, ConversionState::Settled | ConversionState::Deleted | ConversionState::Pending(_))
        });
        let mut body = Refund {
            account,
            fingerprint: String::new(),
            external_id: id.map(|id| format!("r-{id}")),
            conversion_id: None,
            program: None,
            kind: None,
            conversion_external_id: None,
            amount: None,
            currency: None,
            reason: None,
            meta_data: serde_json::Map::new(),
        };
        let named = |body: &mut Refund, program: i64, kind: ConversionKind, external: String| {
            body.program = Some(model.programs[&program].slug.clone());
            body.kind = (kind != ConversionKind::Conversion).then_some(kind);
            body.conversion_external_id = Some(external);
        };
        let (amount, of) = match order {
            // Of one that may not be there.
            Some(order) => {
                let program = self.program(of % PROGRAMS);
                named(&mut body, program, ConversionKind::Conversion, format!("o-{order}"));
                (10_000, model.programs[&program].currency)
            }
            None => {
                let ix = *pick(&known, of)?;
                let conversion = &model.conversions[ix];
                let Body::Conversion(input) = &conversion.event.body else { return None };
                match (&input.external_id, conversion.claimed_in) {
                    (Some(external), Some(program)) if !by_id => {
                        named(&mut body, program, input.kind, external.clone());
                    }
                    _ => body.conversion_id = Some(format!("ix_{ix}")),
                }
                (conversion.amount - conversion.refunded, conversion.currency.unwrap_or(currency(0)))
            }
        };
        body.amount = permille.map(|permille| {
            // Of what is left, so that it may come out at the whole.
            of.format((amount * permille + 999) / 1_000).parse().unwrap()
        });
        body.fingerprint = fingerprint(&body);
        Some(body)
    }

    /// All that is left, back.
    pub fn refund_rest(&mut self, account: AccountId, ix: usize, at: Ms) -> Event {
        let mut body = Refund {
            account,
            fingerprint: String::new(),
            external_id: None,
            // Told apart by the driver: it knows the engine's ids.
            conversion_id: Some(format!("ix_{ix}")),
            program: None,
            kind: None,
            conversion_external_id: None,
            amount: None,
            currency: None,
            reason: None,
            meta_data: serde_json::Map::new(),
        };
        body.fingerprint = fingerprint(&body);
        self.wrap(None, Body::Refund(Box::new(body)), at)
    }
}

fn grouped_as(settings: &ProgramSettings, grouped: bool) -> ProgramSettings {
    ProgramSettings { program_group: grouped.then(|| rules::GROUP.to_owned()), ..settings.clone() }
}

fn pick<T>(from: &[T], n: usize) -> Option<&T> {
    // From the end: what is new is of interest.
    let place = from.len().checked_sub(1)? - n % from.len();
    from.get(place)
}

fn having(model: &Model, is: impl Fn(ConversionState) -> bool) -> Vec<usize> {
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
