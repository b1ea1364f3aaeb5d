//! Settlement into PostgreSQL: the tests of `tests/settlement`, and what only many processes and a server can do to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/postgres.rs"]
mod backend;
#[path = "../settlement/days.rs"]
mod days;
#[path = "../settlement/fixtures.rs"]
mod fixtures;
#[path = "../settlement/once.rs"]
mod once;
#[path = "../settlement/poison.rs"]
mod poison;
mod races;
#[path = "../settlement/rates.rs"]
mod rates;
mod restart;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/services.rs"]
mod services;
mod silence;
#[path = "../settlement/stalls.rs"]
mod stalls;
#[path = "../settlement/sums.rs"]
mod sums;
mod together;
#[path = "../settlement/waiting.rs"]
mod waiting;
