//! Metrics of `visitor`.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

/// A GeoIP database, as metrics name it.
#[derive(Clone, Debug)]
pub struct DatabaseMetrics {
    /// When the database in use was built, in seconds since 1970; 0: none in use.
    pub built: Gauge,
    /// Files read, validated and put in use.
    pub loaded: Counter,
    /// Files that could not be used; what was in use before stays.
    pub refused: Counter,
}

impl DatabaseMetrics {
    fn of(database: &'static str) -> Self {
        let metrics = Self {
            built: gauge!(BUILT, "database" => database),
            loaded: counter!(LOADS, "database" => database, "outcome" => "loaded"),
            refused: counter!(LOADS, "database" => database, "outcome" => "refused"),
        };
        metrics.built.set(0.0);
        metrics.loaded.increment(0);
        metrics.refused.increment(0);
        metrics
    }
}

const BUILT: &str = "waypost_geoip_database_built_timestamp_seconds";
const LOADS: &str = "waypost_geoip_database_loads_total";
const PARSED: &str = "waypost_user_agents_parsed_total";
const RECENT: &str = "waypost_recent_visits";

/// Who visits. What visitors are (classes, countries, devices) is for the clicks to say, not for metrics.
#[derive(Clone, Debug)]
pub struct VisitorMetrics {
    /// User agents that no cache knew. Each costs a hundred times a remembered one: a high rate beside the clicks
    /// says that `visitor.user_agents` is too small.
    pub user_agents_parsed: Counter,
    pub country: DatabaseMetrics,
    pub network: DatabaseMetrics,
    /// Visits that the duplicate check in memory remembers.
    pub recent_visits: Gauge,
}

impl VisitorMetrics {
    /// Describes every series and sets it to 0.
    pub fn register() -> Self {
        describe_counter!(
            PARSED,
            Unit::Count,
            "User agents that were parsed because no core's cache knew them"
        );
        describe_gauge!(
            BUILT,
            Unit::Seconds,
            "When the GeoIP database in use was built, since 1970; 0: none"
        );
        describe_counter!(LOADS, Unit::Count, "GeoIP database files read, by outcome");
        describe_gauge!(RECENT, Unit::Count, "Visits that the duplicate check in memory remembers");
        let metrics = Self {
            user_agents_parsed: counter!(PARSED),
            country: DatabaseMetrics::of("country"),
            network: DatabaseMetrics::of("asn"),
            recent_visits: gauge!(RECENT),
        };
        metrics.user_agents_parsed.increment(0);
        metrics.recent_visits.set(0.0);
        metrics
    }
}
