//! Reads the command line and hands over to [`waypost::commands`].

use std::process::ExitCode;

use clap::Parser;
use waypost::commands::{self, cli::Cli, exit::Code};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => match commands::run(&cli) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
        Err(error) => {
            // When the terminal is gone, the code still tells.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(Code::Usage as u8) } else { ExitCode::SUCCESS }
        }
    }
}
