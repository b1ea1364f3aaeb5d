//! Hashes that tell visitors apart without saying who they are.
//!
//! Keyed BLAKE3, cut to 16 bytes. What is hashed has one length, so that no two different inputs give the same bytes,
//! and fits BLAKE3's block of 64, so that it costs one round:
//!
//! ```text
//! purpose: 1 byte | address: 16 (IPv4 as mapped IPv6) | day or link id: 8, little-endian | user agent's digest: 16
//! ```
//! User agents are told apart by their first 512 bytes ([`AgentDigest`]).

use std::net::{IpAddr, Ipv6Addr};

use crate::domain::ids::LinkId;

use super::AgentDigest;

const VISITOR: u8 = 1;
const VISIT: u8 = 2;

/// Hashes visitors under one secret.
#[derive(Clone)]
pub struct VisitorHasher {
    secret: [u8; 32],
}

impl std::fmt::Debug for VisitorHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VisitorHasher")
    }
}

impl VisitorHasher {
    /// The same secret on all edges of a deployment, so that they know the same visitor.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The visitor on that UTC `day` ([`Timestamp::day`](crate::domain::time::Timestamp::day)): known again the
    /// same day, and no longer. `user_agent` is an [`Agent`](super::Agent), or the text itself, which costs more.
    pub fn visitor(&self, ip: IpAddr, user_agent: impl Into<AgentDigest>, day: i32) -> [u8; 16] {
        self.hash(VISITOR, ip, i64::from(day), user_agent.into())
    }

    /// The visitor on that link, whatever the day: what the duplicate check compares.
    pub fn visit_key(&self, ip: IpAddr, user_agent: impl Into<AgentDigest>, link: LinkId) -> [u8; 16] {
        self.hash(VISIT, ip, link.0, user_agent.into())
    }

    fn hash(&self, purpose: u8, ip: IpAddr, number: i64, user_agent: AgentDigest) -> [u8; 16] {
        let ip: Ipv6Addr = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut input = [0; 41];
        input[0] = purpose;
        input[1..17].copy_from_slice(&ip.octets());
        input[17..25].copy_from_slice(&number.to_le_bytes());
        input[25..].copy_from_slice(&user_agent.0);
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::keyed_hash(&self.secret, &input).as_bytes()[..16]);
        hash
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::visitor::UserAgents;

    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn each_input_and_the_secret_make_a_difference() {
        let hasher = VisitorHasher::new([1; 32]);
        let other_ip = IpAddr::from([192, 0, 2, 2]);
        let hashes = [
            hasher.visitor(IP, "ua", 7),
            hasher.visitor(IP, "ua", 8),
            hasher.visitor(IP, "ub", 7),
            hasher.visitor(IP, "", 7),
            hasher.visitor(other_ip, "ua", 7),
            hasher.visit_key(IP, "ua", LinkId(7)),
            hasher.visit_key(IP, "ua", LinkId(8)),
            hasher.visit_key(other_ip, "ua", LinkId(7)),
            VisitorHasher::new([2; 32]).visitor(IP, "ua", 7),
        ];
        assert_eq!(HashSet::from(hashes).len(), hashes.len());
    }

    #[test]
    fn one_address_in_two_notations_is_one_visitor() {
        let hasher = VisitorHasher::new([1; 32]);
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(hasher.visitor(mapped, "ua", 7), hasher.visitor(IP, "ua", 7));
    }

    #[test]
    fn an_agent_stands_for_its_text() {
        let hasher = VisitorHasher::new([1; 32]);
        let agent = UserAgents::new(10).look("curl/8.5.0");
        assert_eq!(hasher.visitor(IP, agent, 7), hasher.visitor(IP, "curl/8.5.0", 7));
        assert_eq!(hasher.visit_key(IP, agent, LinkId(7)), hasher.visit_key(IP, "curl/8.5.0", LinkId(7)));
    }

    /// Edges of one deployment compare these with each other, so they may not change with a release.
    #[test]
    fn it_is_keyed_blake3_of_the_layout() {
        let mut layout = vec![2];
        layout.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        layout.extend_from_slice(&[0x39, 0x30, 0, 0, 0, 0, 0, 0]);
        layout.extend_from_slice(&blake3::hash(b"ua").as_bytes()[..16]);
        let expected = blake3::keyed_hash(&[1; 32], &layout);
        assert_eq!(
            VisitorHasher::new([1; 32]).visit_key(IP, "ua", LinkId(12_345)),
            expected.as_bytes()[..16]
        );
    }
}
