//! A broker of a test's own, that it may kill.

use std::{path::Path, process::Command};

use tempfile::TempDir;

pub struct Broker {
    folder: TempDir,
    pub address: String,
}

fn services(action: &str, folder: &Path, more: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services");
    let mut command = Command::new(script);
    command.arg(action).arg("--dir").arg(folder).args(more);
    // Those of the tests are somebody else's.
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WAYPOST_TEST"))
    {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Broker {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let said = services("start", folder.path(), &["kafka"]);
        let address = said.lines().find_map(|line| line.strip_prefix("export WAYPOST_TEST_KAFKA=")).unwrap();
        Self { address: address.to_owned(), folder }
    }

    /// `kill -9`
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.folder.path().join("kafka.pid")).unwrap();
        let line = format!("kill -9 {}", pid.split_whitespace().next().unwrap());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    /// On the same address, with what it had.
    pub fn start_again(&self) {
        services("start", self.folder.path(), &["kafka"]);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        services("stop", self.folder.path(), &["--clean"]);
    }
}
