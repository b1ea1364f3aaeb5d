//! Standard output of commands: lines that a person or a script reads. Logs go to standard error.

use std::io::{self, Write};

use super::exit::{Code, Failure};

/// Writes a text and a line end. A reader that went away (`| head`) is no failure.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Io, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
