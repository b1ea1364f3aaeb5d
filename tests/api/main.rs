//! The management API, through HTTP, over a real store.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "helpers of tests stop at the unexpected, as tests do"
)]

mod access;
#[path = "../support/sqlite.rs"]
mod backend;
mod bad_input;
mod belonging;
mod bonuses;
mod corrections;
mod customers;
mod demo;
mod document;
mod idempotency;
mod isolation;
mod lists;
mod money;
mod overrides;
mod payments;
mod preview;
mod program_rules;
mod protocol;
mod rates;
mod reports;
mod resources;
mod support;
mod validation;
