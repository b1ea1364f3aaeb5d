//! The rules, as pure functions over plain values: no clock, no I/O, no async.

pub mod amount;
pub mod attribution;
pub mod bonuses;
pub mod calendar;
pub mod customers;
pub mod destination;
pub mod entries;
pub mod explanation;
pub mod ids;
pub mod lines;
pub mod measures;
pub mod payments;
pub mod postings;
pub mod price;
pub mod pricing;
pub mod program;
pub mod rates;
pub mod reason;
pub mod refunds;
pub mod review;
pub mod sealed;
pub mod time;
pub mod token;
pub mod traffic;
