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
