//! What a core does with its time, from the first connection to the drained last one (DESIGN section 6).
//!
//! Drain, from the moment of `shutdown`:
//!
//! 1. readiness says no, and the listener goes on accepting for the drain delay;
//! 2. what waits is accepted, the listener closes, connections finish the request that they are in;
//! 3. clicks that wait are handed to the log, and what was handed over gets its outcome;
//! 4. each stream ends with a marker, so that its last number is known.
//!
//! Three quarters of the drain timeout are for connections. After it, it ends whatever is still open; clicks without an outcome are lost, and counted.

use std::{future::poll_fn, io, net::SocketAddr, rc::Rc, sync::Arc, task::Poll, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    pin,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_local,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{click_batch, connection::Http, core::Core, readiness::Readiness};
use crate::{domain::time::Timestamp, events::Body, stream::Topic};

/// Pause after a connection could not be accepted: it is the system that lacks something, and asking again at once
/// would burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A core and what bounds its life.
pub(crate) struct Life {
    pub core: Rc<Core>,
    pub http: Rc<Http>,
    pub listener: TcpListener,
    /// Connections at most.
    pub connections: usize,
    pub readiness: Arc<Readiness>,
    pub shutdown: CancellationToken,
    pub drain_delay: Duration,
    pub drain_timeout: Duration,
}

type Accepted = (TcpStream, SocketAddr);

impl Life {
    /// Serves until `shutdown`, then drains.
    pub(crate) async fn live(self) {
        let by_age = spawn_local(click_batch::flush_by_age(Rc::clone(&self.core)));
        let connections = TaskTracker::new();
        let deadline = self.accept_until_closing(&connections).await;
        self.accept_what_waits(&connections).await;
        let Self { core, listener, drain_timeout, .. } = self;
        drop(listener);
        core.closing.turn_on();
        connections.close();
        // What is open when the time is over is dropped with the runtime. A last part of the time is not for
        // connections: one that is stuck must not cost the clicks of all others.
        let for_connections = deadline - drain_timeout / 4;
        let in_time = timeout_at(for_connections, connections.wait()).await.is_ok();
        by_age.abort();
        click_batch::flush(&core);
        core.tasks.close();
        let settled = timeout_at(deadline, core.tasks.wait()).await.is_ok();
        end_streams(&core, deadline).await;
        tracing::info!(in_time, settled, "a core of the edge has drained");
    }

    /// Accepts until the drain delay is over; says when the drain has to end.
    async fn accept_until_closing(&self, connections: &TaskTracker) -> Instant {
        let room = Arc::new(Semaphore::new(self.connections));
        let closing = async {
            self.shutdown.cancelled().await;
            let deadline = Instant::now() + self.drain_timeout;
            self.readiness.drain();
            sleep(self.drain_delay.min(self.drain_timeout)).await;
            deadline
        };
        pin!(closing);
        loop {
            tokio::select! {
                biased;
                deadline = &mut closing => return deadline,
                (accepted, permit) = self.accept(&room) => match accepted {
                    Ok(accepted) => self.begin(connections, accepted, permit),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    /// The next connection, once there is room for it. Others wait in the system's queue.
    async fn accept(&self, room: &Arc<Semaphore>) -> (io::Result<Accepted>, Option<OwnedSemaphorePermit>) {
        let permit = match Arc::clone(room).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.core.metrics().connections.full.increment(1);
                // Never closed; without a permit the connection would only go uncounted.
                Arc::clone(room).acquire_owned().await.ok()
            }
        };
        (self.listener.accept().await, permit)
    }

    /// Connections that the system has completed would be reset when the listener closes.
    async fn accept_what_waits(&self, connections: &TaskTracker) {
        loop {
            match poll_fn(|cx| Poll::Ready(self.listener.poll_accept(cx))).await {
                Poll::Ready(Ok(accepted)) => self.begin(connections, accepted, None),
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }

    fn begin(
        &self,
        connections: &TaskTracker,
        (stream, peer): Accepted,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let (core, http) = (Rc::clone(&self.core), Rc::clone(&self.http));
        connections.spawn_local(async move {
            http.serve(core, stream, peer).await;
            drop(permit);
        });
    }
}

/// Writes the last event of each stream, with the number after its last.
async fn end_streams(core: &Core, deadline: Instant) {
    let now = Timestamp::now();
    for topic in Topic::ALL {
        let marker = core.record(topic, core.new_id(now), now, Body::End);
        let append = core.parts.sink.append(vec![marker]);
        if !matches!(timeout_at(deadline, append).await, Ok(Ok(_))) {
            tracing::warn!(topic = topic.name(), "the end of a stream could not be marked");
        }
    }
}
