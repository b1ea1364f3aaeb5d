//! One connection: HTTP/1 with a size and a time for everything a client can hold on to.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use hyper::{server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{core::Core, router, write_deadline::WriteDeadline};
use crate::config::EdgeSettings;

/// hyper's least buffer.
const MIN_BUFFER: usize = 8192;

/// How connections are served.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    builder: Builder,
    write_time: Duration,
}

impl Http {
    pub(crate) fn new(settings: &EdgeSettings) -> Self {
        let mut builder = Builder::new();
        builder
            .timer(TokioTimer::new())
            // Answers are small: one buffer is less work for the system than a list of them.
            .writev(false)
            // Also the time between two requests of a connection.
            .header_read_timeout(Duration::from_millis(settings.header_read_timeout_ms))
            .max_header_size(settings.max_header_bytes)
            .max_buf_size(settings.max_header_bytes.max(MIN_BUFFER));
        Self { builder, write_time: Duration::from_millis(settings.body_read_timeout_ms) }
    }

    /// Serves until the client leaves, is cut, or the edge closes.
    pub(crate) async fn serve(&self, core: Rc<Core>, stream: TcpStream, peer: SocketAddr) {
        // An answer is one small write; waiting to fill a segment would only delay it.
        let _ = stream.set_nodelay(true);
        let metrics = &core.metrics().connections;
        metrics.open.increment(1.0);
        let closing = Rc::clone(&core.closing);
        let service = {
            let core = Rc::clone(&core);
            service_fn(move |request| router::answer(&core, request, peer.ip()))
        };
        let io = TokioIo::new(WriteDeadline::new(stream, self.write_time));
        let mut connection = pin!(self.builder.serve_connection(io, service));
        let mut told = pin!(closing.told());
        let mut registered = false;
        let mut draining = false;
        let ended = poll_fn(|cx| {
            // Asked once: the task stays the same, so the waker does too.
            if !registered {
                registered = true;
                let _ = told.as_mut().poll(cx);
            }
            if closing.is_on() && !draining {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            Pin::new(&mut connection).poll(cx)
        })
        .await;
        metrics.open.decrement(1.0);
        match ended {
            Ok(()) => metrics.closed.increment(1),
            Err(error) if error.is_incomplete_message() => metrics.closed.increment(1),
            Err(_) => metrics.cut.increment(1),
        }
    }
}
