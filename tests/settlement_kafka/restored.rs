//! A store that comes from a backup: Kafka has what is missing, and it all comes out as it was.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sea_orm::EntityTrait;
use tokio::{task::spawn_blocking, time::sleep};
use waypost::{
    domain::traffic::TrafficClass,
    events::Conversion,
    store::entities::{click_rollup, commission_line, conversion, refund},
    stream::Topic,
};

use crate::{
    backend::Database,
    fixtures::{Numbered, World, eventually},
    instance::Instance,
    services,
    topics::{Load, Topics, positions},
};

fn client(program: &str, arguments: &[&str]) {
    let ended = Command::new(program).args(arguments).output().unwrap();
    assert!(ended.status.success(), "{program}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// What a command of `waypost` ends with, on this store.
fn ends_well(world: &World, words: &[&str]) {
    let ended = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(words)
        .env("WAYPOST__STORE__URL", world.database.url())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&ended.stdout));
}

/// All that an event leads to and that does not depend on when it was settled.
#[derive(Debug, PartialEq, Eq)]
struct Books {
    outcomes: BTreeMap<String, i64>,
    balances: BTreeMap<(i64, String), i64>,
    conversions: BTreeMap<String, (String, i64, i64)>,
    refunds: Vec<(String, i64)>,
    lines: Vec<(String, i64)>,
    clicks: i64,
}

async fn books(world: &World) -> Books {
    let db = world.store.reader();
    let name = |row: &conversion::Model| row.external_id.clone().unwrap();
    let conversions = conversion::Entity::find().all(db).await.unwrap();
    let refunds = refund::Entity::find().all(db).await.unwrap();
    let lines = commission_line::Entity::find().all(db).await.unwrap();
    let rollups = click_rollup::Entity::find().all(db).await.unwrap();
    let mut books = Books {
        outcomes: world.outcomes().await,
        balances: world.balances().await,
        conversions: conversions
            .iter()
            .map(|row| (name(row), (row.status.clone(), row.amount, row.refunded)))
            .collect(),
        refunds: refunds.into_iter().map(|row| (row.status, row.amount)).collect(),
        lines: lines.into_iter().map(|row| (row.status, row.amount)).collect(),
        clicks: rollups.iter().map(|row| row.clicks).sum(),
    };
    books.refunds.sort();
    books.lines.sort();
    books
}

/// Events of an edge that never stops, until it is told to.
async fn stream(world: Arc<World>, topics: Topics, stop: Arc<AtomicBool>) -> i64 {
    let mut load = Load::new(1);
    while !stop.load(Ordering::Relaxed) {
        load.more(&world, &topics, 20).await;
        sleep(Duration::from_millis(20)).await;
    }
    load.count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_from_the_middle_of_a_stream_comes_out_as_if_nothing_had_been() {
    let world = Arc::new(World::open().await);
    let topics = Topics::create(services::kafka()).await;
    let (mut sales, mut clicks) = (Numbered::new(2, "conversions/0"), Numbered::new(2, "clicks/0"));
    let instance = Instance::start(&world, &topics).await;
    let stop = Arc::new(AtomicBool::new(false));
    let streaming = tokio::spawn(stream(Arc::clone(&world), topics.beside(), Arc::clone(&stop)));

    // What waits when the backup is made, and is answered by what comes after it.
    let awaited = clicks.click(world.click(TrafficClass::Valid, None, "desktop"));
    let click_id = Some(awaited.id.to_string());
    let bare = Conversion { referral_code: None, click_id, ..world.sale("bare", "10") };
    topics.put_event(Topic::Conversions, 0, &sales.sale(bare)).await;
    topics.put_event(Topic::Conversions, 1, &sales.refund(world.refund("after", None))).await;
    topics.put_event(Topic::Conversions, 2, &sales.sale(world.sale("before", "20"))).await;
    eventually("two events wait", async || world.outcomes().await.get("pending") == Some(&2)).await;

    let copy = world.folder.path().join("backup.sql");
    let (url, to) = (world.database.url(), copy.clone());
    spawn_blocking(move || client("pg_dump", &["--dbname", &url, "--file", &to.display().to_string()]))
        .await
        .unwrap();
    topics.put_event(Topic::Conversions, 2, &sales.refund(world.refund("before", Some("5")))).await;
    topics.put_event(Topic::Conversions, 1, &sales.sale(world.sale("after", "30"))).await;
    topics.put_event(Topic::Clicks, 3, &awaited).await;
    // Again, and in contradiction to the first.
    topics.put_event(Topic::Conversions, 3, &sales.sale(world.sale("before", "20"))).await;
    let then = world.outcomes().await["settled"];
    eventually("the stream has gone on", async || world.outcomes().await["settled"] > then + 100).await;
    stop.store(true, Ordering::Relaxed);
    let streamed = streaming.await.unwrap();
    topics.all_settled(&world.store).await;
    eventually("nothing waits", async || !world.outcomes().await.contains_key("pending")).await;
    instance.stop().await;
    let as_it_was = books(&world).await;
    assert_eq!(as_it_was.outcomes["settled"], streamed + 5, "{:?}", as_it_was.outcomes);
    let ends = positions(&world.store, Topic::Conversions).await;

    let restored = restore(&copy).await;
    let Ok(mut world) = Arc::try_unwrap(world) else { panic!("somebody still streams") };
    let original = std::mem::replace(&mut world.database, restored);
    world.connect_again().await;
    let begins = positions(&world.store, Topic::Conversions).await;
    assert!(begins != ends, "the backup is of the middle: {begins:?}, {ends:?}");
    assert_ne!(books(&world).await, as_it_was);
    for command in [&["reconcile"][..], &["ledger", "verify"], &["replay"]] {
        ends_well(&world, command);
    }
    // Between the backup and the day it is restored lies more than what waited may wait.
    assert_eq!(world.end_their_time().await, 2);

    let instance = Instance::start(&world, &topics).await;
    topics.all_settled(&world.store).await;
    eventually("nothing waits", async || !world.outcomes().await.contains_key("pending")).await;
    instance.audits().await;
    instance.stop().await;
    assert_eq!(books(&world).await, as_it_was);
    assert!(world.reconcile().await.streams.iter().all(|stream| stream.missing() == 0));
    for command in [&["reconcile"][..], &["ledger", "verify"], &["replay"]] {
        ends_well(&world, command);
    }
    topics.remove().await;
    drop(original);
}

/// The backup in a database of its own.
async fn restore(copy: &Path) -> Database {
    let database = Database::empty().await;
    let (url, from) = (database.url(), copy.display().to_string());
    let psql = move || {
        client("psql", &["--dbname", &url, "--quiet", "--set", "ON_ERROR_STOP=1", "--file", &from]);
    };
    spawn_blocking(psql).await.unwrap();
    database
}
