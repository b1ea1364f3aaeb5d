//! The ledger on a real database file, with figures worked out by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod amounts;
mod attribution;
#[path = "../support/sqlite.rs"]
mod backend;
mod belonging;
mod bonuses;
mod bonuses_from_ever;
mod concurrency;
mod customers;
mod duplicates;
mod fixtures;
mod held;
mod histories;
mod isolation;
mod journal;
mod overrides;
mod payment_histories;
mod payments;
mod pending;
mod recalculation;
mod refunds;
mod review;
mod rules;
mod rules_versions;
mod vendors;
mod verify;
mod worked_examples;
