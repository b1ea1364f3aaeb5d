//! The store's own promises, on a real database file.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop at the unexpected, as tests do")]

#[path = "support/sqlite.rs"]
mod backend;
#[path = "store_postgres/rates.rs"]
mod rates;

use waypost::store::{
    Store,
    sequences::{self, Sequence},
};

#[tokio::test]
async fn a_new_file_gets_the_schema_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = Store::sqlite_url(&folder.path().join("store.db"));
    let store = Store::open(&url).await.unwrap();
    assert_eq!(store.pending_migrations().await.unwrap(), Vec::<String>::new());
    store.close().await.unwrap();
    Store::open(&url).await.unwrap();
}

#[tokio::test]
async fn sequences_count_and_roll_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Store::sqlite_url(&folder.path().join("store.db"))).await.unwrap();
    let tx = store.begin().await.unwrap();
    assert_eq!(sequences::next(&tx, Sequence::Link).await.unwrap(), 1);
    assert_eq!(sequences::next(&tx, Sequence::Link).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    assert_eq!(sequences::next(&tx, Sequence::Link).await.unwrap(), 3);
    drop(tx);
    let tx = store.begin().await.unwrap();
    assert_eq!(sequences::next(&tx, Sequence::Link).await.unwrap(), 3);
}

#[tokio::test]
async fn any_path_is_the_path_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["100%", "a%20b", "what?", "#1", "with space", "ünï"] {
        let inside = folder.path().join(name);
        std::fs::create_dir(&inside).unwrap();
        let path = inside.join("store.db");
        Store::open(&Store::sqlite_url(&path)).await.unwrap().close().await.unwrap();
        assert!(path.exists(), "{name}");
    }
}

/// Looks that settlement makes for every event, or every second, must not walk through a table.
#[tokio::test]
async fn what_is_asked_often_goes_by_an_index() {
    use sea_orm::{ConnectionTrait, DbBackend, Statement};

    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Store::sqlite_url(&folder.path().join("store.db"))).await.unwrap();
    let queries = [
        "SELECT * FROM claims WHERE account_id = 1 AND claim = 'x'",
        "DELETE FROM claims WHERE account_id = 1 AND holder = x'00'",
        "SELECT * FROM programs WHERE account_id = 1 AND slug = 'x' AND deleted_at IS NULL LIMIT 1",
        "SELECT * FROM program_versions WHERE program_id = 1 AND starts_at <= 5
         ORDER BY starts_at DESC, version DESC LIMIT 1",
        "SELECT * FROM standings WHERE affiliate_id = 1 AND program_id = 0 AND starts_at <= 5
         ORDER BY starts_at DESC, seq DESC LIMIT 1",
        "SELECT * FROM customers WHERE account_id = 1 AND customer_id = 'x' AND program_id IN
         (SELECT id FROM programs WHERE account_id = 1 AND deleted_at IS NULL) ORDER BY program_id ASC",
        "SELECT * FROM customers WHERE program_id = 1 AND customer_id = 'x' LIMIT 1",
        "SELECT * FROM coupons WHERE account_id = 1 AND code_key = 'x' AND deleted_at IS NULL LIMIT 1",
        "SELECT * FROM links WHERE account_id = 1 AND code = 'x' AND deleted_at IS NULL LIMIT 1",
        "SELECT * FROM links WHERE account_id = 1 AND asset_id = 'x' AND source_id = 'y' AND deleted_at IS NULL
         ORDER BY id ASC LIMIT 1",
        "SELECT * FROM clicks WHERE day = 1 AND id = x'00' AND account_id = 1 LIMIT 1",
        "SELECT * FROM clicks WHERE account_id = 1 AND tracking_id = 'x' AND attributable = 1 AND clicked_at <= 5
         ORDER BY clicked_at DESC, id DESC LIMIT 1",
        "SELECT * FROM conversions WHERE account_id = 1 AND event_id = x'00' AND status = 'held'
         AND fingerprint = 'x' LIMIT 1",
        "SELECT * FROM conversions WHERE account_id = 1 AND status = 'held' AND kind = 'lead' AND external_id = 'x'
         AND (program_id IS NULL OR program_id = 1) ORDER BY arrived_seq ASC",
        "SELECT * FROM conversions WHERE waits_until IS NOT NULL AND (account_id > 1 OR (account_id = 1 AND
         arrived_seq > 5)) ORDER BY account_id ASC, arrived_seq ASC LIMIT 500",
        "SELECT * FROM conversions WHERE waits_for = 'rate_missing' AND (account_id > 1 OR (account_id = 1 AND
         arrived_seq > 5)) ORDER BY account_id ASC, arrived_seq ASC LIMIT 500",
        "SELECT * FROM exchange_rates WHERE base IN ('USD', 'JPY', 'EUR') AND quote IN ('USD', 'JPY', 'EUR')
         AND day BETWEEN 1 AND 8",
        "SELECT COUNT(*) FROM conversions WHERE status = 'pending'",
        "SELECT * FROM conversions WHERE status = 'pending' ORDER BY received_at ASC LIMIT 1",
        "SELECT * FROM refunds WHERE conversion_id = x'00' OR awaited_claim = 'x'",
        "SELECT * FROM refunds WHERE waits_until <= 5 ORDER BY account_id ASC, arrived_seq ASC LIMIT 500",
        "SELECT * FROM commission_lines WHERE account_id = 1 AND conversion_id = x'00' ORDER BY number ASC",
        "SELECT * FROM seen_ranges WHERE edge = 'x' AND boot = x'00' AND stream = 'y' AND last >= 4 AND first <= 6
         ORDER BY first ASC",
        "SELECT * FROM catalog_records WHERE version > 5 ORDER BY version ASC LIMIT 500",
    ];
    for query in queries {
        let plan = Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {query}"));
        let steps = store.reader().query_all_raw(plan).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
        let walks = |step: &str| {
            // Not even through what one account has, or through all that is settled.
            let much = ["(account_id=?)", "(status=?)"].iter().any(|key| step.contains(key));
            let gauge = query.contains("COUNT") || query.contains("received_at");
            step.starts_with("SCAN") || (much && !gauge && !step.contains("programs"))
        };
        assert!(!steps.iter().any(|step| walks(step)), "{query}: {steps:#?}");
    }
}
