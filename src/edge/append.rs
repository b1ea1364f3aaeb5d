//! Hands conversions and refunds to the event log and counts how each ended, also when its sender is gone by then.

use std::rc::Rc;

use tokio::{task::JoinHandle, time::timeout};

use super::core::Core;
use crate::stream::{AppendError, Durability, Record};

/// Waits until the records are durable or refused.
///
/// Records that their sender may repeat (`retry_safe`) are given up after as long as the settings say: what becomes
/// durable later is there twice then, and takes effect once. A repeat of others would be another event.
pub(crate) async fn durable(
    core: &Rc<Core>,
    records: Vec<Record>,
    retry_safe: bool,
) -> Result<Durability, AppendError> {
    let outcome = begin(core, records);
    let outcome = if retry_safe {
        timeout(core.limits.append_time, outcome).await.unwrap_or(Ok(Err(AppendError::Failed)))
    } else {
        outcome.await
    };
    outcome.unwrap_or(Err(AppendError::Closed))
}

/// Hands the records over. The outcome is counted whether or not anybody waits for it.
pub(crate) fn begin(core: &Rc<Core>, records: Vec<Record>) -> JoinHandle<Result<Durability, AppendError>> {
    let metrics = core.metrics().appended.clone();
    let count = records.len() as u64;
    let append = core.parts.sink.append(records);
    core.tasks.spawn_local(async move {
        let outcome = append.await;
        if outcome.is_ok() { metrics.stored } else { metrics.refused }.increment(count);
        outcome
    })
}
