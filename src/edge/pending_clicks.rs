//! The batch of clicks that fills, and how many batches are under way.

use std::{cell::RefCell, mem, rc::Rc};

use tokio::sync::Notify;

use super::click::PendingClick;

/// Clicks of a batch at most.
const MAX_CLICKS: usize = 256;
/// Batches of a core that may wait for the duplicate check or the log. More means that neither answers; then a
/// bounded memory is worth more than clicks that can be stored nowhere.
const MAX_IN_FLIGHT: usize = 256;

/// The clicks of one core that were answered and not sent yet.
#[derive(Debug, Default)]
pub(crate) struct PendingClicks {
    clicks: RefCell<Vec<PendingClick>>,
    in_flight: Rc<()>,
    begun: Notify,
}

/// A batch under way; dropped when it has its outcome.
#[derive(Debug)]
pub(crate) struct Flight {
    _counted: Rc<()>,
}

impl PendingClicks {
    /// Adds a click; `true`: the batch is full.
    pub(crate) fn push(&self, click: PendingClick) -> bool {
        let mut clicks = self.clicks.borrow_mut();
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

    /// What there is; a new batch begins.
    pub(crate) fn take(&self) -> Vec<PendingClick> {
        mem::take(&mut *self.clicks.borrow_mut())
    }

    /// A place among the batches under way; `None`: there are too many.
    pub(crate) fn flight(&self) -> Option<Flight> {
        (Rc::strong_count(&self.in_flight) <= MAX_IN_FLIGHT)
            .then(|| Flight { _counted: Rc::clone(&self.in_flight) })
    }
}
