//! `waypost topics`: the topics at the brokers, made and checked.

use clap::{Args, Subcommand};

use super::{
    exit::{Code, Failure},
    output::say,
    process,
};
use crate::{
    config::{KafkaSettings, Settings},
    stream::kafka::{
        admin::{Admin, AdminError},
        topics::{self, Plan, Wanted},
    },
};

#[derive(Clone, Debug, Subcommand)]
pub enum TopicsCommand {
    /// Make the topics that are missing; the others stay as they are
    Create(TopicsArgs),
    /// Say how the topics differ from what they should be
    #[command(
        after_long_help = "Exits with 1 at a difference. More partitions, replicas or days than wanted are none."
    )]
    Check(TopicsCheckArgs),
}

/// What the topics should be like.
#[derive(Clone, Copy, Debug, Args)]
pub struct TopicsArgs {
    /// Partitions of clicks, and of conversions: the most settlement processes that share the work. They never change
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: i32,
    #[command(flatten)]
    pub kept: KeptArgs,
}

/// As [`TopicsArgs`], but the partitions are what they are.
#[derive(Clone, Copy, Debug, Args)]
pub struct TopicsCheckArgs {
    /// Partitions that clicks and conversions have at least [default: any number]
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: i32,
    #[command(flatten)]
    pub kept: KeptArgs,
}

/// How safe events are, and for how long.
#[derive(Clone, Copy, Debug, Args)]
pub struct KeptArgs {
    /// Partitions of the catalog, which an edge reads at once when it starts
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub catalog_partitions: i32,
    /// Brokers that keep each partition
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub replication: i32,
    /// Brokers that have written an event before it is acknowledged
    #[arg(long, value_name = "M", default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub min_insync: i32,
    /// Days that clicks are kept: longer than settlement may stand still, and than the age of a backup of the store,
    /// which settles again from where it was made
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(i64).range(1..=3_650))]
    pub click_retention: i64,
    /// Days that conversions are kept: few and worth money, so twice as long
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(i64).range(1..=3_650))]
    pub conversion_retention: i64,
}

impl KeptArgs {
    fn wanted(self, partitions: i32) -> Wanted {
        Wanted {
            partitions,
            catalog_partitions: self.catalog_partitions,
            replication: self.replication,
            min_insync: self.min_insync,
            click_retention_days: self.click_retention,
            conversion_retention_days: self.conversion_retention,
        }
    }

    fn check(self) -> Result<(), Failure> {
        if self.min_insync <= self.replication {
            return Ok(());
        }
        let message = format!(
            "--min-insync {} with --replication {}: nothing could be written",
            self.min_insync, self.replication
        );
        Err(Failure::new(Code::Usage, message))
    }
}

pub fn run(command: &TopicsCommand, settings: &Settings) -> Result<(), Failure> {
    let kafka = &settings.kafka;
    if !kafka.is_used() {
        return Err(Failure::new(Code::Config, "`kafka.brokers` is empty: there are no topics")
            .with_hint("Set it to the addresses of the brokers, or WAYPOST__KAFKA__BROKERS."));
    }
    let runtime = process::runtime()?;
    match command {
        TopicsCommand::Create(args) => runtime.block_on(create(args, kafka)),
        TopicsCommand::Check(args) => runtime.block_on(check(args, kafka)),
    }
}

async fn create(args: &TopicsArgs, kafka: &KafkaSettings) -> Result<(), Failure> {
    args.kept.check()?;
    let admin = Admin::connect(kafka).await.map_err(|error| failed(kafka, &error))?;
    let plans = topics::plans(kafka, &args.kept.wanted(args.partitions));
    stay_equal(&admin, &plans)?;
    for plan in &plans {
        let made = admin.create(plan).await.map_err(|error| failed(kafka, &error))?;
        let Plan { name, partitions, replication, .. } = plan;
        say(&if made {
            format!("{name}: made, partitions {partitions}, replication {replication}")
        } else {
            format!("{name}: is there already and stays as it is")
        })?;
    }
    admin.until_known(&plans).await.map_err(|error| failed(kafka, &error))
}

/// The partitions of a topic stay as many as they are, so what is made beside one has to fit it.
fn stay_equal(admin: &Admin, [clicks, conversions, _]: &[Plan; 3]) -> Result<(), Failure> {
    let there = match (admin.partitions(clicks), admin.partitions(conversions)) {
        (Some(there), None) | (None, Some(there)) => there,
        (Some(_), Some(_)) | (None, None) => return Ok(()),
    };
    let planned = clicks.partitions;
    if i32::try_from(there) == Ok(planned) {
        return Ok(());
    }
    let message = format!(
        "one of the topics of events is there with {there} partitions, the other would be made with {planned}: they must \
         have as many"
    );
    Err(Failure::new(Code::Difference, message).with_hint(format!("Give `--partitions {there}`.")))
}

async fn check(args: &TopicsCheckArgs, kafka: &KafkaSettings) -> Result<(), Failure> {
    let mut wanted = args.kept.wanted(args.partitions);
    // Of the partitions the number is given once, when the topic is made.
    wanted.catalog_partitions = 1;
    let plans = topics::plans(kafka, &wanted);
    let admin = Admin::connect(kafka).await.map_err(|error| failed(kafka, &error))?;
    let found = admin.describe(&plans).await.map_err(|error| failed(kafka, &error))?;
    let [clicks, conversions, ..] = found.as_slice() else { return Ok(()) };
    let unequal = topics::unequal(clicks.as_ref(), conversions.as_ref());
    let mut total = 0;
    for (n, (plan, found)) in plans.iter().zip(&found).enumerate() {
        let mut differences = plan.differences(found.as_ref());
        if n == 1 {
            differences.extend(unequal.clone());
        }
        for difference in &differences {
            say(&format!("{}: {difference}", plan.name))?;
        }
        if let (true, Some(found)) = (differences.is_empty(), found) {
            let name = &plan.name;
            let (partitions, replication) = (found.partitions, found.replication);
            say(&format!("{name}: good, partitions {partitions}, replication {replication}"))?;
        }
        total += differences.len();
    }
    match total {
        0 => Ok(()),
        1 => Err(Failure::new(Code::Difference, "the topics differ in one point")),
        many => Err(Failure::new(Code::Difference, format!("the topics differ in {many} points"))),
    }
}

fn failed(kafka: &KafkaSettings, error: &AdminError) -> Failure {
    let message = format!("Kafka at {} cannot be used: {error}", kafka.brokers);
    let (code, hint) = match error {
        AdminError::Settings(_) => {
            (Code::Config, "Check the section `kafka` of the settings, and that its files can be read.")
        }
        AdminError::Tls(_) => {
            (Code::Unavailable, "Check `kafka.ca`, `kafka.security` and that the port is one with TLS.")
        }
        AdminError::Credentials(_) => {
            (Code::Unavailable, "Check `kafka.username`, `kafka.password` and `kafka.sasl_mechanism`.")
        }
        AdminError::Unreachable(_) => (
            Code::Unavailable,
            "Check `kafka.brokers`, and `kafka.security`: brokers close connections of another kind.",
        ),
        AdminError::Refused(_) => {
            (Code::Unavailable, "Check what this user may do, and the number of brokers.")
        }
    };
    Failure::new(code, message).with_hint(hint)
}
