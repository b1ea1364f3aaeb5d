//! One file per subcommand: wires the parts, runs, drains. Only this module knows all the others.

pub mod cli;
pub mod config_check;
pub mod data_dir;
pub mod exit;
pub mod secrets;

use cli::{Cli, Command, ConfigCommand};
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
    // The one place where subcommands are handed over to.
    match &cli.command {
        Command::Config(ConfigCommand::Check(args)) => config_check::run(args, &loaded),
        other => Err(Failure::new(Code::Usage, format!("{other:?} is not part of this build"))),
    }
}
