//! The edge as its callers see it: over sockets, against a real catalog and a log that can be told to fail.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should stop there and then"
)]

mod bad_input;
mod collect;
mod cookies;
mod drain;
#[path = "../../src/visitor/geo/fixture.rs"]
#[allow(dead_code, clippy::cast_possible_truncation, reason = "shared with the tests of the geo module")]
mod geo_fixture;
mod open_redirect;
mod pixel;
mod redirect;
mod slow;
mod support;
