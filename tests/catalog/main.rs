//! The catalog's way from the store to an edge by a real Kafka, and through its snapshot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the unexpected")]

#[path = "../support/postgres.rs"]
mod backend;
#[path = "../support/rounds.rs"]
mod rounds;
#[path = "../support/services.rs"]
mod services;

mod compaction;
mod fixtures;
mod live;
mod publishers;
mod restored;
mod snapshots;
