//! Random histories on a SQLite file: the engine against the model (`tests/model`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/sqlite.rs"]
mod backend;
mod commands;
mod compare;
mod drive;
mod events;
mod identical;
#[path = "../model/mod.rs"]
mod model;
mod plan;
mod recompute;
mod rules;
mod run;
mod steps;
mod worked;

/// Histories of the suite: about half a minute.
const FEW: u32 = 14;
