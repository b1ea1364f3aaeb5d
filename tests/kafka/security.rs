//! Protected connections, with the right proofs and with wrong ones.

use std::{path::PathBuf, time::Instant};

use waypost::{
    config::{KafkaSecurity, KafkaSettings, SaslMechanism},
    stream::{
        Durability,
        kafka::admin::{Admin, AdminError},
    },
};

use crate::{
    services,
    support::{LATE, Log, make_topics, patient, settings},
};

fn protected(security: KafkaSecurity, mechanism: SaslMechanism) -> KafkaSettings {
    let address = match security {
        KafkaSecurity::Plaintext => "WAYPOST_TEST_KAFKA",
        KafkaSecurity::Tls => "WAYPOST_TEST_KAFKA_TLS",
        KafkaSecurity::SaslPlaintext => "WAYPOST_TEST_KAFKA_SASL",
        KafkaSecurity::SaslTls => "WAYPOST_TEST_KAFKA_SASL_TLS",
    };
    let mut settings = settings(&services::named(address));
    settings.security = security;
    settings.sasl_mechanism = mechanism;
    if security.has_tls() {
        settings.ca = PathBuf::from(services::named("WAYPOST_TEST_CA"));
    }
    if security.has_sasl() {
        settings.username = services::named("WAYPOST_TEST_SASL_USER");
        settings.password = services::named("WAYPOST_TEST_SASL_PASSWORD");
    }
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_by_every_kind_of_connection() {
    use KafkaSecurity::{SaslPlaintext, SaslTls, Tls};
    for (security, mechanism) in [
        (SaslPlaintext, SaslMechanism::Plain),
        (SaslPlaintext, SaslMechanism::ScramSha256),
        (Tls, SaslMechanism::Plain),
        (SaslTls, SaslMechanism::ScramSha512),
    ] {
        let settings = protected(security, mechanism);
        make_topics(&settings).await;
        let log = Log::connected(patient(settings)).await;
        assert_eq!(log.conversion(1, 0).await, Ok(Durability::Replicated), "{security:?} {mechanism:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_certificate_is_shown_where_it_is_asked_for() {
    let mut settings = protected(KafkaSecurity::Tls, SaslMechanism::Plain);
    settings.brokers = services::named("WAYPOST_TEST_KAFKA_MTLS");
    let without = Admin::connect(&settings).await.unwrap_err();
    assert!(matches!(without, AdminError::Unreachable(_) | AdminError::Tls(_)), "{without}");
    assert!(without.to_string().contains("certificate"), "{without}");
    settings.certificate = PathBuf::from(services::named("WAYPOST_TEST_CLIENT_CERTIFICATE"));
    settings.key = PathBuf::from(services::named("WAYPOST_TEST_CLIENT_KEY"));
    make_topics(&settings).await;
    assert_eq!(Log::connected(patient(settings)).await.click(0).await, Ok(Durability::Replicated));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_proofs_are_named_and_events_go_to_the_spool() {
    let mut wrong_ca = protected(KafkaSecurity::Tls, SaslMechanism::Plain);
    wrong_ca.ca = PathBuf::from(services::named("WAYPOST_TEST_WRONG_CA"));
    let mut wrong_password = protected(KafkaSecurity::SaslTls, SaslMechanism::ScramSha512);
    wrong_password.password = "not-the-password".to_owned();
    for (settings, expected) in [(wrong_ca, "certificate"), (wrong_password, "password")] {
        let error = Admin::connect(&settings).await.unwrap_err();
        match (&error, expected) {
            (AdminError::Tls(_), "certificate") | (AdminError::Credentials(_), "password") => {}
            other => panic!("{other:?}"),
        }
        assert!(!error.to_string().contains("not-the-password"), "{error}");
        let log = Log::open(settings).await;
        for n in 0..3 {
            let begin = Instant::now();
            assert_eq!(log.conversion(1, n).await, Ok(Durability::Local));
            assert!(begin.elapsed() < LATE);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_is_named_by_its_setting() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = dir.path().join("garbage.pem");
    std::fs::write(&garbage, "no certificate").unwrap();
    for wrong in [PathBuf::from("/nowhere/ca.pem"), garbage] {
        let mut ca = protected(KafkaSecurity::Tls, SaslMechanism::Plain);
        ca.ca = wrong.clone();
        let mut certificate = protected(KafkaSecurity::Tls, SaslMechanism::Plain);
        certificate.certificate = wrong.clone();
        certificate.key = PathBuf::from(services::named("WAYPOST_TEST_CLIENT_KEY"));
        let mut key = protected(KafkaSecurity::Tls, SaslMechanism::Plain);
        key.certificate = PathBuf::from(services::named("WAYPOST_TEST_CLIENT_CERTIFICATE"));
        key.key = wrong;
        for (settings, name) in [(ca, "kafka.ca"), (certificate, "kafka.certificate"), (key, "kafka.key")] {
            let error = Admin::connect(&settings).await.unwrap_err();
            assert!(matches!(error, AdminError::Settings(_)), "{error}");
            assert!(error.to_string().starts_with(&format!("`{name}` cannot be read or used")), "{error}");
        }
    }
}
