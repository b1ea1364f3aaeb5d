//! Accounts with rules, sales as a merchant reports them, and the time in which settlement takes them from a log.

#![allow(dead_code, reason = "each bench takes what it needs")]

use std::{ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration, time::Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waypost::{
    config::{SettlementSettings, SpoolSettings},
    domain::{
        calendar::Zone,
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        price::Target,
        reason::{CustomerTrack, Standing},
        time::Timestamp,
        token::{ClickToken, KeyRing, KeyState, TokenKey},
    },
    events::{Body, Event, Origin, VERSION},
    ledger::{
        self, Command, Evidence, Intake, PutAffiliate, PutBonus, PutLink, PutOverride, PutProgram, Terms,
        Whose,
    },
    settlement::{SettlementParts, serve},
    store::{Store, accounts, streams},
    stream::{EventSink, Record, Topic, spool::Spool},
    telemetry::{settlement::SettlementMetrics, stream::StreamMetrics},
};

/// Of a store, which its accounts share.
pub const LINKS: i64 = 1_000;

/// What a program asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// 10 %.
    Plain,
    /// Monthly tiers, a cap of an amount, and types that pay a customer so many times.
    Limits,
    /// These, two levels, overrides, first payments, a bonus from ever, and reports in two parts.
    All,
}

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

pub fn tell(what: &str, count: u64, spent: Duration) {
    println!("{what}: {count} in {spent:.2?}, {:.0} a second", count as f64 / spent.as_secs_f64());
}

/// The links of account `n` of `accounts`, which share all there are.
fn links_of(n: i64, accounts: i64) -> RangeInclusive<i64> {
    let share = LINKS / accounts;
    (n - 1) * share + 1..=n * share
}

fn settings(rules: Rules) -> Value {
    let percent = |percent: i64| json!({"form": "percentage", "value": percent * 100_000_000});
    let mut settings = json!({
        "name": "Shop", "destination": "https://shop.example/", "deep_link_hosts": [], "allow_http": false,
        "referral_parameter": "ref", "click_parameter": "click_id", "cookie_time": 30,
        "override_max_cookie_time": false, "cookie_same_site": "lax", "attribution_model": "last_click",
        "referrer_policy": "no-referrer", "pixel": "held", "duplicate_window_ms": 3_600_000,
        "commission_types": [
            {"identifier": "standard", "title": "10 %", "form": "percentage", "value": 1_000_000_000},
        ],
        "default_commission_type": "standard", "auto_approve_commissions": true, "payout_delay": 14,
        "refund_policy": "reverse", "program_group": null,
    });
    if rules == Rules::Plain {
        return settings;
    }
    let bracket =
        |from: i64, value: i64| json!({"from": from, "form": "percentage", "value": value * 100_000_000});
    let tiers = json!({
        "identifier": "standard", "title": "By the month", "form": "tiered", "measure": "revenue", "period": "month",
        "mode": "whole", "brackets": [bracket(0, 5), bracket(100_000, 8), bracket(1_000_000, 10)],
        "recurrence": {"repeating": 12},
    });
    let mut types = vec![tiers];
    if rules == Rules::All {
        let mut plus = percent(3);
        plus["identifier"] = json!("plus");
        plus["title"] = json!("Plus");
        plus["first_payment"] = json!({"form": "fixed", "value": 500});
        types.push(plus);
        settings["levels"] = json!([percent(5), {"form": "fixed", "value": 100}]);
    }
    settings["commission_types"] = json!(types);
    settings["caps"] = json!([
        {"scope": "affiliate", "period": "month", "measure": "amount", "limit": 1_000_000_000_000_i64},
    ]);
    settings["recurring_cap"] = json!(24);
    settings["recurring_period_days"] = json!(365);
    settings
}

fn commands(program: ProgramId, links: RangeInclusive<i64>, rules: Rules) -> Vec<Command> {
    let settings = serde_json::from_value(settings(rules)).unwrap();
    let currency = "USD".parse().unwrap();
    let slug = "shop".parse().unwrap();
    let mut commands =
        vec![Command::PutProgram(Box::new(PutProgram { id: program, slug, currency, settings, from: None }))];
    let first = *links.start();
    for n in links {
        let affiliate = AffiliateId(n);
        let slug = format!("a-{n}").parse().unwrap();
        commands.push(Command::PutAffiliate(PutAffiliate { id: affiliate, slug, suspended: false }));
        commands.push(Command::SetStanding { program, affiliate, standing: Standing::Approved });
        commands.push(Command::PutLink(Box::new(PutLink {
            id: LinkId(n),
            uid: Uuid::from_u128(n.unsigned_abs().into()),
            program,
            affiliate,
            code: format!("a-{n}"),
            destination: None,
            source_id: None,
            asset_id: None,
            expires_at: None,
        })));
        if rules == Rules::All && n > first {
            // The first is above the second, and that above all others.
            let parent = Some(AffiliateId(first.max(n.min(first + 2) - 1)));
            commands.push(Command::SetParent { affiliate, parent });
        }
        if rules == Rules::All && n % 10 == 0 {
            let rule = json!({"form": "percentage", "value": 400_000_000});
            commands.push(Command::PutOverride(Box::new(PutOverride {
                id: Uuid::from_u128(n.unsigned_abs().into()),
                program,
                whose: Whose::Affiliate(affiliate),
                target: Target::CommissionType("plus".to_owned()),
                rule: Some(serde_json::from_value(rule).unwrap()),
                from: None,
            })));
        }
    }
    if rules == Rules::All {
        let target = |target: i64| json!({"target": target, "form": "fixed", "value": target * 100});
        let settings = json!({
            "identifier": "ever", "title": "Ever", "interval": "alltime", "measure": "conversion_count",
            "targets": [target(10), target(100), target(1_000)], "start_date": null, "end_date": null,
            "active": true,
        });
        commands.push(Command::PutBonus(Box::new(PutBonus {
            id: Uuid::from_u128(program.0.unsigned_abs().into()),
            program,
            settings: serde_json::from_value(settings).unwrap(),
            from: None,
        })));
    }
    commands
}

/// A customer who signed up before the first sale.
fn signed_up(account: AccountId, number: u64, link: i64) -> Command {
    let inputs = json!({
        "account": account, "kind": "lead", "channel": "rest", "authority": "secret", "fingerprint": "",
        "program": "shop", "customer_id": format!("customer-{number}"), "referral_code": format!("a-{link}"),
    });
    Command::CreateCustomer {
        id: Uuid::now_v7(),
        inputs: Box::new(serde_json::from_value(inputs).unwrap()),
        track: CustomerTrack::Trial,
        evidence: Box::new(Evidence::default()),
    }
}

pub fn event(stream: &str, n: u64, id: Uuid, body: Body) -> Event {
    let origin = Origin { edge: "edge-1".into(), boot: Uuid::nil(), stream: stream.into(), n };
    Event { v: VERSION, id, origin, received_at: Timestamp::now(), body }
}

/// Accounts in a store, a log before it, and settlement between the two.
pub struct Bench {
    pub store: Store,
    pub spool: Spool,
    pub accounts: Vec<AccountId>,
    parts: SettlementParts,
    keys: Arc<KeyRing>,
    rules: Rules,
    _folder: TempDir,
}

impl Bench {
    /// With so many accounts; every tenth of the `customers` of each has signed up, where the rules have tracks.
    pub async fn open(store: &Store, accounts: i64, customers: u64, rules: Rules) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings =
            SpoolSettings { path: PathBuf::new(), max_bytes: 1 << 40, commit_events: 1000, commit_ms: 5 };
        let spool =
            Spool::open(&settings, &folder.path().join("spool.db"), StreamMetrics::register()).unwrap();
        let key = TokenKey { id: 1, state: KeyState::Active, secret: [1; 32] };
        let keys = Arc::new(KeyRing::new(vec![key]).unwrap());
        let terms = Terms { max_age_days: 30, pending_time_ms: 3_600_000 };
        let parts = SettlementParts {
            store: store.clone(),
            intake: Arc::new(Intake::new(keys.clone(), terms)),
            settings: settlement_settings(),
            metrics: SettlementMetrics::register(),
        };
        let accounts = furnish(store, accounts, customers, rules).await;
        Self { store: store.clone(), spool, accounts, parts, keys, rules, _folder: folder }
    }

    /// A sale as a merchant's server reports it: the program named, an order number, a customer, a click token.
    /// Customers buy twice; the accounts and their links take turns.
    pub fn sale(&self, n: u64) -> Event {
        self.sale_of(n, &format!("customer-{}", n / self.accounts.len() as u64 / 2))
    }

    pub fn sale_of(&self, n: u64, customer: &str) -> Event {
        let accounts = self.accounts.len() as u64;
        let at = n % accounts;
        let links = links_of(at.cast_signed() + 1, accounts.cast_signed());
        let share = LINKS / accounts.cast_signed();
        let link = LinkId(links.start() + (n / accounts).cast_signed() % share);
        let token = ClickToken { click_id: Uuid::now_v7(), link, attributable: true, review: false };
        let mut conversion = json!({
            "account": self.accounts[at as usize], "kind": "conversion", "channel": "rest", "authority": "secret",
            "fingerprint": format!("{n:032x}"), "program": "shop", "external_id": format!("order-{n}"),
            "amount": "49.90", "currency": "USD", "customer_id": customer, "click_id": self.keys.sign(&token),
        });
        if self.rules == Rules::All {
            conversion["commissions"] = json!([
                {"sub_amount": "29.90"}, {"sub_amount": "20.00", "commission_type": "plus"},
            ]);
        }
        let conversion = serde_json::from_value(conversion).unwrap();
        event("conversions/0", n, Uuid::now_v7(), Body::Conversion(conversion))
    }

    /// Appends a backlog and answers how long settlement takes to reach its end.
    pub async fn settle(&self, topic: Topic, events: &[Event]) -> Duration {
        let begin = streams::position(self.store.reader(), topic.name(), 0).await.unwrap();
        for batch in events.chunks(1_000) {
            let record = |event: &Event| Record { topic, key: None, payload: event.encode().into() };
            self.spool.sink().append(batch.iter().map(record).collect()).await.unwrap();
        }
        let end = begin + events.len() as i64;
        let shutdown = CancellationToken::new();
        let (clicks, conversions) =
            (self.spool.source(Topic::Clicks).unwrap(), self.spool.source(Topic::Conversions).unwrap());
        let begun = Instant::now();
        let task = tokio::spawn(serve(self.parts.clone(), clicks, conversions, shutdown.clone()));
        while streams::position(self.store.reader(), topic.name(), 0).await.unwrap() < end {
            sleep(Duration::from_millis(2)).await;
        }
        let spent = begun.elapsed();
        shutdown.cancel();
        task.await.unwrap();
        spent
    }
}

async fn furnish(store: &Store, accounts: i64, customers: u64, rules: Rules) -> Vec<AccountId> {
    let opened = Timestamp(Timestamp::now().0 - 1_000);
    let mut made = Vec::new();
    for n in 1..=accounts {
        let tx = store.begin().await.unwrap();
        let slug = format!("account-{n}");
        let account =
            accounts::create(&tx, &slug.parse().unwrap(), &slug, &Zone::utc(), opened).await.unwrap();
        let links = links_of(n, accounts);
        let mut commands = commands(ProgramId(n), links.clone(), rules);
        if rules == Rules::All {
            commands.extend((0..customers).step_by(10).map(|n| signed_up(account, n, *links.start())));
        }
        for command in commands {
            ledger::apply(&tx, account, opened, &command).await.unwrap();
        }
        tx.commit().await.unwrap();
        made.push(account);
    }
    made
}

fn settlement_settings() -> SettlementSettings {
    SettlementSettings {
        batch_events: 500,
        batch_wait_ms: 100,
        pending_time_ms: 3_600_000,
        max_age_days: 30,
        click_retention_days: 400,
        audit_interval_ms: 300_000,
        bonus_interval_ms: 60_000,
    }
}
