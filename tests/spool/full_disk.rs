//! A disk that is full: what was consumed is forgotten all the same, and the log takes events again.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use waypost::{
    stream::{
        AppendError, Durability, EventSink, EventSource, Topic,
        spool::{self, Spool},
    },
    telemetry::stream::StreamMetrics,
};

use super::{CHILD_PATH, PATIENCE, assert_numbered, disk::Disk, records, settings, start_child};

const DISK_MEGABYTES: u32 = 4;
const LARGER_THAN_THE_DISK: u64 = 16 << 20;
const NAMESPACE: &str = "WAYPOST_TEST_SPOOL_MAY_MOUNT";

/// Runs `test` with a small disk. Who is not root has one in a namespace of his own, where `name` is run again.
fn on_a_small_disk(name: &str, test: impl FnOnce(&Path, &Disk)) {
    let folder = TempDir::new().unwrap();
    let at = folder.path().join("disk");
    if let Some(disk) = Disk::mount(&at, DISK_MEGABYTES) {
        return test(&at, &disk);
    }
    assert!(env::var_os(NAMESPACE).is_none(), "a tmpfs can be mounted neither here nor in a namespace");
    let again = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(NAMESPACE, "")
        .status();
    assert!(again.is_ok_and(|status| status.success()), "see above, or there is no `unshare`");
}

/// Not a test of its own: the process that fills its disk and is killed then.
#[test]
#[ignore = "run by killed_with_a_full_disk"]
fn child_that_fills_its_disk() {
    let Some(path) = env::var_os(CHILD_PATH) else { return };
    let log = open_on_small_disk(Path::new(&path), StreamMetrics::register());
    until_now(|| reserve_of(Path::new(&path)).exists());
    println!("\nacknowledged {}", fill(&Runtime::new().unwrap(), &log, 0));
    std::thread::park();
}

fn open_on_small_disk(path: &Path, metrics: StreamMetrics) -> Spool {
    Spool::open(&settings(LARGER_THAN_THE_DISK), path, metrics).unwrap()
}

/// Appends from event `next` on until no more is taken, and answers with the number of the first that was not.
fn fill(runtime: &Runtime, log: &Spool, mut next: i64) -> i64 {
    loop {
        match runtime.block_on(log.sink().append(records(Topic::Conversions, next..next + 1))) {
            Ok(_) => next += 1,
            Err(error) => {
                assert_eq!(error, AppendError::Failed);
                return next;
            }
        }
    }
}

/// Leaves a log as an edge does that is killed when its disk is full, and answers how many events are in it.
fn killed_with_a_full_disk(path: &Path) -> i64 {
    let mut child = start_child("full_disk::child_that_fills_its_disk", path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let count = lines.find_map(|line| line.unwrap().strip_prefix("acknowledged ")?.parse().ok());
    child.kill().unwrap();
    child.wait().unwrap();
    count.unwrap()
}

fn reserve_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.reserve", path.display()))
}

/// As the replay to Kafka does: a window at a time, and consumed when it was delivered. Answers where it stands then,
/// `to` or later.
fn replay(runtime: &Runtime, log: &Spool, from: i64, to: i64) -> i64 {
    let mut source = log.source(Topic::Conversions).unwrap();
    runtime.block_on(source.seek(0, from)).unwrap();
    let mut next = from;
    while next < to {
        let found = runtime.block_on(source.poll(100, Duration::ZERO)).unwrap();
        assert!(!found.is_empty(), "nothing comes after {next} of {to}");
        assert_numbered(&found, next);
        next += found.len() as i64;
        runtime.block_on(source.consumed(0, next)).unwrap();
    }
    next
}

/// Transactions that failed, as the recorder has counted them.
fn failed_commits(recorder: &PrometheusRecorder) -> u64 {
    let text = recorder.handle().render();
    let counts = text.lines().filter_map(|line| {
        line.strip_prefix("waypost_spool_commits_total{outcome=\"failed\"} ")?.parse::<u64>().ok()
    });
    counts.sum()
}

#[test]
fn a_log_that_filled_its_disk_empties_and_takes_as_much_again() {
    on_a_small_disk("full_disk::a_log_that_filled_its_disk_empties_and_takes_as_much_again", |at, _disk| {
        let path = at.join("spool.db");
        let runtime = Runtime::new().unwrap();
        let recorder = PrometheusBuilder::new().build_recorder();
        let count = killed_with_a_full_disk(&path);
        // Half of the disk at least, beside the reserve and the WAL.
        assert!(count > 300, "{count} events fill the disk");
        assert!(reserve_of(&path).exists(), "appends leave the reserve alone");
        let metrics = metrics::with_local_recorder(&recorder, StreamMetrics::register);
        let log = open_on_small_disk(&path, metrics);
        let (mut from, mut to) = (0, count);
        for _ in 0..4 {
            // The next outage begins when half of the last one is replayed.
            let next = replay(&runtime, &log, from, from + (to - from) / 2);
            let end = fill(&runtime, &log, to);
            assert_eq!(replay(&runtime, &log, next, end), end);
            until_now(|| log.stats().topics[1].events == 0);
            until_now(|| reserve_of(&path).metadata().is_ok_and(|reserve| reserve.len() == 1 << 20));
            assert_eq!(log.stats().topics[1].consumed, end);
            // The reserve is seen to once a second, and only then the file may grow.
            (from, to) = (end, end);
            until_now(|| {
                to = fill(&runtime, &log, to);
                to - from > count / 2
            });
        }
        log.close();
        assert_eq!(spool::inspect(&path).unwrap()[1].next_offset, to);
    });
}

fn until_now(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_cannot_be_forgotten_is_counted_and_forgotten_when_there_is_room() {
    on_a_small_disk(
        "full_disk::what_cannot_be_forgotten_is_counted_and_forgotten_when_there_is_room",
        |at, disk| {
            let path = at.join("spool.db");
            let runtime = Runtime::new().unwrap();
            let recorder = PrometheusBuilder::new().build_recorder();
            let count = killed_with_a_full_disk(&path);
            // As a log of a build without a reserve, beside something else that takes what is left.
            fs::remove_file(reserve_of(&path)).unwrap();
            disk.fill();
            let metrics = metrics::with_local_recorder(&recorder, StreamMetrics::register);
            let log = open_on_small_disk(&path, metrics);
            replay(&runtime, &log, 0, count);
            until_now(|| failed_commits(&recorder) > 1);
            assert!(log.stats().topics[1].events > 0);
            disk.free();
            until_now(|| log.stats().topics[1].events == 0 && reserve_of(&path).exists());
            let failed = failed_commits(&recorder);
            assert_eq!(
                runtime.block_on(log.sink().append(records(Topic::Conversions, count..count + 1))),
                Ok(Durability::Local)
            );
            assert_eq!(failed_commits(&recorder), failed);
        },
    );
}
