//! Appending to the event log: the spool as its callers see it, and the two stores that were candidates for what is
//! underneath, each with the same batches (compressed, checksummed), the same durability (one sync to the disk per
//! commit) and the same forgetting of old batches.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a bench stops at the unexpected, and prints")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redb::{ReadableTable, TableDefinition};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;
use waypost::{
    config::SpoolSettings,
    domain::time::Timestamp,
    events::{Body, Event, Origin, VERSION},
    stream::{Append, EventSink, EventSource, Record, Topic, spool::Spool},
    telemetry::stream::StreamMetrics,
};

/// Batches that are kept while the log moves on, in every engine.
const KEPT: u64 = 64;

/// A sale as the edge writes it, about 475 bytes of which a third is noise: ids, a fingerprint, a click token.
fn event(n: u64) -> Bytes {
    let noise = blake3::hash(&n.to_le_bytes()).to_hex();
    let sale = json!({
        "account": 1,
        "kind": "conversion",
        "channel": "rest",
        "authority": "secret",
        "fingerprint": noise[..32],
        "program": "demo-shop",
        "external_id": format!("order-{n}"),
        "amount": format!("{}.{:02}", n % 211, n % 97),
        "currency": "USD",
        "click_id": noise[13..],
    });
    let origin = Origin { edge: "edge-1".into(), boot: Uuid::nil(), stream: "conversions/0".into(), n };
    let body = Body::Conversion(serde_json::from_value(sale).unwrap());
    Event {
        v: VERSION,
        id: Uuid::from_u128(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        origin,
        received_at: Timestamp::now(),
        body,
    }
    .encode()
    .into()
}

/// The bytes that a store is given for a batch.
fn frame(events: &[Bytes]) -> Vec<u8> {
    let mut body = Vec::new();
    for event in events {
        body.extend_from_slice(&(event.len() as u32).to_le_bytes());
        body.extend_from_slice(event);
    }
    let mut frame = lz4_flex::compress_prepend_size(&body);
    let sum = crc32fast::hash(&frame);
    frame.extend_from_slice(&sum.to_le_bytes());
    frame
}

struct Sqlite {
    connection: rusqlite::Connection,
    next: u64,
}

impl Sqlite {
    fn open(path: &Path) -> Self {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE head (id INTEGER PRIMARY KEY, next INTEGER NOT NULL);
                 CREATE TABLE batch (first INTEGER PRIMARY KEY, frame BLOB NOT NULL);
                 INSERT INTO head VALUES (0, 0);",
            )
            .unwrap();
        Self { connection, next: 0 }
    }

    fn commit(&mut self, events: &[Bytes]) {
        let frame = frame(events);
        let tx = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        let next: i64 =
            tx.prepare_cached("SELECT next FROM head").unwrap().query_row([], |row| row.get(0)).unwrap();
        assert_eq!(next.cast_unsigned(), self.next);
        tx.prepare_cached("INSERT INTO batch VALUES (?1, ?2)").unwrap().execute((next, frame)).unwrap();
        tx.prepare_cached("UPDATE head SET next = ?1").unwrap().execute([next + 1]).unwrap();
        tx.prepare_cached("DELETE FROM batch WHERE first < ?1")
            .unwrap()
            .execute([next - KEPT.cast_signed()])
            .unwrap();
        tx.commit().unwrap();
        self.next += 1;
    }
}

const HEAD: TableDefinition<'_, u64, u64> = TableDefinition::new("head");
const BATCH: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("batch");

struct Redb(redb::Database);

impl Redb {
    /// The default durability of redb is a sync per commit.
    fn commit(&self, events: &[Bytes]) {
        let frame = frame(events);
        let tx = self.0.begin_write().unwrap();
        {
            let mut head = tx.open_table(HEAD).unwrap();
            let mut batch = tx.open_table(BATCH).unwrap();
            let next = head.get(0).unwrap().map_or(0, |next| next.value());
            batch.insert(next, frame.as_slice()).unwrap();
            head.insert(0, next + 1).unwrap();
            if next >= KEPT {
                batch.remove(next - KEPT).unwrap();
            }
        }
        tx.commit().unwrap();
    }
}

struct Log {
    spool: Spool,
    runtime: Runtime,
}

impl Log {
    fn open(path: &Path) -> Self {
        let settings =
            SpoolSettings { path: PathBuf::new(), max_bytes: 1 << 40, commit_events: 1000, commit_ms: 10 };
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        Self { spool: Spool::open(&settings, path, StreamMetrics::register()).unwrap(), runtime }
    }

    /// The time of `rounds` rounds of `append`, with what they stored forgotten now and then.
    fn time(&self, rounds: u64, append: impl Fn() -> Vec<Append>) -> Duration {
        let mut source = self.spool.source(Topic::Conversions).unwrap();
        let mut spent = Duration::ZERO;
        for round in 0..rounds {
            let begin = Instant::now();
            self.runtime.block_on(async {
                for append in append() {
                    append.await.unwrap();
                }
            });
            spent += begin.elapsed();
            if round % KEPT == KEPT - 1 {
                let head = self.spool.stats().topics[Topic::Conversions.index()].next_offset;
                self.runtime.block_on(source.seek(0, head)).unwrap();
                self.runtime.block_on(source.consumed(0, head)).unwrap();
            }
        }
        spent
    }
}

fn records(events: &[Bytes]) -> Vec<Record> {
    let record = |payload: &Bytes| Record { topic: Topic::Conversions, key: None, payload: payload.clone() };
    events.iter().map(record).collect()
}

fn append(criterion: &mut Criterion) {
    let events: Vec<Bytes> = (0..1000).map(event).collect();
    let bytes: usize = events.iter().map(Bytes::len).sum();
    eprintln!(
        "{} bytes per event, {} per event in a batch of 1,000",
        bytes / 1000,
        frame(&events).len() / 1000
    );
    let folder = TempDir::new().unwrap();
    let mut group = criterion.benchmark_group("log_append");
    group.sample_size(30).measurement_time(Duration::from_secs(6));
    for size in [1, 1000] {
        let events = &events[..size];
        group.throughput(Throughput::Elements(size as u64));
        let mut sqlite = Sqlite::open(&folder.path().join(format!("sqlite-{size}.db")));
        group.bench_function(BenchmarkId::new("sqlite", size), |bench| bench.iter(|| sqlite.commit(events)));
        let redb = Redb(redb::Database::create(folder.path().join(format!("redb-{size}.db"))).unwrap());
        group.bench_function(BenchmarkId::new("redb", size), |bench| bench.iter(|| redb.commit(events)));
        let log = Log::open(&folder.path().join(format!("spool-{size}.db")));
        let sink = log.spool.sink();
        group.bench_function(BenchmarkId::new("spool", size), |bench| {
            bench.iter_custom(|rounds| log.time(rounds, || vec![sink.append(records(events))]));
        });
    }
    // 64 callers with an event each: what the group commit is for.
    let log = Log::open(&folder.path().join("spool-callers.db"));
    let sink = log.spool.sink();
    group.throughput(Throughput::Elements(64));
    group.bench_function(BenchmarkId::new("spool", "64 callers"), |bench| {
        bench.iter_custom(|rounds| {
            log.time(rounds, || {
                events[..64].iter().map(|one| sink.append(records(std::slice::from_ref(one)))).collect()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
