//! Metrics of the catalog's way from the store to the edges.

use metrics::{Counter, Gauge};

use super::series::{counter, gauge};

/// The publisher, beside settlement. Each process says what the store says, whether it publishes or waits to.
#[derive(Clone, Debug)]
pub struct PublisherMetrics {
    pub published_version: Gauge,
    pub unpublished: Gauge,
    pub oldest: Gauge,
    pub failures: Counter,
    pub records: Counter,
    /// 1 in the one process that publishes.
    pub leader: Gauge,
    /// 1 while the topic and the store do not belong together and somebody has to look.
    pub stalled: Gauge,
}

impl PublisherMetrics {
    pub fn register() -> Self {
        let metrics = Self {
            published_version: gauge(
                "waypost_catalog_published_version",
                "Every version of the catalog up to this one is on the topic.",
            ),
            unpublished: gauge(
                "waypost_catalog_outbox_unpublished_records",
                "Records of the catalog that are not on the topic yet.",
            ),
            oldest: gauge(
                "waypost_catalog_outbox_oldest_seconds",
                "How long the oldest change of the catalog has been waiting to be published, in seconds.",
            ),
            failures: counter(
                "waypost_catalog_publish_failures_total",
                "Times that the catalog could not be published; it is tried again.",
            ),
            records: counter(
                "waypost_catalog_published_records_total",
                "Records put on the catalog's topic.",
            ),
            leader: gauge("waypost_catalog_publisher_leader", "1 in the process that publishes the catalog."),
            stalled: gauge(
                "waypost_catalog_publisher_stalled",
                "1 while the catalog's topic and the store do not belong together and somebody has to look.",
            ),
        };
        metrics.failures.increment(0);
        metrics.records.increment(0);
        for series in [
            &metrics.published_version,
            &metrics.unpublished,
            &metrics.oldest,
            &metrics.leader,
            &metrics.stalled,
        ] {
            series.set(0.0);
        }
        metrics
    }
}

/// An edge that follows the topic.
#[derive(Clone, Debug)]
pub struct CatalogMetrics {
    /// The highest version that was applied.
    pub version: Gauge,
    pub links: Gauge,
    pub records: Counter,
    /// Time since it was last known that nothing is missing.
    pub age: Gauge,
    /// Records that this build cannot read, passed over.
    pub unreadable: Counter,
    /// Times that the topic was read from its beginning.
    pub reloads: Counter,
    pub snapshots: Counter,
    pub snapshot_failures: Counter,
    /// Snapshots that could not be used at start.
    pub snapshots_refused: Counter,
    pub snapshot_seconds: Gauge,
    pub snapshot_bytes: Gauge,
}

impl CatalogMetrics {
    pub fn register() -> Self {
        let metrics = Self {
            version: gauge(
                "waypost_catalog_version",
                "The highest version of the catalog that this edge has.",
            ),
            links: gauge("waypost_catalog_links", "Live links that this edge has."),
            records: counter("waypost_catalog_records_total", "Records read from the catalog's topic."),
            age: gauge(
                "waypost_catalog_age_seconds",
                "Seconds since this edge last knew that nothing of the catalog is missing.",
            ),
            unreadable: counter(
                "waypost_catalog_unreadable_records_total",
                "Records of the catalog that this build cannot read and has passed over.",
            ),
            reloads: counter(
                "waypost_catalog_reloads_total",
                "Times that the catalog's topic was read from its beginning.",
            ),
            snapshots: counter(
                "waypost_catalog_snapshots_total",
                "Snapshots of the catalog that were written.",
            ),
            snapshot_failures: counter(
                "waypost_catalog_snapshot_failures_total",
                "Snapshots of the catalog that could not be written.",
            ),
            snapshots_refused: counter(
                "waypost_catalog_snapshots_refused_total",
                "Snapshots of the catalog that were there and could not be used.",
            ),
            snapshot_seconds: gauge(
                "waypost_catalog_snapshot_write_seconds",
                "What the last snapshot of the catalog took to write, in seconds.",
            ),
            snapshot_bytes: gauge(
                "waypost_catalog_snapshot_bytes",
                "Size of the last snapshot of the catalog.",
            ),
        };
        for series in [
            &metrics.records,
            &metrics.unreadable,
            &metrics.reloads,
            &metrics.snapshots,
            &metrics.snapshot_failures,
            &metrics.snapshots_refused,
        ] {
            series.increment(0);
        }
        for series in [
            &metrics.version,
            &metrics.links,
            &metrics.age,
            &metrics.snapshot_seconds,
            &metrics.snapshot_bytes,
        ] {
            series.set(0.0);
        }
        metrics
    }
}
