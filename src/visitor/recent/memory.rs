//! The duplicate check of one process.

use std::{future::Future, pin::Pin};

use metrics::Gauge;
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use uuid::Uuid;

use super::{RecentVisits, Visit};
use crate::{domain::time::Timestamp, telemetry::visitor::VisitorMetrics};

#[derive(Clone, Copy, Debug)]
struct First {
    click_id: Uuid,
    until: Timestamp,
}

/// Remembers in this process, all cores together: at most `capacity` visits, the least useful forgotten first.
pub struct MemoryRecentVisits {
    visits: Cache<[u8; 16], First>,
    remembered: Gauge,
}

impl std::fmt::Debug for MemoryRecentVisits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryRecentVisits").field("visits", &self.visits.len()).finish_non_exhaustive()
    }
}

impl MemoryRecentVisits {
    /// Remembers at most `capacity` visits; a visit that is forgotten too early counts as fresh the next time.
    pub fn new(capacity: usize) -> Self {
        Self { visits: Cache::new(capacity), remembered: VisitorMetrics::register().recent_visits }
    }

    /// Visits remembered now, those whose window has passed included.
    pub fn len(&self) -> usize {
        self.visits.len()
    }

    pub fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    /// The click that came first, for each visit.
    pub(super) fn firsts(&self, now: Timestamp, visits: &[Visit]) -> Vec<Uuid> {
        let firsts = visits.iter().map(|visit| self.first(now, visit)).collect();
        self.remembered.set(f64::from(u32::try_from(self.len()).unwrap_or(u32::MAX)));
        firsts
    }

    /// `visit`, which was first here, has another one before it elsewhere: that one is remembered until its window ends,
    /// which its click id tells. Where it does not tell, nobody is.
    pub(super) fn learn(&self, now: Timestamp, visit: &Visit, first: Uuid) {
        let until = Timestamp::of_uuid(first).map(|at| at + i64::from(visit.window()));
        let theirs = until.filter(|until| *until > now).map(|until| First { click_id: first, until });
        // An empty place that it may return is given up again when it is dropped.
        drop(self.visits.entry(&visit.key, None, |_, known| match theirs {
            _ if known.click_id != visit.click_id => EntryAction::Retain(()),
            Some(theirs) => {
                *known = theirs;
                EntryAction::Retain(())
            }
            None => EntryAction::Remove,
        }));
    }

    fn first(&self, now: Timestamp, visit: &Visit) -> Uuid {
        let window = visit.window();
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
        Box::pin(std::future::ready(self.firsts(now, visits)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use proptest::prelude::*;

    use super::{super::MAX_WINDOW_MS, *};

    const HOUR: u32 = 3_600_000;

    fn visit(key: u8, click: u128) -> Visit {
        Visit { key: [key; 16], click_id: Uuid::from_u128(click), window_ms: HOUR }
    }

    async fn first_of(recent: &MemoryRecentVisits, now: i64, visits: &[Visit]) -> Vec<u128> {
        recent.first_of(Timestamp(now), visits).await.iter().map(Uuid::as_u128).collect()
    }

    #[tokio::test]
    async fn one_of_equal_keys_is_fresh_within_a_batch_and_after_it() {
        let recent = MemoryRecentVisits::new(100);
        let batch = [visit(1, 11), visit(2, 12), visit(1, 13), visit(1, 14)];
        assert_eq!(first_of(&recent, 0, &batch).await, [11, 12, 11, 11]);
        assert_eq!(first_of(&recent, 1, &[visit(2, 15), visit(3, 16)]).await, [12, 16]);
        assert_eq!(first_of(&recent, 1, &[]).await, [0_u128; 0]);
        // A click that is checked again is still its own.
        assert_eq!(first_of(&recent, 2, &[visit(1, 11)]).await, [11]);
    }

    #[tokio::test]
    async fn the_window_begins_with_the_first_click_and_does_not_slide() {
        let recent = MemoryRecentVisits::new(100);
        let hour = i64::from(HOUR);
        assert_eq!(first_of(&recent, 0, &[visit(1, 1)]).await, [1]);
        assert_eq!(first_of(&recent, hour - 1, &[visit(1, 2)]).await, [1]);
        assert_eq!(first_of(&recent, hour, &[visit(1, 3)]).await, [3]);
        assert_eq!(first_of(&recent, 2 * hour - 1, &[visit(1, 4)]).await, [3]);
        assert_eq!(first_of(&recent, 2 * hour, &[visit(1, 5)]).await, [5]);
    }

    #[tokio::test]
    async fn windows_are_each_visits_own_and_at_most_a_day() {
        let recent = MemoryRecentVisits::new(100);
        let long = |click| Visit { window_ms: u32::MAX, ..visit(1, click) };
        let day = i64::from(MAX_WINDOW_MS);
        assert_eq!(first_of(&recent, 0, &[long(1)]).await, [1]);
        assert_eq!(first_of(&recent, day - 1, &[long(2)]).await, [1]);
        assert_eq!(first_of(&recent, day, &[long(3)]).await, [3]);
        let none = |click| Visit { window_ms: 0, ..visit(2, click) };
        assert_eq!(first_of(&recent, 0, &[none(4), none(5)]).await, [4, 5]);
    }

    #[tokio::test]
    async fn another_first_is_learned_until_its_own_window_ends() {
        let recent = MemoryRecentVisits::new(100);
        let began = Timestamp::now();
        let elsewhere = Uuid::now_v7();
        let now = began.0 + 1_000;
        assert_eq!(first_of(&recent, now, &[visit(1, 1), visit(2, 2), visit(3, 3)]).await, [1, 2, 3]);
        recent.learn(Timestamp(now), &visit(1, 1), elsewhere);
        // Not a UUIDv7: it does not say when its window ends.
        recent.learn(Timestamp(now), &visit(2, 2), Uuid::from_u128(9));
        // Somebody else's word for a visit that was not first here.
        recent.learn(Timestamp(now), &visit(3, 4), elsewhere);
        // One that nobody knows leaves nothing behind.
        recent.learn(Timestamp(now), &visit(4, 5), elsewhere);
        let asked = [visit(1, 11), visit(2, 12), visit(3, 13), visit(4, 14)];
        assert_eq!(first_of(&recent, now, &asked).await, [elsewhere.as_u128(), 12, 3, 14]);
        let ends = Timestamp::of_uuid(elsewhere).unwrap().0 + i64::from(HOUR);
        assert_eq!(first_of(&recent, ends - 1, &[visit(1, 21)]).await, [elsewhere.as_u128()]);
        assert_eq!(first_of(&recent, ends, &[visit(1, 22)]).await, [22]);
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let recent = MemoryRecentVisits::new(64);
        for n in 0..10_000_u128 {
            let fresh = Visit { key: n.to_le_bytes(), ..visit(0, n) };
            assert_eq!(first_of(&recent, 0, &[fresh]).await, [n]);
        }
        assert!(!recent.is_empty() && recent.len() <= 64, "{}", recent.len());
    }

    #[test]
    fn one_of_equal_keys_is_fresh_across_cores() {
        const CORES: usize = 4;
        const KEYS: usize = 2_000;
        let recent = Arc::new(MemoryRecentVisits::new(10 * KEYS));
        let start = Arc::new(Barrier::new(CORES));
        let cores: Vec<_> = (0..CORES)
            .map(|core| {
                let (recent, start) = (Arc::clone(&recent), Arc::clone(&start));
                std::thread::spawn(move || {
                    let visits: Vec<Visit> = (0..KEYS)
                        .map(|key| Visit {
                            key: (key as u128).to_le_bytes(),
                            ..visit(0, (core * KEYS + key) as u128)
                        })
                        .collect();
                    start.wait();
                    visits.iter().map(|visit| recent.first(Timestamp(0), visit).as_u128()).collect::<Vec<_>>()
                })
            })
            .collect();
        let answers: Vec<Vec<u128>> = cores.into_iter().map(|core| core.join().unwrap()).collect();
        for key in 0..KEYS {
            let winner = answers[0][key];
            assert!(answers.iter().all(|core| core[key] == winner), "two came first for key {key}");
            assert_eq!(winner as usize % KEYS, key);
        }
    }

    proptest! {
        /// Against the plain rule, in one thread.
        #[test]
        fn it_does_what_a_list_of_all_clicks_would_say(
            steps in proptest::collection::vec((0_u8..4, 0_i64..40, 0_u32..100), 1..60),
        ) {
            let recent = MemoryRecentVisits::new(1_000);
            let mut firsts: Vec<(u8, i64, u128)> = Vec::new();
            let mut now = 0;
            for (click, (key, pause, window)) in steps.into_iter().enumerate() {
                now += pause;
                let click = click as u128;
                let found = recent.first(Timestamp(now), &Visit { window_ms: window, ..visit(key, click) }).as_u128();
                let known = firsts.iter().find(|(of, until, _)| *of == key && now < *until);
                let expected = match known {
                    Some((_, _, first)) if window > 0 => *first,
                    _ => click,
                };
                prop_assert_eq!(found, expected);
                if known.is_none() && window > 0 {
                    firsts.push((key, now + i64::from(window), click));
                }
            }
        }
    }
}
