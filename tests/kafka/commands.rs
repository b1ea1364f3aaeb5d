//! `waypost topics` and `waypost spool`, as an operator types them.

use std::{path::Path, process::Command};

use waypost::{
    config::KafkaSettings,
    store::{
        Store,
        sequences::{self, Sequence},
    },
    stream::{
        Durability, EventSink, Topic,
        kafka::{
            admin::Admin,
            topics::{self, Wanted},
        },
    },
};

use crate::{
    services,
    support::{first_of, make_topics, open_spool, read_all, record, settings},
};

/// 64 hex digits that nobody guesses by their look.
fn key(of: &str) -> String {
    blake3::hash(of.as_bytes()).to_hex().to_string()
}

/// Exit code, standard output, standard error.
fn waypost(settings: &KafkaSettings, words: &[&str]) -> (i32, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(words)
        .env("WAYPOST__KAFKA__BROKERS", &settings.brokers)
        .env("WAYPOST__KAFKA__PREFIX", &settings.prefix)
        .env(
            "WAYPOST__TOKEN__KEYS",
            format!("[{{ id = 1, state = \"active\", secret = \"{}\" }}]", key("token")),
        )
        .env("WAYPOST__VISITOR__HASH_SECRET", key("visitor"))
        .env("WAYPOST__SECRETS__KEYS", format!("[\"{}\"]", key("secrets")))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (run.status.code().unwrap(), text(run.stdout), text(run.stderr))
}

#[test]
fn topics_are_made_once_and_their_differences_named() {
    let settings = settings(&services::kafka());
    let prefix = &settings.prefix;
    let (code, out, err) = waypost(&settings, &["topics", "check"]);
    assert_eq!(code, 1, "{err}");
    for topic in ["clicks", "conversions", "catalog"] {
        assert!(out.contains(&format!("{prefix}waypost.{topic}.v1: is missing\n")), "{out}");
    }
    let (code, _, err) = waypost(&settings, &["topics", "create"]);
    assert_eq!(code, 69, "one broker cannot have three replicas");
    assert!(err.contains("fewer brokers than replicas (3)"), "{err}");

    let one = ["--replication", "1", "--min-insync", "1"];
    let create = [&["topics", "create", "--partitions", "3"], &one[..]].concat();
    let (code, out, err) = waypost(&settings, &create);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains(&format!("{prefix}waypost.catalog.v1: made, partitions 4, replication 1\n")),
        "{out}"
    );
    let again = [&["topics", "create", "--partitions", "5"], &one[..]].concat();
    let (code, out, _) = waypost(&settings, &again);
    assert_eq!((code, out.matches("is there already and stays as it is").count()), (0, 3), "{out}");

    let check = [&["topics", "check"], &one[..]].concat();
    let (code, out, err) = waypost(&settings, &check);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains(&format!("{prefix}waypost.clicks.v1: good, partitions 3, replication 1\n")),
        "{out}"
    );
    let strict =
        ["topics", "check", "--partitions", "4", "--conversion-retention", "30", "--min-insync", "1"];
    let (code, out, err) = waypost(&settings, &strict);
    assert_eq!(code, 1);
    let mut expected: Vec<_> = ["clicks", "conversions"]
        .map(|topic| format!("{prefix}waypost.{topic}.v1: partitions 3, wanted 4 or more"))
        .into();
    for topic in ["clicks", "conversions", "catalog"] {
        expected.push(format!("{prefix}waypost.{topic}.v1: replication 1, wanted 3 or more"));
    }
    expected
        .push(format!("{prefix}waypost.conversions.v1: retention.ms 1209600000, wanted at least 2592000000"));
    expected.sort();
    let mut found: Vec<_> = out.lines().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, expected);
    assert!(err.contains("the topics differ in 6 points"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_beside_another_gets_as_many_partitions() {
    let settings = settings(&services::kafka());
    let admin = Admin::connect(&settings).await.unwrap();
    let wanted = Wanted {
        partitions: 3,
        catalog_partitions: 1,
        replication: 1,
        min_insync: 1,
        click_retention_days: 7,
        conversion_retention_days: 14,
    };
    let clicks = &topics::plans(&settings, &wanted)[..1];
    assert!(admin.create(&clicks[0]).await.unwrap());
    admin.until_known(clicks).await.unwrap();
    let create = |partitions| {
        let words =
            ["topics", "create", "--replication", "1", "--min-insync", "1", "--partitions", partitions];
        waypost(&settings, &words)
    };
    let (code, out, err) = create("5");
    assert_eq!((code, &*out), (1, ""), "{err}");
    assert!(err.contains("is there with 3 partitions, the other would be made with 5"), "{err}");
    assert!(err.contains("`--partitions 3`"), "{err}");
    let (code, out, err) = create("3");
    assert_eq!((code, out.matches(": made, ").count()), (0, 2), "{out}{err}");
}

/// A store that was restored from an older copy, beside a topic that was made anew.
#[tokio::test(flavor = "multi_thread")]
async fn ids_are_skipped_where_no_topic_tells_how_many() {
    let settings = settings(&services::kafka());
    make_topics(&settings).await;
    let folder = tempfile::tempdir().unwrap();
    let url = Store::sqlite_url(&folder.path().join("store.db"));
    let last = async || {
        let store = Store::open(&url).await.unwrap();
        let last = sequences::last(store.reader(), Sequence::Link).await.unwrap();
        store.close().await.unwrap();
        last
    };
    assert_eq!(last().await, 0);
    let republish = |words: &[&str]| {
        let folder = ["--data-dir", folder.path().to_str().unwrap()];
        waypost(&settings, &[&["catalog", "republish"], words, &folder].concat())
    };
    let (code, _, err) = republish(&[]);
    assert_eq!(code, 66, "{err}");
    assert!(err.contains("nothing was ever published on the catalog's topic"), "{err}");
    let (code, out, err) = republish(&["--skip-ids", "500"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("the next 500 ids of each kind will not be given out\n"), "{out}");
    assert_eq!(last().await, 500);
}

#[test]
fn commands_without_brokers_say_so() {
    let (code, _, err) = waypost(&settings(""), &["topics", "check"]);
    assert_eq!(code, 78);
    assert!(err.contains("`kafka.brokers` is empty"), "{err}");
    let (code, _, err) = waypost(&settings("127.0.0.1:1"), &["topics", "create"]);
    assert_eq!(code, 69);
    assert!(err.contains("no broker answers") && err.contains("Connection refused"), "{err}");
}

pub fn spool_of(dir: &Path, command: &[&str], settings: &KafkaSettings) -> (i32, String, String) {
    waypost(settings, &[&["spool"], command, &["--data-dir", dir.to_str().unwrap()]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_left_is_shown_and_replayed_by_hand() {
    let settings = settings(&services::kafka());
    make_topics(&settings).await;
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = spool_of(dir.path(), &["inspect"], &settings);
    assert_eq!(code, 66, "{err}");
    let spool = open_spool(dir.path(), 1 << 30);
    for n in 0..1_200 {
        assert_eq!(spool.sink().append(vec![record(Topic::Conversions, 1, n)]).await, Ok(Durability::Local));
    }
    let clicks = (0..300).map(|n| record(Topic::Clicks, 1, n)).collect();
    assert_eq!(spool.sink().append(clicks).await, Ok(Durability::Local));
    spool.close();

    let waiting = |out: &str| {
        let topics: serde_json::Value = serde_json::from_str(out).unwrap();
        [0, 1].map(|n| {
            (topics[n]["topic"].as_str().unwrap().to_owned(), topics[n]["waiting"].as_i64().unwrap())
        })
    };
    let counts = |clicks, conversions| {
        [("waypost.clicks.v1".to_owned(), clicks), ("waypost.conversions.v1".to_owned(), conversions)]
    };
    let (code, out, err) = spool_of(dir.path(), &["inspect", "--json"], &settings);
    assert_eq!((code, waiting(&out)), (0, counts(300, 1_200)), "{err}");
    let (_, out, _) = spool_of(dir.path(), &["inspect"], &settings);
    assert!(out.contains("waypost.conversions.v1: 1200 events wait"), "{out}");

    let away = KafkaSettings { brokers: "127.0.0.1:1".to_owned(), ..settings.clone() };
    let (code, _, err) = spool_of(dir.path(), &["replay", "--patience", "1"], &away);
    assert_eq!(code, 75, "{err}");
    assert!(err.contains("1500 events are left in the spool"), "{err}");

    let (code, out, err) = spool_of(dir.path(), &["replay"], &settings);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("waypost.conversions.v1: 1200 events went to Kafka, 0 are left\n"), "{out}");
    let (_, out, _) = spool_of(dir.path(), &["inspect", "--json"], &settings);
    assert_eq!(waiting(&out), counts(0, 0));
    let read = read_all(&settings, Topic::Conversions);
    assert_eq!(first_of(&read, Topic::Conversions, 1), (0..1_200).collect::<Vec<_>>());
    assert!(read.iter().all(|read| read.key.as_deref() == Some(b"1")), "keys are those of live events");
    assert_eq!(read_all(&settings, Topic::Clicks).len(), 300);
}
