//! Runs the edge: a thread with a single-threaded runtime for each core. What a core does with its time stands in
//! [`lifecycle`](super::lifecycle).

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    rc::Rc,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::LocalSet,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    connection::Http,
    core::{Core, EdgeParts},
    lifecycle::Life,
    listener::Listeners,
    readiness::Readiness,
};
use crate::config::EdgeSettings;

/// A core ended other than by draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("core {core} of the edge failed")]
pub struct CoreFailed {
    pub core: usize,
}

/// A running edge.
#[derive(Debug)]
pub struct EdgeHandle {
    address: SocketAddr,
    boot: Uuid,
    readiness: Arc<Readiness>,
    cores: Vec<(JoinHandle<()>, oneshot::Receiver<()>)>,
}

impl EdgeHandle {
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// This run, as events name it.
    pub fn boot(&self) -> Uuid {
        self.boot
    }

    pub fn readiness(&self) -> Arc<Readiness> {
        Arc::clone(&self.readiness)
    }

    /// Waits until every core has drained after `shutdown`.
    ///
    /// # Errors
    /// A core panicked; the others have drained all the same.
    pub async fn join(self) -> Result<(), CoreFailed> {
        let mut outcome = Ok(());
        for (core, (thread, done)) in self.cores.into_iter().enumerate() {
            let drained = done.await.is_ok();
            // The runtime is all that is left to end.
            if thread.join().is_err() || !drained {
                outcome = Err(CoreFailed { core });
            }
        }
        outcome
    }
}

/// Serves on `listeners` until `shutdown`, then drains.
///
/// # Errors
/// The system refuses a thread, a runtime or random bytes.
pub fn serve(
    settings: &EdgeSettings,
    parts: EdgeParts,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> io::Result<EdgeHandle> {
    let address = listeners.local_addr();
    let boot = Uuid::now_v7();
    let readiness = Arc::new(Readiness::new(Arc::clone(&parts.catalog)));
    let share = settings.max_connections.div_ceil(listeners.sockets.len()).max(1);
    let mut cores = Vec::with_capacity(listeners.sockets.len());
    for (number, listener) in listeners.sockets.into_iter().enumerate() {
        let plan = Plan {
            number,
            boot,
            settings: settings.clone(),
            parts: parts.clone(),
            listener,
            connections: share,
            readiness: Arc::clone(&readiness),
            shutdown: shutdown.clone(),
        };
        let (started, has_started) = mpsc::channel();
        let (drained, has_drained) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("edge-{number}")).spawn(move || {
            if run(plan, &started) {
                let _ = drained.send(());
            }
        })?;
        match has_started.recv() {
            Ok(Ok(())) => cores.push((thread, has_drained)),
            Ok(Err(error)) => return Err(stop(error, &shutdown)),
            Err(_) => return Err(stop(io::ErrorKind::BrokenPipe.into(), &shutdown)),
        }
    }
    Ok(EdgeHandle { address, boot, readiness, cores })
}

/// Cores that have started already must not go on alone.
fn stop(error: io::Error, shutdown: &CancellationToken) -> io::Error {
    shutdown.cancel();
    error
}

/// What a core's thread is started with.
struct Plan {
    number: usize,
    boot: Uuid,
    settings: EdgeSettings,
    parts: EdgeParts,
    listener: StdListener,
    connections: usize,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
}

/// A core's thread. Tells `started` whether it serves; says whether it has drained.
fn run(plan: Plan, started: &mpsc::Sender<io::Result<()>>) -> bool {
    let (runtime, life) = match prepare(plan) {
        Ok(prepared) => prepared,
        Err(error) => {
            // Nobody listens when the caller has failed too.
            let _ = started.send(Err(error));
            return false;
        }
    };
    let _ = started.send(Ok(()));
    LocalSet::new().block_on(&runtime, life.live());
    true
}

fn prepare(plan: Plan) -> io::Result<(Runtime, Life)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let http = Http::new(&plan.settings);
    let core = Core::new(plan.number, plan.boot, &plan.settings, plan.parts)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(plan.listener)?
    };
    let life = Life {
        core: Rc::new(core),
        http: Rc::new(http),
        listener,
        connections: plan.connections,
        readiness: plan.readiness,
        shutdown: plan.shutdown,
        drain_delay: Duration::from_millis(plan.settings.drain_delay_ms),
        drain_timeout: Duration::from_millis(plan.settings.drain_timeout_ms),
    };
    Ok((runtime, life))
}
