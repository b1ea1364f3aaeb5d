//! Exchange rates are loaded whole, replaced, and found by the days before.

use waypost::{
    domain::{
        amount::Currency,
        rates::{self, RateRow},
        time::Timestamp,
    },
    store::{
        Store,
        exchange_rates::{self, RateFilter, RatePlace},
    },
};

use crate::backend::Database;

pub fn currency(code: &str) -> Currency {
    code.parse().unwrap()
}

pub fn row(base: &str, quote: &str, day: i32, rate: i64) -> RateRow {
    RateRow { base: currency(base), quote: currency(quote), day, rate }
}

pub async fn load(store: &Store, rows: Vec<RateRow>, at: i64) -> u64 {
    let tx = store.begin().await.unwrap();
    let changed = exchange_rates::load(&tx, rows, Timestamp(at)).await.unwrap();
    tx.commit().await.unwrap();
    changed
}

async fn factor(store: &Store, from: &str, to: &str, day: i32) -> Option<String> {
    let (from, to) = (currency(from), currency(to));
    let rows = exchange_rates::rows_for(store.reader(), from, to, day).await.unwrap();
    let found = rates::find(&rows, from, to, day);
    let tx = store.begin().await.unwrap();
    assert_eq!(exchange_rates::find(&tx, from, to, day).await.unwrap(), found);
    found.map(|rate| rate.factor.to_string())
}

#[tokio::test]
async fn a_load_is_counted_by_what_it_changes() {
    let database = Database::create().await;
    let store = database.store().await;
    let last = async || exchange_rates::last_load(store.reader()).await.unwrap();
    assert_eq!(last().await, 0);
    let first = vec![row("EUR", "USD", 100, 110_000_000), row("EUR", "JPY", 100, 16_500_000_000)];
    assert_eq!(load(&store, first.clone(), 1).await, 2);
    assert_eq!(last().await, 1);
    assert_eq!(load(&store, first, 2).await, 0);
    assert_eq!(load(&store, Vec::new(), 2).await, 0);
    assert_eq!(last().await, 1);
    let again = vec![
        row("EUR", "USD", 100, 120_000_000),
        row("EUR", "JPY", 100, 16_500_000_000),
        row("USD", "EUR", 100, 90_000_000),
    ];
    assert_eq!(load(&store, again, 3).await, 2);
    assert_eq!(last().await, 2);
    let rows = exchange_rates::list(store.reader(), RateFilter::default(), None, 10).await.unwrap();
    let shown: Vec<_> =
        rows.iter().map(|row| (row.base.as_str(), row.quote.as_str(), row.rate, row.loaded_at)).collect();
    let expected =
        [("EUR", "JPY", 16_500_000_000, 1), ("EUR", "USD", 120_000_000, 3), ("USD", "EUR", 90_000_000, 3)];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_load_that_is_not_committed_leaves_nothing() {
    let database = Database::create().await;
    let store = database.store().await;
    let tx = store.begin().await.unwrap();
    exchange_rates::load(&tx, vec![row("EUR", "USD", 100, 1)], Timestamp(1)).await.unwrap();
    drop(tx);
    assert_eq!(exchange_rates::last_load(store.reader()).await.unwrap(), 0);
    assert_eq!(factor(&store, "EUR", "USD", 100).await, None);
}

#[tokio::test]
async fn one_query_finds_all_that_a_rate_may_be_made_of() {
    let database = Database::create().await;
    let store = database.store().await;
    let rows = vec![
        row("EUR", "USD", 100, 110_000_000),
        row("EUR", "JPY", 99, 16_500_000_000),
        row("USD", "JPY", 95, 15_000_000_000),
        row("JPY", "GBP", 93, 500_000),
        row("EUR", "GBP", 101, 80_000_000),
        row("CHF", "USD", 100, 125_000_000),
    ];
    load(&store, rows, 1).await;
    for (from, to, day, expected) in [
        ("USD", "JPY", 100, Some("3/2")),
        ("USD", "JPY", 103, Some("3/2")),
        ("JPY", "USD", 103, Some("2/3")),
        ("JPY", "GBP", 100, Some("1/2")),
        ("GBP", "JPY", 100, Some("2")),
        ("USD", "EUR", 107, Some("10/11")),
        ("USD", "EUR", 108, None),
        ("CHF", "JPY", 100, None),
        ("USD", "CHF", 100, Some("4/5")),
    ] {
        let found = factor(&store, from, to, day).await;
        assert_eq!(found.as_deref(), expected, "{from} {to} {day}");
    }
}

/// More than one statement takes, in an order of their own.
#[tokio::test]
async fn a_table_of_years_is_loaded_and_listed_to_its_end() {
    let database = Database::create().await;
    let store = database.store().await;
    let mut rows: Vec<RateRow> = Vec::new();
    for day in (10_000..11_100).rev() {
        rows.push(row("EUR", "USD", day, i64::from(day)));
        rows.push(row("EUR", "JPY", day, i64::from(day)));
    }
    assert_eq!(load(&store, rows, 1).await, 2_200);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let filter = RateFilter { from: Some(10_050), to: Some(11_049), ..RateFilter::default() };
        let page = exchange_rates::list(store.reader(), filter, after.as_ref(), 333).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(RatePlace::of(last));
        seen.extend(page.into_iter().map(|row| (row.day, row.quote)));
    }
    let expected: Vec<_> =
        (10_050..11_050).rev().flat_map(|day| ["JPY", "USD"].map(|quote| (day, quote.to_owned()))).collect();
    assert_eq!(seen, expected);
}
