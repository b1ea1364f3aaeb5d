//! The management API over PostgreSQL: the tests of `tests/api`, and what only many connections can do to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../api/access.rs"]
mod access;
#[path = "../support/postgres.rs"]
mod backend;
#[path = "../api/bad_input.rs"]
mod bad_input;
#[path = "../api/belonging.rs"]
mod belonging;
#[path = "../api/bonuses.rs"]
mod bonuses;
#[path = "../api/corrections.rs"]
mod corrections;
#[path = "../api/customers.rs"]
mod customers;
#[path = "../api/demo.rs"]
mod demo;
#[path = "../api/document.rs"]
mod document;
#[path = "../api/idempotency.rs"]
mod idempotency;
#[path = "../api/isolation.rs"]
mod isolation;
#[path = "../api/lists.rs"]
mod lists;
#[path = "../api/money.rs"]
mod money;
#[path = "../api/overrides.rs"]
mod overrides;
#[path = "../api/payments.rs"]
mod payments;
#[path = "../api/preview.rs"]
mod preview;
#[path = "../api/program_rules.rs"]
mod program_rules;
#[path = "../api/protocol.rs"]
mod protocol;
mod races;
#[path = "../api/rates.rs"]
mod rates;
#[path = "../api/reports.rs"]
mod reports;
#[path = "../api/resources.rs"]
mod resources;
#[path = "../support/services.rs"]
mod services;
#[path = "../api/support.rs"]
mod support;
#[path = "../api/validation.rs"]
mod validation;
