//! The ledger on a real database file, with figures worked out by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod amounts;
mod attribution;
#[path = "../support/sqlite.rs"]
mod backend;
mod concurrency;
mod duplicates;
mod fixtures;
mod held;
mod histories;
mod isolation;
mod journal;
mod pending;
mod refunds;
mod review;
mod rules;
