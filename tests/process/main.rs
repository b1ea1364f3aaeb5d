//! The real binary, driven as its users drive it: processes are started, asked, killed and stopped, and what came of
//! it is read from the command line and from the store.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "helpers of tests stop at the unexpected, as tests do"
)]

mod admin;
mod apart;
mod cli;
mod corruption;
mod exit_codes;
mod folder;
mod kill;
mod metrics_page;
mod race;
mod rates;
mod restart;
mod running;
mod tokens;

#[path = "../support/page.rs"]
mod docs_page;
#[path = "../support/rounds.rs"]
mod rounds;
