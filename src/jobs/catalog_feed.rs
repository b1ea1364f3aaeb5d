//! Brings the catalog's records from the store's outbox to an edge on the same machine.
//!
//! Records have ascending versions that become visible in order, so "all above the last" misses none. The first
//! round reads everything; then changes follow within a tenth of a second. Works across processes on one data folder too.

use std::{sync::Arc, time::Duration};

use sea_orm::DbErr;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    catalog::Catalog,
    store::{Store, catalog},
};

/// How long a change may take to be noticed.
const INTERVAL: Duration = Duration::from_millis(100);

/// Records that are read at once.
const PAGE: u64 = 10_000;

/// Follows the outbox until `shutdown`; the catalog is marked as loaded after the first whole round.
pub async fn run(store: Store, catalog: Arc<Catalog>, shutdown: CancellationToken) {
    let mut version = 0;
    loop {
        match catch_up(&store, &catalog, &mut version).await {
            Ok(()) if !catalog.is_loaded() => {
                catalog.mark_loaded();
                info!(links = catalog.link_count(), "catalog loaded");
            }
            Ok(()) => {}
            Err(error) => warn!(%error, "the catalog cannot be read; serving what is known"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(INTERVAL) => {}
        }
    }
}

/// Applies everything above `version`.
pub async fn catch_up(store: &Store, catalog: &Catalog, version: &mut i64) -> Result<(), DbErr> {
    loop {
        let records = store.in_time(catalog::after(store.reader(), *version, PAGE)).await?;
        let Some(last) = records.last() else { return Ok(()) };
        let newest = last.version;
        for record in records {
            catalog.apply(record);
        }
        *version = newest;
    }
}
