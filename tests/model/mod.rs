//! The money a second time, simple and slow: what MONEY.md says, worked out anew from all that has happened whenever
//! it is asked for. There is no store, no kept measure and no posting: balances follow from the lines and payments.
//!
//! It takes nothing from the engine but the types in which rules and events are written.

#![allow(dead_code, reason = "each test takes what it needs")]

mod attribution;
mod bonuses;
mod calendar;
mod corrections;
mod money;
pub mod number;
mod prices;
mod rates;
mod refunds;
mod settle;
mod state;
mod stops;
mod versions;

pub use bonuses::interval_of;
pub use calendar::{DAY, day_number};
pub use state::*;

pub type Ms = i64;
