//! Hashes that tell visitors apart without saying who they are.
//!
//! Keyed BLAKE3, cut to 16 bytes. What is hashed, so that no two different inputs give the same bytes:
//!
//! ```text
//! purpose: 1 byte | address: 16 (IPv4 as mapped IPv6) | day or link id: 8, little-endian | user agent: the rest
//! ```

use std::net::{IpAddr, Ipv6Addr};

use crate::domain::ids::LinkId;

const VISITOR: u8 = 1;
const VISIT: u8 = 2;

/// Hashes visitors under one secret.
#[derive(Clone)]
pub struct VisitorHasher {
    keyed: blake3::Hasher,
}

impl std::fmt::Debug for VisitorHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VisitorHasher")
    }
}

impl VisitorHasher {
    pub fn new(secret: [u8; 32]) -> Self {
        Self { keyed: blake3::Hasher::new_keyed(&secret) }
    }

    /// The visitor on that UTC `day` ([`Timestamp::day`](crate::domain::time::Timestamp::day)): known again the
    /// same day, and no longer.
    pub fn visitor(&self, ip: IpAddr, user_agent: &str, day: i32) -> [u8; 16] {
        self.hash(VISITOR, ip, i64::from(day), user_agent)
    }

    /// The visitor on that link, whatever the day: what the duplicate check compares.
    pub fn visit_key(&self, ip: IpAddr, user_agent: &str, link: LinkId) -> [u8; 16] {
        self.hash(VISIT, ip, link.0, user_agent)
    }

    fn hash(&self, purpose: u8, ip: IpAddr, number: i64, user_agent: &str) -> [u8; 16] {
        let ip: Ipv6Addr = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut fixed = [0; 25];
        fixed[0] = purpose;
        fixed[1..17].copy_from_slice(&ip.octets());
        fixed[17..].copy_from_slice(&number.to_le_bytes());
        let mut hasher = self.keyed.clone();
        hasher.update(&fixed).update(user_agent.as_bytes());
        let mut out = [0; 16];
        hasher.finalize_xof().fill(&mut out);
        out
    }
}
