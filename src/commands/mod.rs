//! One file per subcommand: wires the parts, runs, drains. Only this module knows all the others.

mod account;
mod api;
mod catalog_source;
pub mod cli;
pub mod config_check;
pub mod data_dir;
mod demo;
mod dev;
mod edge;
mod event_log;
pub mod exit;
mod key;
mod ledger;
mod link;
mod migrate;
mod output;
mod parts;
mod positions;
mod process;
mod rates;
mod reconcile;
mod replay;
mod republish;
mod reseal;
pub mod secrets;
mod settle;
mod spool;
mod topics;

use cli::{CatalogCommand, Cli, Command, ConfigCommand, LedgerCommand, SecretsCommand};
use exit::{Code, Failure};

use crate::{config, telemetry::logs};

/// Loads the settings, starts the logs and runs the command until it is done.
///
/// # Errors
/// Why the command ended without success, ready to be reported.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    let loaded = config::load(&cli.sources(std::env::vars_os()))?;
    logs::install(&loaded.settings.log)
        .map_err(|error| Failure::new(Code::Software, format!("cannot write logs: {error}")))?;
    let settings = &loaded.settings;
    match &cli.command {
        Command::Dev(args) => dev::run(args, settings),
        Command::Edge(args) => edge::run(args, settings),
        Command::Settle(args) => settle::run(args, settings),
        Command::Api(args) => api::run(args, settings),
        Command::Migrate(_) => migrate::run(settings),
        Command::Spool(command) => spool::run(command, settings),
        Command::Topics(command) => topics::run(command, settings),
        Command::Positions(command) => positions::run(command, settings),
        Command::Account(command) => account::run(command, settings),
        Command::Key(command) => key::run(command, settings),
        Command::Link(command) => link::run(command, settings),
        Command::Rates(command) => rates::run(command, settings),
        Command::Config(ConfigCommand::Check(args)) => config_check::run(args, &loaded),
        Command::Catalog(CatalogCommand::Republish(args)) => republish::run(args, settings),
        Command::Secrets(SecretsCommand::Reseal(_)) => reseal::run(settings),
        Command::Reconcile(args) => reconcile::run(args, settings),
        Command::Replay(args) => replay::run(args, settings),
        Command::Ledger(LedgerCommand::Verify(_)) => ledger::run_verify(settings),
    }
}
