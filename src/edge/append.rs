//! Hands conversions and refunds to the event log and counts how each ended, also when its sender is gone by then.

use std::rc::Rc;

use tokio::task::JoinHandle;

use super::core::Core;
use crate::stream::{AppendError, Durability, Record};

/// Waits until the records are durable or refused.
pub(crate) async fn durable(core: &Rc<Core>, records: Vec<Record>) -> Result<Durability, AppendError> {
    begin(core, records).await.unwrap_or(Err(AppendError::Closed))
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
