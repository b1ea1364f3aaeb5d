//! Settlement into PostgreSQL: the tests of `tests/settlement`, and what only many processes can do to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/postgres.rs"]
mod backend;
#[path = "../settlement/fixtures.rs"]
mod fixtures;
#[path = "../settlement/once.rs"]
mod once;
#[path = "../support/services.rs"]
mod services;
#[path = "../settlement/stalls.rs"]
mod stalls;
#[path = "../settlement/sums.rs"]
mod sums;
#[path = "../settlement/waiting.rs"]
mod waiting;
