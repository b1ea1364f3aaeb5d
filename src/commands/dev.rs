//! `waypost dev`: edge, settlement, jobs and API in one process with the embedded parts.

use std::{path::Path, sync::Arc, time::Duration};

use sea_orm::DbErr;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    cli::DevArgs,
    data_dir::{DataDir, Role},
    demo::{self, DemoKeys},
    exit::{Code, Failure},
    output::say,
    parts, process,
    process::{Process, ReadyFile},
    reseal,
};
use crate::{
    api::{self, ApiParts, DemoPage},
    catalog::Catalog,
    config::Settings,
    edge,
    jobs::{audit, bonuses, catalog_feed, retention},
    ledger::Intake,
    settlement::{self, SettlementParts},
    store::{Store, streams},
    stream::{
        Topic,
        spool::{self, Spool},
    },
    telemetry::{
        Condition, api::ApiMetrics, audit::AuditMetrics, bonuses::BonusMetrics, settlement::SettlementMetrics,
    },
};

/// What settlement may take to finish behind the edge; below what the whole end may take.
const CATCH_UP: Duration = Duration::from_secs(3);

/// How often its position is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub fn run(args: &DevArgs, settings: &Settings) -> Result<(), Failure> {
    let runtime = process::runtime()?;
    runtime.block_on(serve(args, settings))
}

async fn serve(args: &DevArgs, settings: &Settings) -> Result<(), Failure> {
    let folder = DataDir::open(&settings.data_dir, &Role::ALL)?;
    let metrics = process::install_metrics()?;
    let edge_metrics = parts::register_edge_metrics(settings);
    let secrets = folder.secrets(settings)?;
    let api_listener = process::bind("api.listen", settings.api.listen).await?;
    let edge_listeners = edge::bind(settings.edge.listen, settings.edge.cores)
        .map_err(|error| Failure::listen("edge.listen", settings.edge.listen, &error))?;
    let process =
        Process::start(settings, metrics, &[Condition::CatalogLoaded, Condition::StoreReady]).await?;
    let store = parts::open_store(&folder, settings).await?;
    reseal::clear_text(&store, &secrets).await?;
    let api_url = process::url(process::local_addr(&api_listener)?);
    let edge_url = process::url(edge_listeners.local_addr());
    let demo = demo::ensure(&store, &secrets.sealing, folder.path(), &format!("{api_url}/demo")).await?;
    process.readiness.set(Condition::StoreReady, true);
    let catalog = Arc::new(Catalog::new());
    catalog_feed::catch_up(&store, &catalog, &mut 0).await.map_err(parts::store_failed)?;
    let geo = parts::open_geo(settings)?;
    let spool = parts::open_spool(&folder, settings)?;
    let recent = parts::recent_visits(settings)?;
    let sink = spool.sink();
    let edge_parts =
        parts::edge_parts(settings, &secrets, catalog.clone(), geo.clone(), recent, sink, edge_metrics);
    let edge = edge::serve(&settings.edge, edge_parts, edge_listeners, process.shutdown.clone())
        .map_err(|error| Failure::new(Code::Software, format!("the edge cannot start: {error}")))?;

    // The edge drains first; what reads its events stops when it has.
    let behind = CancellationToken::new();
    let intake = parts::intake(settings, &secrets);
    let mut tasks = JoinSet::new();
    tasks.spawn(catalog_feed::run(store.clone(), catalog.clone(), behind.clone()));
    tasks.spawn(geo.watch(behind.clone()));
    tasks.spawn(retention::run(store.clone(), settings.settlement.click_retention_days, behind.clone()));
    let interval = Duration::from_millis(settings.settlement.audit_interval_ms);
    tasks.spawn(audit::run(store.clone(), interval, AuditMetrics::register(), behind.clone()));
    let interval = Duration::from_millis(settings.settlement.bonus_interval_ms);
    tasks.spawn(bonuses::run(store.clone(), interval, BonusMetrics::register(), behind.clone()));
    settle(&mut tasks, settings, &store, &spool, intake.clone(), behind.clone())?;
    let page = demo.as_ref().map(|demo| DemoPage {
        account: demo.account,
        program: demo.program,
        program_slug: demo::PROGRAM.to_owned(),
        edge_url: edge_url.clone(),
        link_code: demo::LINK.to_owned(),
    });
    let api_parts = ApiParts {
        store: store.clone(),
        intake,
        sealing: Arc::new(secrets.sealing.clone()),
        settings: settings.api.clone(),
        metrics: ApiMetrics::register(),
        edge_url: Some(edge_url.clone()),
        demo: page,
    };
    serve_api(&mut tasks, api_parts, api_listener, process.shutdown.clone());
    catalog.mark_loaded();
    process.readiness.set(Condition::CatalogLoaded, true);

    let admin_url = process::url(process.admin);
    let keys = demo.map(|demo| demo.keys);
    process::write_ready_file(
        args.serve.ready_file.as_ref(),
        &ReadyFile {
            edge: Some(edge_url.clone()),
            api: Some(api_url.clone()),
            admin: Some(admin_url.clone()),
            secret_key: keys.as_ref().map(|keys| keys.secret_key.clone()),
            publishable_key: keys.as_ref().map(|keys| keys.publishable_key.clone()),
        },
    )?;
    say(&welcome(&folder, &edge_url, &api_url, &admin_url, keys.as_ref()))?;

    process.shutdown.cancelled().await;
    let drained = edge.join().await;
    settle_the_rest(&store, &folder.spool_path(settings)).await;
    behind.cancel();
    while tasks.join_next().await.is_some() {}
    spool.close();
    store.close().await.map_err(parts::store_failed)?;
    process.end().await;
    drained.map_err(|error| Failure::new(Code::Software, error.to_string()))
}

fn settle(
    tasks: &mut JoinSet<()>,
    settings: &Settings,
    store: &Store,
    spool: &Spool,
    intake: Arc<Intake>,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let clicks = spool.source(Topic::Clicks).map_err(|error| parts::spool_failed(&error))?;
    let conversions = spool.source(Topic::Conversions).map_err(|error| parts::spool_failed(&error))?;
    let parts = SettlementParts {
        store: store.clone(),
        intake,
        settings: settings.settlement.clone(),
        metrics: SettlementMetrics::register(),
    };
    tasks.spawn(settlement::serve(parts, clicks, conversions, shutdown));
    Ok(())
}

/// Waits until settlement has taken what the edge left in the log, its markers of the end included, so that the store
/// alone tells the whole story. What takes longer stays in the log for the next start.
async fn settle_the_rest(store: &Store, log: &Path) {
    let left = match spool::inspect(log) {
        Ok(topics) => topics,
        Err(error) => return warn!(%error, "the end of the event log cannot be seen"),
    };
    let settled = async {
        for stats in left {
            while streams::position(store.reader(), stats.topic.name(), 0).await? < stats.next_offset {
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok::<_, DbErr>(())
    };
    match timeout(CATCH_UP, settled).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "settlement's position cannot be read"),
        Err(_) => warn!("events stay in the event log; the next start settles them"),
    }
}

fn serve_api(tasks: &mut JoinSet<()>, parts: ApiParts, listener: TcpListener, shutdown: CancellationToken) {
    tasks.spawn(async move {
        if let Err(error) = api::serve(listener, parts, shutdown).await {
            error!(%error, "the API's listener failed");
        }
    });
}

fn welcome(folder: &DataDir, edge: &str, api: &str, admin: &str, keys: Option<&DemoKeys>) -> String {
    let mut text = format!(
        "Waypost is ready.\n\n\
         \x20 redirects, pixels, events  {edge}\n\
         \x20 management API             {api}/docs\n\
         \x20 metrics and probes         {admin}/metrics\n\
         \x20 state                      {}\n",
        folder.path().display()
    );
    let Some(keys) = keys else {
        text.push_str("\nThis store was not made by `waypost dev`, so there is no demo in it.\n");
        return text;
    };
    let secret = &keys.secret_key;
    text.push_str(&format!(
        "  demo shop                  {api}/demo\n\
         \x20 secret key                 {secret}\n\
         \x20 publishable key            {}\n\n\
         From a click to its commission, in another terminal:\n\n\
         CLICK=$(curl -sS -A '{BROWSER}' -o /dev/null -w '%{{redirect_url}}' {edge}/r/{LINK} | sed 's/.*click_id=//')\n\
         curl -sS {edge}/v1/events/conversion -H 'Authorization: Bearer {secret}' --json \
         '{{\"program\":\"{PROGRAM}\",\"external_id\":\"order-1\",\"amount\":\"49.90\",\"click_id\":\"'$CLICK'\"}}'; echo\n\
         COMMISSION=$(sleep 1; curl -sS '{api}/v1/commissions?limit=1' -H 'Authorization: Bearer {secret}' | grep -o 'com_[0-9a-f]*' | head -n 1)\n\
         curl -sS {api}/v1/commissions/$COMMISSION/explain -H 'Authorization: Bearer {secret}'; echo\n\n\
         Or follow {edge}/r/{LINK} in a browser and press the button.\n\
         Stop with Ctrl-C; the state is there again at the next start.",
        keys.publishable_key,
        BROWSER = demo::BROWSER,
        LINK = demo::LINK,
        PROGRAM = demo::PROGRAM,
    ));
    text
}
