//! The duplicate check: whether the same visitor followed the same link within the window.
//!
//! Exactly one of equal keys is first, within a batch and across concurrent calls. The window begins with the first
//! click and does not slide: later clicks do not prolong it.
//!
//! [`MemoryRecentVisits`] knows the visits of one process. [`RedisRecentVisits`] knows those of all that share a Redis,
//! and falls back to the former while Redis is away.

mod breaker;
mod link;
mod memory;
mod redis;
mod server;

pub use self::{memory::MemoryRecentVisits, redis::RedisRecentVisits, server::ServerError};

use std::{future::Future, pin::Pin};

use uuid::Uuid;

use crate::domain::time::Timestamp;

/// The longest window, 24 h in milliseconds.
pub const MAX_WINDOW_MS: u32 = 86_400_000;

/// One click, as the duplicate check sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// [`VisitorHasher::visit_key`](super::VisitorHasher::visit_key).
    pub key: [u8; 16],
    pub click_id: Uuid,
    /// At most [`MAX_WINDOW_MS`]; longer ones are cut to it. 0: never a duplicate.
    pub window_ms: u32,
}

impl Visit {
    fn window(&self) -> u32 {
        self.window_ms.min(MAX_WINDOW_MS)
    }
}

/// Remembers who came first.
pub trait RecentVisits: Send + Sync + 'static {
    /// For each visit, in its order, the click id that came first within the window; its own says that it is fresh.
    fn first_of<'a>(
        &'a self,
        now: Timestamp,
        visits: &'a [Visit],
    ) -> Pin<Box<dyn Future<Output = Vec<Uuid>> + Send + 'a>>;
}
