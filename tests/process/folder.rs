//! A data folder of its own for each test, with everything that processes on it have said.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;
use waypost::{
    commands::data_dir::DataDir,
    config::{Settings, TokenKeySettings},
    domain::token::KeyRing,
    store::Store,
    stream::spool::inspect,
};

use crate::running::{Ready, Waypost, eventually};

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Removed with everything in it at the end of the test.
pub struct Folder {
    root: TempDir,
    starts: AtomicU32,
}

impl Folder {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), starts: AtomicU32::new(0) }
    }

    /// A copy of the data of a folder on which nothing runs.
    pub fn copy_of(other: &Self) -> Self {
        let copy = Self::new();
        fs::create_dir(copy.data()).unwrap();
        for entry in fs::read_dir(other.data()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.data().join(entry.file_name())).unwrap();
        }
        copy
    }

    /// What `--data-dir` names. Made by the first process.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// A place beside the data.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The binary with this folder, without the settings of the machine that runs the tests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary();
        command.args(arguments).arg("--data-dir").arg(self.data());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// Runs a command that has to succeed; answers what it wrote.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    /// All three proofs hold.
    pub fn assert_adds_up(&self) {
        println!("{}", self.ok(&["reconcile"]).trim_end());
        println!("{}", self.ok(&["ledger", "verify"]).trim_end());
        println!("{}", self.ok(&["replay"]).trim_end());
    }

    /// Starts `waypost dev` and waits until it is ready.
    pub async fn dev(&self) -> Waypost {
        self.start(&["dev", "--edge-listen", ANY, "--api-listen", ANY]).await
    }

    /// Starts a process that serves, and waits until it is ready.
    pub async fn start(&self, arguments: &[&str]) -> Waypost {
        let mut waypost = self.spawn(arguments);
        waypost.ready().await;
        waypost
    }

    /// Starts a process that serves.
    pub fn spawn(&self, arguments: &[&str]) -> Waypost {
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let ready_file = self.beside(&format!("ready-{number}.json"));
        let log = self.beside("log");
        let file = |path: &Path| OpenOptions::new().create(true).append(true).open(path).unwrap();
        let mut command = self.command(arguments);
        command
            .args(["--admin-listen", ANY, "--ready-file"])
            .arg(&ready_file)
            // More than anybody would ask for: what must not be said is not said at any level.
            .args(["--set", "log.filter=debug"])
            .stdin(Stdio::null())
            .stdout(file(&self.beside("out")))
            .stderr(file(&log));
        Waypost::new(command.spawn().unwrap(), ready_file, log)
    }

    /// The store, beside whatever works on it.
    pub async fn store(&self) -> Store {
        Store::connect(&Store::sqlite_url(&self.data().join("store.db"))).await.unwrap()
    }

    /// Waits until settlement has read everything that edges have written.
    pub async fn settled(&self) {
        let log = self.data().join("spool.db");
        eventually("settlement to catch up", async || {
            let topics = inspect(&log).unwrap();
            topics.iter().all(|topic| topic.consumed == topic.next_offset).then_some(())
        })
        .await;
    }

    /// The keys that sign this folder's click tokens.
    pub fn keys(&self) -> KeyRing {
        DataDir::existing(&self.data()).unwrap().secrets(&Settings::default()).unwrap().tokens
    }

    /// No process has written a secret or a visitor's address to its log.
    pub fn assert_log_is_discreet(&self) {
        let log = fs::read_to_string(self.beside("log")).unwrap();
        assert!(log.contains("\"level\":\"INFO\""), "there is a log");
        let mut secrets = self.secrets();
        for ready in fs::read_dir(self.root.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if ready.extension().is_some_and(|extension| extension == "json") {
                secrets.extend(Ready::read(&ready).and_then(|ready| ready.secret_key));
            }
        }
        assert!(secrets.len() >= 2, "there are secrets");
        for secret in secrets {
            assert!(!log.contains(&secret), "a secret is in the log");
        }
        for place in log.match_indices(NETWORK).map(|(at, _)| &log[at..]) {
            let full = place[NETWORK.len()..].chars().take_while(char::is_ascii_digit).collect::<String>();
            assert_eq!(full, "0", "an address is in the log: {}", &place[..place.len().min(80)]);
        }
    }

    /// The texts in `secrets.toml`.
    fn secrets(&self) -> HashSet<String> {
        let text = fs::read_to_string(self.data().join("secrets.toml")).unwrap();
        let file: toml::Table = text.parse().unwrap();
        let keys: Vec<TokenKeySettings> = file["token"]["keys"].clone().try_into().unwrap();
        let hash = file["visitor"]["hash_secret"].as_str().unwrap().to_owned();
        keys.into_iter().map(|key| key.secret).chain([hash]).collect()
    }
}

impl Drop for Folder {
    /// What the processes had to say, when a test fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.beside("log")).unwrap_or_default();
            for line in log.lines() {
                eprintln!("{line}");
            }
        }
    }
}

/// A listener's address: a free port.
pub const ANY: &str = "127.0.0.1:0";

/// All visitors of the tests come from here (TEST-NET-2).
const NETWORK: &str = "198.51.100.";

/// The address of a visitor.
pub fn visitor(number: u64) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 1 + u8::try_from(number % 254).unwrap())
}

/// The binary, without the settings of the machine that runs the tests.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WAYPOST__") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
