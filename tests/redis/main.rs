//! The duplicate check against real servers: alone, behind Sentinel, as a cluster, with TLS, and away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests stop at the unexpected, as tests do"
)]

mod away;
mod connect;
mod many;
mod rights;
mod same;
mod support;

#[path = "../support/services.rs"]
mod services;
