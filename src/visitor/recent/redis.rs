//! The duplicate check that all edges share, in Redis.
//!
//! The memory of this process is asked first. What it knows as a repeat is one, and Redis is not asked; what is new to
//! it goes to Redis, all of a batch at once, and Redis decides. When Redis does not answer within the time limit, or is
//! left alone because it failed several times in a row, the memory has decided already.
//!
//! So while Redis is away, a visitor who comes back is found by the edge that saw them before, and counted once more
//! by each other edge. The price is a memory of `visitor.recent_visits` visits and a look into it per click, also
//! while Redis is well.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time;
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    MemoryRecentVisits, RecentVisits, Visit,
    breaker::{Breaker, Change, Leave},
    link::{Link, Reached},
    server::{Answer, Server, ServerError},
};
use crate::{config::RedisSettings, domain::time::Timestamp, telemetry::redis::RedisMetrics};

/// Connections of one process at most. Each carries more than a Redis takes; several keep the cores apart.
const MAX_LINKS: usize = 8;

/// Remembers in Redis, and in this process what Redis may forget or not answer.
pub struct RedisRecentVisits {
    memory: MemoryRecentVisits,
    server: Arc<Server>,
    links: Box<[Link]>,
    turn: AtomicUsize,
    breaker: Breaker,
    limit: Duration,
    metrics: RedisMetrics,
}

impl fmt::Debug for RedisRecentVisits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRecentVisits")
            .field("memory", &self.memory)
            .field("server", &self.server)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

/// Why a batch got no answer.
enum Unanswered {
    TimeLimit,
    Error(Arc<str>),
}

impl RedisRecentVisits {
    /// Begins to connect, for batches of `cores` cores. Must be called within a runtime, which the connections need as
    /// long as they live; batches may come from others.
    ///
    /// # Errors
    /// Settings that can never work. A Redis that cannot be reached is only warned of.
    pub fn start(
        settings: &RedisSettings,
        memory: MemoryRecentVisits,
        cores: usize,
    ) -> Result<Self, ServerError> {
        let server = Arc::new(Server::new(settings)?);
        let reached = Arc::new(Reached::default());
        let link = |_| Link::start(Arc::clone(&server), Arc::clone(&reached));
        Ok(Self {
            links: (0..cores.clamp(1, MAX_LINKS)).map(link).collect(),
            memory,
            server,
            turn: AtomicUsize::new(0),
            breaker: Breaker::new(settings.breaker_failures, Duration::from_millis(settings.breaker_ms)),
            limit: Duration::from_millis(settings.timeout_ms),
            metrics: RedisMetrics::register(),
        })
    }

    async fn firsts(&self, now: Timestamp, visits: &[Visit]) -> Vec<Uuid> {
        let mut firsts = self.memory.firsts(now, visits);
        let (mut places, mut asked) = (Vec::with_capacity(visits.len()), Vec::with_capacity(visits.len()));
        let mut known = 0;
        for (place, (visit, first)) in visits.iter().zip(&firsts).enumerate() {
            if *first != visit.click_id {
                known += 1;
            } else if visit.window_ms > 0 {
                places.push(place);
                asked.push(*visit);
            }
        }
        self.metrics.known.increment(known);
        if asked.is_empty() {
            return firsts;
        }
        let answers = self.answers(&asked).await;
        let unanswered = answers.iter().filter(|answer| **answer == Answer::Unknown).count() as u64;
        self.metrics.unanswered.increment(unanswered);
        self.metrics.answered.increment(answers.len() as u64 - unanswered);
        for ((place, visit), answer) in places.into_iter().zip(&asked).zip(answers) {
            let Answer::First(first) = answer else { continue };
            if first == visit.click_id {
                continue;
            }
            self.memory.learn(now, visit, first);
            // Also of those behind it in this batch, who are repeats of it.
            for later in &mut firsts[place..] {
                if *later == visit.click_id {
                    *later = first;
                }
            }
        }
        firsts
    }

    /// In the order of the visits; all unknown where Redis does not answer.
    async fn answers(&self, visits: &[Visit]) -> Vec<Answer> {
        let Some(leave) = self.breaker.leave(Instant::now()) else {
            self.metrics.skipped.increment(1);
            return vec![Answer::Unknown; visits.len()];
        };
        let began = Instant::now();
        let asked = time::timeout(self.limit, self.ask(visits)).await;
        self.metrics.seconds.record(began.elapsed());
        match asked {
            Ok(Ok(answers)) => {
                self.metrics.ok.increment(1);
                if leave.succeeded() == Change::Closed {
                    self.metrics.breaker_open.set(0.0);
                    info!("Redis answers again");
                }
                return answers;
            }
            Ok(Err(reason)) => {
                self.metrics.error.increment(1);
                self.failed(leave, &Unanswered::Error(reason));
            }
            Err(_) => {
                self.metrics.timeout.increment(1);
                self.failed(leave, &Unanswered::TimeLimit);
            }
        }
        vec![Answer::Unknown; visits.len()]
    }

    async fn ask(&self, visits: &[Visit]) -> Result<Vec<Answer>, Arc<str>> {
        let link = self.link();
        let up = link.up().await?;
        self.server.ask(up.connection.clone(), visits).await.map_err(|error| {
            // Broken, or not the primary any more: another one may do better.
            link.renew(&up);
            error.to_string().into()
        })
    }

    /// Each in turn, those without a connection left out as long as another has one.
    fn link(&self) -> &Link {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = |n: usize| &self.links[turn.wrapping_add(n) % self.links.len()];
        (0..self.links.len()).map(in_turn).find(|link| link.is_up()).unwrap_or_else(|| in_turn(0))
    }

    fn failed(&self, leave: Leave<'_>, why: &Unanswered) {
        let change = leave.failed(Instant::now());
        if change == Change::Opened {
            self.metrics.breaker_open.set(1.0);
            let limit = format!("no answer within {} ms", self.limit.as_millis());
            let reason = match why {
                Unanswered::TimeLimit => &*limit,
                Unanswered::Error(reason) => reason,
            };
            warn!(
                reason,
                "Redis failed several times in a row; until it answers, this edge tells repeats apart"
            );
        }
        if matches!(change, Change::Opened | Change::StaysOpen) {
            // Whoever answers next may be another server, and a connection can be dead without a word.
            self.links.iter().for_each(Link::renew_any);
        }
    }
}

impl RecentVisits for RedisRecentVisits {
    fn first_of<'a>(
        &'a self,
        now: Timestamp,
        visits: &'a [Visit],
    ) -> Pin<Box<dyn Future<Output = Vec<Uuid>> + Send + 'a>> {
        Box::pin(self.firsts(now, visits))
    }
}
