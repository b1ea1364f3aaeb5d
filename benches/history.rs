//! Whether what happened before costs: further conversions of an account with 1,000 earlier ones beside those of an
//! account with 1,000,000, by rules that all look back: monthly tiers, a cap, types that pay a customer so many times.
//!
//! The first thousand are settled. The others are copies of their rows under ids of their own, with sums to match, so
//! that every index and every sum is as large as it would have become. `WAYPOST_BENCH_HISTORY` and
//! `WAYPOST_BENCH_CONVERSIONS` are how many earlier and further ones.

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

use backend::Database;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, IdenStatic, Iterable,
    QueryFilter,
};
use settling::{Bench, LINKS, Rules, number, tell};
use tokio::runtime::Builder;
use waypost::{
    events::Event,
    ledger::verify::verify,
    store::{
        Store,
        entities::{
            account, claim, commission_line, conversion, customer, customer_count, journal_entry, posting,
        },
    },
    stream::Topic,
};

/// Copies that one transaction makes, well within the time that a statement has.
const AT_ONCE: u64 = 10;

/// Up to here the ledger is verified, so that the copies are known to be what settlement would have made.
const VERIFIED: u64 = 10_000;

/// Adds rows like those of a table, for each copy; `new` says how a column of a copy differs.
async fn copy<E: EntityTrait>(tx: &DatabaseTransaction, new: &[(&str, &str)], copies: (u64, u64)) {
    let table = E::default().table_name().to_owned();
    let names: Vec<&str> = E::Column::iter().map(|column| column.as_str()).collect();
    let values =
        names.iter().map(|name| new.iter().find(|(of, _)| of == name).map_or(*name, |(_, value)| *value));
    let sql = format!(
        "INSERT INTO {table} ({}) SELECT {} FROM first_{table} CROSS JOIN copies WHERE k BETWEEN {} AND {}",
        quoted(names.iter().copied()),
        values.collect::<Vec<_>>().join(", "),
        copies.0,
        copies.1,
    );
    tx.execute_unprepared(&sql).await.unwrap();
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

async fn keep_first<E: EntityTrait>(tx: &DatabaseTransaction) {
    let table = E::default().table_name().to_owned();
    tx.execute_unprepared(&format!("CREATE TABLE first_{table} AS SELECT * FROM {table}")).await.unwrap();
}

/// The history so many times over.
async fn multiply(bench: &Bench, times: u64) {
    let store = &bench.store;
    let tx = store.begin().await.unwrap();
    let row = account::Entity::find().filter(account::Column::Id.eq(bench.accounts[0].0));
    let last = row.one(&tx).await.unwrap().unwrap().last_seq;
    let id = |of: &str| match tx.get_database_backend() {
        // Those of one copy beside each other: as quick to insert as new ones.
        DbBackend::Sqlite => format!("unhex(printf('%08x', k) || substr(hex({of}), 9))"),
        _ => format!("(lpad(to_hex(k), 8, '0') || substr(replace({of}::text, '-', ''), 9))::uuid"),
    };
    let (own, event, of_customer) = (id("id"), id("event_id"), id("customer_id"));
    let (of_conversion, of_line, holder) = (id("conversion_id"), id("line_id"), id("holder"));
    let hashed = match tx.get_database_backend() {
        DbBackend::Sqlite => "printf('%08x', k) || substr(claim, 9)",
        _ => "lpad(to_hex(k), 8, '0') || substr(claim, 9)",
    };
    let later = |of: &str| format!("{of} + k * {last}");
    let (seq, arrived, created) = (later("seq"), later("arrived_seq"), later("created_seq"));
    tx.execute_unprepared("CREATE TABLE copies (k INTEGER PRIMARY KEY)").await.unwrap();
    for k in 1..times {
        tx.execute_unprepared(&format!("INSERT INTO copies VALUES ({k})")).await.unwrap();
    }
    keep_first::<conversion::Entity>(&tx).await;
    keep_first::<claim::Entity>(&tx).await;
    keep_first::<customer::Entity>(&tx).await;
    keep_first::<customer_count::Entity>(&tx).await;
    keep_first::<commission_line::Entity>(&tx).await;
    keep_first::<posting::Entity>(&tx).await;
    keep_first::<journal_entry::Entity>(&tx).await;
    tx.commit().await.unwrap();
    for from in (1..times).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let copies = (from, from + AT_ONCE - 1);
        let tx = store.begin().await.unwrap();
        let order = "k || '-' || external_id";
        let of_conversions = [
            ("id", own.as_str()),
            ("event_id", &event),
            ("seq", &seq),
            ("arrived_seq", &arrived),
            ("customer_id", &of_customer),
            ("external_id", order),
        ];
        copy::<conversion::Entity>(&tx, &of_conversions, copies).await;
        copy::<claim::Entity>(&tx, &[("claim", hashed), ("holder", &holder)], copies).await;
        let of_customers =
            [("id", own.as_str()), ("customer_id", "k || '-' || customer_id"), ("created_seq", &created)];
        copy::<customer::Entity>(&tx, &of_customers, copies).await;
        copy::<customer_count::Entity>(&tx, &[("customer_id", &of_customer)], copies).await;
        let of_lines = [("id", own.as_str()), ("conversion_id", &of_conversion), ("created_seq", &created)];
        copy::<commission_line::Entity>(&tx, &of_lines, copies).await;
        copy::<posting::Entity>(&tx, &[("seq", &seq), ("line_id", &of_line)], copies).await;
        // Its commands are those of the first: settlement only writes to it.
        copy::<journal_entry::Entity>(&tx, &[("seq", &seq)], copies).await;
        tx.commit().await.unwrap();
    }
    let tx = store.begin().await.unwrap();
    for sql in [
        format!("UPDATE measures SET count = count * {times}, amount = amount * {times}"),
        format!("UPDATE balances SET amount = amount * {times}"),
        format!("UPDATE accounts SET last_seq = last_seq * {times}"),
    ] {
        tx.execute_unprepared(&sql).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn measure(name: &str, store: &Store, earlier: u64) {
    let first = earlier.min(LINKS.unsigned_abs());
    let further = number("WAYPOST_BENCH_CONVERSIONS", 2_000);
    let bench = Bench::open(store, 1, 0, Rules::Limits).await;
    let sales: Vec<Event> = (1..=first).map(|n| bench.sale(n)).collect();
    bench.settle(Topic::Conversions, &sales).await;
    multiply(&bench, earlier / first).await;
    if earlier <= VERIFIED {
        assert_eq!(verify(store.reader()).await.unwrap().differences, Vec::<String>::new());
    }
    if store.reader().get_database_backend() == DbBackend::Postgres {
        // As its own worker does after so many rows.
        let tx = store.begin().await.unwrap();
        tx.execute_unprepared("ANALYZE").await.unwrap();
        tx.commit().await.unwrap();
    }
    // Every other one is of a customer who is known from the first thousand.
    let customer = |n: u64| match n % 2 {
        0 => format!("customer-{}", n / 2 % (first / 2).max(1)),
        _ => format!("new-{n}"),
    };
    let sales: Vec<Event> = (first + 1..=first + further).map(|n| bench.sale_of(n, &customer(n))).collect();
    let spent = bench.settle(Topic::Conversions, &sales).await;
    tell(&format!("{name}, conversions after {earlier} earlier ones"), further, spent);
}

async fn run() {
    let sizes = [1_000, number("WAYPOST_BENCH_HISTORY", 1_000_000)];
    for earlier in sizes {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Store::sqlite_url(&folder.path().join("store.db"))).await.unwrap();
        measure("SQLite", &store, earlier).await;
        store.close().await.unwrap();
    }
    if std::env::var("WAYPOST_TEST_POSTGRES").is_err() {
        println!("PostgreSQL: left out, WAYPOST_TEST_POSTGRES is not set");
        return;
    }
    for earlier in sizes {
        let database = Database::create().await;
        let store = database.store().await;
        measure("PostgreSQL", &store, earlier).await;
        store.close().await.unwrap();
    }
}

fn main() {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(run());
}
