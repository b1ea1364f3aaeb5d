//! The duplicate check: whether the same visitor followed the same link within the window.
//!
//! Exactly one of equal keys is first, within a batch and across concurrent calls. The window begins with the first
//! click and does not slide: later clicks do not prolong it.

use std::{future::Future, pin::Pin};

use quick_cache::sync::{Cache, EntryAction, EntryResult};
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

/// Remembers who came first.
pub trait RecentVisits: Send + Sync + 'static {
    /// For each visit, in its order, the click id that came first within the window; its own says that it is fresh.
    fn first_of<'a>(
        &'a self,
        now: Timestamp,
        visits: &'a [Visit],
    ) -> Pin<Box<dyn Future<Output = Vec<Uuid>> + Send + 'a>>;
}

#[derive(Clone, Copy, Debug)]
struct First {
    click_id: Uuid,
    until: Timestamp,
}

/// Remembers in this process, all cores together: at most `capacity` visits, the least useful forgotten first.
pub struct MemoryRecentVisits {
    visits: Cache<[u8; 16], First>,
}

impl std::fmt::Debug for MemoryRecentVisits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryRecentVisits").field("visits", &self.visits.len()).finish_non_exhaustive()
    }
}

impl MemoryRecentVisits {
    pub fn new(capacity: usize) -> Self {
        Self { visits: Cache::new(capacity) }
    }

    /// Visits remembered now, those whose window has passed included.
    pub fn len(&self) -> usize {
        self.visits.len()
    }

    pub fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    fn first(&self, now: Timestamp, visit: &Visit) -> Uuid {
        let window = visit.window_ms.min(MAX_WINDOW_MS);
        if window == 0 {
            return visit.click_id;
        }
        let mine = First { click_id: visit.click_id, until: now + i64::from(window) };
        // The shard is locked while the entry is looked at, and an empty place is held for us until it is filled:
        // so one of two calls with the same key comes first.
        let found = self.visits.entry(&visit.key, None, |_, first| {
            if now >= first.until {
                *first = mine;
            }
            EntryAction::<Uuid>::Retain(first.click_id)
        });
        match found {
            EntryResult::Retained(click_id) => click_id,
            EntryResult::Vacant(place) | EntryResult::Replaced(place, _) => {
                // Refused only when the cache has no room at all.
                let _ = place.insert(mine);
                visit.click_id
            }
            EntryResult::Removed(..) | EntryResult::Timeout => visit.click_id,
        }
    }
}

impl RecentVisits for MemoryRecentVisits {
    fn first_of<'a>(
        &'a self,
        now: Timestamp,
        visits: &'a [Visit],
    ) -> Pin<Box<dyn Future<Output = Vec<Uuid>> + Send + 'a>> {
        let first = visits.iter().map(|visit| self.first(now, visit)).collect();
        Box::pin(std::future::ready(first))
    }
}
