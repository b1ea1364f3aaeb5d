//! `waypost api`: the management API alone.

use std::sync::Arc;

use super::{
    cli::ApiArgs,
    data_dir::{DataDir, Role},
    exit::{Code, Failure},
    parts, process,
    process::{Process, ReadyFile},
    reseal,
};
use crate::{
    api::{self, ApiParts},
    config::Settings,
    telemetry::{Condition, api::ApiMetrics},
};

pub fn run(args: &ApiArgs, settings: &Settings) -> Result<(), Failure> {
    let runtime = process::runtime()?;
    runtime.block_on(serve(args, settings))
}

async fn serve(args: &ApiArgs, settings: &Settings) -> Result<(), Failure> {
    let folder = DataDir::open(&settings.data_dir, &[Role::Api])?;
    let metrics = process::install_metrics()?;
    let secrets = folder.secrets(settings)?;
    let listener = process::bind("api.listen", settings.api.listen).await?;
    let process = Process::start(settings, metrics, &[Condition::StoreReady]).await?;
    let store = parts::open_store(&folder, settings).await?;
    reseal::clear_text(&store, &secrets).await?;
    process.readiness.set(Condition::StoreReady, true);
    let ready = ReadyFile {
        api: Some(process::url(process::local_addr(&listener)?)),
        admin: Some(process::url(process.admin)),
        ..ReadyFile::default()
    };
    process::write_ready_file(args.serve.ready_file.as_ref(), &ready)?;
    let parts = ApiParts {
        store: store.clone(),
        intake: parts::intake(settings, &secrets),
        sealing: Arc::new(secrets.sealing.clone()),
        settings: settings.api.clone(),
        metrics: ApiMetrics::register(),
        edge_url: None,
        demo: None,
    };
    let served = api::serve(listener, parts, process.shutdown.clone()).await;
    store.close().await.map_err(parts::store_failed)?;
    process.end().await;
    served.map_err(|error| Failure::new(Code::Io, format!("the API's listener failed: {error}")))
}
