//! `waypost edge`: the data plane alone, with its event log on Kafka or in the data folder.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    catalog_source,
    cli::EdgeArgs,
    data_dir::{DataDir, Role},
    event_log::EventLog,
    exit::{Code, Failure},
    parts, process,
    process::{Process, ReadyFile},
};
use crate::{config::Settings, edge, telemetry::Condition};

pub fn run(args: &EdgeArgs, settings: &Settings) -> Result<(), Failure> {
    let runtime = process::runtime()?;
    runtime.block_on(serve(args, settings))
}

async fn serve(args: &EdgeArgs, settings: &Settings) -> Result<(), Failure> {
    catalog_source::require(settings)?;
    let folder = DataDir::open(&settings.data_dir, &[Role::Edge])?;
    let metrics = process::install_metrics()?;
    let edge_metrics = parts::register_edge_metrics(settings);
    let secrets = folder.secrets(settings)?;
    let listeners = edge::bind(settings.edge.listen, settings.edge.cores)
        .map_err(|error| Failure::listen("edge.listen", settings.edge.listen, &error))?;
    let process = Process::start(settings, metrics, &[Condition::CatalogLoaded]).await?;
    let geo = parts::open_geo(settings)?;
    // Before the catalog is waited for, so that a wrong setting is told at once.
    let recent = parts::recent_visits(settings)?;
    let log = EventLog::open(&folder, settings).await?;
    // Nothing is accepted before every link is known: an unknown one would be answered 404.
    let source = catalog_source::start(&folder, settings, &process.shutdown).await?;
    let Some((source, catalog)) = source else {
        log.close().await;
        process.end().await;
        return Ok(());
    };
    let edge_url = process::url(listeners.local_addr());
    let edge_parts =
        parts::edge_parts(settings, &secrets, catalog, geo.clone(), recent, log.sink(), edge_metrics);
    let edge = edge::serve(&settings.edge, edge_parts, listeners, process.shutdown.clone())
        .map_err(|error| Failure::new(Code::Software, format!("the edge cannot start: {error}")))?;
    let behind = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(geo.watch(behind.clone()));
    process.readiness.set(Condition::CatalogLoaded, true);
    let ready =
        ReadyFile { edge: Some(edge_url), admin: Some(process::url(process.admin)), ..ReadyFile::default() };
    process::write_ready_file(args.serve.ready_file.as_ref(), &ready)?;

    process.shutdown.cancelled().await;
    let drained = edge.join().await;
    behind.cancel();
    while tasks.join_next().await.is_some() {}
    source.close().await;
    log.close().await;
    process.end().await;
    drained.map_err(|error| Failure::new(Code::Software, error.to_string()))
}
