//! What every connection to the brokers has in common: addresses, protection, names.

use rdkafka::{ClientConfig, error::KafkaError};

use crate::{
    config::{KafkaSecurity, KafkaSettings, SaslMechanism},
    stream::Topic,
};

/// The compacted topic of the catalog, without the prefix.
pub const CATALOG: &str = "waypost.catalog.v1";

/// The settings of a connection, without those of its role.
pub fn connection(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    let security = match settings.security {
        KafkaSecurity::Plaintext => "plaintext",
        KafkaSecurity::Tls => "ssl",
        KafkaSecurity::SaslPlaintext => "sasl_plaintext",
        KafkaSecurity::SaslTls => "sasl_ssl",
    };
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("security.protocol", security)
        .set("client.id", "waypost")
        // A broker that comes back is found again at once.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true");
    if settings.security.has_tls() {
        let paths = [&settings.ca, &settings.certificate, &settings.key];
        for ((key, _), path) in FILES.into_iter().zip(paths) {
            if !path.as_os_str().is_empty() {
                config.set(key, path.to_string_lossy());
            }
        }
    }
    if settings.security.has_sasl() {
        let mechanism = match settings.sasl_mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        config
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", &settings.username)
            .set("sasl.password", &settings.password);
    }
    config
}

/// Settings of ours that name a file, by librdkafka's names for them.
const FILES: [(&str, &str); 3] = [
    ("ssl.ca.location", "kafka.ca"),
    ("ssl.certificate.location", "kafka.certificate"),
    ("ssl.key.location", "kafka.key"),
];

/// An error of librdkafka in words, without the value of a setting: it may be a secret. A file that it cannot use goes
/// by the name that our settings have for it.
pub fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, detail, key, _) => format!("librdkafka refuses `{key}`: {detail}"),
        KafkaError::ClientCreation(detail) => {
            match FILES.iter().find(|(theirs, _)| detail.contains(theirs)) {
                Some((_, ours)) => format!("`{ours}` cannot be read or used: {detail}"),
                None => detail.clone(),
            }
        }
        other => other.to_string(),
    }
}

/// The name of an event topic at the brokers.
pub fn topic(settings: &KafkaSettings, topic: Topic) -> String {
    format!("{}{}", settings.prefix, topic.name())
}

/// The name of the catalog's topic at the brokers.
pub fn catalog_topic(settings: &KafkaSettings) -> String {
    format!("{}{CATALOG}", settings.prefix)
}
