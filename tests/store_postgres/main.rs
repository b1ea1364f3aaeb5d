//! The store's own promises on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/postgres.rs"]
mod backend;
mod rates;
#[path = "../support/services.rs"]
mod services;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use backend::{Database, end_others};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use waypost::{
    domain::time::Timestamp,
    store::{
        ConnectError, Store, StoreOptions, Trouble, exchange_rates, partitions,
        sequences::{self, Sequence},
        trouble,
    },
};

fn sql(text: &str) -> Statement {
    Statement::from_string(DbBackend::Postgres, text)
}

fn tls(variable: &str) -> PathBuf {
    let missing = format!("{variable} is not set: run `eval \"$(scripts/services start)\"`, or scripts/test");
    PathBuf::from(env::var(variable).expect(&missing))
}

/// Runs the program against a database, without a data folder.
fn waypost(url: &str, ca: Option<&Path>, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(words).args(["--data-dir", "/nowhere/at/all"]).env("WAYPOST__STORE__URL", url);
    if let Some(ca) = ca {
        command.env("WAYPOST__STORE__CA", ca);
    }
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_migrate_at_once() {
    let database = Database::empty().await;
    let url = database.url();
    let migrate = || {
        let url = url.clone();
        tokio::task::spawn_blocking(move || waypost(&url, None, &["migrate"]))
    };
    let running: Vec<_> = (0..8).map(|_| migrate()).collect();
    let mut made = 0;
    for process in running {
        let output = process.await.unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(!said.contains('@'), "{said}");
        made += usize::from(said.contains("was brought up to date: m0001_"));
    }
    // One did it; the others found it done.
    assert_eq!(made, 1);
    let store = database.store().await;
    assert_eq!(store.pending_migrations().await.unwrap(), Vec::<String>::new());
    assert_eq!(store.migrate().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_old_schema_names_the_command_that_helps() {
    let database = Database::empty().await;
    let output = waypost(&database.url(), None, &["account", "list"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(told(&output).contains("has an older schema") && told(&output).contains("waypost migrate"));
    // Looking changes nothing.
    let store = database.store().await;
    let tables = store.reader().query_all_raw(sql("SELECT 1 FROM pg_tables WHERE schemaname = 'public'"));
    assert_eq!(tables.await.unwrap().len(), 0);
}

#[tokio::test]
async fn commands_work_without_a_data_folder() {
    let database = Database::create().await;
    let run = |words: &[&str]| {
        let output = waypost(&database.url(), None, words);
        assert!(output.status.success(), "{words:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["account", "create", "acme", "--domain", "go.acme.example"]);
    assert!(run(&["account", "list"]).starts_with("acme\t"));
    assert!(run(&["key", "create", "--account", "acme"]).starts_with("wp_sk_"));
    assert!(run(&["ledger", "verify"]).contains("with 0 differences"));
    assert!(run(&["reconcile"]).contains("0 events seen"));
    assert!(run(&["replay"]).contains("0 differ"));
    assert!(!Path::new("/nowhere").exists());
}

#[tokio::test]
async fn what_keeps_from_connecting_is_said_in_plain_words() {
    let database = Database::empty().await;
    let good = database.url();
    let (before, after) = good.split_once("://").map(|(_, rest)| rest.split_once('@').unwrap()).unwrap();
    let (user, password) = before.split_once(':').unwrap();
    let (server, name) = after.split_once('/').unwrap();
    let right = tls("WAYPOST_TEST_CA");
    let wrong = tls("WAYPOST_TEST_WRONG_CA");
    let cases = [
        (format!("postgres://{user}:wrong@{server}/{name}"), None, 69, "refuses the user or the password"),
        (format!("postgres://{user}:{password}@127.0.0.1:1/{name}"), None, 69, "cannot be reached"),
        (format!("postgres://{user}:{password}@{server}/nowhere"), None, 69, "has no such database"),
        (good.clone(), Some(wrong), 69, "was not proven by TLS"),
        (good.clone(), Some(PathBuf::from("/nowhere.pem")), 78, "store.ca"),
    ];
    for (url, ca, code, words) in cases {
        let output = waypost(&url, ca.as_deref(), &["migrate"]);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(words), "{told}");
        assert!(!told.contains(password) && !told.contains("panicked"), "{told}");
    }
    let output = waypost(&good, Some(&right), &["migrate"]);
    assert!(output.status.success(), "{}", told(&output));
}

#[tokio::test]
async fn with_an_authority_the_connection_is_encrypted() {
    let database = Database::create().await;
    let encrypted = |store: Store| async move {
        let asked = sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        store.reader().query_one_raw(asked).await.unwrap().unwrap().try_get::<bool>("", "ssl").unwrap()
    };
    let mut options = StoreOptions::from(&database.url());
    options.ca = Some(tls("WAYPOST_TEST_CA"));
    assert!(encrypted(Store::connect(options.clone()).await.unwrap()).await);
    options.ca = Some(tls("WAYPOST_TEST_WRONG_CA"));
    let refused = Store::connect(options).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Tls { .. }), "{refused}");
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let database = Database::encoded("SQL_ASCII").await;
    let refused = Store::connect(&database.url()).await.unwrap_err();
    assert!(refused.to_string().contains("SQL_ASCII"), "{refused}");
}

#[tokio::test]
async fn statements_and_locks_end_in_time() {
    let database = Database::create().await;
    let mut options = StoreOptions::from(&database.url());
    // For what is quick as well, on a busy machine.
    options.statement_timeout = Duration::from_secs(2);
    let store = Store::connect(options).await.unwrap();
    let slow = store.reader().query_one_raw(sql("SELECT 1 FROM pg_sleep(20)")).await.unwrap_err();
    assert_eq!(trouble(&slow), Some(Trouble::Later), "{slow}");
    // A writer whose row another holds: as long as a statement may take, no longer.
    let (first, second) = (store.begin().await.unwrap(), store.begin().await.unwrap());
    sequences::next(&first, Sequence::Link).await.unwrap();
    let waited = sequences::next(&second, Sequence::Link).await.unwrap_err();
    assert_eq!(trouble(&waited), Some(Trouble::Later), "{waited}");
    drop(second);
    first.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_wait_in_a_circle_are_ended_and_may_begin_again() {
    let database = Database::create().await;
    let store = database.store().await;
    let (first, second) = (store.begin().await.unwrap(), store.begin().await.unwrap());
    sequences::next(&first, Sequence::Link).await.unwrap();
    sequences::next(&second, Sequence::Program).await.unwrap();
    let (one, other) =
        tokio::join!(sequences::next(&first, Sequence::Program), sequences::next(&second, Sequence::Link));
    let ended = [one.err(), other.err()].into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(trouble(&ended[0]), Some(Trouble::Again));
}

#[tokio::test]
async fn a_snapshot_does_not_move_and_does_not_write() {
    let database = Database::create().await;
    let store = database.store().await;
    let snapshot = store.snapshot().await.unwrap();
    let last = "SELECT coalesce(max(last), 0) AS last FROM id_sequences";
    let seen = async || {
        snapshot.query_one_raw(sql(last)).await.unwrap().unwrap().try_get::<i64>("", "last").unwrap()
    };
    assert_eq!(seen().await, 0);
    let tx = store.begin().await.unwrap();
    sequences::next(&tx, Sequence::Link).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(seen().await, 0);
    assert!(sequences::next(&snapshot, Sequence::Link).await.is_err());
}

/// Connections that the server has ended are replaced without anybody noticing.
#[tokio::test]
async fn a_transaction_begins_on_the_next_connection() {
    let database = Database::create().await;
    let store = database.store().await;
    let open: Vec<_> = [store.begin().await.unwrap(), store.begin().await.unwrap()].into();
    for tx in open {
        tx.commit().await.unwrap();
    }
    assert!(end_others(&mut database.connection().await).await > 0);
    let tx = store.begin().await.unwrap();
    assert_eq!(sequences::next(&tx, Sequence::Link).await.unwrap(), 1);
    tx.commit().await.unwrap();
}

/// Somebody reads clicks for long: the day is not dropped now, and nobody who writes waits for it.
#[tokio::test]
async fn a_reader_keeps_a_day_and_keeps_nobody_waiting() {
    let database = Database::create().await;
    let store = database.store().await;
    let today = Timestamp::now().day();
    partitions::create_ahead(&store, today - 10..=today).await.unwrap();
    let reading = store.snapshot().await.unwrap();
    reading.query_all_raw(sql("SELECT count(*) FROM clicks")).await.unwrap();
    let given_up = partitions::forget_oldest_before(&store, today - 5).await.unwrap_err();
    assert_eq!(trouble(&given_up), Some(Trouble::Again), "{given_up}");
    drop(reading);
    let mut days = Vec::new();
    while let Some(gone) = partitions::forget_oldest_before(&store, today - 5).await.unwrap() {
        days.push(today - gone.day);
    }
    assert_eq!(days, [10, 9, 8, 7, 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_make_the_same_days_at_once() {
    let database = Database::create().await;
    let store = database.store().await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { partitions::create_ahead(&store, 20_000..20_010).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let made = "SELECT 1 FROM pg_inherits WHERE inhparent = 'clicks'::regclass";
    assert_eq!(store.reader().query_all_raw(sql(made)).await.unwrap().len(), 10);
}

/// Whether somebody waits for a lock of this database.
async fn somebody_waits(store: &Store) {
    let waiting =
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.reader().query_all_raw(sql(waiting)).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whoever found no rate is in the store before the load that would wake it is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_is_counted_after_those_that_found_nothing_before_it() {
    let database = Database::create().await;
    let store = database.store().await;
    let (euro, dollar) = (rates::currency("EUR"), rates::currency("USD"));
    let finding = store.begin().await.unwrap();
    let another = store.begin().await.unwrap();
    // They do not wait for each other.
    for tx in [&finding, &another] {
        assert_eq!(exchange_rates::find(tx, euro, dollar, 100).await.unwrap(), None);
    }
    another.commit().await.unwrap();
    let loader = store.clone();
    let loading =
        tokio::spawn(async move { rates::load(&loader, vec![rates::row("EUR", "USD", 100, 1)], 1).await });
    somebody_waits(&store).await;
    assert_eq!(exchange_rates::last_load(store.reader()).await.unwrap(), 0);
    finding.commit().await.unwrap();
    assert_eq!(loading.await.unwrap(), 1);
    assert_eq!(exchange_rates::last_load(store.reader()).await.unwrap(), 1);
}

/// Whoever looks while a load is about to be counted finds what it loaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_is_being_counted_is_waited_for() {
    let database = Database::create().await;
    let store = database.store().await;
    let loading = store.begin().await.unwrap();
    exchange_rates::load(&loading, vec![rates::row("EUR", "USD", 100, 1)], Timestamp(1)).await.unwrap();
    let finder = store.clone();
    let finding = tokio::spawn(async move {
        let tx = finder.begin().await.unwrap();
        exchange_rates::find(&tx, rates::currency("EUR"), rates::currency("USD"), 100).await.unwrap()
    });
    somebody_waits(&store).await;
    loading.commit().await.unwrap();
    assert!(finding.await.unwrap().is_some());
}
