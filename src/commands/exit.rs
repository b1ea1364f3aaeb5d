//! How a command ends: an exit code of `sysexits.h`, one clear sentence, and what to do about it.

use std::{
    fmt,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
};

use crate::config::ConfigError;

/// What scripts and supervisors can tell apart. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The command did its work and found a difference.
    Difference = 1,
    /// The command line is wrong.
    Usage = 64,
    /// What was to be read is damaged or of another kind.
    Data = 65,
    /// What was to be read is not there.
    NoInput = 66,
    /// Something that is needed is not available, such as a port that is taken.
    Unavailable = 69,
    /// A defect of the program.
    Software = 70,
    /// Something could not be created.
    CantCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// Trying again later may help.
    TempFail = 75,
    /// Permissions are missing, or too wide for a secret.
    NoPerm = 77,
    /// A setting is wrong.
    Config = 78,
}

/// Why a command ends without success. The texts go to standard error as they are and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    pub code: Code,
    /// One sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Reading or writing `path` failed; `doing` completes "cannot …": `create the data folder`.
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let shown = path.display();
        let failure = |code, why: &str| Self::new(code, format!("cannot {doing} {shown}: {why}"));
        match error.kind() {
            io::ErrorKind::NotFound => {
                failure(Code::NoInput, "there is no such file or folder").with_hint("Check the path.")
            }
            io::ErrorKind::PermissionDenied => failure(Code::NoPerm, "permission is denied").with_hint(format!(
                "Run as the owner of {shown}, give this user read and write permission, or choose another folder \
                 with --data-dir."
            )),
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                failure(Code::CantCreate, "a part of the path is a file, not a folder")
                    .with_hint("Move the file away or choose another folder with --data-dir.")
            }
            io::ErrorKind::ReadOnlyFilesystem => failure(Code::CantCreate, "the file system is read-only")
                .with_hint("Choose a folder on another file system with --data-dir."),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                failure(Code::Io, "no space is left").with_hint("Make room on the disk and start again.")
            }
            _ => failure(Code::Io, &error.to_string()),
        }
    }

    /// A listener could not be opened; `key` is the setting that names its address.
    pub fn listen(key: &str, address: SocketAddr, error: &io::Error) -> Self {
        let failure =
            |code, why: &str| Self::new(code, format!("cannot listen on {address} (`{key}`): {why}"));
        match error.kind() {
            io::ErrorKind::AddrInUse => failure(Code::Unavailable, "another process has this port").with_hint(format!(
                "Stop the other process (`ss -ltnp 'sport = :{}'` shows it) or set `{key}` to another port; port 0 \
                 takes a free one.",
                address.port()
            )),
            io::ErrorKind::PermissionDenied => failure(Code::NoPerm, "permission is denied")
                .with_hint(format!("Ports below 1024 need a privilege: set `{key}` to a higher one.")),
            io::ErrorKind::AddrNotAvailable => failure(Code::Config, "this machine has no such address")
                .with_hint(format!("Set `{key}` to an address of this machine, or to 0.0.0.0 for all.")),
            _ => failure(Code::Unavailable, &error.to_string()),
        }
    }

    /// Writes the message to standard error and gives the code to end with.
    pub fn report(&self) -> ExitCode {
        // When standard error is gone, the code still tells.
        let _ = writeln!(io::stderr(), "waypost: {self}");
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let message = match error.problems.as_slice() {
            [one] => one.to_string(),
            many => {
                format!("{} settings are wrong:\n  {}", many.len(), error.to_string().replace('\n', "\n  "))
            }
        };
        Self::new(Code::Config, message).with_hint(
            "Every setting is explained in docs/configuration.md; `waypost config check` tries them.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_with_its_setting() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let error = std::net::TcpListener::bind(address).unwrap_err();
        let failure = Failure::listen("edge.listen", address, &error);
        assert_eq!(failure.code, Code::Unavailable);
        let text = failure.to_string();
        assert!(text.contains(&address.to_string()) && text.contains("`edge.listen`"), "{text}");
    }

    #[test]
    fn kinds_of_io_errors_have_codes_of_their_own() {
        for (kind, code) in [
            (io::ErrorKind::NotFound, Code::NoInput),
            (io::ErrorKind::PermissionDenied, Code::NoPerm),
            (io::ErrorKind::NotADirectory, Code::CantCreate),
            (io::ErrorKind::ReadOnlyFilesystem, Code::CantCreate),
            (io::ErrorKind::StorageFull, Code::Io),
            (io::ErrorKind::Other, Code::Io),
        ] {
            let failure = Failure::io("open", Path::new("/data"), &kind.into());
            assert_eq!(failure.code, code);
            assert!(failure.message.starts_with("cannot open /data: "), "{failure}");
        }
    }
}
