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
mod demo;
mod document;
mod idempotency;
mod isolation;
mod lists;
mod money;
mod protocol;
mod resources;
mod support;
mod validation;
