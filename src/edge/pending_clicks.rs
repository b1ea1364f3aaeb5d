//! The batch of clicks that fills, and how many batches are under way.

use std::{
    cell::{RefCell, RefMut},
    mem,
    rc::Rc,
};

use tokio::sync::Notify;

use super::click::PendingClick;

/// Clicks of a batch at most.
const MAX_CLICKS: usize = 256;
/// Batches of a core that may wait for the duplicate check or the log: 131,072 clicks, more than a core answers in a
/// second, and 2.5 s where batches leave by their age. More means that neither answers; then a bounded memory is worth
/// more than clicks that can be stored nowhere.
const MAX_IN_FLIGHT: usize = 512;
/// Emptied batches that are kept, so that the next ones have their memory: as many as are under way when all is well.
const MAX_SPARE: usize = 4;
/// A batch with more room than this is not kept: long texts are rare.
const MAX_SPARE_BYTES: usize = 256 * 1024;

/// Clicks that go to the log together, and what was told of them.
#[derive(Debug, Default)]
pub(crate) struct ClickBatch {
    pub clicks: Vec<PendingClick>,
    pub texts: Vec<u8>,
}

/// The clicks of one core that were answered and not sent yet.
#[derive(Debug, Default)]
pub(crate) struct PendingClicks {
    batch: RefCell<ClickBatch>,
    spare: RefCell<Vec<ClickBatch>>,
    in_flight: Rc<()>,
    begun: Notify,
}

/// A batch under way; dropped when it has its outcome.
#[derive(Debug)]
pub(crate) struct Flight {
    _counted: Rc<()>,
}

impl PendingClicks {
    /// Where the next click is told. What is told has to be [pushed](Self::push).
    pub(crate) fn texts(&self) -> RefMut<'_, Vec<u8>> {
        RefMut::map(self.batch.borrow_mut(), |batch| &mut batch.texts)
    }

    /// Adds a click that was told in [`Self::texts`]; `true`: the batch is full.
    pub(crate) fn push(&self, click: PendingClick) -> bool {
        let clicks = &mut self.batch.borrow_mut().clicks;
        if clicks.capacity() == 0 {
            clicks.reserve_exact(MAX_CLICKS);
        }
        clicks.push(click);
        if clicks.len() == 1 {
            self.begun.notify_one();
        }
        clicks.len() >= MAX_CLICKS
    }

    /// Waits until a batch has begun.
    pub(crate) async fn begun(&self) {
        self.begun.notified().await;
    }

    /// The clicks that there are, if any; a new batch begins.
    pub(crate) fn take(&self) -> Option<ClickBatch> {
        let mut batch = self.batch.borrow_mut();
        (!batch.clicks.is_empty())
            .then(|| mem::replace(&mut *batch, self.spare.borrow_mut().pop().unwrap_or_default()))
    }

    /// Keeps the memory of a batch that was written down.
    pub(crate) fn give_back(&self, mut batch: ClickBatch) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < MAX_SPARE && batch.texts.capacity() <= MAX_SPARE_BYTES {
            batch.clicks.clear();
            batch.texts.clear();
            spare.push(batch);
        }
    }

    /// A place among the batches under way; `None`: there are too many.
    pub(crate) fn flight(&self) -> Option<Flight> {
        (Rc::strong_count(&self.in_flight) <= MAX_IN_FLIGHT)
            .then(|| Flight { _counted: Rc::clone(&self.in_flight) })
    }
}
