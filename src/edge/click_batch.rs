//! Clicks on their way from the answer to the event log, in batches of one core.
//!
//! A batch leaves when it has 256 clicks or is 5 ms old: one duplicate check, one hand-over to the log, one outcome.
//! No answer waits for it. Every click ends as stored or as lost, and what is dropped on the way is lost
//! ([`Unsettled`]): `waypost_edge_clicks_lost_total` pages.

use std::{mem, rc::Rc, time::Duration};

use bytes::BytesMut;
use metrics::Counter;
use uuid::Uuid;

use super::{click::PendingClick, core::Core, pending_clicks::ClickBatch};
use crate::domain::time::Timestamp;

/// How long the first click of a batch waits for others.
const MAX_AGE: Duration = Duration::from_millis(5);
/// Room for a record of the usual size, so that the buffer of a batch is made once.
const RECORD_BYTES: usize = 768;

/// Adds a click, and sends the batch when it is full.
pub(crate) fn add(core: &Rc<Core>, click: PendingClick) {
    if core.clicks_pending.push(click) {
        flush(core);
    }
}

/// Sends batches that are old enough. Never ends.
pub(crate) async fn flush_by_age(core: Rc<Core>) {
    loop {
        core.clicks_pending.begun().await;
        tokio::time::sleep(MAX_AGE).await;
        flush(&core);
    }
}

/// Sends what there is.
pub(crate) fn flush(core: &Rc<Core>) {
    let Some(batch) = core.clicks_pending.take() else { return };
    let unsettled = Unsettled::new(core.metrics().clicks_lost.clone(), batch.clicks.len());
    let Some(flight) = core.clicks_pending.flight() else {
        return drop(unsettled);
    };
    let core = Rc::clone(core);
    let tasks = core.tasks.clone();
    tasks.spawn_local(async move {
        store(&core, batch, unsettled).await;
        drop(flight);
    });
}

/// Checks a batch for duplicates and hands it to the log.
pub(crate) async fn store(core: &Core, batch: ClickBatch, unsettled: Unsettled) {
    let clicks = &batch.clicks;
    let repeats = duplicates(core, clicks).await;
    let now = Timestamp::now();
    let mut records = Vec::with_capacity(clicks.len());
    let mut buffer = BytesMut::with_capacity(clicks.len() * RECORD_BYTES);
    for (click, duplicate_of) in clicks.iter().zip(repeats) {
        // Counted here and not while the visitor waits: these counters are shared by all cores.
        let metrics = core.metrics();
        metrics.redirect_seconds.record(Duration::from_nanos(click.took_ns));
        let redirects = &metrics.redirects;
        if click.has_token { &redirects.attributed } else { &redirects.unattributed }.increment(1);
        metrics.clicks(click.class(duplicate_of)).increment(1);
        records.push(core.write_down(&mut buffer, (click, &batch.texts), duplicate_of, now));
    }
    core.clicks_pending.give_back(batch);
    if core.parts.sink.append(records).await.is_ok() {
        unsettled.stored(&core.metrics().clicks_stored);
    }
}

/// For each click the earlier one that it repeats, if any.
pub(crate) async fn duplicates(core: &Core, clicks: &[PendingClick]) -> Vec<Option<Uuid>> {
    let mut repeats = vec![None; clicks.len()];
    let mut asked = Vec::with_capacity(clicks.len());
    let mut visits = Vec::with_capacity(clicks.len());
    for (n, click) in clicks.iter().enumerate() {
        if let Some(visit) = click.visit {
            asked.push(n);
            visits.push(visit);
        }
    }
    if visits.is_empty() {
        return repeats;
    }
    let firsts = core.parts.recent.first_of(Timestamp::now(), &visits).await;
    for ((n, visit), first) in asked.into_iter().zip(&visits).zip(firsts) {
        repeats[n] = (first != visit.click_id).then_some(first);
    }
    repeats
}

/// Clicks without an outcome yet. Dropped, they are lost.
#[must_use = "dropping it counts the clicks as lost"]
#[derive(Debug)]
pub(crate) struct Unsettled {
    lost: Counter,
    clicks: u64,
}

impl Unsettled {
    pub(crate) fn new(lost: Counter, clicks: usize) -> Self {
        Self { lost, clicks: clicks as u64 }
    }

    /// The log has acknowledged them.
    pub(crate) fn stored(mut self, stored: &Counter) {
        stored.increment(mem::take(&mut self.clicks));
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.lost.increment(self.clicks);
    }
}
