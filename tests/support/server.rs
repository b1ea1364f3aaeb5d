//! A PostgreSQL of a test's own, which may be stopped and killed without harm to others.

use std::{path::Path, process::Command};

use tempfile::TempDir;

/// Stopped, and its folder gone, when it is dropped.
pub struct Server {
    folder: TempDir,
    /// Of a user who may create databases.
    pub url: String,
}

fn services(folder: &Path, words: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services");
    let ended = Command::new(script).args(words).arg("--dir").arg(folder).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

impl Server {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let told = services(folder.path(), &["start", "postgres"]);
        let url = told.lines().find_map(|line| line.strip_prefix("export WAYPOST_TEST_POSTGRES=")).unwrap();
        Self { url: url.to_owned(), folder }
    }

    /// Ends the server as a crash does: its processes are killed, and it recovers at the next start.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.folder.path().join("postgres.pid")).unwrap();
        let killed = Command::new("kill").args(["-9", pid.trim()]).status().unwrap();
        assert!(killed.success());
    }

    pub fn stop(&self) {
        services(self.folder.path(), &["stop", "postgres"]);
    }

    pub fn start_again(&self) {
        services(self.folder.path(), &["start", "postgres"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        services(self.folder.path(), &["stop", "--clean"]);
    }
}
