//! Whether this process should get traffic: named conditions that must all hold.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// One thing that must hold. The names are part of the answer of `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The edge knows its catalog.
    CatalogLoaded,
    /// The store's schema is the one of this build and it answers.
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
pub struct Readiness(Arc<[(Condition, AtomicBool)]>);

impl Readiness {
    /// `conditions` do not hold yet; [`Condition::NotDraining`] is always one, and holds.
    pub fn new(conditions: &[Condition]) -> Self {
        let given = conditions.iter().filter(|condition| **condition != Condition::NotDraining);
        let mut all: Vec<_> = given.map(|condition| (*condition, AtomicBool::new(false))).collect();
        all.push((Condition::NotDraining, AtomicBool::new(true)));
        Self(all.into())
    }

    /// Says whether `condition` holds now. One that this process does not have is passed over, so that a part need
    /// not know in which process it runs.
    pub fn set(&self, condition: Condition, holds: bool) {
        if let Some((_, flag)) = self.0.iter().find(|(known, _)| *known == condition) {
            flag.store(holds, Ordering::Release);
        }
    }

    /// From now on this process wants no new traffic.
    pub fn drain(&self) {
        self.set(Condition::NotDraining, false);
    }

    /// What does not hold; empty when ready.
    pub fn missing(&self) -> Vec<Condition> {
        let missing = self.0.iter().filter(|(_, flag)| !flag.load(Ordering::Acquire));
        missing.map(|(condition, _)| *condition).collect()
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
