//! The processes of `waypost`, kept running as a supervisor would.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::{services::signal, world::now};

/// What a start or a stop in good order may take on a machine that is busy and has faults.
pub const SOON: Duration = Duration::from_secs(60);

/// How often somebody looks whether the processes live.
const TEND: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Edge,
    Settle,
    Api,
}

impl Role {
    const fn command(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Settle => "settle",
            Self::Api => "api",
        }
    }
}

/// How a run ended. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Running,
    Killed(i64),
    /// After SIGTERM, with this code.
    Stopped(i64, i32),
    /// Nobody asked for it.
    ByItself(i64, i32),
}

/// One run of a process.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub began: i64,
    pub end: End,
}

impl Run {
    pub fn covers(&self, at: i64) -> bool {
        let end = match self.end {
            End::Running => i64::MAX,
            End::Killed(end) | End::Stopped(end, _) | End::ByItself(end, _) => end,
        };
        (self.began..=end).contains(&at)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ready {
    edge: String,
    api: String,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    /// Whether it is to be started again when it ends.
    wanted: bool,
    ready: Option<Ready>,
    runs: Vec<Run>,
}

/// A process under a name, over all its runs.
#[derive(Debug)]
pub struct Process {
    pub name: &'static str,
    pub role: Role,
    pub data: PathBuf,
    settings: Vec<(String, String)>,
    folder: PathBuf,
    owners: Owners,
    state: Mutex<State>,
}

/// Which process has a pid: by it the lines know whose connection one is.
pub type Owners = Arc<Mutex<HashMap<u32, &'static str>>>;

impl Process {
    pub fn new(
        name: &'static str,
        role: Role,
        folder: &Path,
        settings: Vec<(String, String)>,
        owners: Owners,
    ) -> Self {
        let data = folder.join(name);
        fs::create_dir_all(&data).unwrap();
        Self { name, role, data, settings, folder: folder.to_owned(), owners, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The binary with this process's settings and folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary(&self.settings);
        command.args(arguments).arg("--data-dir").arg(&self.data);
        command
    }

    fn ready_file(&self, run: usize) -> PathBuf {
        self.folder.join(format!("{}-{run}.ready", self.name))
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    pub fn start(&self) {
        let mut state = self.state();
        state.wanted = true;
        self.spawn(&mut state);
    }

    fn spawn(&self, state: &mut State) {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.command(&[self.role.command(), "--admin-listen", "127.0.0.1:0"]);
        command.arg("--ready-file").arg(self.ready_file(state.runs.len()));
        if self.role != Role::Settle {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.owners.lock().unwrap().insert(child.id(), self.name);
        state.runs.push(Run { began: now(), end: End::Running });
        state.child = Some(child);
        state.ready = None;
    }

    /// `kill -9`; it stays down until it is started.
    pub fn kill(&self) {
        let mut state = self.state();
        state.wanted = false;
        state.ready = None;
        if let Some(mut child) = state.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            state.runs.last_mut().unwrap().end = End::Killed(now());
        }
    }

    /// SIGTERM; answers its exit code.
    pub async fn stop(&self) -> Result<i32, String> {
        let Some(mut child) = ({
            let mut state = self.state();
            state.wanted = false;
            state.ready = None;
            state.child.take()
        }) else {
            return Ok(0);
        };
        signal("TERM", &[child.id()]);
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                let code = status.code().unwrap_or(-1);
                self.state().runs.last_mut().unwrap().end = End::Stopped(now(), code);
                return Ok(code);
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                self.state().runs.last_mut().unwrap().end = End::Killed(now());
                return Err(format!("{} did not stop in {SOON:?}", self.name));
            }
            sleep(TEND).await;
        }
    }

    pub fn freeze(&self) {
        signal("STOP", &self.pid());
    }

    pub fn thaw(&self) {
        signal("CONT", &self.pid());
    }

    fn pid(&self) -> Vec<u32> {
        self.state().child.iter().map(Child::id).collect()
    }

    /// Starts it again when it has ended, and learns its addresses when it is ready.
    fn tend(&self) {
        let mut state = self.state();
        let Some(child) = &mut state.child else { return };
        if let Some(status) = child.try_wait().unwrap() {
            let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
            state.runs.last_mut().unwrap().end = End::ByItself(now(), code);
            state.child = None;
            state.ready = None;
            if state.wanted {
                self.spawn(&mut state);
            }
        } else if state.ready.is_none()
            && let Ok(text) = fs::read(self.ready_file(state.runs.len() - 1))
        {
            state.ready = serde_json::from_slice(&text).ok();
        }
    }

    /// Where it serves, while it does.
    pub fn address(&self) -> Option<String> {
        let state = self.state();
        let ready = state.ready.as_ref()?;
        Some(if self.role == Role::Edge { ready.edge.clone() } else { ready.api.clone() })
    }

    pub fn is_ready(&self) -> bool {
        self.state().ready.is_some()
    }

    pub fn runs(&self) -> Vec<Run> {
        self.state().runs.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.thaw();
        self.kill();
    }
}

/// Looks after all of them until it is aborted.
pub async fn supervise(processes: Vec<Arc<Process>>) {
    loop {
        for process in &processes {
            process.tend();
        }
        sleep(TEND).await;
    }
}

/// The binary with these settings and without those of the machine that runs the tests.
pub fn binary(settings: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WAYPOST__") {
            command.env_remove(name);
        }
    }
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command
}
