//! `kill -9` under load, again and again: what was answered with 202 takes effect exactly once.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, StatusCode};
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;
use waypost::{
    domain::token::KeyRing,
    store::entities::{balance, click, commission_line, conversion, posting, refund, rejected_event},
};

use crate::{
    folder::Folder,
    running::{client, eventually, follow, report},
};

const KILLS: usize = 20;
const CONNECTIONS: u64 = 8;

/// What an order is worth, and its commission of 10 %.
const AMOUNT: i64 = 5_000;
const COMMISSION: i64 = 500;
/// What a partial refund gives back.
const PART: i64 = 1_000;

/// A click that was answered longer ago than this is on the disk: a batch waits 5 ms, a commit 5 ms, and the rest is
/// for a disk and two cores that others use too.
const CLICK_AT_RISK: Duration = Duration::from_secs(4);

/// Chance that can be repeated: splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn up_to_ms(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most))
    }
}

/// How often something was sent, and how often it was answered with 202. What got another answer than that was cut.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    tries: u64,
    taken: u64,
}

/// What a merchant knows of one order.
#[derive(Debug)]
struct Order {
    external_id: String,
    /// None: it was reported without a click, and is rejected.
    token: Option<String>,
    sent: Sent,
    /// Minor units that were given back.
    refund: Option<(i64, Sent)>,
}

/// A click that was answered.
#[derive(Debug)]
struct Click {
    asked: Instant,
    answered: Instant,
    token: String,
}

/// What a connection did.
#[derive(Debug, Default)]
struct Diary {
    clicks: Vec<Click>,
    orders: Vec<Order>,
}

/// What all connections share.
struct Load {
    edge: watch::Receiver<String>,
    key: String,
    taken: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Sends an event, and again after a cut connection if the merchant is patient.
    async fn send(&mut self, client: &Client, kind: &str, event: &Value, patient: bool, sent: &mut Sent) {
        loop {
            let edge = self.edge.borrow_and_update().clone();
            sent.tries += 1;
            if let Ok(answer) = report(client, &edge, &self.key, kind, event).send().await {
                assert_eq!(answer.status(), StatusCode::ACCEPTED, "{event}");
                sent.taken += 1;
                self.taken.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if !patient {
                return;
            }
            self.wait_for_restart().await;
        }
    }

    async fn wait_for_restart(&mut self) {
        // A connection may also be cut without a restart to come; then it is simply tried again.
        let _ = timeout(Duration::from_millis(200), self.edge.changed()).await;
    }

    /// Visits, buys and returns until told to stop.
    async fn run(mut self, number: u64, mut chance: Chance) -> Diary {
        let client = client();
        let mut diary = Diary::default();
        while !self.stop.load(Ordering::Relaxed) {
            let edge = self.edge.borrow_and_update().clone();
            let from = chance.below(250);
            let asked = Instant::now();
            let Ok(followed) = follow(&client, &edge, "jane", from).await else {
                self.wait_for_restart().await;
                continue;
            };
            let token = followed.unwrap().token;
            diary.clicks.push(Click { asked, answered: Instant::now(), token: token.clone() });
            let mut order = Order {
                external_id: format!("order-{number}-{}", diary.orders.len()),
                token: (!chance.percent(10)).then_some(token),
                sent: Sent::default(),
                refund: None,
            };
            let event = json!({
                "program": "demo-shop", "external_id": order.external_id, "amount": "50.00", "click_id": order.token,
            });
            let patient = chance.percent(70);
            self.send(&client, "conversion", &event, patient, &mut order.sent).await;
            if chance.percent(15) {
                self.send(&client, "conversion", &event, false, &mut order.sent).await;
            }
            if order.token.is_some() && order.sent.taken > 0 && chance.percent(25) {
                let part = chance.percent(50);
                let event = json!({
                    "program": "demo-shop", "external_id": format!("refund-of-{}", order.external_id),
                    "conversion_external_id": order.external_id, "amount": part.then_some("10.00"),
                });
                let mut sent = Sent::default();
                self.send(&client, "refund", &event, patient, &mut sent).await;
                order.refund = Some((if part { PART } else { AMOUNT }, sent));
            }
            diary.orders.push(order);
        }
        diary
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_takes_effect_once_whatever_is_killed() {
    let begun = Instant::now();
    let seed = std::env::var("WAYPOST_TEST_SEED")
        .ok()
        .map_or_else(|| Uuid::now_v7().as_u64_pair().1, |seed| seed.parse().unwrap());
    println!("WAYPOST_TEST_SEED={seed}");
    let mut chance = Chance(seed);
    let folder = Folder::new();
    let mut waypost = folder.dev().await;
    let (edge, seen) = watch::channel(waypost.at.edge.clone());
    let key = waypost.at.secret_key.clone().unwrap();
    let (taken, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let load = Load { edge: seen.clone(), key: key.clone(), taken: taken.clone(), stop: stop.clone() };
        connections.spawn(load.run(number, Chance(seed ^ number)));
    }

    let mut kills = Vec::new();
    while kills.len() < KILLS {
        let before = taken.load(Ordering::Relaxed);
        let under_load = || (taken.load(Ordering::Relaxed) > before).then_some(());
        eventually("events to be taken", async || under_load()).await;
        sleep(chance.up_to_ms(500)).await;
        kills.push(Instant::now());
        waypost.kill();
        if chance.percent(25) {
            // Also while it starts, wherever it is by then.
            let mut early =
                folder.spawn(&["dev", "--edge-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"]);
            sleep(chance.up_to_ms(400)).await;
            early.kill();
        }
        waypost = folder.dev().await;
        assert_eq!(waypost.at.secret_key.as_ref(), Some(&key));
        edge.send_replace(waypost.at.edge.clone());
    }
    let before = taken.load(Ordering::Relaxed);
    eventually("events after the last kill", async || (taken.load(Ordering::Relaxed) > before).then_some(()))
        .await;
    stop.store(true, Ordering::Relaxed);
    let diaries = connections.join_all().await;
    folder.settled().await;
    waypost.stop().await;

    folder.assert_adds_up();
    check_clicks(&folder, &diaries, &kills).await;
    check_orders(&folder, &diaries).await;
    folder.assert_log_is_discreet();
    println!("{KILLS} kills in {:.1} s", begun.elapsed().as_secs_f32());
}

/// Clicks may be lost by a kill, but only those of its last moment.
async fn check_clicks(folder: &Folder, diaries: &[Diary], kills: &[Instant]) {
    let keys = folder.keys();
    let rows = click::Entity::find().all(folder.store().await.reader()).await.unwrap();
    let stored: HashSet<Uuid> = rows.iter().map(|row| row.id).collect();
    let answered: Vec<&Click> = diaries.iter().flat_map(|diary| &diary.clicks).collect();
    let lost: Vec<_> =
        answered.iter().filter(|click| !stored.contains(&click_of(&keys, &click.token))).collect();
    println!(
        "clicks: {} answered, {} of them lost by {} kills; {} stored whose answer did not arrive",
        answered.len(),
        lost.len(),
        kills.len(),
        stored.len() + lost.len() - answered.len()
    );
    for click in lost {
        let at_risk = click.asked..click.answered + CLICK_AT_RISK;
        let by_a_kill = kills.iter().any(|kill| at_risk.contains(kill));
        assert!(by_a_kill, "a click was lost that no kill can have cost: {click:?}");
    }
}

fn click_of(keys: &KeyRing, token: &str) -> Uuid {
    keys.verify(token).unwrap().click_id
}

/// Every order has the effect that it must have, and nothing else has any.
async fn check_orders(folder: &Folder, diaries: &[Diary]) {
    let keys = folder.keys();
    let store = folder.store().await;
    let db = store.reader();
    let mut conversions = by_external_id(conversion::Entity::find().all(db).await.unwrap(), |row| {
        row.external_id.clone().unwrap()
    });
    let mut refunds =
        by_external_id(refund::Entity::find().all(db).await.unwrap(), |row| row.external_id.clone().unwrap());
    let mut rejected = by_external_id(rejected_event::Entity::find().all(db).await.unwrap(), |row| {
        let event: Value = serde_json::from_str(&row.event).unwrap();
        event["body"]["conversion"]["external_id"].as_str().unwrap_or_default().to_owned()
    });
    let lines = commission_line::Entity::find().all(db).await.unwrap();
    let postings = posting::Entity::find().all(db).await.unwrap();
    let (mut settled, mut unanswered, mut owed, mut sends) = (0_usize, 0_usize, 0_i64, Sent::default());
    let mut refunded = 0_usize;

    for order in diaries.iter().flat_map(|diary| &diary.orders) {
        let id = &order.external_id;
        sends.tries += order.sent.tries;
        sends.taken += order.sent.taken;
        let Some(token) = &order.token else {
            let rows = rejected.remove(id).unwrap_or_default();
            // It claims nothing: each time that it arrived it was rejected anew.
            let times = u64::try_from(rows.len()).unwrap();
            assert!((order.sent.taken..=order.sent.tries).contains(&times), "{order:?}: {rows:?}");
            assert!(rows.iter().all(|row| row.reason == "unattributed"), "{rows:?}");
            continue;
        };
        let rows = conversions.remove(id).unwrap_or_default();
        if order.sent.taken == 0 && rows.is_empty() {
            unanswered += 1;
            continue;
        }
        let [row] = rows.as_slice() else { panic!("{order:?} has {} effects", rows.len()) };
        assert_eq!(
            (row.status.as_str(), row.amount, row.seq.is_some()),
            ("settled", AMOUNT, true),
            "{row:?}"
        );
        assert_eq!(row.click_id, Some(click_of(&keys, token)), "{row:?}");
        settled += 1;

        let mut back = 0;
        if let Some((amount, sent)) = &order.refund {
            sends.tries += sent.tries;
            sends.taken += sent.taken;
            let rows = refunds.remove(&format!("refund-of-{id}")).unwrap_or_default();
            match rows.as_slice() {
                [] if sent.taken == 0 => {}
                [row] => {
                    assert_eq!((row.status.as_str(), row.amount), ("settled", *amount), "{row:?}");
                    back = *amount;
                    refunded += 1;
                }
                _ => panic!("{order:?} has {} refunds", rows.len()),
            }
        }
        assert_eq!(row.refunded, back, "{row:?}");
        let own: Vec<_> = lines.iter().filter(|line| line.conversion_id == Some(row.id)).collect();
        let [line] = own.as_slice() else { panic!("{order:?} has {} lines", own.len()) };
        let worth = COMMISSION * (AMOUNT - back) / AMOUNT;
        assert_eq!(line.amount, worth, "{line:?}");
        let amounts = |event: &str| {
            let own =
                postings.iter().filter(|posting| posting.line_id == Some(line.id) && posting.event == event);
            let mut amounts: Vec<i64> = own.map(|posting| posting.amount).collect();
            amounts.sort_unstable();
            amounts
        };
        assert_eq!(amounts("earned"), [-COMMISSION, COMMISSION], "{order:?}");
        let difference = COMMISSION - worth;
        let expected = if back == 0 { vec![] } else { vec![-difference, difference] };
        assert_eq!(amounts("refunded"), expected, "{order:?}");
        owed += worth;
    }
    assert!(conversions.is_empty() && refunds.is_empty() && rejected.is_empty(), "nobody sent what is left");
    assert_eq!(lines.len(), settled);
    assert_eq!(postings.len(), 2 * (settled + refunded));
    let balances = balance::Entity::find().all(db).await.unwrap();
    let accrued: Vec<i64> = balances
        .iter()
        .filter(|row| row.ledger_account == "accrued" && row.affiliate_id != 0)
        .map(|row| row.amount)
        .collect();
    assert_eq!(accrued, [-owed]);
    println!(
        "conversions and refunds: {} sent, {} answered 202; {settled} conversions and {refunded} refunds settled once \
         each; {unanswered} were never answered and left nothing",
        sends.tries, sends.taken
    );
}

fn by_external_id<T>(rows: Vec<T>, external_id: impl Fn(&T) -> String) -> HashMap<String, Vec<T>> {
    let mut found: HashMap<String, Vec<T>> = HashMap::new();
    for row in rows {
        found.entry(external_id(&row)).or_default().push(row);
    }
    found
}
