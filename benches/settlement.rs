//! How many conversions and clicks a second one settlement takes from the log into a store: each figure is the time of a
//! whole backlog, in batches of 500 at most with one sync to the disk each. Conversions are measured by the plainest
//! rule and with every rule that there is, those of one account and those of many.
//!
//! Into a SQLite file, and into the PostgreSQL of `WAYPOST_TEST_POSTGRES` where there is one: there clicks are compared
//! with plain inserts of the same rows, 500 in a transaction. `WAYPOST_BENCH_CONVERSIONS` and `WAYPOST_BENCH_CLICKS`
//! are how many.

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
#[path = "support/settling.rs"]
mod settling;

use std::time::Instant;

use backend::Database;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryTrait, TransactionTrait,
};
use settling::{Bench, LINKS, Rules, event, number, tell};
use tokio::runtime::Builder;
use uuid::Uuid;
use waypost::{
    domain::{
        ids::{AccountId, LinkId},
        traffic::TrafficClass,
    },
    events::{Body, Click, Event},
    store::{self, Store, entities::click},
    stream::Topic,
};

/// Accounts where there are many.
const MANY: i64 = 200;

fn conversions() -> u64 {
    number("WAYPOST_BENCH_CONVERSIONS", 20_000)
}

fn clicks() -> u64 {
    number("WAYPOST_BENCH_CLICKS", 100_000)
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

/// Settles a backlog of conversions, and the clicks of an account by the plainest rule.
async fn measure(name: &str, store: &Store, accounts: i64, rules: Rules) {
    let count = conversions();
    let customers = count / accounts.unsigned_abs() / 2;
    let bench = Bench::open(store, accounts, customers, rules).await;
    let sales: Vec<Event> = (1..=count).map(|n| bench.sale(n)).collect();
    let spent = bench.settle(Topic::Conversions, &sales).await;
    let whose = if accounts == 1 { "one account".to_owned() } else { format!("{accounts} accounts") };
    let by = if rules == Rules::All { "all rules" } else { "one percentage" };
    tell(&format!("{name}, conversions of {whose}, {by}"), count, spent);
    if (accounts, rules) == (1, Rules::Plain) {
        let events: Vec<Event> = (1..=clicks()).map(|n| click(bench.accounts[0], n)).collect();
        let spent = bench.settle(Topic::Clicks, &events).await;
        tell(&format!("{name}, clicks"), clicks(), spent);
    }
}

/// The rows that settlement has stored, into a table like theirs.
async fn plain_inserts(store: &Store, url: &str) {
    let rows = click::Entity::find().all(store.reader()).await.unwrap();
    // What follows the first record of TLS in a statement waits for an acknowledgement: see `store::bulk`.
    for (how, url, bulk) in [
        ("as VALUES", url.to_owned(), false),
        ("as VALUES, without TLS", format!("{url}?sslmode=disable"), false),
        ("as arrays", url.to_owned(), true),
        ("as arrays, without TLS", format!("{url}?sslmode=disable"), true),
    ] {
        let db = sea_orm::Database::connect(url).await.unwrap();
        db.execute_unprepared("CREATE TABLE plain_clicks (LIKE clicks INCLUDING ALL)").await.unwrap();
        let begun = Instant::now();
        for rows in rows.chunks(500) {
            let rows: Vec<_> = rows.iter().cloned().map(IntoActiveModel::into_active_model).collect();
            let rows: Vec<_> = rows.into_iter().map(ActiveModelTrait::reset_all).collect();
            let tx = db.begin().await.unwrap();
            let inserts = if bulk {
                store::bulk::inserts(&tx, &rows).unwrap()
            } else {
                vec![click::Entity::insert_many(rows).into_query()]
            };
            for mut insert in inserts {
                tx.execute(insert.into_table("plain_clicks")).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
        tell(&format!("PostgreSQL, plain inserts {how}"), clicks(), begun.elapsed());
        db.execute_unprepared("DROP TABLE plain_clicks").await.unwrap();
        db.close().await.unwrap();
    }
}

async fn run() {
    let cases = [(1, Rules::Plain), (1, Rules::All), (MANY, Rules::Plain), (MANY, Rules::All)];
    for (accounts, rules) in cases {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Store::sqlite_url(&folder.path().join("store.db"))).await.unwrap();
        measure("SQLite", &store, accounts, rules).await;
        store.close().await.unwrap();
    }
    if std::env::var("WAYPOST_TEST_POSTGRES").is_err() {
        println!("PostgreSQL: left out, WAYPOST_TEST_POSTGRES is not set");
        return;
    }
    for (accounts, rules) in cases {
        let database = Database::create().await;
        let store = database.store().await;
        measure("PostgreSQL", &store, accounts, rules).await;
        if (accounts, rules) == (1, Rules::Plain) {
            plain_inserts(&store, &database.url()).await;
        }
        store.close().await.unwrap();
    }
}

fn main() {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(run());
}
