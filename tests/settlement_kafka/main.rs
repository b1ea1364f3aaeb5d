//! Settlement from real brokers into a real PostgreSQL, in processes that come, go, are killed and are stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/postgres.rs"]
mod backend;
mod broker;
#[path = "../settlement/fixtures.rs"]
#[allow(dead_code, reason = "shared with the tests on the embedded log")]
mod fixtures;
mod instance;
mod outages;
mod positions;
mod restored;
#[path = "../support/services.rs"]
mod services;
mod sharing;
#[path = "../support/stopped.rs"]
mod stopped;
mod takeover;
mod topics;
mod unreadable;
