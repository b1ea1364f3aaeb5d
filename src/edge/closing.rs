//! Tells the connections of one core to finish.

use std::{cell::Cell, future::Future};

use tokio::sync::Notify;

/// Off until the listener is closed. One core's: a flag that is read for each request without a lock.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    on: Cell<bool>,
    change: Notify,
}

impl Closing {
    pub(crate) fn is_on(&self) -> bool {
        self.on.get()
    }

    /// Resolves when it is turned on, if it was polled before.
    pub(crate) fn told(&self) -> impl Future<Output = ()> + '_ {
        self.change.notified()
    }

    pub(crate) fn turn_on(&self) {
        self.on.set(true);
        self.change.notify_waiters();
    }
}
