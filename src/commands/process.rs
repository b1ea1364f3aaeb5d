//! A process that serves until it is told to stop: runtime, signals, probes, ready file, and a bound on the end.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::exit::{Code, Failure};
use crate::{
    config::Settings,
    telemetry::{Condition, Metrics, Readiness, admin, recorder},
};

/// What the end may take beyond the edge's own drain.
const END_TIME: Duration = Duration::from_secs(5);

/// Signals within this time are one.
const SAME_WORD: Duration = Duration::from_secs(1);

/// The telemetry of a process and its way to stop.
#[derive(Debug)]
pub struct Process {
    pub readiness: Readiness,
    /// Cancelled by SIGTERM and SIGINT.
    pub shutdown: CancellationToken,
    pub admin: SocketAddr,
    admin_server: JoinHandle<io::Result<()>>,
    admin_shutdown: CancellationToken,
}

/// Where a process serves, as its ready file says.
#[derive(Debug, Default, Serialize)]
pub struct ReadyFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publishable_key: Option<String>,
}

/// A runtime for everything but the edge's cores.
pub fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("waypost")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Software, format!("cannot start a runtime: {error}")))
}

/// Installs the metrics; before any of them is registered.
pub fn install_metrics() -> Result<Metrics, Failure> {
    recorder::install().map_err(|error| Failure::new(Code::Software, error.to_string()))
}

pub async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| Failure::listen(key, address, &error))
}

pub fn local_addr(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::new(Code::Software, format!("a listener failed: {error}")))
}

impl Process {
    /// Serves the probes and listens for signals.
    pub async fn start(
        settings: &Settings,
        metrics: Metrics,
        conditions: &[Condition],
    ) -> Result<Self, Failure> {
        let listener = bind("admin.listen", settings.admin.listen).await?;
        let admin = local_addr(&listener)?;
        let readiness = Readiness::new(conditions);
        let admin_shutdown = CancellationToken::new();
        let server = admin::serve(listener, metrics, readiness.clone(), admin_shutdown.clone());
        let admin_server = tokio::spawn(server);
        let shutdown = CancellationToken::new();
        let bound = END_TIME + Duration::from_millis(settings.edge.drain_timeout_ms);
        watch_signals(shutdown.clone(), readiness.clone(), bound)?;
        Ok(Self { readiness, shutdown, admin, admin_server, admin_shutdown })
    }

    /// The last step: probes are asked until everything else has ended.
    pub async fn end(self) {
        self.admin_shutdown.cancel();
        if let Err(error) = self.admin_server.await {
            error!(%error, "the admin listener had failed");
        }
        info!("stopped");
    }
}

/// SIGTERM and SIGINT begin the end; a second one, or the end of the time, cuts it short.
fn watch_signals(shutdown: CancellationToken, readiness: Readiness, bound: Duration) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::new(Code::Software, format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = shutdown.cancelled() => {}
        }
        info!("stopping");
        readiness.drain();
        shutdown.cancel();
        // A supervisor may signal the process and its group: what comes at once is the same word.
        let patience = tokio::time::sleep(SAME_WORD);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                () = &mut patience => break,
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        tokio::select! {
            _ = terminate.recv() => error!("told to stop twice, stopping at once"),
            _ = interrupt.recv() => error!("told to stop twice, stopping at once"),
            () = tokio::time::sleep(bound) => error!("the end took too long, stopping at once"),
        }
        std::process::exit(i32::from(Code::TempFail as u8));
    });
    Ok(())
}

/// Writes the ready file whole: to a file beside it, then renamed. It may hold keys, so it is its owner's alone.
pub fn write_ready_file(path: Option<&PathBuf>, ready: &ReadyFile) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_vec(ready).map_err(|error| Failure::new(Code::Software, error.to_string()))?;
    write_private(path, &text).map_err(|error| Failure::io("write the ready file", path, &error))
}

/// Replaces a file by one of mode 0600, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// `http://` and an address that a client can use: a listener on all addresses is reached on loopback.
pub fn url(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}
