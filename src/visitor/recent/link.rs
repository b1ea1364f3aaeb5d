//! One connection to Redis, kept up in the background on the runtime that started it.
//!
//! The cores only take a handle and pass bytes through it: names, log-in, TLS and the wait for a server that is away
//! are never theirs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time};
use tracing::{info, warn};

use super::server::{Connection, Server};

/// Wait before the second attempt; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// One attempt, several sentinels or nodes included.
const ATTEMPT: Duration = Duration::from_secs(5);

#[derive(Clone)]
enum State {
    /// An attempt is under way, and none has failed before it.
    Connecting,
    Up(Up),
    /// The last attempt failed; the next one follows.
    Down(Arc<str>),
}

/// A connection that was made.
#[derive(Clone)]
pub(super) struct Up {
    pub connection: Connection,
    generation: u64,
}

/// Ends its connection when it is dropped.
pub(super) struct Link {
    state: watch::Receiver<State>,
    /// The generation that is wanted: the connection of an older one is given up.
    wanted: watch::Sender<u64>,
}

/// Whether Redis can be reached, so that each change is said once by all links together.
#[derive(Debug, Default)]
pub(super) struct Reached {
    lost: AtomicBool,
}

impl Link {
    /// Begins to connect. Must be called within a runtime, which the connection needs as long as it lives.
    pub(super) fn start(server: Arc<Server>, reached: Arc<Reached>) -> Self {
        let (state, receiver) = watch::channel(State::Connecting);
        let (wanted, wishes) = watch::channel(0);
        tokio::spawn(keep_up(server, reached, state, wishes));
        Self { state: receiver, wanted }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up(_))
    }

    /// The connection, once it is made.
    ///
    /// # Errors
    /// Why it could not be made.
    pub(super) async fn up(&self) -> Result<Up, Arc<str>> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match known.as_deref() {
            Ok(State::Up(up)) => Ok(up.clone()),
            Ok(State::Down(reason)) => Err(Arc::clone(reason)),
            Ok(State::Connecting) | Err(_) => Err("the runtime of its connection has ended".into()),
        }
    }

    /// Gives up a connection that is of no more use; a new one is made.
    pub(super) fn renew(&self, up: &Up) {
        self.wanted.send_if_modified(|wanted| {
            let newer = *wanted <= up.generation;
            *wanted = (*wanted).max(up.generation + 1);
            newer
        });
    }

    /// As [`Link::renew`], whatever the connection is now.
    pub(super) fn renew_any(&self) {
        let up = match &*self.state.borrow() {
            State::Up(up) => up.clone(),
            State::Connecting | State::Down(_) => return,
        };
        self.renew(&up);
    }
}

async fn keep_up(
    server: Arc<Server>,
    reached: Arc<Reached>,
    state: watch::Sender<State>,
    mut wanted: watch::Receiver<u64>,
) {
    let mut wait = FIRST_WAIT;
    loop {
        let generation = *wanted.borrow_and_update();
        let attempt = async {
            let made = time::timeout(ATTEMPT, server.connect()).await;
            made.map_err(|_| Arc::from("no answer"))
                .and_then(|made| made.map_err(|error| error.to_string().into()))
        };
        let made: Result<Connection, Arc<str>> = tokio::select! {
            made = attempt => made,
            // Nobody has the link any more.
            () = state.closed() => return,
        };
        match made {
            Ok(connection) => {
                wait = FIRST_WAIT;
                reached.again();
                state.send_replace(State::Up(Up { connection, generation }));
                if wanted.wait_for(|wanted| *wanted > generation).await.is_err() {
                    return;
                }
                state.send_replace(State::Connecting);
            }
            Err(reason) => {
                reached.lost(&reason);
                state.send_replace(State::Down(reason));
                tokio::select! {
                    () = time::sleep(jittered(wait)) => {}
                    () = state.closed() => return,
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// Between half of `wait` and all of it, so that a fleet does not come back in one moment.
fn jittered(wait: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0);
    wait / 2 + wait / 2 * (random >> 16) / u32::from(u16::MAX)
}

impl Reached {
    fn lost(&self, reason: &str) {
        if !self.lost.swap(true, Ordering::Relaxed) {
            warn!(reason, "Redis cannot be reached; until it is, each edge tells repeats apart by itself");
        }
    }

    fn again(&self) {
        if self.lost.swap(false, Ordering::Relaxed) {
            info!("Redis is reached again");
        }
    }
}
