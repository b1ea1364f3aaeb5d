//! The ledger on PostgreSQL: the tests of `tests/ledger`, and what only many connections can do to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../ledger/amounts.rs"]
mod amounts;
#[path = "../ledger/attribution.rs"]
mod attribution;
#[path = "../support/postgres.rs"]
mod backend;
#[path = "../ledger/belonging.rs"]
mod belonging;
#[path = "../ledger/bonuses.rs"]
mod bonuses;
#[path = "../ledger/bonuses_from_ever.rs"]
mod bonuses_from_ever;
#[path = "../ledger/concurrency.rs"]
mod concurrency;
#[path = "../ledger/customers.rs"]
mod customers;
#[path = "../ledger/duplicates.rs"]
mod duplicates;
#[path = "../ledger/fixtures.rs"]
mod fixtures;
#[path = "../ledger/held.rs"]
mod held;
#[path = "../ledger/histories.rs"]
mod histories;
#[path = "../ledger/isolation.rs"]
mod isolation;
#[path = "../ledger/journal.rs"]
mod journal;
#[path = "../ledger/overrides.rs"]
mod overrides;
#[path = "../ledger/payment_histories.rs"]
mod payment_histories;
#[path = "../ledger/payments.rs"]
mod payments;
#[path = "../ledger/pending.rs"]
mod pending;
#[path = "../ledger/recalculation.rs"]
mod recalculation;
#[path = "../ledger/refunds.rs"]
mod refunds;
#[path = "../ledger/review.rs"]
mod review;
#[path = "../ledger/rules.rs"]
mod rules;
#[path = "../ledger/rules_versions.rs"]
mod rules_versions;
#[path = "../support/services.rs"]
mod services;
#[path = "../ledger/vendors.rs"]
mod vendors;
#[path = "../ledger/verify.rs"]
mod verify;
#[path = "../ledger/worked_examples.rs"]
mod worked_examples;
