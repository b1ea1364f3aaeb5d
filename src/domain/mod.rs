//! The rules, as pure functions over plain values: no clock, no I/O, no async.

pub mod amount;
pub mod attribution;
pub mod destination;
pub mod explanation;
pub mod ids;
pub mod postings;
pub mod pricing;
pub mod program;
pub mod reason;
pub mod refunds;
pub mod review;
pub mod sealed;
pub mod time;
pub mod token;
pub mod traffic;
