//! The stamps that make the sum add up: every event of a stream carries the next number, without gaps.
//!
//! A number is used when its event is handed to the log, never before, and never again: an event that the log
//! refused leaves a gap, which reconciliation lists and `waypost_edge_clicks_lost_total` or the 503 explains.
//! A stream belongs to one core, so the counter is a plain integer.

use std::{cell::Cell, sync::Arc};

use uuid::Uuid;

use crate::events::Origin;

/// One stream of one core.
#[derive(Debug)]
pub struct Stream {
    edge: Arc<str>,
    boot: Uuid,
    name: Arc<str>,
    last: Cell<u64>,
}

impl Stream {
    /// The stream `{kind}/{core}`, before its first event.
    pub fn new(edge: &str, boot: Uuid, kind: &str, core: usize) -> Self {
        // A copy of the edge's name for each stream: a shared one would be counted by all cores at once.
        Self { edge: edge.into(), boot, name: format!("{kind}/{core}").into(), last: Cell::new(0) }
    }

    /// The stamp of the next event.
    pub fn next(&self) -> Stamp<'_> {
        let n = self.last.get() + 1;
        self.last.set(n);
        Stamp { edge: &self.edge, boot: self.boot, stream: &self.name, n }
    }
}

/// An [`Origin`] that owns nothing.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    pub(super) edge: &'a Arc<str>,
    pub(super) boot: Uuid,
    pub(super) stream: &'a Arc<str>,
    pub(super) n: u64,
}

impl From<Stamp<'_>> for Origin {
    fn from(stamp: Stamp<'_>) -> Self {
        Self { edge: stamp.edge.clone(), boot: stamp.boot, stream: stamp.stream.clone(), n: stamp.n }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_with_one_and_have_no_gaps() {
        let stream = Stream::new("edge-1", Uuid::nil(), "clicks", 3);
        let stamps: Vec<u64> = (0..3).map(|_| stream.next().n).collect();
        assert_eq!(stamps, [1, 2, 3]);
        assert_eq!(&**stream.next().stream, "clicks/3");
    }
}
