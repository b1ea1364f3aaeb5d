//! Instances of `waypost settle`, each a process with a data folder of its own.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    fixtures::{World, eventually},
    stopped::until_stopped,
    topics::Topics,
};

/// The shortest session that brokers allow by default.
pub const SESSION: Duration = Duration::from_secs(6);

/// Killed at the latest when dropped.
pub struct Instance {
    child: Child,
    config: PathBuf,
    log: PathBuf,
    admin: String,
}

impl Instance {
    pub async fn start(world: &World, topics: &Topics) -> Self {
        Self::with_session(world, topics, SESSION).await
    }

    pub async fn with_session(world: &World, topics: &Topics, session: Duration) -> Self {
        let folder = world.folder.path().join(Uuid::now_v7().to_string());
        fs::create_dir(&folder).unwrap();
        let (config, ready, log) =
            (folder.join("waypost.toml"), folder.join("ready.json"), folder.join("log"));
        fs::write(&config, settings(world, topics, session)).unwrap();
        let file = File::create(&log).unwrap();
        let child = waypost()
            .args(["settle", "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut instance = Self { child, config, log, admin: String::new() };
        eventually("an instance", async || {
            if let Some(status) = instance.child.try_wait().unwrap() {
                panic!("it ended instead: {status}\n{}", instance.log());
            }
            ready.exists()
        })
        .await;
        let ready: Value = serde_json::from_slice(&fs::read(&ready).unwrap()).unwrap();
        instance.admin = ready["admin"].as_str().unwrap().to_owned();
        instance
    }

    /// What another command says, with the same settings.
    pub fn waypost(&self, arguments: &[&str]) -> String {
        let output = waypost().args(arguments).arg("--config").arg(&self.config).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The value of a series, such as `waypost_settlement_partitions{topic="clicks"}`.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = reqwest::get(format!("{}/metrics", self.admin)).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    pub async fn of(&self, name: &str, topic: &str) -> f64 {
        self.metric(&format!("waypost_{name}{{topic=\"{topic}\"}}")).await
    }

    /// Waits until a series has a value.
    pub async fn reaches(&self, name: &str, topic: &str, wanted: impl Fn(f64) -> bool) {
        let what = format!("{name} of {topic}");
        eventually(&what, async || wanted(self.of(name, topic).await)).await;
    }

    /// Waits until it has so many partitions of both topics.
    pub async fn has_partitions(&self, count: f64) {
        for topic in ["clicks", "conversions"] {
            self.reaches("settlement_partitions", topic, |partitions| partitions == count).await;
        }
    }

    /// The audit has looked at the store from now on, and all adds up.
    pub async fn audits(&self) {
        let ended = async || self.metric("waypost_audit_last_success_timestamp_seconds").await;
        // The first may have begun earlier and not have seen all.
        for _ in 0..2 {
            let last = ended().await;
            eventually("an audit", async || ended().await > last).await;
        }
        assert_eq!(self.metric("waypost_reconcile_balanced").await, 1.0);
        assert_eq!(self.metric("waypost_ledger_balanced").await, 1.0);
        assert_eq!(self.metric("waypost_reconcile_missing_events").await, 0.0);
        assert_eq!(self.metric("waypost_audit_failures_total").await, 0.0);
    }

    pub fn signal(&self, signal: &str) {
        let line = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    /// It does nothing any more, and keeps its connections.
    pub fn freeze(&self) {
        self.signal("STOP");
        until_stopped(&self.child.id().to_string());
    }

    /// `kill -9`
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in good order; answers its log and the time that it took.
    pub async fn stop(mut self) -> (String, Duration) {
        let begun = Instant::now();
        self.signal("TERM");
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not end\n{}", self.log());
            sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(status.code(), Some(0), "{}", self.log());
        (self.log(), begun.elapsed())
    }
}

impl Drop for Instance {
    #[allow(clippy::print_stderr, reason = "what it said is why the test failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        // It may have ended already, or be stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with nothing of its settings in the environment.
fn waypost() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WAYPOST")) {
        command.env_remove(name);
    }
    command
}

fn settings(world: &World, topics: &Topics, session: Duration) -> String {
    let secret = || format!("{}{}", Uuid::now_v7().simple(), Uuid::now_v7().simple());
    format!(
        "[kafka]\nbrokers = \"{}\"\nprefix = \"{}\"\nsession_timeout_ms = {}\n\
         [store]\nurl = \"{}\"\nconnections = 8\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [token]\nkeys = [{{ id = 1, state = \"active\", secret = \"{}\" }}]\n\
         [visitor]\nhash_secret = \"{}\"\n\
         [secrets]\nkeys = [\"{}\"]\n\
         [settlement]\nbatch_events = 50\naudit_interval_ms = 500\n",
        topics.brokers,
        topics.prefix,
        session.as_millis(),
        world.database.url(),
        secret(),
        secret(),
        secret(),
    )
}
