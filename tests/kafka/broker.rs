//! A broker of the test's own, which may be stopped and killed.

use std::{
    fs,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::stopped::until_stopped;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services");

/// A running Kafka. Ended, with what it kept, when dropped.
pub struct Broker {
    dir: TempDir,
    pub address: String,
}

impl Broker {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("waypost-kafka-").tempdir().unwrap();
        let started = services("start", &dir, &[]);
        let named = |line: &str| line.strip_prefix("export WAYPOST_TEST_KAFKA=").map(str::to_owned);
        let address = started.lines().find_map(named).expect("scripts/services names the broker");
        Self { dir, address }
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.dir.path().join("kafka.pid")).unwrap().trim().to_owned()
    }

    fn signal(&self, signal: &str) {
        let line = format!("kill -{signal} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    }

    /// It answers nothing, and its connections stay open.
    pub fn freeze(&self) {
        self.signal("STOP");
        until_stopped(&self.pid());
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Its connections are cut.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    pub fn start_again(&self) {
        services("start", &self.dir, &[]);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let path = self.dir.path().to_str().unwrap();
        // A stopped process ends only when it goes on.
        let line = format!("kill -CONT $(cat '{path}/kafka.pid')");
        let _ = Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status();
        let _ = Command::new(SCRIPT).args(["stop", "--dir", path, "--clean"]).stderr(Stdio::null()).status();
    }
}

fn services(command: &str, dir: &TempDir, more: &[&str]) -> String {
    let dir = dir.path().to_str().unwrap();
    let run = Command::new(SCRIPT).args([command, "--dir", dir, "kafka"]).args(more).output().unwrap();
    let (out, err) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    assert!(run.status.success(), "scripts/services {command}: {err}");
    out
}
