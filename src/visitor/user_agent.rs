//! What a user agent says of itself: device, system, browser, and whether it is a crawler's.
//!
//! woothee knows devices, systems and browsers; crawlers are those of its category `crawler` and those that one of
//! the patterns in `crawler_patterns.rs` knows. Parsing costs microseconds, so every core remembers the answers, in
//! bounded memory.
//!
//! | `device` | what it is |
//! |---|---|
//! | `desktop` | a browser on a computer |
//! | `mobile` | a browser on a telephone or tablet |
//! | `appliance` | a game console, a television |
//! | `crawler` | a crawler; then, and only then, [`Agent::crawler`] is set |
//! | `misc` | a feed reader, a library, what is no browser |
//! | `unknown` | nobody knows; also without a user agent |
//!
//! `os` and `browser` are names of woothee's data set (`Windows 10`, `Chrome`), or `unknown`.

use std::{collections::HashSet, sync::LazyLock};

use metrics::Counter;
use quick_cache::unsync::Cache;
use regex::bytes::{RegexSet, RegexSetBuilder};
use woothee::{dataset::DATASET, parser::Parser};

use crate::telemetry::visitor::VisitorMetrics;

use super::crawler_patterns::PATTERNS;

/// Bytes of a user agent that are looked at and remembered. Real ones rarely have 300.
pub const MAX_BYTES: usize = 512;

const UNKNOWN: &str = "unknown";

/// Stands for a user agent in hashes of visitors: BLAKE3 of its first [`MAX_BYTES`], cut to 16 bytes. Worked out
/// once for each user agent and remembered, it spares every click the hashing of a long text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentDigest(pub(super) [u8; 16]);

impl From<&str> for AgentDigest {
    fn from(ua: &str) -> Self {
        let mut digest = [0; 16];
        digest.copy_from_slice(&blake3::hash(cut(ua).as_bytes()).as_bytes()[..16]);
        Self(digest)
    }
}

impl From<Agent> for AgentDigest {
    fn from(agent: Agent) -> Self {
        agent.digest
    }
}

fn cut(ua: &str) -> &str {
    &ua[..ua.floor_char_boundary(MAX_BYTES)]
}

/// What is known of a user agent. Every word is of a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent {
    /// As of the module's table.
    pub device: &'static str,
    pub os: &'static str,
    pub browser: &'static str,
    pub crawler: bool,
    /// For [`VisitorHasher`](super::VisitorHasher).
    pub digest: AgentDigest,
}

impl Agent {
    /// Parses without remembering. `ua` is taken as it is, however long.
    fn parse(ua: &str) -> Self {
        let found = Parser::new().parse(ua).unwrap_or_default();
        let crawler = found.category == "crawler"
            || CRAWLERS.as_ref().is_some_and(|patterns| patterns.is_match(ua.as_bytes()));
        let device = match found.category {
            _ if crawler => "crawler",
            "pc" => "desktop",
            "smartphone" | "mobilephone" => "mobile",
            "appliance" => "appliance",
            "misc" => "misc",
            _ => UNKNOWN,
        };
        Self { device, os: name(found.os), browser: name(found.name), crawler, digest: ua.into() }
    }
}

/// The words of woothee's data set: what it answers lives as long as the user agent, these live for ever.
static NAMES: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| DATASET.values().flat_map(|entry| [entry.name, entry.os]).collect());

fn name(found: &str) -> &'static str {
    NAMES.get(found).copied().filter(|name| !name.is_empty()).unwrap_or(UNKNOWN)
}

/// None only if a pattern were no regular expression, which a test rules out.
static CRAWLERS: LazyLock<Option<RegexSet>> = LazyLock::new(|| {
    let patterns = RegexSetBuilder::new(PATTERNS).unicode(false).build();
    if let Err(error) = &patterns {
        tracing::error!(%error, "the crawler patterns are unreadable, crawlers go by woothee alone");
    }
    patterns.ok()
});

/// Knows user agents, with a bounded memory. One per core.
pub struct UserAgents {
    known: Cache<Box<str>, Agent>,
    parsed: Counter,
}

impl std::fmt::Debug for UserAgents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserAgents").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl UserAgents {
    /// Remembers at most `capacity` user agents. Compiles the crawler patterns when it is the first in the process,
    /// which takes some milliseconds: make it before serving.
    pub fn new(capacity: usize) -> Self {
        LazyLock::force(&CRAWLERS);
        LazyLock::force(&NAMES);
        Self { known: Cache::new(capacity), parsed: VisitorMetrics::register().user_agents_parsed }
    }

    /// What `ua` says; of a longer one than [`MAX_BYTES`], what its beginning says. An empty one is unknown, and no
    /// crawler.
    pub fn look(&mut self, ua: &str) -> Agent {
        let ua = cut(ua);
        if let Some(agent) = self.known.get(ua) {
            return *agent;
        }
        let agent = Agent::parse(ua);
        self.parsed.increment(1);
        self.known.insert(ua.into(), agent);
        agent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Device, system, browser and user agent of ordinary visitors.
    const VISITORS: &[(&str, &str, &str, &str)] = &[
        (
            "desktop",
            "Windows 10",
            "Chrome",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
        ),
        (
            "desktop",
            "Mac OSX",
            "Safari",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
        ),
        (
            "desktop",
            "Linux",
            "Firefox",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        (
            "desktop",
            "Windows 10",
            "Edge",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0",
        ),
        (
            "mobile",
            "iPhone",
            "Safari",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
        ),
        (
            "mobile",
            "iPhone",
            "Chrome",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/138.0.7204.53 Mobile/15E148 Safari/604.1",
        ),
        (
            "mobile",
            "Android",
            "Chrome",
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36",
        ),
        (
            "mobile",
            "Android",
            "SamsungBrowser",
            "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
        ),
        (
            "mobile",
            "Android",
            "Firefox",
            "Mozilla/5.0 (Android 14; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
        ),
        (
            "desktop",
            "Mac OSX",
            "Opera",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/136.0.0.0 Safari/537.36 OPR/121.0.0.0",
        ),
    ];

    const CRAWLER_AGENTS: &[&str] = &[
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        "curl/8.5.0",
        "Wget/1.21.4",
        "python-requests/2.32.3",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    ];

    #[test]
    fn every_pattern_compiles() {
        assert!(PATTERNS.len() >= 500);
        assert_eq!(CRAWLERS.as_ref().map(RegexSet::len), Some(PATTERNS.len()));
        assert!(PATTERNS.is_sorted(), "two runs of the script must give the same file");
    }

    #[test]
    fn ordinary_visitors_are_known_and_no_crawlers() {
        let mut agents = UserAgents::new(100);
        for (device, os, browser, ua) in VISITORS {
            assert_eq!(
                agents.look(ua),
                Agent { device, os, browser, crawler: false, digest: (*ua).into() },
                "{ua}"
            );
        }
    }

    #[test]
    fn crawlers_are_crawlers_by_either_source() {
        let mut agents = UserAgents::new(100);
        for ua in CRAWLER_AGENTS {
            let agent = agents.look(ua);
            assert!(agent.crawler, "{ua}");
            assert_eq!(agent.device, "crawler", "{ua}");
        }
        let by_woothee_alone = "Mozilla/5.0 (compatible; Some-Unheard-Of-Spider; +http://example.com)";
        assert!(!CRAWLERS.as_ref().unwrap().is_match(by_woothee_alone.as_bytes()));
        assert!(agents.look(by_woothee_alone).crawler);
    }

    #[test]
    fn what_nobody_knows_is_unknown() {
        let mut agents = UserAgents::new(100);
        for ua in ["", "-", "\u{1F980} wait, what?"] {
            let expected =
                Agent { device: UNKNOWN, os: UNKNOWN, browser: UNKNOWN, crawler: false, digest: ua.into() };
            assert_eq!(agents.look(ua), expected, "{ua}");
        }
    }

    #[test]
    fn long_ones_are_cut_between_characters() {
        let mut agents = UserAgents::new(100);
        let chrome = VISITORS[0].3;
        let long = format!("{chrome} {}", "\u{e9}".repeat(10_000));
        assert_eq!(agents.look(&long).browser, "Chrome");
        assert_eq!(agents.look(&long).digest, AgentDigest::from(long.as_str()));
        assert_eq!(AgentDigest::from(long.as_str()), format!("{long} more").as_str().into());
        assert_ne!(AgentDigest::from(long.as_str()), chrome.into());
        let late = format!("{}{}", "x".repeat(MAX_BYTES), "Googlebot/2.1");
        assert!(!agents.look(&late).crawler);
        assert!(agents.known.iter().all(|(ua, _)| ua.len() <= MAX_BYTES));
    }

    #[test]
    fn memory_is_bounded_and_answers_stay_right() {
        for capacity in [0, 1, 16] {
            let mut agents = UserAgents::new(capacity);
            for n in 0..1_000 {
                let ua = format!("{} n/{n}", VISITORS[0].3);
                assert_eq!(agents.look(&ua).browser, "Chrome");
                assert_eq!(agents.look(&ua).browser, "Chrome");
            }
            assert!(agents.known.len() <= capacity.max(1), "{} of {capacity}", agents.known.len());
        }
    }

    #[test]
    fn every_name_of_the_data_set_is_kept() {
        for entry in DATASET.values().filter(|entry| !entry.name.is_empty()) {
            let expected = if entry.name == "UNKNOWN" { UNKNOWN } else { entry.name };
            assert_eq!(name(entry.name), expected);
        }
        assert_eq!(name("UNKNOWN"), UNKNOWN);
    }
}
