//! The visitor's address, behind proxies or not.
//!
//! `X-Forwarded-For` is what anybody may write, so it counts only as far as trusted proxies vouch for it: from the
//! peer on, leftwards, each entry is believed because the one to its right is trusted.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use ipnet::IpNet;

/// Entries that are looked at; more proxies in a row than that is not a real path.
pub const MAX_HOPS: usize = 32;

/// The networks of the proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
}

impl TrustedProxies {
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self { networks }
    }

    /// Whether `ip` is one of ours.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// The address nearest to the visitor that a chain of trusted proxies vouches for; IPv4-mapped IPv6 comes out
    /// as IPv4. `forwarded_for` are the values of the `X-Forwarded-For` headers in their order; give an empty one
    /// for what is no text, because what stands to the left of it cannot be believed.
    pub fn client_ip<'a>(&self, peer: IpAddr, forwarded_for: impl Iterator<Item = &'a str>) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        // Each header has an entry at least, so the last ones are enough.
        let mut last = [""; MAX_HOPS];
        let mut headers = 0;
        for value in forwarded_for {
            last[headers % MAX_HOPS] = value;
            headers += 1;
        }
        let values = (headers.saturating_sub(MAX_HOPS)..headers).rev().map(|n| last[n % MAX_HOPS]);
        let hops = values.flat_map(|value| value.rsplit(',')).take(MAX_HOPS);
        for hop in hops {
            let Some(ip) = read(hop) else { break };
            client = ip;
            if !self.trusts(ip) {
                break;
            }
        }
        client
    }
}

/// Reads `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn read(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches(|c| c == ' ' || c == '\t');
    if let Ok(ip) = hop.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    if let Ok(socket) = hop.parse::<SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let inner = hop.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::V6(ip).to_canonical())
}

/// What events carry of an address: its /24 (IPv4) or /48 (IPv6), such as `192.0.2.0/24`.
pub fn ip_prefix(ip: IpAddr) -> String {
    let mut text = String::with_capacity(24);
    // Writing to a string cannot fail.
    let _ = match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            write!(text, "{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            write!(text, "{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    };
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:ffff::/48".parse().unwrap()])
    }

    fn client(peer: &str, headers: &[&str]) -> String {
        proxies().client_ip(peer.parse().unwrap(), headers.iter().copied()).to_string()
    }

    #[test]
    fn the_header_counts_from_trusted_peers_only() {
        assert_eq!(client("203.0.113.9", &["192.0.2.1"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("::ffff:10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("2001:db8:ffff::1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        let nobody = TrustedProxies::default();
        assert_eq!(
            nobody.client_ip([10, 0, 0, 1].into(), ["192.0.2.1"].into_iter()),
            IpAddr::from([10, 0, 0, 1])
        );
    }

    #[test]
    fn the_walk_goes_left_while_entries_are_trusted() {
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 192.0.2.1, 10.0.0.2"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "192.0.2.1,10.0.0.3", "10.0.0.2"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.4, 10.0.0.2"]), "10.0.0.4");
    }

    #[test]
    fn what_is_unreadable_ends_the_walk() {
        for garbage in ["unknown", "", "_hidden", "1.2.3", "fe80::1%eth0", "[::1", "1.2.3.4:99999", "\u{e9}"]
        {
            assert_eq!(client("10.0.0.1", &[&format!("6.6.6.6, {garbage}")]), "10.0.0.1", "{garbage}");
            assert_eq!(
                client("10.0.0.1", &[&format!("6.6.6.6,{garbage},10.0.0.2")]),
                "10.0.0.2",
                "{garbage}"
            );
            assert_eq!(client("10.0.0.1", &["6.6.6.6", garbage]), "10.0.0.1", "{garbage}");
        }
    }

    #[test]
    fn ports_and_brackets_are_tolerated() {
        for (entry, ip) in [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
            ("\t 192.0.2.1 ", "192.0.2.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[entry]), ip, "{entry}");
        }
    }

    #[test]
    fn hops_are_bounded() {
        let chain = |trusted: usize| format!("192.0.2.1{}", ", 10.0.0.2".repeat(trusted));
        assert_eq!(client("10.0.0.1", &[&chain(MAX_HOPS - 1)]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[&chain(MAX_HOPS)]), "10.0.0.2");
        let mut headers = vec!["192.0.2.1"];
        headers.extend(["10.0.0.2"; MAX_HOPS - 1]);
        assert_eq!(client("10.0.0.1", &headers), "192.0.2.1");
        headers.push("10.0.0.3");
        assert_eq!(client("10.0.0.1", &headers), "10.0.0.2");
    }

    #[test]
    fn prefixes_hide_the_visitor() {
        for (ip, prefix) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("255.255.255.255", "255.255.255.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff::/48"),
            ("::1", "::/48"),
        ] {
            assert_eq!(ip_prefix(ip.parse().unwrap()), prefix);
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_left_of_an_untrusted_entry_is_ignored(left in "[ -~]{0,60}", ip: [u8; 4]) {
            let ip = IpAddr::from(ip);
            prop_assume!(!proxies().trusts(ip));
            let header = format!("{left}, {ip}");
            let found = proxies().client_ip([10, 0, 0, 1].into(), [header.as_str()].into_iter());
            prop_assert_eq!(found, ip);
        }

        #[test]
        fn a_prefix_is_short_and_one_network(ip: std::net::Ipv6Addr) {
            let prefix = ip_prefix(ip.into());
            // Within what is set aside for it: one allocation.
            prop_assert!(prefix.len() <= 24);
            prop_assert!(prefix.parse::<IpNet>().unwrap().contains(&IpAddr::V6(ip).to_canonical()));
        }
    }
}
