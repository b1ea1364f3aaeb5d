//! Who follows a link: user agent, country and network, traffic class, and whether they came before.
//!
//! Nothing here blocks, and nothing here fails a request: what cannot be known is `unknown`. The full address of a
//! visitor goes into keyed hashes and look-ups and never leaves the process.

pub mod address;
mod crawler_patterns;
pub mod fingerprint;
pub mod geo;
pub mod recent;
pub mod traffic;
pub mod user_agent;

pub use address::{TrustedProxies, ip_prefix};
pub use fingerprint::VisitorHasher;
pub use geo::{Geo, GeoError, GeoReader, Place};
pub use recent::{MemoryRecentVisits, RecentVisits, RedisRecentVisits, ServerError, Visit};
pub use traffic::{Signals, is_prefetch};
pub use user_agent::{Agent, AgentDigest, UserAgents};
