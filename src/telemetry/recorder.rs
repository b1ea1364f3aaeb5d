//! The metrics of the process and how they are shown to Prometheus.
//!
//! There is one recorder in a process: [`install`] may be called again and again (tests do) and answers with the same
//! handle. Series never expire: one that was registered stays until the process ends.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::process::ProcessMetrics;

/// Seconds: from a redirect's own work (10 µs) to a client that gave up (30 s).
const SECONDS: &[f64] = &[
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Bytes: powers of four from 256 B to 64 MiB.
const BYTES: &[f64] = &[
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Events of a batch, up to the largest one.
const EVENTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// How often samples are moved into their buckets. Between two rounds every sample takes memory.
const UPKEEP: Duration = Duration::from_secs(1);

static INSTALLED: OnceLock<Result<Metrics, String>> = OnceLock::new();

/// The handle to the process's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: ProcessMetrics,
}

impl Metrics {
    /// All series in Prometheus's text format.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Keeps the memory of histograms bounded until `shutdown`. Once per process is enough; more do no harm.
    pub async fn upkeep(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.handle.run_upkeep();
        }
    }
}

/// Why metrics cannot be kept.
#[derive(Clone, Debug, thiserror::Error)]
#[error("metrics cannot be kept: {0}")]
pub struct RecorderError(String);

/// Makes the recorder of this process where there is none yet, and registers `waypost_build_info`.
///
/// Call it before anything registers a metric: what was registered earlier goes nowhere.
///
/// # Errors
/// When the process has a recorder of another kind.
pub fn install() -> Result<Metrics, RecorderError> {
    INSTALLED.get_or_init(|| build().map_err(|error| error.to_string())).clone().map_err(RecorderError)
}

fn build() -> Result<Metrics, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
        .set_buckets_for_metric(Matcher::Suffix("_events".to_owned()), EVENTS)?
        .install_recorder()?;
    let build = super::series::gauge_with(
        "waypost_build_info",
        "1, with the version of the binary.",
        &[("version", env!("CARGO_PKG_VERSION")), ("rust_version", env!("CARGO_PKG_RUST_VERSION"))],
    );
    build.set(1.0);
    Ok(Metrics { handle, process: ProcessMetrics::register() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::series;

    #[test]
    fn one_recorder_serves_every_caller() {
        let first = install().unwrap();
        let counter = series::counter_with("waypost_test_installed_total", "A test.", &[("kind", "a")]);
        assert!(first.render().contains("waypost_test_installed_total{kind=\"a\"} 0"));
        let second = install().unwrap();
        counter.increment(3);
        assert!(second.render().contains("waypost_test_installed_total{kind=\"a\"} 3"));
    }

    #[test]
    fn series_are_there_before_anything_happens_and_stay() {
        let metrics = install().unwrap();
        let _ = series::histogram("waypost_test_wait_seconds", "A test.");
        let _ = series::gauge("waypost_test_open", "A test.");
        for _ in 0..2 {
            let text = metrics.render();
            assert!(text.contains("waypost_test_wait_seconds_bucket{le=\"0.00001\"} 0"), "{text}");
            assert!(text.contains("waypost_test_wait_seconds_count 0"), "{text}");
            assert!(text.contains("waypost_test_open 0"), "{text}");
            assert!(text.contains("# HELP waypost_test_open A test."), "{text}");
            metrics.handle.run_upkeep();
        }
    }

    #[test]
    fn samples_fall_into_the_buckets_of_their_unit() {
        let metrics = install().unwrap();
        series::histogram("waypost_test_size_bytes", "A test.").record(300.0);
        series::histogram("waypost_test_batch_events", "A test.").record(500.0);
        let text = metrics.render();
        assert!(text.contains("waypost_test_size_bytes_bucket{le=\"256\"} 0"), "{text}");
        assert!(text.contains("waypost_test_size_bytes_bucket{le=\"1024\"} 1"), "{text}");
        assert!(text.contains("waypost_test_batch_events_bucket{le=\"500\"} 1"), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_process_takes_is_read_anew_each_time() {
        let text = install().unwrap().render();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
            "process_threads",
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0 || name == "process_cpu_seconds_total", "{line}");
        }
    }

    #[test]
    fn the_build_is_named() {
        let text = install().unwrap().render();
        let line = text.lines().find(|line| line.starts_with("waypost_build_info{")).unwrap();
        assert!(
            line.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")) && line.ends_with(" 1")
        );
    }
}
