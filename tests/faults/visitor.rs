//! One visitor after the other, and the shop where they buy: follows links, reports orders and refunds, and keeps what
//! was answered.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder, StatusCode, header, redirect::Policy};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use waypost::domain::{ids::Prefix, time::Timestamp, token::KeyRing};

use crate::{
    chance::Chance,
    diary::{Answers, Click, Diary, Order, Sent, Way},
    market::{Affiliate, Market, Program},
    orders::{self, Wish},
    processes::Process,
    world::now,
};

/// Clicks of curl and its like are of class `crawler` and earn nothing.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// One visitor after the other, not faster than this: a debug build on a busy machine settles all of it.
const PACE: Duration = Duration::from_millis(600);

/// Before a request is sent again that was cut or told to wait.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(8);

pub fn http() -> Client {
    Client::builder().redirect(Policy::none()).user_agent(BROWSER).timeout(TIMEOUT).build().unwrap()
}

/// Something to do later.
struct Later {
    due: Instant,
    order: usize,
    /// For the first time, or once more.
    first: bool,
}

pub struct Visitor {
    number: usize,
    market: Market,
    edges: Vec<Arc<Process>>,
    tokens: KeyRing,
    http: Client,
    chance: Chance,
    stop: watch::Receiver<bool>,
    later: Vec<Later>,
    diary: Diary,
}

impl Visitor {
    pub fn new(
        number: usize,
        market: Market,
        edges: Vec<Arc<Process>>,
        tokens: KeyRing,
        chance: Chance,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let diary = Diary::default();
        Self { number, market, edges, tokens, http: http(), chance, stop, later: Vec::new(), diary }
    }

    /// Goes on until told to stop, and then finishes what it had put off.
    pub async fn run(mut self) -> Diary {
        while !*self.stop.borrow() {
            let next = Instant::now() + PACE;
            self.visit().await;
            self.catch_up(false).await;
            sleep_until(next).await;
        }
        self.catch_up(true).await;
        self.diary
    }

    /// Follows a link and buys, one order or several.
    async fn visit(&mut self) {
        let account = usize::from(self.chance.percent(20));
        let affiliates = self.market[account].affiliates.read().unwrap().clone();
        let affiliate = self.chance.pick(&affiliates).clone();
        let program = *self.chance.pick(&Program::ALL);
        let Some(click) = self.follow(account, &affiliate, program).await else { return };
        let first = self.diary.orders.len();
        let is_batch = self.chance.percent(12);
        for _ in 0..if is_batch { 2 + self.chance.below(5) } else { 1 } {
            let wish =
                Wish { visitor: self.number, number: self.diary.orders.len(), account, program, is_batch };
            let order = orders::new(&mut self.chance, wish, &self.market, &affiliate, &click);
            self.diary.orders.push(order);
        }
        if is_batch {
            self.report_batch(first).await;
        } else if self.chance.percent(15) {
            self.put_off(first, true);
        } else {
            self.deal_with(first).await;
        }
    }

    /// Reports an order with its refunds, in any order, and sometimes once more.
    async fn deal_with(&mut self, order: usize) {
        let refund_first = self.chance.percent(20);
        if refund_first {
            self.refund(order).await;
        }
        let patient = self.chance.percent(85);
        self.report(order, patient).await;
        if self.chance.percent(12) {
            self.report(order, false).await;
        }
        if self.chance.percent(12) {
            self.put_off(order, false);
        }
        if self.diary.orders[order].rival.is_some() {
            self.contradict(order).await;
        }
        if !refund_first {
            self.refund(order).await;
        }
    }

    fn put_off(&mut self, order: usize, first: bool) {
        let due = Instant::now() + self.chance.ms(500, 20_000);
        self.later.push(Later { due, order, first });
    }

    async fn catch_up(&mut self, with_all: bool) {
        let is_due = |later: &Later| with_all || later.due <= Instant::now();
        while let Some(at) = self.later.iter().position(is_due) {
            let Later { order, first, .. } = self.later.swap_remove(at);
            if first {
                self.deal_with(order).await;
            } else {
                self.report(order, true).await;
            }
        }
    }

    /// An edge that is up, if any is.
    fn edge(&mut self) -> Option<(&'static str, String)> {
        let first = self.chance.below(self.edges.len());
        let in_turn = (first..first + self.edges.len()).map(|n| &self.edges[n % self.edges.len()]);
        in_turn.filter_map(|edge| Some((edge.name, edge.address()?))).next()
    }

    async fn follow(&mut self, account: usize, affiliate: &Affiliate, program: Program) -> Option<Click> {
        let (edge, address) = self.edge()?;
        let code = affiliate.link(program);
        let ip = format!("198.51.{}.{}", self.chance.below(100), 1 + self.chance.below(250));
        let asked = now();
        if self.chance.percent(15) && affiliate.known {
            let body = json!({"referral_code": code, "ip": ip, "user_agent": BROWSER});
            let request = self.http.post(format!("{address}/v1/events/click"));
            let request = request.bearer_auth(&self.market[account].key).json(&body);
            let (status, _, answer) = self.ask("click by REST", edge, request).await?;
            if status != 202 {
                return None;
            }
            let id = Prefix::Click.parse(answer["click_id"].as_str().unwrap()).unwrap();
            let token = answer["token"].as_str().unwrap().to_owned();
            let click = Click { id, token, edge, asked, answered: now(), owed: true };
            self.diary.clicks.push(click.clone());
            return Some(click);
        }
        let request = self.http.get(format!("{address}/r/{code}")).header("x-forwarded-for", ip);
        let request = request.header(header::HOST, self.market[account].host);
        let Ok(answer) = request.send().await else {
            self.diary.answers.count("click", "cut");
            return None;
        };
        self.diary.answers.count("click", answer.status().as_str());
        if answer.status() != StatusCode::FOUND {
            if answer.status() != StatusCode::NOT_FOUND || affiliate.known {
                let wrong = format!("{}: /r/{code} at {edge}: {}", Timestamp(now()), answer.status());
                self.diary.answers.wrong.push(wrong);
            }
            return None;
        }
        let location = answer.headers()[header::LOCATION].to_str().unwrap();
        let token = location.split("click_id=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        let id = self.tokens.verify(&token).unwrap().click_id;
        let click = Click { id, token, edge, asked, answered: now(), owed: false };
        self.diary.clicks.push(click.clone());
        Some(click)
    }

    async fn report(&mut self, order: usize, patient: bool) {
        let Order { body, key, way, account, program, .. } = self.diary.orders[order].clone();
        let mut sent = self.diary.orders[order].sent;
        let what = if way == Way::Pixel { "pixel" } else { "order" };
        let path = match way {
            Way::Pixel => format!("/pixel/{}.gif?{}", program.slug(), orders::query(&body)),
            Way::Rest if self.chance.percent(10) => "/v1/events/purchase".to_owned(),
            Way::Rest => "/v1/events/conversion".to_owned(),
        };
        let answer = self.send(what, account, &path, &body, key.as_deref(), patient, &mut sent).await;
        let order = &mut self.diary.orders[order];
        order.sent = sent;
        order.event_ids.extend(answer.and_then(|answer| Some(answer["id"].as_str()?.to_owned())));
    }

    /// The same external id with another amount: one of the two wins.
    async fn contradict(&mut self, order: usize) {
        let Order { mut body, account, rival, .. } = self.diary.orders[order].clone();
        let (amount, mut sent) = rival.unwrap();
        body["amount"] = json!(orders::decimal(amount));
        self.send("rival", account, "/v1/events/conversion", &body, None, false, &mut sent).await;
        self.diary.orders[order].rival = Some((amount, sent));
    }

    async fn refund(&mut self, order: usize) {
        for number in 0..self.diary.orders[order].refunds.len() {
            let account = self.diary.orders[order].account;
            let refund = self.diary.orders[order].refunds[number].clone();
            let mut sent = refund.sent;
            for patient in [self.chance.percent(85), false] {
                self.send("refund", account, "/v1/events/refund", &refund.body, None, patient, &mut sent)
                    .await;
                if !self.chance.percent(15) {
                    break;
                }
            }
            self.diary.orders[order].refunds[number].sent = sent;
        }
    }

    async fn report_batch(&mut self, first: usize) {
        let orders = &self.diary.orders[first..];
        let (account, bodies) = (orders[0].account, orders.iter().map(|order| order.body.clone()).collect());
        let mut sent = Sent::default();
        let patient = self.chance.percent(85);
        let path = "/v1/events/conversion";
        let answer = self.send("batch", account, path, &Value::Array(bodies), None, patient, &mut sent).await;
        for (order, number) in self.diary.orders[first..].iter_mut().zip(0..) {
            order.sent = sent;
            let id = answer.as_ref().map(|answer| answer["data"][number]["id"].as_str().unwrap().to_owned());
            order.event_ids.extend(id);
        }
        for order in first..self.diary.orders.len() {
            self.refund(order).await;
            if self.chance.percent(20) {
                self.put_off(order, false);
            }
        }
    }

    /// Sends a report, again and again if the shop is patient, and answers what a 202 said.
    #[allow(clippy::too_many_arguments, reason = "each is a part of one request")]
    async fn send(
        &mut self,
        what: &'static str,
        account: usize,
        path: &str,
        body: &Value,
        key: Option<&str>,
        patient: bool,
        sent: &mut Sent,
    ) -> Option<Value> {
        let given_up = Instant::now() + Duration::from_secs(90);
        loop {
            if let Some((edge, address)) = self.edge() {
                let url = format!("{address}{path}");
                let mut request = if what == "pixel" {
                    self.http.get(url).header(header::HOST, self.market[account].host)
                } else {
                    self.http.post(url).bearer_auth(&self.market[account].key).json(body)
                };
                if let Some(key) = key {
                    request = request.header("idempotency-key", key);
                }
                if sent.tries == 0 {
                    sent.first = now();
                }
                sent.tries += 1;
                let answer = self.ask(what, edge, request).await;
                sent.last = now();
                if let Some((status, durability, answer)) = answer
                    && status == 202
                {
                    sent.taken += 1;
                    *self.diary.answers.durability.entry(durability).or_default() += 1;
                    return Some(answer);
                }
            }
            if !patient || Instant::now() > given_up {
                return None;
            }
            sleep(PATIENCE).await;
        }
    }

    /// Sends a request; answers status, durability and body. A pixel's result reads as the status that it stands for.
    async fn ask(
        &mut self,
        what: &'static str,
        edge: &str,
        request: RequestBuilder,
    ) -> Option<(u16, String, Value)> {
        let Answers { wrong, .. } = &mut self.diary.answers;
        let Ok(answer) = request.send().await else {
            self.diary.answers.count(what, "cut");
            return None;
        };
        let header = |name| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
        let (result, durability) = (header("waypost-result"), header("waypost-durability"));
        let (retry_after, reason) = (header("retry-after"), header("waypost-reason"));
        let status = match result.as_deref() {
            None => answer.status().as_u16(),
            Some("accepted") => 202,
            Some("not_stored") => 503,
            Some("unconfirmed") => 504,
            Some(_) => 400,
        };
        let is_pixel = result.is_some();
        let Ok(text) = answer.text().await else {
            self.diary.answers.count(what, "cut");
            return None;
        };
        let expected =
            status == 202 || (status == 503 && (is_pixel || retry_after.is_some())) || status == 504;
        if !expected {
            wrong.push(format!("{}: {what} at {edge}: {status} {reason:?} {text}", Timestamp(now())));
        }
        self.diary.answers.count(what, &status.to_string());
        let durability = durability.unwrap_or_else(|| "pixel".to_owned());
        Some((status, durability, serde_json::from_str(&text).unwrap_or_default()))
    }
}
