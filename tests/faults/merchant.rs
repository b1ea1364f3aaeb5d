//! A merchant at the management API: sets up programs and affiliates, changes prices, reviews commissions.
//!
//! Every change is asked for until it is answered, at whichever API answers, as a client does that must know.

use std::{collections::HashSet, sync::Arc, time::Duration};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;
use waypost::domain::ids::Prefix;

use crate::{
    chance::Chance,
    market::{Affiliate, Market, Program},
    processes::Process,
    visitor::http,
    world::now,
};

/// A program's value changed at some time between asking for it and the answer.
#[derive(Clone, Debug)]
pub struct Price {
    pub account: usize,
    pub program: Program,
    pub value: &'static str,
    pub asked: i64,
    pub answered: i64,
}

/// A commission line was reviewed.
#[derive(Clone, Copy, Debug)]
pub struct Review {
    pub line: Uuid,
    pub approved: bool,
}

/// What the merchants were told.
#[derive(Debug, Default)]
pub struct Ledger {
    pub prices: Vec<Price>,
    pub reviews: Vec<Review>,
    /// Requests, and those that had to be sent again.
    pub requests: u64,
    pub again: u64,
    /// Answers that nobody should get.
    pub wrong: Vec<String>,
}

impl Ledger {
    pub fn add(&mut self, other: Self) {
        self.prices.extend(other.prices);
        self.reviews.extend(other.reviews);
        self.requests += other.requests;
        self.again += other.again;
        self.wrong.extend(other.wrong);
    }
}

pub struct Merchant {
    market: Market,
    account: usize,
    apis: Vec<Arc<Process>>,
    http: Client,
    /// Which API is asked next.
    turn: usize,
    /// Lines that were looked at.
    seen: HashSet<Uuid>,
    /// The place of each program's value among [`Program::values`].
    values: [usize; 2],
    pub ledger: Ledger,
}

/// Between two changes.
const PACE: Duration = Duration::from_millis(400);
/// Commissions that wait longer than this in the list are never looked at by this merchant.
const LOOK_AT: usize = 20;

impl Merchant {
    pub fn new(market: Market, account: usize, apis: Vec<Arc<Process>>) -> Self {
        Self {
            market,
            account,
            apis,
            http: http(),
            turn: 0,
            seen: HashSet::new(),
            values: [0; 2],
            ledger: Ledger::default(),
        }
    }

    /// Goes on until told to stop.
    pub async fn run(mut self, stop: watch::Receiver<bool>, mut chance: Chance) -> Ledger {
        while !*stop.borrow() {
            match chance.below(10) {
                0..=2 => self.change_price(*chance.pick(&Program::ALL)).await,
                3 => self.add_affiliate().await,
                _ => self.review(&mut chance).await,
            }
            sleep(PACE).await;
        }
        self.ledger
    }

    pub async fn add_program(&mut self, program: Program) {
        let body = json!({
            "id": program.slug(), "name": program.slug(), "currency": "USD",
            "destination": "https://shop.example/", "pixel": "open",
            "commission_types": [{"form": program.form(), "value": program.values()[0]}],
        });
        self.ask(Method::POST, "/v1/programs", Some(body), &[201]).await;
    }

    async fn change_price(&mut self, program: Program) {
        let place = &mut self.values[program as usize];
        *place = (*place + 1) % program.values().len();
        let value = program.values()[*place];
        let asked = now();
        let path = format!("/v1/programs/{}", program.slug());
        let body = json!({"commission_types": [{"form": program.form(), "value": value}]});
        self.ask(Method::PATCH, &path, Some(body), &[200]).await;
        let account = self.account;
        self.ledger.prices.push(Price { account, program, value, asked, answered: now() });
    }

    /// One more affiliate, whom visitors know as soon as everything is answered.
    pub async fn add_affiliate(&mut self) {
        let market = Arc::clone(&self.market);
        let account = &market[self.account];
        let number = account.affiliates.read().unwrap().len();
        let mut affiliate = Affiliate { slug: format!("{}-{number}", account.slug), since: 0, known: false };
        let slug = affiliate.slug.clone();
        self.ask(Method::POST, "/v1/affiliates", Some(json!({"id": slug})), &[201]).await;
        for program in Program::ALL {
            let path = format!("/v1/programs/{}/affiliates/{slug}", program.slug());
            self.ask(Method::PUT, &path, Some(json!({"standing": "approved"})), &[200]).await;
            let promotes = |code: String| json!({"program": program.slug(), "affiliate": slug, "code": code});
            self.ask(Method::POST, "/v1/links", Some(promotes(affiliate.link(program))), &[201]).await;
            self.ask(Method::POST, "/v1/coupons", Some(promotes(affiliate.coupon(program))), &[201]).await;
        }
        affiliate.since = now();
        account.affiliates.write().unwrap().push(affiliate);
    }

    /// Decides about a few of the newest commissions, each at most once.
    async fn review(&mut self, chance: &mut Chance) {
        let path = format!("/v1/commissions?status=pending&limit={LOOK_AT}");
        let page = self.ask(Method::GET, &path, None, &[200]).await;
        let ids = page["data"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str());
        for id in ids {
            let line = Prefix::Commission.parse(id).unwrap();
            if !self.seen.insert(line) || chance.percent(60) {
                continue;
            }
            let approved = chance.percent(70);
            let verb = if approved { "approve" } else { "disapprove" };
            self.ask(Method::POST, &format!("/v1/commissions/{id}/{verb}"), None, &[200]).await;
            self.ledger.reviews.push(Review { line, approved });
        }
    }

    /// Asks until there is an answer.
    async fn ask(&mut self, method: Method, path: &str, body: Option<Value>, expected: &[u16]) -> Value {
        let key = Uuid::now_v7().to_string();
        self.ledger.requests += 1;
        for turn in self.turn.. {
            self.turn = turn + 1;
            let api = &self.apis[turn % self.apis.len()];
            if let Some(address) = api.address() {
                let mut request = self
                    .http
                    .request(method.clone(), format!("{address}{path}"))
                    .bearer_auth(&self.market[self.account].key)
                    .header("idempotency-key", &key);
                if let Some(body) = &body {
                    request = request.json(body);
                }
                if let Ok(answer) = request.send().await {
                    let status = answer.status().as_u16();
                    let retry_after = answer.headers().contains_key("retry-after");
                    if let Ok(text) = answer.text().await {
                        if expected.contains(&status) {
                            return serde_json::from_str(&text).unwrap_or_default();
                        }
                        if status != 503 || !retry_after {
                            let wrong = format!("{method} {path} at {}: {status} {text}", api.name);
                            self.ledger.wrong.push(wrong);
                            return Value::Null;
                        }
                    }
                }
            }
            self.ledger.again += 1;
            sleep(Duration::from_millis(100)).await;
        }
        unreachable!("the turns do not end")
    }
}
