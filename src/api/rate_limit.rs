//! How many requests a key may make in a minute.
//!
//! A window of 60 s begins with a subject's first request. What is remembered is bounded: with more subjects than
//! [`REMEMBERED`] the coldest are forgotten and begin a new window, which errs on the side of the client. Requests
//! without a valid key count for their peer's address, so that guessing does not go on for ever.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue};
use quick_cache::sync::Cache;
use uuid::Uuid;

use super::error::ApiError;
use crate::domain::time::Timestamp;

const WINDOW_MS: i64 = 60_000;

/// Subjects that are remembered, about 100 bytes each.
const REMEMBERED: usize = 65_536;

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Key(Uuid),
    /// Without a valid key; none where the peer is not known.
    Peer(Option<IpAddr>),
}

#[derive(Debug)]
struct Window {
    ends: i64,
    used: u32,
}

/// Where a subject stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub limit: u32,
    pub remaining: u32,
    /// Seconds since 1970 at which the window ends.
    pub reset: i64,
    /// How long until then, if this request is one too many.
    pub refused_for: Option<Duration>,
}

impl Quota {
    /// Refuses the request that is one too many.
    pub fn check(&self) -> Result<(), ApiError> {
        match self.refused_for {
            None => Ok(()),
            Some(retry_after) => Err(ApiError::RateLimited { retry_after }),
        }
    }

    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert("x-ratelimit-limit", HeaderValue::from(self.limit));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(self.remaining));
        headers.insert("x-ratelimit-reset", HeaderValue::from(self.reset));
    }
}

#[derive(Debug)]
pub struct RateLimiter {
    limit: u32,
    windows: Cache<Subject, Arc<Mutex<Window>>>,
}

impl RateLimiter {
    pub fn new(per_minute: u32) -> Self {
        Self { limit: per_minute, windows: Cache::new(REMEMBERED) }
    }

    /// Counts a request.
    pub fn take(&self, subject: Subject, now: Timestamp) -> Quota {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Window { ends: 0, used: 0 })));
        let Ok(window) = self.windows.get_or_insert_with(&subject, fresh);
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not lock anybody out for longer than a window.
        if now.0 >= window.ends || window.ends - now.0 > WINDOW_MS {
            *window = Window { ends: now.0.saturating_add(WINDOW_MS), used: 0 };
        }
        let refused = window.used >= self.limit;
        if !refused {
            window.used += 1;
        }
        // Whole seconds, rounded up: who waits so long is let in.
        let left = u64::try_from(window.ends - now.0).unwrap_or(0).div_ceil(1000);
        Quota {
            limit: self.limit,
            remaining: self.limit - window.used,
            reset: window.ends.saturating_add(999).div_euclid(1000),
            refused_for: refused.then(|| Duration::from_secs(left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn a_window_is_used_up_and_begins_anew() {
        let limiter = RateLimiter::new(2);
        let subject = Subject::Key(Uuid::nil());
        assert_eq!(limiter.take(subject, T).remaining, 1);
        let second = limiter.take(subject, T + 1500);
        assert_eq!((second.remaining, second.refused_for), (0, None));
        let third = limiter.take(subject, T + 1500);
        assert_eq!(third.refused_for, Some(Duration::from_secs(59)));
        assert_eq!(third.reset, 1_700_000_060);
        assert_eq!(limiter.take(subject, T + 59_999).refused_for, Some(Duration::from_secs(1)));
        assert_eq!(limiter.take(subject, T + 60_000).remaining, 1);
    }

    #[test]
    fn subjects_do_not_share() {
        let limiter = RateLimiter::new(1);
        assert_eq!(limiter.take(Subject::Key(Uuid::nil()), T).refused_for, None);
        assert_eq!(limiter.take(Subject::Key(Uuid::max()), T).refused_for, None);
        assert_eq!(limiter.take(Subject::Peer(None), T).refused_for, None);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let limiter = RateLimiter::new(1);
        let subject = Subject::Peer(None);
        limiter.take(subject, T);
        assert_eq!(limiter.take(subject, T + -3_600_000).refused_for, None);
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = RateLimiter::new(1);
        for n in 0..3 * REMEMBERED as u128 {
            limiter.take(Subject::Key(Uuid::from_u128(n)), T);
        }
        assert!(limiter.windows.len() <= REMEMBERED);
    }
}
