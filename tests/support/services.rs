//! The real services that tests talk to, as `scripts/services start` names them.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::env;

/// What `scripts/services` exports under this name.
pub fn named(variable: &str) -> String {
    let missing = format!("{variable} is not set: run `eval \"$(scripts/services start)\"`, or scripts/test");
    env::var(variable).expect(&missing)
}

/// `host:port` of a Kafka broker without TLS.
pub fn kafka() -> String {
    named("WAYPOST_TEST_KAFKA")
}

/// URL of a Redis without TLS.
pub fn redis() -> String {
    named("WAYPOST_TEST_REDIS")
}

/// URL of a PostgreSQL whose user may create databases.
pub fn postgres() -> String {
    named("WAYPOST_TEST_POSTGRES")
}

/// URL of the same Redis with TLS.
pub fn redis_tls() -> String {
    named("WAYPOST_TEST_REDIS_TLS")
}

/// URL of the same Redis with the name and password of a user.
pub fn redis_user() -> String {
    named("WAYPOST_TEST_REDIS_USER")
}

/// The authority whose word proves all of them.
pub fn ca() -> String {
    named("WAYPOST_TEST_CA")
}

/// An authority that proves none of them.
pub fn wrong_ca() -> String {
    named("WAYPOST_TEST_WRONG_CA")
}
