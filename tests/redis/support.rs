//! Visits, edges that share a Redis, and servers that a test may stop and kill.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tempfile::TempDir;
use tokio::time::sleep;
use tracing_subscriber::fmt::MakeWriter;
use uuid::Uuid;
use waypost::{
    config::{RedisSettings, Settings},
    domain::time::Timestamp,
    visitor::{MemoryRecentVisits, RecentVisits, RedisRecentVisits, ServerError, Visit},
};

pub const DEADLINE: Duration = Duration::from_secs(30);
pub const HOUR: u32 = 3_600_000;

/// A visit of a new click.
pub fn visit(key: [u8; 16], window_ms: u32) -> Visit {
    Visit { key, click_id: Uuid::now_v7(), window_ms }
}

/// A visitor whom nobody has seen.
pub fn somebody() -> [u8; 16] {
    Uuid::now_v7().into_bytes()
}

/// Settings of one test: keys of its own, and time enough for a machine that is busy.
pub fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        url: url.to_owned(),
        timeout_ms: 5_000,
        prefix: format!("test-{}:", Uuid::now_v7().simple()),
        ..Settings::default().redis
    }
}

/// One edge's duplicate check, with its figures.
pub struct Edge {
    pub recent: RedisRecentVisits,
    metrics: PrometheusHandle,
}

impl Edge {
    pub fn start(settings: &RedisSettings) -> Self {
        Self::try_start(settings).unwrap()
    }

    pub fn try_start(settings: &RedisSettings) -> Result<Self, ServerError> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let recent = metrics::with_local_recorder(&recorder, || {
            RedisRecentVisits::start(settings, MemoryRecentVisits::new(100_000), 2)
        })?;
        Ok(Self { recent, metrics: recorder.handle() })
    }

    pub async fn firsts(&self, visits: &[Visit]) -> Vec<Uuid> {
        self.recent.first_of(Timestamp::now(), visits).await
    }

    /// Whether one visit is the first of its kind.
    pub async fn is_fresh(&self, visit: Visit) -> bool {
        self.firsts(&[visit]).await == [visit.click_id]
    }

    /// The value of a series, written as Prometheus does.
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no series {series} in\n{text}")).parse().unwrap()
    }

    pub fn requests(&self, outcome: &str) -> u64 {
        self.metric(&format!("waypost_redis_requests_total{{outcome=\"{outcome}\"}}"))
    }

    pub fn visits(&self, outcome: &str) -> u64 {
        self.metric(&format!("waypost_redis_visits_total{{outcome=\"{outcome}\"}}"))
    }

    /// Asks with new visitors until Redis decides.
    pub async fn until_answered(&self) {
        let (before, began) = (self.visits("answered"), Instant::now());
        while self.visits("answered") == before {
            assert!(began.elapsed() < DEADLINE, "Redis never answered again");
            assert!(self.is_fresh(visit(somebody(), HOUR)).await);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Servers of this test alone, in a folder of their own.
pub struct Servers {
    folder: TempDir,
    part: &'static str,
}

impl Servers {
    pub fn start(part: &'static str) -> Self {
        let servers = Self { folder: tempfile::tempdir().unwrap(), part };
        servers.bring_up();
        servers
    }

    /// Starts what was killed.
    pub fn bring_up(&self) {
        self.script(&["start", "--dir", self.folder.path().to_str().unwrap(), self.part]);
    }

    /// What `scripts/services` exports as `name`.
    pub fn address(&self, name: &str) -> String {
        let text = self.script(&["status", "--dir", self.folder.path().to_str().unwrap()]);
        let line =
            text.lines().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).replace('\\', "")
    }

    /// Sends a signal to one process.
    pub fn signal(&self, process: &str, signal: &str) {
        let pid = fs::read_to_string(self.path(&format!("{process}.pid"))).unwrap();
        let status = Command::new("kill").args([signal, pid.trim()]).status().unwrap();
        assert!(status.success(), "kill {signal} {process}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, args: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
        let output = Command::new(script).args(args).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
        let stopped = Command::new(script)
            .args(["stop", "--clean", "--dir"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .output();
        if !stopped.is_ok_and(|output| output.status.success()) {
            eprintln!("the servers in {} could not be stopped", self.folder.path().display());
        }
    }
}

/// What is logged on this thread while it lives.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    pub fn catch() -> (Self, tracing::subscriber::DefaultGuard) {
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(logs.clone())
            .finish();
        (logs, tracing::subscriber::set_default(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub fn count(&self, what: &str) -> usize {
        self.text().lines().filter(|line| line.contains(what)).count()
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Logs {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
