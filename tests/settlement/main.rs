//! Settlement over a real event log and a real database file: everything that is in the log takes effect once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/sqlite.rs"]
mod backend;
mod days;
mod fixtures;
mod once;
mod other_log;
mod poison;
mod rates;
mod stalls;
mod sums;
mod waiting;
