//! The circuit breaker: after so many failures in a row Redis is left alone for a while, then one batch tries again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Counts failures over all cores.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_to_open: u32,
    open_for: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    open_until: Option<Instant>,
    probing: bool,
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    /// The probe failed.
    StaysOpen,
    Closed,
    None,
}

/// Leave to ask Redis once. Dropped without a result it changes nothing.
#[must_use]
#[derive(Debug)]
pub(super) struct Leave<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Breaker {
    pub(super) fn new(failures_to_open: u32, open_for: Duration) -> Self {
        Self { failures_to_open, open_for, state: Mutex::default() }
    }

    /// `None`: Redis is left alone.
    pub(super) fn leave(&self, now: Instant) -> Option<Leave<'_>> {
        let mut state = self.state();
        let probe = match state.open_until {
            None => false,
            Some(until) if now < until || state.probing => return None,
            Some(_) => true,
        };
        state.probing = probe;
        Some(Leave { breaker: self, probe })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave<'_> {
    pub(super) fn succeeded(self) -> Change {
        let mut state = self.breaker.state();
        if state.open_until.is_some() && !self.probe {
            // Sent before it opened; the probe decides.
            return Change::None;
        }
        state.failures = 0;
        if state.open_until.take().is_some() { Change::Closed } else { Change::None }
    }

    pub(super) fn failed(self, now: Instant) -> Change {
        let mut state = self.breaker.state();
        let open = state.open_until.is_some();
        if open && !self.probe {
            return Change::None;
        }
        state.failures = state.failures.saturating_add(1);
        if !open && state.failures < self.breaker.failures_to_open {
            return Change::None;
        }
        state.open_until = Some(now + self.breaker.open_for);
        if open { Change::StaysOpen } else { Change::Opened }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.state().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fail(breaker: &Breaker, now: Instant) -> Change {
        breaker.leave(now).unwrap().failed(now)
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        let breaker = Breaker::new(3, SECOND);
        let start = Instant::now();
        assert_eq!(fail(&breaker, start), Change::None);
        assert_eq!(fail(&breaker, start), Change::None);
        assert_eq!(breaker.leave(start).unwrap().succeeded(), Change::None);
        assert_eq!(fail(&breaker, start), Change::None);
        assert_eq!(fail(&breaker, start), Change::None);
        let late = [breaker.leave(start).unwrap(), breaker.leave(start).unwrap()];
        assert_eq!(fail(&breaker, start), Change::Opened);
        assert!(breaker.leave(start + SECOND / 2).is_none());

        // Batches that were under way neither close nor prolong it.
        let [succeeds, fails] = late;
        assert_eq!(succeeds.succeeded(), Change::None);
        assert_eq!(fails.failed(start + SECOND / 2), Change::None);

        // One probe at a time.
        let probe = breaker.leave(start + SECOND).unwrap();
        assert!(breaker.leave(start + SECOND).is_none());
        assert_eq!(probe.failed(start + SECOND), Change::StaysOpen);
        assert!(breaker.leave(start + SECOND).is_none());
        let probe = breaker.leave(start + 2 * SECOND).unwrap();
        assert_eq!(probe.succeeded(), Change::Closed);
        assert_eq!(fail(&breaker, start + 2 * SECOND), Change::None);
    }

    #[test]
    fn a_probe_that_is_given_up_lets_another_try() {
        let breaker = Breaker::new(1, SECOND);
        let start = Instant::now();
        assert_eq!(fail(&breaker, start), Change::Opened);
        drop(breaker.leave(start + SECOND).unwrap());
        assert_eq!(breaker.leave(start + SECOND).unwrap().succeeded(), Change::Closed);
    }
}
