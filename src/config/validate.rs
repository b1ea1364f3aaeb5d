//! The rules that types alone do not hold: ranges, and keys that must go together.

use std::net::SocketAddr;

use data_encoding::HEXLOWER_PERMISSIVE;
use tracing_subscriber::EnvFilter;

use super::{
    EdgeSettings, KafkaSettings, RedisSettings, RedisUrl, SaslMechanism, SecretsSettings, Settings,
    StoreSettings, TokenSettings,
};
use crate::domain::{
    ids::Slug,
    sealed::SealingKeys,
    token::{KeyRing, TokenKey},
};

/// 32 secret bytes.
pub type Secret = [u8; 32];

/// The limits of a number, both included. `config/default.toml` says the same; a test holds the two together.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub key: &'static str,
    value: fn(&Settings) -> u64,
    pub min: u64,
    pub max: u64,
}

macro_rules! ranges {
    ($($section:ident.$name:ident: $min:literal to $max:literal;)+) => {
        &[$(Range {
            key: concat!(stringify!($section), ".", stringify!($name)),
            value: |settings| settings.$section.$name as u64,
            min: $min,
            max: $max,
        }),+]
    };
}

/// All numbers of the settings but the parts of lists.
pub const RANGES: &[Range] = ranges! {
    edge.cores: 0 to 1_024;
    edge.max_connections: 1 to 10_000_000;
    // Below 8 KiB hyper refuses to read at all.
    edge.max_header_bytes: 8_192 to 1_048_576;
    edge.max_body_bytes: 1_024 to 67_108_864;
    edge.max_batch_events: 1 to 500;
    edge.header_read_timeout_ms: 1 to 600_000;
    edge.body_read_timeout_ms: 1 to 600_000;
    edge.pixel_wait_ms: 1 to 30_000;
    edge.append_timeout_ms: 1 to 600_000;
    edge.drain_delay_ms: 0 to 600_000;
    edge.drain_timeout_ms: 1 to 3_600_000;
    api.max_body_bytes: 1_024 to 67_108_864;
    api.request_timeout_ms: 1 to 600_000;
    api.rate_limit_per_minute: 1 to 10_000_000;
    kafka.spool_after_ms: 10 to 1_000;
    kafka.message_timeout_ms: 100 to 600_000;
    kafka.linger_ms: 0 to 1_000;
    kafka.queue_events: 1_000 to 10_000_000;
    kafka.queue_bytes: 1_048_576 to 2_147_482_624;
    kafka.session_timeout_ms: 1_000 to 3_600_000;
    redis.timeout_ms: 1 to 1_000;
    redis.breaker_failures: 1 to 1_000;
    redis.breaker_ms: 10 to 600_000;
    store.connections: 2 to 1_000;
    store.statement_timeout_ms: 100 to 3_600_000;
    catalog.snapshot_interval_ms: 100 to 86_400_000;
    catalog.snapshot_max_age_ms: 1_000 to 302_400_000;
    spool.max_bytes: 1_048_576 to 1_099_511_627_776;
    spool.commit_events: 1 to 1_000;
    spool.commit_ms: 1 to 10;
    geoip.check_interval_ms: 100 to 86_400_000;
    visitor.user_agents: 1 to 1_000_000;
    visitor.recent_visits: 1 to 100_000_000;
    settlement.batch_events: 1 to 500;
    settlement.batch_wait_ms: 1 to 100;
    settlement.pending_time_ms: 1 to 2_592_000_000;
    settlement.max_age_days: 1 to 3_650;
    settlement.click_retention_days: 1 to 36_500;
    settlement.audit_interval_ms: 100 to 86_400_000;
    settlement.bonus_interval_ms: 100 to 86_400_000;
};

/// How long clicks may wait for Redis and then for Kafka, before the spool has them. A core has room for the clicks of
/// this time; what comes beyond is lost.
const MOST_CLICK_WAIT_MS: u64 = 1_000;

/// Reads 64 hex digits.
pub fn parse_secret(text: &str) -> Option<Secret> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

impl TokenSettings {
    /// The keys as they are used; none when they are to be made.
    ///
    /// # Errors
    /// The key of the settings that is wrong (`token.keys[1].secret`) and why.
    pub fn key_ring(&self) -> Result<Option<KeyRing>, (String, String)> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let mut keys = Vec::with_capacity(self.keys.len());
        for (n, key) in self.keys.iter().enumerate() {
            let secret = strong_secret(&key.secret)
                .map_err(|message| (format!("token.keys[{n}].secret"), message.to_owned()))?;
            keys.push(TokenKey { id: key.id, state: key.state, secret });
        }
        KeyRing::new(keys)
            .map(Some)
            .map_err(|error| ("token.keys".to_owned(), format!("cannot be used: {error}")))
    }
}

impl SecretsSettings {
    /// The keys as they seal and open; `None`: none are configured.
    ///
    /// # Errors
    /// The key of the settings that is wrong (`secrets.keys[1]`) and why.
    pub fn sealing_keys(&self) -> Result<Option<SealingKeys>, (String, String)> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for (n, key) in self.keys.iter().enumerate() {
            let key = strong_secret(key);
            keys.push(key.map_err(|message| (format!("secrets.keys[{n}]"), message.to_owned()))?);
        }
        Ok(SealingKeys::new(&keys).ok())
    }
}

/// A secret that was not typed as a placeholder.
fn strong_secret(text: &str) -> Result<Secret, &'static str> {
    let secret = parse_secret(text).ok_or("must be 64 hex digits; make one with `openssl rand -hex 32`")?;
    if secret.iter().all(|byte| *byte == secret[0]) {
        return Err("is a placeholder that anybody guesses; make one with `openssl rand -hex 32`");
    }
    Ok(secret)
}

impl Settings {
    /// Every key that breaks a rule, with the rule. Empty: all is well.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut check = |right: bool, key: &str, message: String| {
            if !right {
                wrong.push((key.to_owned(), message));
            }
        };
        for Range { key, value, min, max } in RANGES {
            let value = value(self);
            check(
                (*min..=*max).contains(&value),
                key,
                format!("is {value}, but must be between {min} and {max}"),
            );
        }
        check(!self.data_dir.as_os_str().is_empty(), "data_dir", "must not be empty".to_owned());
        self.edge.validate(&mut check);
        for (key, other) in [("edge.listen", self.edge.listen), ("api.listen", self.api.listen)] {
            check(
                !collide(self.admin.listen, other),
                "admin.listen",
                format!("is the same as `{key}`: {other}; each needs a port of its own"),
            );
        }
        self.kafka.validate(&mut check);
        check(
            self.edge.append_timeout_ms > self.spool.commit_ms,
            "edge.append_timeout_ms",
            format!(
                "must be above `spool.commit_ms` ({} ms): no reported click is durable sooner",
                self.spool.commit_ms
            ),
        );
        for (key, wait) in [
            ("edge.pixel_wait_ms", self.edge.pixel_wait_ms),
            ("edge.append_timeout_ms", self.edge.append_timeout_ms),
        ] {
            check(
                !self.kafka.is_used() || wait > self.kafka.spool_after_ms,
                key,
                format!(
                    "must be above `kafka.spool_after_ms` ({} ms): without Kafka no event is durable sooner",
                    self.kafka.spool_after_ms
                ),
            );
        }
        let of_redis = if self.redis.url.is_empty() { 0 } else { self.redis.timeout_ms };
        check(
            !self.kafka.is_used() || self.kafka.spool_after_ms + of_redis <= MOST_CLICK_WAIT_MS,
            "kafka.spool_after_ms",
            format!(
                "and `redis.timeout_ms` ({of_redis} ms) must be at most {MOST_CLICK_WAIT_MS} ms together: an edge has \
                 room for the clicks of that time, and no more"
            ),
        );
        self.redis.validate(&mut check);
        self.store.validate(&mut check);
        for (key, given) in [
            ("token.keys", !self.token.keys.is_empty()),
            ("visitor.hash_secret", !self.visitor.hash_secret.is_empty()),
            ("secrets.keys", !self.secrets.keys.is_empty()),
        ] {
            check(
                given || !self.kafka.is_used(),
                key,
                "must be set where `kafka.brokers` is: all processes share it; make one with `openssl rand -hex 32`"
                    .to_owned(),
            );
        }
        let url = &self.store.url;
        check(
            self.spool.path.as_os_str().is_empty()
                || url.strip_prefix("sqlite:").map(Into::into) != Some(self.spool.path.clone()),
            "spool.path",
            "is the file of the store; the event log needs its own".to_owned(),
        );
        check(
            self.geoip.hosting_networks.is_empty() || !self.geoip.asn.as_os_str().is_empty(),
            "geoip.hosting_networks",
            "has no effect without `geoip.asn`".to_owned(),
        );
        check(
            self.settlement.click_retention_days >= self.settlement.max_age_days,
            "settlement.click_retention_days",
            format!(
                "must be at least `settlement.max_age_days` ({}): older conversions would not find their clicks",
                self.settlement.max_age_days
            ),
        );
        let secret = &self.visitor.hash_secret;
        if let (false, Err(message)) = (secret.is_empty(), strong_secret(secret)) {
            check(false, "visitor.hash_secret", message.to_owned());
        }
        for (n, key) in self.secrets.keys.iter().enumerate() {
            if let Err(message) = strong_secret(key) {
                check(false, &format!("secrets.keys[{n}]"), message.to_owned());
            }
        }
        if let Err((key, message)) = self.token.key_ring() {
            check(false, &key, message);
        }
        if let Err(error) = EnvFilter::try_new(&self.log.filter) {
            check(false, "log.filter", format!("is not a filter: {error}"));
        }
        wrong
    }
}

impl EdgeSettings {
    fn validate(&self, check: &mut impl FnMut(bool, &str, String)) {
        if let (false, Err(error)) = (self.default_account.is_empty(), self.default_account.parse::<Slug>()) {
            check(false, "edge.default_account", error.to_string());
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        check(
            self.name.len() <= 64 && self.name.bytes().all(fits),
            "edge.name",
            "may have up to 64 letters, digits, '-', '_' and '.'".to_owned(),
        );
        check(
            self.drain_timeout_ms > self.drain_delay_ms,
            "edge.drain_timeout_ms",
            format!(
                "must be above `edge.drain_delay_ms` ({} ms), or nothing is left to drain in",
                self.drain_delay_ms
            ),
        );
    }
}

impl KafkaSettings {
    fn validate(&self, check: &mut impl FnMut(bool, &str, String)) {
        let broker = |broker: &str| {
            let parts = broker.trim().rsplit_once(':');
            parts.is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
        };
        check(
            !self.is_used() || self.brokers.split(',').all(broker),
            "kafka.brokers",
            "must be `host:port`, several by comma".to_owned(),
        );
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        check(
            self.prefix.len() <= 64 && self.prefix.bytes().all(fits),
            "kafka.prefix",
            "may have up to 64 letters, digits, '-', '_' and '.'".to_owned(),
        );
        let scram = self.security.has_sasl() && self.sasl_mechanism != SaslMechanism::Plain;
        let built_without = |what: &str| {
            format!("asks for {what}, which this build does not have; build with `--features kafka-tls`")
        };
        let has_tls = cfg!(feature = "kafka-tls");
        check(has_tls || !self.security.has_tls(), "kafka.security", built_without("TLS"));
        check(has_tls || !scram, "kafka.sasl_mechanism", built_without("SCRAM"));
        for (key, path) in
            [("kafka.ca", &self.ca), ("kafka.certificate", &self.certificate), ("kafka.key", &self.key)]
        {
            check(
                self.security.has_tls() || path.as_os_str().is_empty(),
                key,
                "has no effect unless `kafka.security` is `tls` or `sasl_tls`".to_owned(),
            );
        }
        check(
            self.certificate.as_os_str().is_empty() == self.key.as_os_str().is_empty(),
            "kafka.certificate",
            "and `kafka.key` go together".to_owned(),
        );
        for (key, text) in [("kafka.username", &self.username), ("kafka.password", &self.password)] {
            let sasl = self.security.has_sasl();
            check(!sasl || !text.is_empty(), key, "must be set where `kafka.security` is SASL".to_owned());
            check(
                sasl || text.is_empty(),
                key,
                "has no effect unless `kafka.security` is `sasl_plaintext` or `sasl_tls`".to_owned(),
            );
        }
        check(
            self.message_timeout_ms > self.spool_after_ms,
            "kafka.message_timeout_ms",
            format!("must be above `kafka.spool_after_ms` ({} ms)", self.spool_after_ms),
        );
        check(
            self.linger_ms < self.spool_after_ms,
            "kafka.linger_ms",
            format!("must be below `kafka.spool_after_ms` ({} ms)", self.spool_after_ms),
        );
    }
}

impl RedisSettings {
    fn validate(&self, check: &mut impl FnMut(bool, &str, String)) {
        if self.url.is_empty() {
            return;
        }
        let url = match self.url.parse::<RedisUrl>() {
            Ok(url) => url,
            // The text itself is never repeated: it may hold a password.
            Err(error) => return check(false, "redis.url", error.to_string()),
        };
        check(
            url.tls || self.ca.as_os_str().is_empty(),
            "redis.ca",
            "has no effect unless `redis.url` begins with `rediss`".to_owned(),
        );
        check(
            self.prefix.len() <= 64 && self.prefix.bytes().all(|b| b.is_ascii_graphic()),
            "redis.prefix",
            "may have up to 64 visible characters of ASCII".to_owned(),
        );
    }
}

impl StoreSettings {
    fn validate(&self, check: &mut impl FnMut(bool, &str, String)) {
        let url = &self.url;
        let postgres = || {
            url::Url::parse(url)
                .is_ok_and(|url| url.has_host() && url.path().len() > 1 && url.query().is_none())
        };
        let sqlite =
            || url.strip_prefix("sqlite:").is_some_and(|path| !path.is_empty() && !path.contains('?'));
        check(
            url.is_empty() || if self.is_postgres() { postgres() } else { sqlite() },
            "store.url",
            "must be `postgres://user:password@host:port/database`, or `sqlite:` and the path of a file, without \
             parameters"
                .to_owned(),
        );
        check(
            // Edges have no URL and may share the file of the others.
            url.is_empty() || self.is_postgres() || self.ca.as_os_str().is_empty(),
            "store.ca",
            "has no effect unless `store.url` is a `postgres:` URL".to_owned(),
        );
    }
}

/// Whether both cannot be bound at once. Port 0 takes a free one.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{KafkaSecurity, TokenKeySettings},
        domain::token::KeyState,
    };

    fn wrong(change: impl FnOnce(&mut Settings)) -> Vec<String> {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.validate().into_iter().map(|(key, _)| key).collect()
    }

    fn key(id: u8, state: KeyState, secret: &str) -> TokenKeySettings {
        TokenKeySettings { id, state, secret: secret.to_owned() }
    }

    #[test]
    fn defaults_break_no_rule() {
        assert_eq!(wrong(|_| ()), [""; 0]);
    }

    #[test]
    fn each_rule_names_its_key() {
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(wrong(|s| s.edge.header_read_timeout_ms = 0), ["edge.header_read_timeout_ms"]);
        assert_eq!(wrong(|s| s.edge.max_header_bytes = 8_191), ["edge.max_header_bytes"]);
        assert_eq!(wrong(|s| s.edge.max_batch_events = 501), ["edge.max_batch_events"]);
        assert_eq!(wrong(|s| s.edge.drain_timeout_ms = s.edge.drain_delay_ms), ["edge.drain_timeout_ms"]);
        assert_eq!(wrong(|s| s.edge.default_account = "No Slug".into()), ["edge.default_account"]);
        assert_eq!(wrong(|s| s.edge.name = "a/b".into()), ["edge.name"]);
        assert_eq!(wrong(|s| s.edge.append_timeout_ms = s.spool.commit_ms), ["edge.append_timeout_ms"]);
        assert_eq!(wrong(|s| s.spool.commit_ms = 11), ["spool.commit_ms"]);
        assert_eq!(wrong(|s| s.spool.commit_events = 0), ["spool.commit_events"]);
        assert_eq!(wrong(|s| s.admin.listen = s.api.listen), ["admin.listen"]);
        assert_eq!(wrong(|s| s.admin.listen = "0.0.0.0:8080".parse().unwrap()), ["admin.listen"]);
        assert_eq!(wrong(|s| s.store.url = "postgres://h".into()), ["store.url"]);
        assert_eq!(wrong(|s| s.store.url = "sqlite:".into()), ["store.url"]);
        assert_eq!(wrong(|s| s.store.url = "sqlite:a?mode=ro".into()), ["store.url"]);
        assert_eq!(
            wrong(|s| (s.store.url, s.spool.path) = ("sqlite:/a".into(), "/a".into())),
            ["spool.path"]
        );
        assert_eq!(wrong(|s| s.store.url = "postgres://u:p@h:5432/d".into()), [""; 0]);
        assert_eq!(
            wrong(|s| (s.store.url, s.store.ca) = ("sqlite:/a".into(), "ca.pem".into())),
            ["store.ca"]
        );
        assert_eq!(wrong(|s| s.store.ca = "ca.pem".into()), [""; 0]);
        assert_eq!(wrong(|s| s.redis.url = "http://h".into()), ["redis.url"]);
        assert_eq!(wrong(|s| s.redis.url = "redis+cluster://h/1".into()), ["redis.url"]);
        assert_eq!(
            wrong(|s| (s.redis.url, s.redis.prefix) = ("redis://h".into(), "a b".into())),
            ["redis.prefix"]
        );
        assert_eq!(wrong(|s| (s.redis.url, s.redis.ca) = ("redis://h".into(), "c".into())), ["redis.ca"]);
        assert_eq!(wrong(|s| s.secrets.keys = vec!["ab".into()]), ["secrets.keys[0]"]);
        assert_eq!(wrong(|s| s.geoip.hosting_networks = vec![1]), ["geoip.hosting_networks"]);
        assert_eq!(wrong(|s| s.settlement.click_retention_days = 29), ["settlement.click_retention_days"]);
        assert_eq!(wrong(|s| s.visitor.hash_secret = "ab".into()), ["visitor.hash_secret"]);
        assert_eq!(wrong(|s| s.visitor.hash_secret = "0".repeat(64)), ["visitor.hash_secret"]);
        assert_eq!(wrong(|s| s.visitor.hash_secret = good.clone()), [""; 0]);
        assert_eq!(wrong(|s| s.log.filter = "waypost=loud".into()), ["log.filter"]);
        assert_eq!(wrong(|s| s.data_dir = "".into()), ["data_dir"]);
    }

    #[test]
    fn kafka_is_whole_or_not_at_all() {
        let good = "0123456789abcdef".repeat(4);
        let on_kafka = |change: &dyn Fn(&mut Settings)| {
            wrong(|s| {
                s.kafka.brokers = "a:9092, b:9092".into();
                s.token.keys = vec![key(1, KeyState::Active, &good)];
                s.visitor.hash_secret = good.clone();
                s.secrets.keys = vec![good.clone()];
                change(s);
            })
        };
        let kafka = |change: &dyn Fn(&mut KafkaSettings)| on_kafka(&|s| change(&mut s.kafka));
        assert_eq!(kafka(&|_| ()), [""; 0]);
        assert_eq!(kafka(&|k| k.brokers = "a".into()), ["kafka.brokers"]);
        assert_eq!(kafka(&|k| k.brokers = "a:1,".into()), ["kafka.brokers"]);
        assert_eq!(kafka(&|k| k.prefix = "a b".into()), ["kafka.prefix"]);
        assert_eq!(kafka(&|k| k.ca = "ca.pem".into()), ["kafka.ca"]);
        assert_eq!(kafka(&|k| k.password = "p".into()), ["kafka.password"]);
        assert_eq!(kafka(&|k| k.message_timeout_ms = k.spool_after_ms), ["kafka.message_timeout_ms"]);
        assert_eq!(kafka(&|k| k.linger_ms = k.spool_after_ms), ["kafka.linger_ms"]);
        assert_eq!(kafka(&|k| k.spool_after_ms = 1_000), [""; 0]);
        let beside_redis = |spool_after_ms| {
            on_kafka(&|s| {
                s.redis.url = "redis://a:6379".into();
                s.kafka.spool_after_ms = spool_after_ms;
            })
        };
        assert_eq!(beside_redis(950), [""; 0]);
        assert_eq!(beside_redis(951), ["kafka.spool_after_ms"]);
        let sasl = |k: &mut KafkaSettings| {
            k.security = KafkaSecurity::SaslPlaintext;
            k.sasl_mechanism = SaslMechanism::Plain;
        };
        assert_eq!(kafka(&|k| sasl(k)), ["kafka.username", "kafka.password"]);
        let tls = kafka(&|k| (k.security, k.ca) = (KafkaSecurity::Tls, "ca.pem".into()));
        assert_eq!(tls, if cfg!(feature = "kafka-tls") { vec![] } else { vec!["kafka.security"] });
        let shared = wrong(|s| s.kafka.brokers = "a:9092".into());
        assert_eq!(shared, ["token.keys", "visitor.hash_secret", "secrets.keys"]);
    }

    #[test]
    fn token_keys_must_make_a_ring() {
        let good = "0123456789abcdef".repeat(4);
        let keys = |keys: Vec<TokenKeySettings>| wrong(|s| s.token.keys = keys);
        assert_eq!(keys(vec![key(1, KeyState::Active, &good)]), [""; 0]);
        assert_eq!(keys(vec![key(1, KeyState::Retired, &good)]), ["token.keys"]);
        assert_eq!(keys(vec![key(64, KeyState::Active, &good)]), ["token.keys"]);
        let second = vec![key(1, KeyState::Active, &good), key(2, KeyState::Verify, "xyz")];
        assert_eq!(keys(second), ["token.keys[1].secret"]);
    }

    #[test]
    fn free_ports_do_not_collide() {
        assert_eq!(wrong(|s| (s.edge.listen.set_port(0), s.admin.listen.set_port(0)).0), [""; 0]);
    }
}
