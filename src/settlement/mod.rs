//! Settlement: reads the event log in order and lets every event take effect once.
//!
//! Two consumers apart, so that a burst of clicks never delays money. Each takes a batch, applies it and moves its
//! position by compare-and-set, all in one transaction of the store: a batch has happened whole or not at all, and
//! a consumer that lost its partition cannot commit. A batch that fails is tried again event by event: what fails
//! for a reason in the event is rejected with it; one of a version that this build does not know, or that shows a defect
//! of it, stops its partition, and what fails for another reason the consumer, until it passes or somebody helps.
//! Nothing is ever skipped.

mod batch;
mod clicks;
mod consumer;
mod conversions;
mod defect;
mod horizon;
mod pending;
mod proof;
pub mod reconcile;

use std::sync::Arc;

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    config::SettlementSettings,
    ledger::Intake,
    store::Store,
    stream::{EventSource, Topic},
    telemetry::settlement::SettlementMetrics,
};

/// What settlement works with.
#[derive(Clone, Debug)]
pub struct SettlementParts {
    pub store: Store,
    pub intake: Arc<Intake>,
    pub settings: SettlementSettings,
    pub metrics: SettlementMetrics,
}

/// Settles until `shutdown`; then finishes the batches that have begun.
pub async fn serve<S: EventSource>(
    parts: SettlementParts,
    clicks: S,
    conversions: S,
    shutdown: CancellationToken,
) {
    // Clicks wake the conversions that wait for them.
    let arrived = Arc::new(Notify::new());
    let horizon = horizon::Horizon::new(parts.store.clone(), clicks.end(), conversions.end());
    let parts_ended = parts.metrics.parts_ended.clone();
    let mut tasks = JoinSet::new();
    let taker =
        clicks::ClickBatches::new(parts.intake.clone(), parts.settings.click_retention_days, arrived.clone());
    tasks.spawn(consumer::run(
        consumer::Consumer::new(Topic::Clicks, &parts, parts.metrics.clicks.clone()),
        clicks,
        taker,
        shutdown.clone(),
    ));
    let taker = conversions::ConversionBatches::new(parts.intake.clone());
    tasks.spawn(consumer::run(
        consumer::Consumer::new(Topic::Conversions, &parts, parts.metrics.conversions.clone()),
        conversions,
        taker,
        shutdown.clone(),
    ));
    tasks.spawn(pending::run(parts, horizon, arrived, shutdown));
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            // A defect of this program, outside of what is done for one event. The others go on.
            error!(%error, "a part of settlement has ended");
            parts_ended.increment(1.0);
        }
    }
}
