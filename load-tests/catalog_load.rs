//! How long an edge takes to have its catalog, and how much memory: by the topic, and by a snapshot.
//!
//! ```text
//! catalog_load write 1000000 FILE              fills a catalog and writes its snapshot
//! catalog_load read FILE                       reads it
//! catalog_load publish 1000000 BROKERS PREFIX  puts links on a topic, made before with `waypost topics create`
//! catalog_load follow BROKERS PREFIX FILE      reads them until the catalog may serve; FILE: its snapshot
//! ```
//! Codes of 12 characters, a destination of its own (50 characters) for every other link. Each figure is of a fresh
//! process. Reads `/proc`, so Linux only.

#![allow(clippy::print_stdout, reason = "a measurement prints")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use waypost::{
    catalog::{
        Catalog, CatalogRecord, LinkRecord, Versioned,
        snapshot::{self, TopicPlace, Wanted},
    },
    config::{KafkaSettings, Settings},
    domain::{
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        time::Timestamp,
    },
    jobs::catalog_topic::CatalogTopic,
    stream::kafka::catalog::{CatalogProducer, Outgoing, TopicPosition},
    telemetry::catalog::CatalogMetrics,
};

/// Records of one transaction, as the publisher sends them.
const BATCH: i64 = 5_000;
const TOPIC: &str = "waypost.catalog.v1";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["write", links, file] => write(number(links)?, Path::new(file)),
        ["read", file] => read(Path::new(file)),
        ["publish", links, brokers, prefix] => publish(number(links)?, &kafka(brokers, prefix)),
        ["follow", brokers, prefix, file] => follow(&kafka(brokers, prefix), file.into()),
        _ => Err(io::Error::other("see the head of load-tests/catalog_load.rs")),
    }
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(io::Error::other)
}

fn kafka(brokers: &str, prefix: &str) -> KafkaSettings {
    KafkaSettings { brokers: brokers.to_owned(), prefix: prefix.to_owned(), ..Settings::default().kafka }
}

fn record(n: i64) -> Versioned {
    let destination = (n % 2 == 0).then(|| format!("https://shop.example/products/{n:09}?from=partner"));
    let record = CatalogRecord::Link(LinkRecord {
        id: LinkId(n),
        account: AccountId(n % 1_000),
        code: format!("code{n:08x}"),
        program: ProgramId(n % 5_000),
        affiliate: AffiliateId(n / 10),
        destination,
        source_id: None,
        asset_id: None,
        expires_at: None,
        deleted: false,
    });
    Versioned { version: n + 1, record }
}

fn write(links: i64, file: &Path) -> io::Result<()> {
    let catalog = Catalog::new();
    (0..links).for_each(|n| catalog.apply(record(n)));
    let before = status("VmHWM:")?;
    let place = TopicPlace {
        topic: TOPIC.to_owned(),
        topic_id: "cluster/topic".to_owned(),
        offsets: std::collections::BTreeMap::new(),
        version: links,
        current_at: Timestamp::now(),
    };
    let began = Instant::now();
    let written = snapshot::write(file, &catalog, &place)?;
    let took = began.elapsed();
    let more = (status("VmHWM:")? - before) / 1_024;
    println!(
        "{links} links written in {took:.2?}: {} MB, {more} MB of memory more",
        written.bytes / 1_048_576
    );
    Ok(())
}

fn read(file: &Path) -> io::Result<()> {
    let catalog = Catalog::new();
    let began = Instant::now();
    let wanted = Wanted { topic: TOPIC, now: Timestamp::now(), max_age_ms: i64::MAX };
    let place = snapshot::read(file, wanted, &catalog).map_err(io::Error::other)?;
    let took = began.elapsed();
    if place.is_none() {
        return Err(io::Error::other("there is no such file"));
    }
    report("read from the snapshot", catalog.link_count(), took)
}

fn publish(links: i64, kafka: &KafkaSettings) -> io::Result<()> {
    let producer = CatalogProducer::take_over(kafka).map_err(io::Error::other)?;
    let began = Instant::now();
    let mut from = 0;
    while from < links {
        let to = links.min(from + BATCH);
        let outgoing = |n: i64| {
            let versioned = record(n);
            let value = Some(serde_json::to_vec(&versioned)?);
            Ok(Outgoing { key: versioned.record.key().to_string(), version: versioned.version, value })
        };
        let records = (from..to).map(outgoing).collect::<Result<Vec<_>, serde_json::Error>>()?;
        let position = TopicPosition { version: to, whole: to == links };
        let identity = (from == 0).then_some("load-test");
        producer.publish(identity, &records, position).map_err(io::Error::other)?;
        from = to;
    }
    println!("{links} links published in {:.2?}", began.elapsed());
    Ok(())
}

fn follow(kafka: &KafkaSettings, file: PathBuf) -> io::Result<()> {
    let catalog = Arc::new(Catalog::new());
    let began = Instant::now();
    let settings = Settings::default().catalog;
    let topic = CatalogTopic::start(kafka, &settings, file, catalog.clone(), CatalogMetrics::register())?;
    while !catalog.is_loaded() {
        std::thread::sleep(Duration::from_millis(10));
    }
    report("had, from start to serving,", catalog.link_count(), began.elapsed())?;
    topic.close();
    Ok(())
}

fn report(how: &str, links: usize, took: Duration) -> io::Result<()> {
    let (now, peak) = (status("VmRSS:")? / 1_024, status("VmHWM:")? / 1_024);
    println!("{links} links {how} in {took:.2?}: {now} MB resident, {peak} MB at the peak");
    Ok(())
}

/// A line of `/proc/self/status`, in KB.
fn status(name: &str) -> io::Result<i64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or_default())
}
