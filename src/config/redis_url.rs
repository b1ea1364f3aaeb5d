//! `redis.url`, parsed: one server, servers behind Sentinel, or a cluster.
//!
//! ```text
//! redis[s]://[user:password@]host[:6379][/database]
//! redis[s]+sentinel://[user:password@]host[:26379],host2[:26379]/name-of-the-primary[/database]
//! redis[s]+cluster://[user:password@]host[:6379],host2[:6379]
//! ```
//! User and password are percent-encoded; an empty user is Redis' `default`. No error repeats any of the text: it may
//! hold a password.

use std::{fmt, str::FromStr};

use percent_encoding::percent_decode_str;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// More than any deployment names; each is tried in turn.
const MAX_NODES: usize = 64;

/// What stands at the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    Single,
    /// The nodes are sentinels, which know the primary of this name.
    Sentinel {
        primary: String,
    },
    /// The nodes are some of a cluster; they know the others.
    Cluster,
}

/// Where Redis is and how to prove who we are.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub kind: RedisKind,
    pub tls: bool,
    /// Host and port, at least one, in the order in which they are tried.
    pub nodes: Vec<(String, u16)>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub database: i64,
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisUrl")
            .field("kind", &self.kind)
            .field("tls", &self.tls)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a URL, without a word of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedisUrlError(&'static str);

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let wrong = |message| Err(RedisUrlError(message));
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let ("redis" | "rediss", "" | "sentinel" | "cluster") = (scheme, kind) else {
            return wrong(
                "must begin with redis:// or rediss:// (TLS), for Sentinel redis+sentinel:// or rediss+sentinel://, \
                 for a cluster redis+cluster:// or rediss+cluster://",
            );
        };
        if rest.contains(['?', '#']) || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return wrong(
                "must have neither parameters nor spaces; percent-encode what a password has of `?`, `#`",
            );
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(user_info), hosts),
            None => (None, authority),
        };
        let (username, password) = match user_info {
            Some(user_info) => credentials(user_info)?,
            None => (None, None),
        };
        let port = if kind == "sentinel" { SENTINEL_PORT } else { REDIS_PORT };
        let nodes = hosts.split(',').map(|host| node(host, port)).collect::<Result<Vec<_>, _>>()?;
        if nodes.len() > MAX_NODES {
            return wrong("names more than 64 hosts");
        }
        let (kind, database) = match kind {
            "sentinel" => {
                let (primary, database) = path.split_once('/').unwrap_or((path, ""));
                let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
                if primary.is_empty() || !primary.bytes().all(fits) {
                    return wrong("must end with the name of the primary: redis+sentinel://host:26379/name");
                }
                (RedisKind::Sentinel { primary: primary.to_owned() }, database)
            }
            "cluster" => (RedisKind::Cluster, path),
            _ if nodes.len() > 1 => {
                return wrong("names several hosts: begin with redis+sentinel:// or redis+cluster://");
            }
            _ => (RedisKind::Single, path),
        };
        let database = match database {
            "" => 0,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) && digits.len() <= 5 => {
                digits.parse().unwrap_or(0)
            }
            _ => return wrong("must have a number of up to five digits as its database"),
        };
        if kind == RedisKind::Cluster && database != 0 {
            return wrong("names a database, but a cluster has only number 0");
        }
        Ok(Self { kind, tls: scheme == "rediss", nodes, username, password, database })
    }
}

type Credentials = (Option<String>, Option<String>);

fn credentials(user_info: &str) -> Result<Credentials, RedisUrlError> {
    let Some((user, password)) = user_info.split_once(':') else {
        return Err(RedisUrlError("must have user and password as `user:password@`, or `:password@`"));
    };
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        let text = text.map_err(|_| RedisUrlError("has a user or password that is not UTF-8"))?;
        Ok((!text.is_empty()).then(|| text.into_owned()))
    };
    let (user, password) = (decode(user)?, decode(password)?);
    if password.is_none() {
        return Err(RedisUrlError("has an empty password"));
    }
    Ok((user, password))
}

fn node(text: &str, default_port: u16) -> Result<(String, u16), RedisUrlError> {
    let wrong =
        RedisUrlError("must name its hosts as `host` or `host:port`, an IPv6 address as `[::1]:port`");
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, port)) => {
            address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong)?;
            (address, port)
        }
        None => {
            let (host, port) = text.find(':').map_or((text, ""), |at| text.split_at(at));
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if host.is_empty() || !host.bytes().all(fits) {
                return Err(wrong);
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(wrong)?,
        None if port.is_empty() => default_port,
        None => return Err(wrong),
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RedisUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn host(name: &str, port: u16) -> (String, u16) {
        (name.to_owned(), port)
    }

    #[test]
    fn each_form_is_read() {
        let plain = RedisUrl {
            kind: RedisKind::Single,
            tls: false,
            nodes: vec![host("h", 6379)],
            username: None,
            password: None,
            database: 0,
        };
        assert_eq!(parse("redis://h"), plain);
        assert_eq!(parse("redis://h/"), plain);
        assert_eq!(parse("redis://h:6379/0"), plain);
        assert_eq!(parse("rediss://h:1/12"), {
            RedisUrl { tls: true, nodes: vec![host("h", 1)], database: 12, ..plain.clone() }
        });
        assert_eq!(parse("redis://u:p%40%2F@h"), {
            RedisUrl { username: Some("u".into()), password: Some("p@/".into()), ..plain.clone() }
        });
        assert_eq!(parse("redis://:p:q@h"), RedisUrl { password: Some("p:q".into()), ..plain.clone() });
        assert_eq!(parse("redis://[::1]:7/1"), {
            RedisUrl { nodes: vec![host("::1", 7)], database: 1, ..plain.clone() }
        });
        assert_eq!(parse("redis+sentinel://a,b:7/main/3"), {
            let kind = RedisKind::Sentinel { primary: "main".into() };
            RedisUrl { kind, nodes: vec![host("a", 26379), host("b", 7)], database: 3, ..plain.clone() }
        });
        assert_eq!(parse("rediss+cluster://:p@a,[::1]"), {
            let nodes = vec![host("a", 6379), host("::1", 6379)];
            RedisUrl { kind: RedisKind::Cluster, tls: true, nodes, password: Some("p".into()), ..plain }
        });
    }

    #[test]
    fn what_is_malformed_is_refused_without_its_text() {
        for text in [
            "",
            "redis",
            "redis:/h",
            "http://h",
            "redis+other://h",
            "REDIS://h",
            "redis+unix:///run/redis",
            "redis://",
            "redis://:secret@",
            "redis://secret@h",
            "redis://user:@h",
            "redis://u:%ff@h",
            "redis://h:",
            "redis://h:0",
            "redis://h:65536",
            "redis://h:1:2",
            "redis://h e",
            "redis://h/secret",
            "redis://h/-1",
            "redis://h/123456",
            "redis://h/0/0",
            "redis://h?password=secret",
            "redis://h#insecure",
            "redis://a,b",
            "redis://a,",
            "redis://[::1",
            "redis://[::g]",
            "redis://[::1]6379",
            "redis+sentinel://h",
            "redis+sentinel://h/",
            "redis+sentinel://h/a b",
            "redis+sentinel://h/main/x",
            "redis+cluster://h/1",
            "redis+cluster://,h",
        ] {
            let error = text.parse::<RedisUrl>().expect_err(text).to_string();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
        let many = format!("redis+cluster://{}", vec!["h"; 65].join(","));
        assert!(many.parse::<RedisUrl>().is_err());
    }

    #[test]
    fn what_is_shown_of_it_has_no_password() {
        assert!(!format!("{:?}", parse("redis://user:secret@h")).contains("secret"));
    }
}
