//! Whether this process should get traffic: named conditions that must all hold.
//!
//! `waypost_ready{condition}` shows each of them: 1 while it holds.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use metrics::Gauge;

use super::series;

/// One thing that must hold. The names are part of the answer of `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The edge knows its catalog.
    CatalogLoaded,
    /// The start is through: the store answered and has the schema of this build. It holds until the end, also while
    /// the store is away: all processes would go out of the traffic at once, and callers be refused, not answered 503.
    StoreReady,
    /// The process was not told to stop.
    NotDraining,
}

impl Condition {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CatalogLoaded => "catalog_loaded",
            Self::StoreReady => "store_ready",
            Self::NotDraining => "not_draining",
        }
    }
}

/// The conditions of one process, shared by those who set and those who ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<[State]>);

#[derive(Debug)]
struct State {
    condition: Condition,
    holds: AtomicBool,
    shown: Gauge,
}

impl State {
    fn new(condition: Condition, holds: bool) -> Self {
        let help = "1 while a condition of this process's readiness holds.";
        let shown = series::gauge_with("waypost_ready", help, &[("condition", condition.as_str())]);
        let state = Self { condition, holds: AtomicBool::new(holds), shown };
        state.set(holds);
        state
    }

    fn set(&self, holds: bool) {
        self.holds.store(holds, Ordering::Release);
        self.shown.set(f64::from(u8::from(holds)));
    }
}

impl Readiness {
    /// `conditions` do not hold yet; [`Condition::NotDraining`] is always one, and holds.
    pub fn new(conditions: &[Condition]) -> Self {
        let given = conditions.iter().filter(|condition| **condition != Condition::NotDraining);
        let mut all: Vec<_> = given.map(|condition| State::new(*condition, false)).collect();
        all.push(State::new(Condition::NotDraining, true));
        Self(all.into())
    }

    /// Says whether `condition` holds now. One that this process does not have is passed over, so that a part need
    /// not know in which process it runs.
    pub fn set(&self, condition: Condition, holds: bool) {
        if let Some(state) = self.0.iter().find(|state| state.condition == condition) {
            state.set(holds);
        }
    }

    /// From now on this process wants no new traffic.
    pub fn drain(&self) {
        self.set(Condition::NotDraining, false);
    }

    /// What does not hold; empty when ready.
    pub fn missing(&self) -> Vec<Condition> {
        let missing = self.0.iter().filter(|state| !state.holds.load(Ordering::Acquire));
        missing.map(|state| state.condition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_all_holds_and_until_it_drains() {
        let readiness = Readiness::new(&[Condition::CatalogLoaded]);
        assert_eq!(readiness.missing(), [Condition::CatalogLoaded]);
        readiness.clone().set(Condition::CatalogLoaded, true);
        readiness.set(Condition::StoreReady, false);
        assert_eq!(readiness.missing(), []);
        readiness.drain();
        assert_eq!(readiness.missing(), [Condition::NotDraining]);
    }
}
