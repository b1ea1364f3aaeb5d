//! `waypost settle`: settlement alone. With Kafka it is one of any number of instances that share the partitions of
//! the topics; without, it reads the event log that an edge writes into the same data folder.

use std::{path::Path, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    catalog_source,
    cli::SettleArgs,
    data_dir::{DataDir, Role},
    exit::{Code, Failure},
    parts, process,
    process::{Process, ReadyFile},
};
use crate::{
    config::Settings,
    jobs::{audit, bonuses, retention},
    settlement::{self, SettlementParts},
    stream::{
        EventSource, Topic,
        kafka::{KafkaSource, Left},
        spool::{SpoolError, SpoolSource},
    },
    telemetry::{
        Condition, audit::AuditMetrics, bonuses::BonusMetrics, kafka_consumer::KafkaConsumersMetrics,
        settlement::SettlementMetrics,
    },
};

/// How often an event log that is not there yet is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What leaving the consumer groups may take; the process ends then all the same.
const LEAVE: Duration = Duration::from_secs(3);

pub fn run(args: &SettleArgs, settings: &Settings) -> Result<(), Failure> {
    let runtime = process::runtime()?;
    runtime.block_on(serve(args, settings))
}

/// Ready means that the store was found at the start. That the brokers answer is no condition: while they do not, no
/// other instance could do better.
async fn serve(args: &SettleArgs, settings: &Settings) -> Result<(), Failure> {
    let folder = DataDir::open(&settings.data_dir, &[Role::Settle])?;
    let metrics = process::install_metrics()?;
    // Every series is there from the start, also while no edge has made the log yet.
    let settlement_metrics = SettlementMetrics::register();
    let audit_metrics = AuditMetrics::register();
    let bonus_metrics = BonusMetrics::register();
    let kafka_metrics = KafkaConsumersMetrics::register(&settings.kafka);
    let secrets = folder.secrets(settings)?;
    let process = Process::start(settings, metrics, &[Condition::StoreReady]).await?;
    let store = parts::open_store(&folder, settings).await?;
    process.readiness.set(Condition::StoreReady, true);
    let ready = ReadyFile { admin: Some(process::url(process.admin)), ..ReadyFile::default() };
    process::write_ready_file(args.serve.ready_file.as_ref(), &ready)?;

    let publisher = catalog_source::publish(&store, settings, &process.shutdown);
    let mut tasks = JoinSet::new();
    let days = settings.settlement.click_retention_days;
    tasks.spawn(retention::run(store.clone(), days, process.shutdown.clone()));
    let interval = Duration::from_millis(settings.settlement.audit_interval_ms);
    tasks.spawn(audit::run(store.clone(), interval, audit_metrics, process.shutdown.clone()));
    let interval = Duration::from_millis(settings.settlement.bonus_interval_ms);
    tasks.spawn(bonuses::run(store.clone(), interval, bonus_metrics, process.shutdown.clone()));
    let parts = SettlementParts {
        store: store.clone(),
        intake: parts::intake(settings, &secrets),
        settings: settings.settlement.clone(),
        metrics: settlement_metrics,
    };
    let mut left = Vec::new();
    if let Some(metrics) = kafka_metrics {
        let (clicks, conversions) = join(settings, metrics, &mut left)?;
        settle(&mut tasks, parts, clicks, conversions, &process.shutdown);
    } else if let Some((clicks, conversions)) =
        await_log(&folder.spool_path(settings), &process.shutdown).await?
    {
        settle(&mut tasks, parts, clicks, conversions, &process.shutdown);
    }
    while tasks.join_next().await.is_some() {}
    for left in left {
        left.wait(LEAVE).await;
    }
    if let Some(publisher) = publisher {
        // A panic in there has said so.
        let _ = publisher.await;
    }
    store.close().await.map_err(parts::store_failed)?;
    process.end().await;
    Ok(())
}

fn settle<S: EventSource>(
    tasks: &mut JoinSet<()>,
    parts: SettlementParts,
    clicks: S,
    conversions: S,
    shutdown: &CancellationToken,
) {
    tasks.spawn(settlement::serve(parts, clicks, conversions, shutdown.clone()));
}

/// Joins the consumer groups of both topics.
fn join(
    settings: &Settings,
    metrics: KafkaConsumersMetrics,
    left: &mut Vec<Left>,
) -> Result<(KafkaSource, KafkaSource), Failure> {
    let mut of = |topic, metrics| {
        let (source, end) = KafkaSource::join(&settings.kafka, topic, metrics).map_err(|error| {
            Failure::new(Code::Config, format!("settlement cannot use Kafka: {error}"))
                .with_hint("Check the settings of `[kafka]`.")
        })?;
        left.push(end);
        Ok::<_, Failure>(source)
    };
    Ok((of(Topic::Clicks, metrics.clicks)?, of(Topic::Conversions, metrics.conversions)?))
}

/// Waits until an edge has made the event log; `None`: told to stop before.
async fn await_log(
    path: &Path,
    shutdown: &CancellationToken,
) -> Result<Option<(SpoolSource, SpoolSource)>, Failure> {
    let open = || Ok((SpoolSource::open(path, Topic::Clicks)?, SpoolSource::open(path, Topic::Conversions)?));
    let mut told = false;
    loop {
        match open() {
            Ok(sources) => return Ok(Some(sources)),
            Err(SpoolError::Missing(_)) => {}
            Err(error) => return Err(parts::spool_failed(&error)),
        }
        if !told {
            info!(path = %path.display(), "waiting for an edge to make the event log");
            told = true;
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = sleep(LOOK_AGAIN) => {}
        }
    }
}
