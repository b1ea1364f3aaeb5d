//! Random histories on PostgreSQL: the engine against the model (`tests/model`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/postgres.rs"]
mod backend;
#[path = "../histories/commands.rs"]
mod commands;
#[path = "../histories/compare.rs"]
mod compare;
#[path = "../histories/drive.rs"]
mod drive;
#[path = "../histories/events.rs"]
mod events;
#[path = "../histories/identical.rs"]
mod identical;
#[path = "../model/mod.rs"]
mod model;
#[path = "../histories/plan.rs"]
mod plan;
#[path = "../histories/recompute.rs"]
mod recompute;
#[path = "../histories/rules.rs"]
mod rules;
#[path = "../histories/run.rs"]
mod run;
#[path = "../support/services.rs"]
mod services;
#[path = "../histories/steps.rs"]
mod steps;

/// Histories of the suite: about half a minute.
const FEW: u32 = 4;
