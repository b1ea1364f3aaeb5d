//! The engine on a database, driven by the same commands as the model.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
};
use serde_json::json;
use uuid::Uuid;
use waypost::{
    domain::{
        calendar::Zone,
        ids::{AccountId, AffiliateId, LinkId, Prefix, ProgramId},
        reason::ConversionKind,
        time::Timestamp,
    },
    events::{Authority, Body, Channel, Conversion, Event},
    ledger::{
        self, Adjust, Command, Effect, Evidence, Intake, LedgerError, Pay, PayoutEnd, PutAffiliate, PutBonus,
        PutCoupon, PutGroup, PutLink, PutOverride, PutProgram, RulesOf, Terms, Whose, Work,
    },
    store::{
        Store, accounts,
        entities::{click, commission_line, customer, exchange_rate},
        partitions,
        streams::Counts,
    },
};

use crate::{
    model::{Act, Click, Holder, LineKey, Ms, Outcome, PaymentState, Rate},
    plan::{PENDING_TIME, ring},
};

pub const TERMS: Terms = Terms { max_age_days: 30, pending_time_ms: PENDING_TIME };

pub struct Engine {
    /// Of two instances.
    pub stores: [Store; 2],
    intakes: [Intake; 2],
    pub account: AccountId,
    /// Transactions so far.
    turn: usize,
    /// By their place in the model.
    pub conversions: BTreeMap<usize, Uuid>,
    refunds: BTreeMap<usize, Uuid>,
    links: HashMap<i64, (i64, i64)>,
    overrides: HashMap<String, Uuid>,
}

/// A command with what has to be known of the model before and after it.
pub struct Planned {
    pub at: Ms,
    pub act: Act,
    pub expected: Outcome,
    /// Conversions that are tried again by it.
    pub woken: Vec<usize>,
    /// Refunds that are given up.
    pub given_up: Vec<usize>,
    /// The place in the model of the conversion or refund that came in.
    pub arrived: Option<Arrival>,
}

#[derive(Clone, Copy)]
pub enum Arrival {
    Conversion(usize),
    Refund(usize),
}

impl Planned {
    /// Whether it can share a transaction with others.
    fn can_share(&self) -> bool {
        let alone = matches!(
            self.act,
            Act::StoreClick(_) | Act::LoadRates(_) | Act::Expire | Act::Accept(_) | Act::Decline(_)
        );
        !alone && self.expected != Outcome::Refused
    }
}

impl Engine {
    pub async fn open(url: &str, slug: &str, zone: &str, at: Ms) -> Self {
        let stores = [Store::connect(url).await.unwrap(), Store::connect(url).await.unwrap()];
        let tx = stores[0].begin().await.unwrap();
        let zone = Zone::named(zone).unwrap();
        let account =
            accounts::create(&tx, &slug.parse().unwrap(), "History", &zone, Timestamp(at)).await.unwrap();
        // They are of no account.
        exchange_rate::Entity::delete_many().exec(&tx).await.unwrap();
        tx.commit().await.unwrap();
        let keys = Arc::new(ring());
        Self {
            stores,
            intakes: [Intake::new(keys.clone(), TERMS), Intake::new(keys, TERMS)],
            account,
            turn: 0,
            conversions: BTreeMap::new(),
            refunds: BTreeMap::new(),
            links: HashMap::new(),
            overrides: HashMap::new(),
        }
    }

    pub async fn close(self) {
        for store in self.stores {
            store.close().await.unwrap();
        }
    }

    pub fn reader(&self) -> &sea_orm::DatabaseConnection {
        self.stores[0].reader()
    }

    /// As many as can share, up to `size`, in one transaction; how many it were.
    pub async fn take(&mut self, planned: &[Planned], size: usize) -> Result<usize, String> {
        self.turn += 1;
        let now = self.turn % 2;
        let shared = planned.iter().take_while(|each| each.can_share()).count().min(size);
        if shared == 0 {
            self.alone(now, &planned[0]).await?;
            return Ok(1);
        }
        let tx = self.stores[now].begin().await.unwrap();
        let (mut work, mut counts) = (Work::new(&tx), Counts::default());
        for each in &planned[..shared] {
            let at = Timestamp(each.at);
            let result = match &each.act {
                Act::Receive(event) => {
                    let event = self.translate(event);
                    self.intakes[now].receive_counted(&tx, &event, at, &mut work, &mut counts).await
                }
                act => {
                    let command = self.command(&tx, act).await;
                    work.apply(self.account, at, &command).await
                }
            };
            self.check(each, result)?;
        }
        work.finish().await.map_err(|error| format!("finish: {error}"))?;
        counts.write(&tx, Timestamp(planned[shared - 1].at)).await.unwrap();
        tx.commit().await.unwrap();
        Ok(shared)
    }

    async fn alone(&mut self, now: usize, planned: &Planned) -> Result<(), String> {
        let at = Timestamp(planned.at);
        let tx = self.stores[now].begin().await.unwrap();
        let intake = &self.intakes[now];
        let result = match &planned.act {
            Act::StoreClick(click) => {
                if click.token.is_none() {
                    self.store_click(&tx, click).await;
                }
                self.retry(&tx, intake, &planned.woken, false, at).await
            }
            Act::LoadRates(rates) => {
                load(&tx, rates, at).await;
                // As settlement does: they were past their click once.
                self.retry(&tx, intake, &planned.woken, true, at).await
            }
            Act::Expire => {
                let result = self.retry(&tx, intake, &planned.woken, true, at).await;
                for place in &planned.given_up {
                    let id = self.refunds[place];
                    intake
                        .give_up_refund(&tx, self.account, id, at)
                        .await
                        .map_err(|error| format!("give up: {error}"))?;
                }
                result
            }
            Act::Accept(ix) => intake.accept_held(&tx, self.account, self.conversions[ix], at).await,
            Act::Decline(ix) => intake.decline_held(&tx, self.account, self.conversions[ix], at).await,
            Act::Receive(event) => intake.receive(&tx, &self.translate(event), at).await,
            act => {
                let command = self.command(&tx, act).await;
                ledger::apply(&tx, self.account, at, &command).await
            }
        };
        // What was refused is rolled back.
        if result.is_ok() {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        self.check(planned, result)
    }

    async fn retry(
        &self,
        tx: &DatabaseTransaction,
        intake: &Intake,
        woken: &[usize],
        waited_out: bool,
        at: Timestamp,
    ) -> Result<Effect, LedgerError> {
        for ix in woken {
            intake.retry_pending(tx, self.account, self.conversions[ix], waited_out, at).await?;
        }
        Ok(Effect::Done)
    }

    fn check(&mut self, planned: &Planned, result: Result<Effect, LedgerError>) -> Result<(), String> {
        let (outcome, id) = match &result {
            Ok(Effect::Done | Effect::Awarded { .. }) => (Outcome::Done, None),
            Ok(Effect::Settled { id, .. }) => (Outcome::Settled, Some(*id)),
            Ok(Effect::Duplicate { .. }) => (Outcome::Duplicate, None),
            Ok(Effect::Pending { id, waits }) => (Outcome::Pending(*waits), Some(*id)),
            Ok(Effect::Held { id }) => (Outcome::Held, Some(*id)),
            Ok(Effect::Declined { .. }) => (Outcome::Declined, None),
            Ok(Effect::Rejected { reason, .. }) => (Outcome::Rejected(*reason), None),
            Err(LedgerError::Rejected(reason)) => (Outcome::Rejected(*reason), None),
            Err(LedgerError::Store(error)) => return Err(format!("store: {error}")),
            Err(LedgerError::Damaged { what, detail }) => return Err(format!("damaged {what}: {detail}")),
            Err(_) => (Outcome::Refused, None),
        };
        if outcome != planned.expected {
            return Err(format!("the engine says {result:?}, the model {:?}", planned.expected));
        }
        match (planned.arrived, id) {
            (Some(Arrival::Conversion(ix)), Some(id)) => drop(self.conversions.insert(ix, id)),
            (Some(Arrival::Refund(ix)), Some(id)) => drop(self.refunds.insert(ix, id)),
            _ => {}
        }
        Ok(())
    }

    /// The model names conversions by their events.
    fn translate(&self, event: &Event) -> Event {
        let mut event = event.clone();
        if let Body::Refund(refund) = &mut event.body
            && let Some(named) = &refund.conversion_id
        {
            let place = named.strip_prefix("ix_").unwrap().parse().unwrap();
            refund.conversion_id = Some(Prefix::Conversion.format(self.conversions[&place]));
        }
        event
    }

    async fn command(&mut self, tx: &DatabaseTransaction, act: &Act) -> Command {
        let from = |from: &Option<Ms>| from.map(Timestamp);
        match act {
            Act::PutProgram { program, slug, currency, settings, from: starts } => {
                Command::PutProgram(Box::new(PutProgram {
                    id: ProgramId(*program),
                    slug: slug.parse().unwrap(),
                    currency: *currency,
                    settings: (**settings).clone(),
                    from: from(starts),
                }))
            }
            Act::PutAffiliate { affiliate, suspended } => Command::PutAffiliate(PutAffiliate {
                id: AffiliateId(*affiliate),
                slug: format!("a{affiliate}").parse().unwrap(),
                suspended: *suspended,
            }),
            Act::SetStanding { program, affiliate, standing } => Command::SetStanding {
                program: ProgramId(*program),
                affiliate: AffiliateId(*affiliate),
                standing: *standing,
            },
            Act::PutLink(link) => {
                self.links.insert(link.id, (link.program, link.affiliate));
                Command::PutLink(Box::new(PutLink {
                    id: LinkId(link.id),
                    uid: Uuid::from_u128(link.id.unsigned_abs().into()),
                    program: ProgramId(link.program),
                    affiliate: AffiliateId(link.affiliate),
                    code: link.code.clone(),
                    destination: None,
                    source_id: Some(link.source.clone()),
                    asset_id: Some(link.asset.clone()),
                    expires_at: None,
                }))
            }
            Act::PutCoupon(coupon) => Command::PutCoupon(PutCoupon {
                id: coupon.id,
                program: ProgramId(coupon.program),
                affiliate: AffiliateId(coupon.affiliate),
                code: coupon.code.clone(),
                starts_at: from(&coupon.starts_at),
                ends_at: from(&coupon.ends_at),
            }),
            Act::PutGroup(id) => Command::PutGroup(PutGroup {
                id: *id,
                slug: format!("g{}", &id.simple().to_string()[..20]).parse().unwrap(),
                title: "Group".to_owned(),
            }),
            Act::Approve(key) => Command::ApproveLine { line: self.line(tx, key).await },
            Act::Disapprove(key) => Command::DisapproveLine { line: self.line(tx, key).await },
            Act::Reopen(key) => Command::ReopenLine { line: self.line(tx, key).await },
            Act::EditLine(key, amount) => {
                Command::EditLine { line: self.line(tx, key).await, amount: *amount, comment: None }
            }
            Act::Adjust { id, affiliate, program, currency, amount } => Command::Adjust(Box::new(Adjust {
                id: *id,
                affiliate: AffiliateId(*affiliate),
                program: program.map(ProgramId),
                currency: *currency,
                amount: *amount,
                comment: "by hand".to_owned(),
            })),
            Act::EditConversion(ix, amount) => {
                Command::EditConversion { conversion: self.conversions[ix], amount: *amount }
            }
            Act::Recalculate(ix, current) => Command::Recalculate {
                conversion: self.conversions[ix],
                rules: if *current { RulesOf::Current } else { RulesOf::Then },
            },
            Act::Delete(ix) => Command::DeleteConversion { conversion: self.conversions[ix] },
            Act::SetGroup { affiliate, group } => {
                Command::SetGroup { affiliate: AffiliateId(*affiliate), group: *group }
            }
            Act::SetParent { affiliate, parent } => {
                Command::SetParent { affiliate: AffiliateId(*affiliate), parent: parent.map(AffiliateId) }
            }
            Act::PutOverride { program, whose, target, rule, from: starts } => {
                let whose = match whose {
                    Holder::Affiliate(id) => Whose::Affiliate(AffiliateId(*id)),
                    Holder::Group(id) => Whose::Group(*id),
                };
                // One for each of its kind.
                let subject = format!("{program} {whose:?} {target:?}");
                let id = *self.overrides.entry(subject).or_insert_with(Uuid::now_v7);
                Command::PutOverride(Box::new(PutOverride {
                    id,
                    program: ProgramId(*program),
                    whose,
                    target: target.clone(),
                    rule: rule.clone(),
                    from: from(starts),
                }))
            }
            Act::PutBonus { bonus, program, settings, from: starts } => {
                Command::PutBonus(Box::new(PutBonus {
                    id: *bonus,
                    program: ProgramId(*program),
                    settings: settings.clone(),
                    from: from(starts),
                }))
            }
            Act::DeleteBonus(bonus) => Command::DeleteBonus { bonus: *bonus },
            Act::Award { bonus, affiliate, interval } => Command::AwardBonus {
                bonus: *bonus,
                affiliate: AffiliateId(*affiliate),
                interval: Timestamp(*interval),
            },
            Act::CreateCustomer { program, customer, code, track } => Command::CreateCustomer {
                id: Uuid::now_v7(),
                inputs: Box::new(self.by_code(*program, customer, code)),
                track: *track,
                evidence: Box::new(Evidence::default()),
            },
            Act::MoveCustomer { customer, affiliate } => Command::MoveCustomer {
                customer: self.customer(tx, *customer).await,
                affiliate: AffiliateId(*affiliate),
                link: None,
            },
            Act::SetCanceled { customer, canceled } => {
                Command::SetCanceled { customer: self.customer(tx, *customer).await, canceled: *canceled }
            }
            Act::RecordPayment(payment) => Command::RecordPayment(Box::new(pay(payment))),
            Act::CancelPayment(id) => Command::CancelPayment { payment: *id },
            Act::CreatePayout(payout) => Command::CreatePayout(Box::new(pay(payout))),
            Act::EndPayout(id, end) => Command::EndPayout {
                payout: *id,
                end: match end {
                    PaymentState::Paid => PayoutEnd::Paid,
                    PaymentState::Failed => PayoutEnd::Failed,
                    _ => PayoutEnd::Cancelled,
                },
            },
            Act::SetMinimum(currency, amount) => {
                Command::SetPayoutMinimum { currency: *currency, amount: *amount }
            }
            Act::Receive(_)
            | Act::StoreClick(_)
            | Act::LoadRates(_)
            | Act::Expire
            | Act::Accept(_)
            | Act::Decline(_) => panic!("no command of its own: {act:?}"),
        }
    }

    async fn line(&self, tx: &impl ConnectionTrait, key: &LineKey) -> Uuid {
        use commission_line::Column;
        match key {
            LineKey::Of(ix, number) => {
                let found = commission_line::Entity::find()
                    .filter(Column::ConversionId.eq(self.conversions[ix]))
                    .filter(Column::Number.eq(*number));
                found.one(tx).await.unwrap().unwrap().id
            }
            LineKey::Loose(place) => self.loose(tx).await[*place].id,
        }
    }

    /// Lines of no conversion, in the order of their making.
    pub async fn loose(&self, db: &impl ConnectionTrait) -> Vec<commission_line::Model> {
        use commission_line::Column;
        let found = commission_line::Entity::find()
            .filter(Column::AccountId.eq(self.account.0))
            .filter(Column::ConversionId.is_null())
            .order_by_asc(Column::CreatedSeq)
            .order_by_asc(Column::Number);
        found.all(db).await.unwrap()
    }

    /// In the order in which they were born.
    pub async fn customers(&self, db: &impl ConnectionTrait) -> Vec<customer::Model> {
        let found = customer::Entity::find().filter(customer::Column::AccountId.eq(self.account.0));
        found.order_by_asc(customer::Column::CreatedSeq).all(db).await.unwrap()
    }

    async fn customer(&self, tx: &impl ConnectionTrait, place: usize) -> Uuid {
        self.customers(tx).await[place].id
    }

    fn by_code(&self, program: i64, customer: &str, code: &str) -> Conversion {
        Conversion {
            account: self.account,
            kind: ConversionKind::Lead,
            channel: Channel::Rest,
            authority: Authority::Secret,
            fingerprint: String::new(),
            program: Some(format!("p{}", program % 100 - 1)),
            program_group: None,
            external_id: None,
            amount: None,
            currency: None,
            customer_id: Some(customer.to_owned()),
            coupon: None,
            referral_code: Some(code.to_owned()),
            click_id: None,
            asset_id: None,
            source_id: None,
            tracking_id: None,
            commission_type: None,
            commissions: Vec::new(),
            occurred_at: None,
            sub_ids: Default::default(),
            meta_data: serde_json::Map::new(),
        }
    }

    async fn store_click(&self, tx: &DatabaseTransaction, click: &Click) {
        let (program, affiliate) = self.links[&click.link];
        let row = click::Model {
            day: Timestamp(click.at).day(),
            id: click.id,
            account_id: self.account.0,
            link_id: click.link,
            program_id: program,
            affiliate_id: affiliate,
            class: if click.attributable { "valid" } else { "crawler" }.to_owned(),
            attributable: click.attributable,
            review: click.review,
            clicked_at: click.at,
            ip_prefix: None,
            visitor: None,
            user_agent: None,
            device: "desktop".to_owned(),
            os: "Linux".to_owned(),
            browser: "Firefox".to_owned(),
            country: None,
            network: None,
            referrer: None,
            source_id: None,
            asset_id: None,
            tracking_id: click.tracking_id.clone(),
            details: json!({}),
            duplicate_of: None,
        };
        partitions::ensure(tx, &[row.day].into()).await.unwrap();
        click::Entity::insert(row.into_active_model()).exec_without_returning(tx).await.unwrap();
    }
}

fn pay(payment: &crate::model::Payment) -> Pay {
    Pay {
        id: payment.id,
        affiliate: AffiliateId(payment.affiliate),
        currency: payment.currency,
        amount: payment.amount,
        comment: None,
    }
}

/// As the operator's import does: a row that is there is replaced.
async fn load(tx: &DatabaseTransaction, rates: &[Rate], at: Timestamp) {
    for rate in rates {
        let key = (rate.base.code().to_owned(), rate.quote.code().to_owned(), rate.day);
        exchange_rate::Entity::delete_by_id(key).exec(tx).await.unwrap();
        let row = exchange_rate::Model {
            base: rate.base.code().to_owned(),
            quote: rate.quote.code().to_owned(),
            day: rate.day,
            rate: rate.rate,
            loaded_at: at.0,
        };
        exchange_rate::Entity::insert(row.into_active_model()).exec_without_returning(tx).await.unwrap();
    }
}
