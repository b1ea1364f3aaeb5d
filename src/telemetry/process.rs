//! What the process takes of its machine, under the names that every Prometheus client has for it:
//! `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds` and their like. Linux alone.

/// Reads the process's figures when somebody asks for the metrics.
#[derive(Clone, Debug, Default)]
pub struct ProcessMetrics {
    #[cfg(target_os = "linux")]
    collector: metrics_process::Collector,
}

impl ProcessMetrics {
    /// Describes every series and reads it for the first time.
    pub fn register() -> Self {
        let metrics = Self::default();
        #[cfg(target_os = "linux")]
        metrics.collector.describe();
        metrics.collect();
        metrics
    }

    /// Sets every series to what it is now.
    pub fn collect(&self) {
        #[cfg(target_os = "linux")]
        self.collector.collect();
    }
}
