//! `waypost spool`: what the spool of a data folder holds, and its way to Kafka by hand.

use std::time::{Duration, Instant};

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
    stream::spool::{self, SpoolError, TopicStats},
};

#[derive(Clone, Debug, Subcommand)]
pub enum SpoolCommand {
    /// Say what the spool holds; its process may be running
    Inspect(SpoolInspectArgs),
    /// Send what the spool of an edge that is gone holds to Kafka
    #[command(
        after_long_help = "An edge that runs, or starts again, does this by itself. Exits with 75 when something is left."
    )]
    Replay(SpoolReplayArgs),
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

pub fn run(command: &SpoolCommand, settings: &Settings) -> Result<(), Failure> {
    match command {
        SpoolCommand::Inspect(args) => inspect(args, settings),
        SpoolCommand::Replay(args) => process::runtime()?.block_on(replay(args, settings)),
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
}

impl TopicReport {
    fn of(stats: &TopicStats) -> Self {
        Self {
            topic: stats.topic.name(),
            begins: stats.begins,
            next_offset: stats.next_offset,
            consumed: stats.consumed,
            waiting: waiting(stats),
            events: stats.events,
            bytes: stats.bytes,
            oldest: stats.oldest,
        }
    }
}

fn waiting(stats: &TopicStats) -> i64 {
    stats.next_offset - stats.consumed
}

fn look(folder: &DataDir, settings: &Settings) -> Result<[TopicStats; 2], Failure> {
    spool::inspect(&folder.spool_path(settings)).map_err(|error| match error {
        SpoolError::Missing(path) => {
            let message = format!("there is no spool at {}", path.display());
            Failure::new(Code::NoInput, message)
                .with_hint("--data-dir or `spool.path` names another; an edge makes one when it starts.")
        }
        other => parts::spool_failed(&other),
    })
}

fn inspect(args: &SpoolInspectArgs, settings: &Settings) -> Result<(), Failure> {
    let folder = DataDir::existing(&settings.data_dir)?;
    let topics = look(&folder, settings)?;
    if args.json {
        let reports: Vec<_> = topics.iter().map(TopicReport::of).collect();
        let json = serde_json::to_string_pretty(&reports)
            .map_err(|error| Failure::new(Code::Software, error.to_string()))?;
        return say(&json);
    }
    for stats in &topics {
        let TopicReport { topic, begins, next_offset, waiting, events, bytes, oldest, .. } =
            TopicReport::of(stats);
        let since = oldest.map_or_else(String::new, |oldest| format!(", the oldest of {oldest}"));
        say(&format!(
            "{topic}: {waiting} events wait; the file has {events} in {bytes} bytes{since}; offsets {begins} to \
             {next_offset}"
        ))?;
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
            let message = format!("{left} events are left in the spool: Kafka did not take them");
            Err(Failure::new(Code::TempFail, message)
                .with_hint("`waypost topics check` says what is wrong there; then run this again."))
        }
    }
}

fn left_in(topics: &[TopicStats]) -> i64 {
    topics.iter().map(waiting).sum()
}
