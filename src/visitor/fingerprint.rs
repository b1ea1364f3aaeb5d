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

/// Before the user agent.
const HEAD: usize = 25;
/// One chunk of BLAKE3. What fits is hashed in one go, without the 2 KB that its streaming state takes.
const ONE_GO: usize = 1_024;

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
        let mut buffer = [0; ONE_GO];
        buffer[0] = purpose;
        buffer[1..17].copy_from_slice(&ip.octets());
        buffer[17..HEAD].copy_from_slice(&number.to_le_bytes());
        let text = user_agent.as_bytes();
        let end = HEAD + text.len();
        let whole = if let Some(room) = buffer.get_mut(HEAD..end) {
            room.copy_from_slice(text);
            blake3::keyed_hash(&self.secret, &buffer[..end])
        } else {
            blake3::Hasher::new_keyed(&self.secret).update(&buffer[..HEAD]).update(text).finalize()
        };
        let mut out = [0; 16];
        out.copy_from_slice(&whole.as_bytes()[..16]);
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn it_is_keyed_blake3_of_the_layout(secret: [u8; 32], ip: std::net::Ipv6Addr, link: i64, length in 0_usize..1_500) {
            let user_agent = "u".repeat(length);
            let mut layout = vec![2];
            layout.extend_from_slice(&ip.octets());
            layout.extend_from_slice(&link.to_le_bytes());
            layout.extend_from_slice(user_agent.as_bytes());
            let expected = blake3::keyed_hash(&secret, &layout);
            let found = VisitorHasher::new(secret).visit_key(ip.into(), &user_agent, LinkId(link));
            prop_assert_eq!(&found[..], &expected.as_bytes()[..16]);
        }
    }
}
