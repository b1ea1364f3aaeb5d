//! The rules, as pure functions over plain values: no clock, no I/O, no async.

pub mod amount;
pub mod destination;
pub mod ids;
pub mod program;
pub mod reason;
pub mod time;
pub mod token;
pub mod traffic;
