//! Kafka, Redis and PostgreSQL of this test alone, by `scripts/services`: killed, frozen and brought back.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A part of `scripts/services`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Kafka,
    Redis,
    Postgres,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Kafka, Self::Redis, Self::Postgres];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }
}

/// Ended and removed when dropped.
#[derive(Debug)]
pub struct Services {
    folder: PathBuf,
    exports: BTreeMap<String, String>,
}

impl Services {
    /// Starts all parts in a folder, each with its data in a folder of its name below.
    pub fn start(folder: &Path) -> Self {
        let mut services = Self { folder: folder.to_owned(), exports: BTreeMap::new() };
        let lines = services.script("start", &Part::ALL).unwrap();
        for line in lines.lines() {
            let (name, value) = line.trim_start_matches("export WAYPOST_TEST_").split_once('=').unwrap();
            services.exports.insert(name.to_owned(), value.trim_matches('\'').to_owned());
        }
        services
    }

    /// What `scripts/services` calls `WAYPOST_TEST_{name}`.
    pub fn get(&self, name: &str) -> &str {
        &self.exports[name]
    }

    /// Brings a part back; waits until it answers.
    pub fn bring_back(&self, part: Part) -> Result<(), String> {
        self.script("start", &[part]).map(drop)
    }

    /// Ends a part in good order.
    pub fn stop(&self, part: Part) -> Result<(), String> {
        self.script("stop", &[part]).map(drop)
    }

    /// `kill -9`; of PostgreSQL the postmaster alone, or all of it.
    pub fn kill(&self, part: Part, whole: bool) {
        let mut pids = self.family(part);
        if !whole {
            pids.truncate(1);
        }
        signal("KILL", &pids);
    }

    pub fn freeze(&self, part: Part) {
        signal("STOP", &self.family(part));
    }

    pub fn thaw(&self, part: Part) {
        signal("CONT", &self.family(part));
    }

    /// The process of a part, first, and those that it has made.
    fn family(&self, part: Part) -> Vec<u32> {
        let text = fs::read_to_string(self.folder.join(format!("{}.pid", part.name()))).unwrap_or_default();
        let Ok(parent) = text.trim().parse() else { return Vec::new() };
        let mut pids = vec![parent];
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
            // "pid (name) state ppid …"
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let after_name = stat.rsplit(") ").next().unwrap_or_default();
            if after_name.split(' ').nth(1).and_then(|ppid| ppid.parse().ok()) == Some(parent) {
                pids.push(pid);
            }
        }
        pids
    }

    fn script(&self, command: &str, parts: &[Part]) -> Result<String, String> {
        let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"))
            .arg(command)
            .arg("--dir")
            .arg(&self.folder)
            .args(parts.iter().map(|part| part.name()))
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap());
        }
        Err(format!("scripts/services {command}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for part in Part::ALL {
            self.thaw(part);
        }
        if let Err(error) = self.script("stop", &Part::ALL) {
            eprintln!("{error}");
        }
    }
}

/// Sends a signal to processes that are this test's own; some may have ended.
pub fn signal(name: &str, pids: &[u32]) {
    for pid in pids {
        let _ = Command::new("sh").args(["-c", &format!("kill -{name} {pid} 2>/dev/null")]).status();
    }
}
