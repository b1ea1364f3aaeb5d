//! Kafka without a store: the producing side, and a consumer that falls silent, against real brokers, stopped ones, and
//! one that can be told to refuse.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should stop there and then"
)]

mod broker;
mod commands;
mod damaged;
mod killed;
mod outage;
mod refusals;
mod replicated;
mod security;
#[path = "../support/services.rs"]
mod services;
mod silence;
#[path = "../support/stopped.rs"]
mod stopped;
mod support;
