//! The engine on a database, driven by the same commands as the model.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sea_orm::{DatabaseTransaction, EntityTrait, IntoActiveModel};
use serde_json::json;
use uuid::Uuid;
use waypost::{
    domain::{
        calendar::Zone,
        ids::{AccountId, Prefix},
        time::Timestamp,
    },
    events::{Body, Event},
    ledger::{self, Effect, Intake, LedgerError, Terms, Work},
    store::{
        Store, accounts,
        entities::{click, exchange_rate},
        partitions,
        streams::Counts,
    },
};

use crate::{
    model::{Act, Click, Ms, Outcome, Rate},
    plan::{PENDING_TIME, named, ring},
};

pub const TERMS: Terms = Terms { max_age_days: 30, pending_time_ms: PENDING_TIME };

pub struct Engine {
    url: String,
    /// Of two instances.
    pub stores: [Store; 2],
    intakes: [Intake; 2],
    pub account: AccountId,
    slug: String,
    /// Transactions so far.
    turn: usize,
    /// By their place in the model.
    pub conversions: BTreeMap<usize, Uuid>,
    refunds: BTreeMap<usize, Uuid>,
    pub links: HashMap<i64, (i64, i64)>,
    /// Ids given out so far.
    made: u32,
    pub overrides: HashMap<String, Uuid>,
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
        Self {
            url: url.to_owned(),
            stores,
            intakes: intakes(),
            account,
            slug: slug.to_owned(),
            turn: 0,
            conversions: BTreeMap::new(),
            refunds: BTreeMap::new(),
            links: HashMap::new(),
            made: 0,
            overrides: HashMap::new(),
        }
    }

    pub async fn close(self) {
        for store in self.stores {
            store.close().await.unwrap();
        }
    }

    /// Both instances end and start again: what they know is what is stored.
    pub async fn restart(&mut self) {
        let stores = [Store::connect(&self.url).await.unwrap(), Store::connect(&self.url).await.unwrap()];
        for store in std::mem::replace(&mut self.stores, stores) {
            store.close().await.unwrap();
        }
        self.intakes = intakes();
    }

    /// The same for the same history.
    pub fn new_id(&mut self) -> Uuid {
        self.made += 1;
        named(&format!("{}/driven/{}", self.slug, self.made))
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

fn intakes() -> [Intake; 2] {
    let keys = Arc::new(ring());
    [Intake::new(keys.clone(), TERMS), Intake::new(keys, TERMS)]
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
