//! How many conversions and clicks a second one settlement takes from the log into a store: each figure is the time of a
//! whole backlog, in batches of 500 at most with one sync to the disk each.
//!
//! Into a SQLite file, and into the PostgreSQL of `WAYPOST_TEST_POSTGRES` where there is one: there clicks are compared
//! with plain inserts of the same rows, 500 in a transaction.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::float_arithmetic,
    missing_debug_implementations
)]

#[path = "../tests/support/postgres.rs"]
mod backend;
#[path = "../tests/support/services.rs"]
mod services;

use std::{path::PathBuf, sync::Arc, time::Duration, time::Instant};

use backend::Database;
use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryTrait};
use serde_json::json;
use tokio::{runtime::Builder, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waypost::{
    config::{SettlementSettings, SpoolSettings},
    domain::{
        calendar::Zone,
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        reason::Standing,
        time::Timestamp,
        token::{ClickToken, KeyRing, KeyState, TokenKey},
        traffic::TrafficClass,
    },
    events::{Body, Click, Event, Origin, VERSION},
    ledger::{self, Command, Intake, PutAffiliate, PutLink, PutProgram, Terms},
    settlement::{SettlementParts, serve},
    store::{self, Store, accounts, entities::click, streams},
    stream::{EventSink, Record, Topic, spool::Spool},
    telemetry::{settlement::SettlementMetrics, stream::StreamMetrics},
};

const LINKS: i64 = 1_000;
const CONVERSIONS: u64 = 20_000;
const CLICKS: u64 = 100_000;

/// The links of account `n` of `accounts`, which share all there are.
fn links_of(n: i64, accounts: i64) -> std::ops::RangeInclusive<i64> {
    let share = LINKS / accounts;
    (n - 1) * share + 1..=n * share
}

fn rules(program: ProgramId, links: std::ops::RangeInclusive<i64>) -> Vec<Command> {
    let settings = serde_json::from_value(json!({
        "name": "Shop", "destination": "https://shop.example/", "deep_link_hosts": [], "allow_http": false,
        "referral_parameter": "ref", "click_parameter": "click_id", "cookie_time": 30,
        "override_max_cookie_time": false, "cookie_same_site": "lax", "attribution_model": "last_click",
        "referrer_policy": "no-referrer", "pixel": "held", "duplicate_window_ms": 3_600_000,
        "commission_types": [
            {"identifier": "standard", "title": "10 %", "form": "percentage", "value": 1_000_000_000},
        ],
        "default_commission_type": "standard", "auto_approve_commissions": true, "payout_delay": 14,
        "refund_policy": "reverse", "program_group": null,
    }))
    .unwrap();
    let currency = "USD".parse().unwrap();
    let slug = "shop".parse().unwrap();
    let mut commands =
        vec![Command::PutProgram(Box::new(PutProgram { id: program, slug, currency, settings, from: None }))];
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
    }
    commands
}

fn event(stream: &str, n: u64, id: Uuid, body: Body) -> Event {
    let origin = Origin { edge: "edge-1".into(), boot: Uuid::nil(), stream: stream.into(), n };
    Event { v: VERSION, id, origin, received_at: Timestamp::now(), body }
}

/// A sale as a merchant's server reports it: the program named, an order number, a customer, a click token.
fn sale(stream: &str, account: AccountId, link: LinkId, keys: &KeyRing, n: u64) -> Event {
    let token = keys.sign(&ClickToken { click_id: Uuid::now_v7(), link, attributable: true, review: false });
    let conversion = serde_json::from_value(json!({
        "account": account, "kind": "conversion", "channel": "rest", "authority": "secret",
        "fingerprint": format!("{n:032x}"), "program": "shop", "external_id": format!("order-{n}"),
        "amount": "49.90", "currency": "USD", "customer_id": format!("customer-{}", n / 2), "click_id": token,
    }))
    .unwrap();
    event(stream, n, Uuid::now_v7(), Body::Conversion(conversion))
}

fn click(account: AccountId, n: u64) -> Event {
    let click = Click {
        account,
        link: LinkId((n % LINKS.unsigned_abs() + 1).cast_signed()),
        class: TrafficClass::Valid,
        attributable: true,
        review: false,
        ip_prefix: Some("203.0.113.0/24".to_owned()),
        visitor: Some(format!("{n:032x}")),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned()),
        device: "desktop".to_owned(),
        os: "Linux".to_owned(),
        browser: "Firefox".to_owned(),
        country: Some(["DE", "US", "FR", "GB"][(n % 4) as usize].to_owned()),
        network: None,
        referrer: None,
        source_id: None,
        asset_id: None,
        tracking_id: None,
        sub_ids: Default::default(),
        deep_link: None,
        deep_link_refused: false,
        duplicate_of: None,
        meta_data: serde_json::Map::new(),
    };
    event("clicks/0", n, Uuid::now_v7(), Body::Click(Box::new(click)))
}

/// Appends a backlog and answers how long settlement takes to reach its end.
async fn backlog(
    store: &Store,
    spool: &Spool,
    parts: &SettlementParts,
    topic: Topic,
    events: Vec<Event>,
) -> Duration {
    let records = events.iter().map(|event| Record { topic, key: None, payload: event.encode().into() });
    let records: Vec<_> = records.collect();
    for batch in records.chunks(1_000) {
        spool.sink().append(batch.to_vec()).await.unwrap();
    }
    let end = events.len() as i64;
    let shutdown = CancellationToken::new();
    let (clicks, conversions) =
        (spool.source(Topic::Clicks).unwrap(), spool.source(Topic::Conversions).unwrap());
    let begun = Instant::now();
    let task = tokio::spawn(serve(parts.clone(), clicks, conversions, shutdown.clone()));
    while streams::position(store.reader(), topic.name(), 0).await.unwrap() < end {
        sleep(Duration::from_millis(2)).await;
    }
    let spent = begun.elapsed();
    shutdown.cancel();
    task.await.unwrap();
    spent
}

/// A store with so many accounts, which share the links.
async fn furnish(store: &Store, accounts: i64) -> Vec<AccountId> {
    let opened = Timestamp(Timestamp::now().0 - 1_000);
    let mut made = Vec::new();
    for n in 1..=accounts {
        let tx = store.begin().await.unwrap();
        let slug = format!("account-{n}");
        let account =
            accounts::create(&tx, &slug.parse().unwrap(), &slug, &Zone::utc(), opened).await.unwrap();
        for command in rules(ProgramId(n), links_of(n, accounts)) {
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

fn tell(what: &str, count: u64, spent: Duration) {
    println!("{what}: {count} in {spent:.2?}, {:.0} a second", count as f64 / spent.as_secs_f64());
}

/// Settles a backlog of conversions and, with `clicks`, one of clicks.
async fn measure(name: &str, store: &Store, accounts: i64, clicks: bool) {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        SpoolSettings { path: PathBuf::new(), max_bytes: 1 << 40, commit_events: 1000, commit_ms: 5 };
    let spool = Spool::open(&settings, &folder.path().join("spool.db"), StreamMetrics::register()).unwrap();
    let made = furnish(store, accounts).await;
    let key = TokenKey { id: 1, state: KeyState::Active, secret: [1; 32] };
    let keys = Arc::new(KeyRing::new(vec![key]).unwrap());
    let terms = Terms { max_age_days: 30, pending_time_ms: 3_600_000 };
    let parts = SettlementParts {
        store: store.clone(),
        intake: Arc::new(Intake::new(keys.clone(), terms)),
        settings: settlement_settings(),
        metrics: SettlementMetrics::register(),
    };
    let of = |n: u64| {
        let at = n % accounts.unsigned_abs();
        let links = links_of(at.cast_signed() + 1, accounts);
        let link = links.start() + (n as i64 / accounts) % (LINKS / accounts);
        (made[at as usize], LinkId(link))
    };
    let sales = (1..=CONVERSIONS).map(|n| {
        let (account, link) = of(n);
        sale("conversions/0", account, link, &keys, n)
    });
    let spent = backlog(store, &spool, &parts, Topic::Conversions, sales.collect()).await;
    tell(&format!("{name}, conversions of {accounts} accounts"), CONVERSIONS, spent);
    if clicks {
        let events = (1..=CLICKS).map(|n| click(made[0], n)).collect();
        let spent = backlog(store, &spool, &parts, Topic::Clicks, events).await;
        tell(&format!("{name}, clicks"), CLICKS, spent);
    }
}

/// The rows that settlement has stored, into a table like theirs.
async fn plain_inserts(store: &Store) {
    let rows = click::Entity::find().all(store.reader()).await.unwrap();
    for bulk in [false, true] {
        let tx = store.begin().await.unwrap();
        tx.execute_unprepared("CREATE TABLE plain_clicks (LIKE clicks INCLUDING ALL)").await.unwrap();
        tx.commit().await.unwrap();
        let begun = Instant::now();
        for rows in rows.chunks(500) {
            let rows: Vec<_> = rows.iter().cloned().map(IntoActiveModel::into_active_model).collect();
            let rows: Vec<_> = rows.into_iter().map(ActiveModelTrait::reset_all).collect();
            let tx = store.begin().await.unwrap();
            let mut insert = if bulk {
                store::bulk::insert(&tx, rows).unwrap()
            } else {
                click::Entity::insert_many(rows).into_query()
            };
            tx.execute(insert.into_table("plain_clicks")).await.unwrap();
            tx.commit().await.unwrap();
        }
        let how = if bulk { "as arrays" } else { "as VALUES" };
        tell(&format!("PostgreSQL, plain inserts {how}"), CLICKS, begun.elapsed());
        let tx = store.begin().await.unwrap();
        tx.execute_unprepared("DROP TABLE plain_clicks").await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Store::sqlite_url(&folder.path().join("store.db"))).await.unwrap();
    measure("SQLite", &store, 1, true).await;
    store.close().await.unwrap();
    if std::env::var("WAYPOST_TEST_POSTGRES").is_err() {
        println!("PostgreSQL: left out, WAYPOST_TEST_POSTGRES is not set");
        return;
    }
    for (accounts, clicks) in [(1, true), (200, false)] {
        let database = Database::create().await;
        let store = database.store().await;
        measure("PostgreSQL", &store, accounts, clicks).await;
        if clicks {
            plain_inserts(&store).await;
        }
        store.close().await.unwrap();
    }
}

fn main() {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(run());
}
