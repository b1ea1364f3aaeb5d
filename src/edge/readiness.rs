//! Whether the edge should get traffic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::catalog::Catalog;

/// Whether the edge should get traffic.
#[derive(Debug)]
pub struct Readiness {
    catalog: Arc<Catalog>,
    draining: AtomicBool,
}

impl Readiness {
    pub(crate) fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, draining: AtomicBool::new(false) }
    }

    /// The catalog is loaded and the edge is not draining.
    pub fn is_ready(&self) -> bool {
        self.catalog.is_loaded() && !self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}
