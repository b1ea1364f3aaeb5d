//! `waypost settle`: settlement alone, reading the event log that an edge writes into the same data folder.

use std::{path::Path, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    catalog_source,
    cli::SettleArgs,
    data_dir::{DataDir, Role},
    exit::Failure,
    parts, process,
    process::{Process, ReadyFile},
    reseal,
};
use crate::{
    config::Settings,
    jobs::retention,
    settlement::{self, SettlementParts},
    stream::{
        Topic,
        spool::{SpoolError, SpoolSource},
    },
    telemetry::{Condition, settlement::SettlementMetrics},
};

/// How often an event log that is not there yet is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub fn run(args: &SettleArgs, settings: &Settings) -> Result<(), Failure> {
    let runtime = process::runtime()?;
    runtime.block_on(serve(args, settings))
}

async fn serve(args: &SettleArgs, settings: &Settings) -> Result<(), Failure> {
    let folder = DataDir::open(&settings.data_dir, &[Role::Settle])?;
    let metrics = process::install_metrics()?;
    // Every series is there from the start, also while no edge has made the log yet.
    let settlement_metrics = SettlementMetrics::register();
    let secrets = folder.secrets(settings)?;
    let process = Process::start(settings, metrics, &[Condition::StoreReady]).await?;
    let store = parts::open_store(&folder, settings).await?;
    reseal::clear_text(&store, &secrets).await?;
    process.readiness.set(Condition::StoreReady, true);
    let ready = ReadyFile { admin: Some(process::url(process.admin)), ..ReadyFile::default() };
    process::write_ready_file(args.serve.ready_file.as_ref(), &ready)?;

    let publisher = catalog_source::publish(&store, settings, &process.shutdown);

    let path = folder.spool_path(settings);
    if let Some((clicks, conversions)) = await_log(&path, &process.shutdown).await? {
        let parts = SettlementParts {
            store: store.clone(),
            intake: parts::intake(settings, &secrets),
            settings: settings.settlement.clone(),
            metrics: settlement_metrics,
        };
        let mut tasks = JoinSet::new();
        let days = settings.settlement.click_retention_days;
        tasks.spawn(retention::run(store.clone(), days, process.shutdown.clone()));
        tasks.spawn(settlement::serve(parts, clicks, conversions, process.shutdown.clone()));
        while tasks.join_next().await.is_some() {}
    }
    if let Some(publisher) = publisher {
        // A panic in there has said so.
        let _ = publisher.await;
    }
    store.close().await.map_err(parts::store_failed)?;
    process.end().await;
    Ok(())
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
