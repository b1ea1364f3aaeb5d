//! `waypost spool`: what the spool of a data folder holds, its way to Kafka by hand, and what is saved of a damaged one.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    data_dir::{DataDir, Role},
    event_log::EventLog,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    config::Settings,
    domain::time::Timestamp,
    stream::{
        EventSink, Record, Topic,
        spool::{self, Rescue, Spool, SpoolError, TopicStats},
    },
};

/// Events that a rescue stores with one sync.
const AT_ONCE: usize = 1_000;

#[derive(Clone, Debug, Subcommand)]
pub enum SpoolCommand {
    /// Say what the spool holds; its process may be running
    Inspect(SpoolInspectArgs),
    /// Send what the spool of an edge that is gone holds to Kafka
    #[command(
        after_long_help = "An edge that runs, or starts again, does this by itself. Exits with 75 when something is left, \
                           and with 65 when that is because the spool is damaged: see `waypost spool rescue`."
    )]
    Replay(SpoolReplayArgs),
    /// Put what can be read of a damaged spool into the spool of the data folder
    #[command(
        after_long_help = "For a file that was moved aside with its -wal, because an edge does not start with it or cannot replay it: \
                           nothing is changed in either. The spool of the data folder must be empty, and its edge must not run. \
                           Exits with 1 when events are lost: it says which offsets they had."
    )]
    Rescue(SpoolRescueArgs),
}

#[derive(Clone, Debug, Args)]
pub struct SpoolInspectArgs {
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct SpoolReplayArgs {
    /// Seconds without progress after which it gives up
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub patience: u64,
}

#[derive(Clone, Debug, Args)]
pub struct SpoolRescueArgs {
    /// The damaged file
    pub file: PathBuf,
}

pub fn run(command: &SpoolCommand, settings: &Settings) -> Result<(), Failure> {
    match command {
        SpoolCommand::Inspect(args) => inspect(args, settings),
        SpoolCommand::Replay(args) => process::runtime()?.block_on(replay(args, settings)),
        SpoolCommand::Rescue(args) => process::runtime()?.block_on(rescue(args, settings)),
    }
}

/// What is kept of one topic, as `--json` writes it.
#[derive(Debug, Serialize)]
struct TopicReport {
    topic: &'static str,
    begins: i64,
    next_offset: i64,
    consumed: i64,
    /// Events that nobody has taken on.
    waiting: i64,
    /// Events in the file, in whole batches.
    events: u64,
    bytes: u64,
    oldest: Option<Timestamp>,
    /// Why what stands first among those that wait cannot be read.
    damage: Option<String>,
}

impl TopicReport {
    fn of(stats: &TopicStats, damage: Option<String>) -> Self {
        Self {
            topic: stats.topic.name(),
            begins: stats.begins,
            next_offset: stats.next_offset,
            consumed: stats.consumed,
            waiting: waiting(stats),
            events: stats.events,
            bytes: stats.bytes,
            oldest: stats.oldest,
            damage,
        }
    }
}

fn waiting(stats: &TopicStats) -> i64 {
    stats.next_offset - stats.consumed
}

fn look(folder: &DataDir, settings: &Settings) -> Result<[TopicStats; 2], Failure> {
    spool::inspect(&folder.spool_path(settings)).map_err(failed)
}

fn failed(error: SpoolError) -> Failure {
    match error {
        SpoolError::Missing(path) => {
            let message = format!("there is no spool at {}", path.display());
            Failure::new(Code::NoInput, message)
                .with_hint("--data-dir or `spool.path` names another; an edge makes one when it starts.")
        }
        other => parts::spool_failed(&other),
    }
}

fn damage(folder: &DataDir, settings: &Settings, topic: Topic) -> Result<Option<String>, Failure> {
    spool::damage(&folder.spool_path(settings), topic).map_err(failed)
}

fn inspect(args: &SpoolInspectArgs, settings: &Settings) -> Result<(), Failure> {
    let folder = DataDir::existing(&settings.data_dir)?;
    let topics = look(&folder, settings)?;
    let mut reports = Vec::with_capacity(topics.len());
    for stats in &topics {
        reports.push(TopicReport::of(stats, damage(&folder, settings, stats.topic)?));
    }
    if args.json {
        let json = serde_json::to_string_pretty(&reports)
            .map_err(|error| Failure::new(Code::Software, error.to_string()))?;
        return say(&json);
    }
    for TopicReport { topic, begins, next_offset, waiting, events, bytes, oldest, damage, .. } in reports {
        let since = oldest.map_or_else(String::new, |oldest| format!(", the oldest of {oldest}"));
        say(&format!(
            "{topic}: {waiting} events wait; the file has {events} in {bytes} bytes{since}; offsets {begins} to \
             {next_offset}"
        ))?;
        if let Some(damage) = damage {
            say(&format!("{topic}: what stands first cannot be read: {damage}"))?;
        }
    }
    Ok(())
}

async fn replay(args: &SpoolReplayArgs, settings: &Settings) -> Result<(), Failure> {
    if !settings.kafka.is_used() {
        return Err(Failure::new(Code::Config, "`kafka.brokers` is empty: there is nowhere to replay to")
            .with_hint("Set it to the addresses of the brokers, or WAYPOST__KAFKA__BROKERS."));
    }
    // A wrong path makes no folder and no spool.
    let before = look(&DataDir::existing(&settings.data_dir)?, settings)?;
    let folder = DataDir::open(&settings.data_dir, &[Role::Edge])?;
    let _metrics = process::install_metrics()?;
    let log = EventLog::open(&folder, settings).await?;
    let patience = Duration::from_secs(args.patience);
    let (mut left, mut since) = (left_in(&log.spool.stats().topics), Instant::now());
    while left > 0 && since.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = left_in(&log.spool.stats().topics);
        if now != left {
            (left, since) = (now, Instant::now());
        }
    }
    log.close().await;
    let after = look(&folder, settings)?;
    for (before, after) in before.iter().zip(&after) {
        let (topic, sent) = (before.topic.name(), after.consumed - before.consumed);
        say(&format!("{topic}: {sent} events went to Kafka, {} are left", waiting(after)))?;
    }
    match left_in(&after) {
        0 => Ok(()),
        left => {
            for stats in &after {
                if let Some(damage) = damage(&folder, settings, stats.topic)? {
                    let message = format!("{left} events are left in the spool, as it is damaged: {damage}");
                    return Err(Failure::new(Code::Data, message)
                        .with_hint("`waypost spool rescue` saves what can be read."));
                }
            }
            let message = format!("{left} events are left in the spool: Kafka did not take them");
            Err(Failure::new(Code::TempFail, message)
                .with_hint("`waypost topics check` says what is wrong there; then run this again."))
        }
    }
}

fn left_in(topics: &[TopicStats]) -> i64 {
    topics.iter().map(waiting).sum()
}

async fn rescue(args: &SpoolRescueArgs, settings: &Settings) -> Result<(), Failure> {
    if !args.file.exists() {
        return Err(Failure::new(Code::NoInput, format!("there is no file at {}", args.file.display())));
    }
    let folder = DataDir::open(&settings.data_dir, &[Role::Edge])?;
    let into = folder.spool_path(settings);
    let same = |path: &Path| path.canonicalize().ok();
    if same(&into).is_some_and(|into| same(&args.file) == Some(into)) {
        let message = format!("{} is the spool of this data folder itself", args.file.display());
        return Err(Failure::new(Code::Usage, message).with_hint(
            "Move the file with its -wal and -shm aside first, or name another folder by --data-dir.",
        ));
    }
    let _metrics = process::install_metrics()?;
    let spool = parts::open_spool(&folder, settings)?;
    // A second run, or one beside an edge's own events, would store everything once more.
    if spool.stats().topics.iter().any(|topic| topic.events > 0) {
        let message = format!("the spool at {} holds events already", into.display());
        return Err(Failure::new(Code::CantCreate, message)
            .with_hint("--data-dir, and `spool.path` where it is set, name an empty one."));
    }
    let mut lost = Ok(0);
    // What somebody waits for goes first, and what fails with one topic does not keep the other.
    for topic in [Topic::Conversions, Topic::Clicks] {
        let of_topic = rescue_topic(&args.file, topic, &spool).await;
        lost = lost.and_then(|lost| of_topic.map(|more| lost + more));
    }
    spool.close();
    match lost? {
        0 => Ok(()),
        lost => Err(Failure::new(Code::Difference, format!("{lost} events cannot be read any more"))
            .with_hint("`waypost reconcile` shows their numbers when settlement has read the others.")),
    }
}

/// Appends what can be read of a topic; answers how many events are lost.
async fn rescue_topic(file: &Path, topic: Topic, into: &Spool) -> Result<i64, Failure> {
    let mut rescue = Rescue::open(file, topic).map_err(failed)?;
    let mut readable = rescue.by_ref().flatten().map(|payload| Record { topic, key: None, payload });
    let mut saved = 0;
    loop {
        let records: Vec<_> = readable.by_ref().take(AT_ONCE).collect();
        if records.is_empty() {
            break;
        }
        saved += records.len();
        into.sink().append(records).await.map_err(|error| {
            let message = format!("{}: what was read cannot be stored: {error}", topic.name());
            Failure::new(Code::Io, message)
                .with_hint("Make room, or raise `spool.max_bytes`, and run it again into an empty folder.")
        })?;
    }
    drop(readable);
    say(&format!("{}: {saved} events are saved", topic.name()))?;
    let mut lost = 0;
    for Range { start, end } in rescue.lost() {
        lost += end - start;
        let (topic, events, last) = (topic.name(), end - start, end - 1);
        say(&format!("{topic}: {events} events are lost, offsets {start} to {last}"))?;
    }
    Ok(lost)
}
