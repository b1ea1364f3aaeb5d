//! `waypost positions`: where settlement stands in the event log, and how it goes on where the log has lost something.

use clap::{Args, Subcommand, ValueEnum};

use super::{
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    config::Settings,
    store::{Store, streams},
    stream::{Topic, spool},
};

#[derive(Clone, Debug, Subcommand)]
pub enum PositionsCommand {
    /// List where settlement stands in each partition
    List(PositionsListArgs),
    /// Read partitions from the beginning of what the log still has
    #[command(
        after_long_help = "For a partition whose next event the log has lost: settlement stands still there until somebody decides to go on. \
                           What had taken effect already is known by its number and changes nothing; what is lost shows in `waypost reconcile`.\n\
                           Settlement may be running; where nothing had stopped it, it begins over with the next event."
    )]
    BeginOver(BeginOverArgs),
}

#[derive(Clone, Debug, Args)]
pub struct PositionsListArgs {}

#[derive(Clone, Debug, Args)]
pub struct BeginOverArgs {
    /// The topic
    #[arg(long)]
    pub topic: TopicName,
    /// This partition alone
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<i32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TopicName {
    Clicks,
    Conversions,
}

impl From<TopicName> for Topic {
    fn from(name: TopicName) -> Self {
        match name {
            TopicName::Clicks => Self::Clicks,
            TopicName::Conversions => Self::Conversions,
        }
    }
}

pub fn run(command: &PositionsCommand, settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        match command {
            PositionsCommand::List(_) => list(&store).await,
            PositionsCommand::BeginOver(args) => begin_over(&store, args, &folder, settings).await,
        }
    })
}

async fn list(store: &Store) -> Result<(), Failure> {
    let positions = streams::positions(store.reader()).await.map_err(parts::store_failed)?;
    for ((topic, partition), offset) in positions {
        say(&format!("{topic}  partition {partition}  next offset {offset}"))?;
    }
    Ok(())
}

async fn begin_over(
    store: &Store,
    args: &BeginOverArgs,
    folder: &DataDir,
    settings: &Settings,
) -> Result<(), Failure> {
    let topic = Topic::from(args.topic);
    let begins = beginning(topic, folder, settings)?;
    let mut positions = streams::positions(store.reader()).await.map_err(parts::store_failed)?;
    positions.retain(|(of, number), _| {
        of == topic.name() && args.partition.is_none_or(|partition| *number == partition)
    });
    if positions.is_empty() {
        let message = format!("settlement has read nothing of it: {} begins at its beginning", topic.name());
        return Err(Failure::new(Code::NoInput, message));
    }
    let tx = store.begin().await.map_err(parts::store_failed)?;
    for (&(_, partition), &offset) in &positions {
        let moved = streams::advance(&tx, topic.name(), partition, offset, begins, None)
            .await
            .map_err(parts::store_failed)?;
        if !moved {
            let message = format!("settlement has just moved on in partition {partition}");
            return Err(Failure::new(Code::TempFail, message).with_hint("Nothing was changed; run it again."));
        }
    }
    tx.commit().await.map_err(parts::store_failed)?;
    for ((topic, partition), offset) in positions {
        say(&format!("{topic}  partition {partition}  was at {offset}, begins over"))?;
    }
    Ok(())
}

/// Where settlement has to begin: Kafka takes 0 for the beginning of what it has.
fn beginning(topic: Topic, folder: &DataDir, settings: &Settings) -> Result<i64, Failure> {
    if settings.kafka.is_used() {
        return Ok(0);
    }
    let kept = spool::inspect(&folder.spool_path(settings)).map_err(|error| parts::spool_failed(&error))?;
    Ok(kept[topic.index()].begins)
}
