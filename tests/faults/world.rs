//! Everything under test: own services, the lines to them, small disks, and the processes of `waypost`.

use std::{
    env, fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::{ConnectionTrait, Database};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use waypost::domain::{
    time::Timestamp,
    token::{KeyRing, KeyState, TokenKey},
};

use crate::{
    disk::Disk,
    lines::{Line, Lines},
    market::{Account, Market, Program},
    merchant::Merchant,
    processes::{Owners, Process, Role, SOON, binary, supervise},
    services::{Part, Services},
};

/// Milliseconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().0
}

pub const EDGES: [&str; 2] = ["edge-a", "edge-b"];
const SETTLEMENTS: [&str; 2] = ["settle-a", "settle-b"];
const APIS: [&str; 2] = ["api-a", "api-b"];
pub const PARTITIONS: i32 = 4;

/// Which line leads from a process of a role.
fn parts_of(role: Role) -> &'static [Part] {
    match role {
        Role::Edge => &[Part::Kafka, Part::Redis],
        Role::Settle | Role::Api => &[Part::Kafka, Part::Postgres],
    }
}

/// A disk that can be filled, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOf {
    /// The spool of an edge.
    Edge(&'static str),
    Part(Part),
}

pub struct World {
    // Dropped in this order: the processes, the services, their disks, the folder.
    pub processes: Vec<Arc<Process>>,
    supervisor: JoinHandle<()>,
    pub services: Arc<Services>,
    pub disks: Vec<(DiskOf, Disk)>,
    pub lines: Arc<Lines>,
    pub market: Market,
    pub tokens: KeyRing,
    settings: Vec<(String, String)>,
    /// How often a link was tried.
    pub tries: AtomicU64,
    folder: Option<TempDir>,
}

const TOKEN_SECRET: &str = "6f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

impl World {
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("waypost-faults-").tempdir().unwrap();
        // PostgreSQL runs as somebody else when this is root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        println!("everything is in {}", folder.path().display());
        let disks = mount_disks(folder.path());
        let at = folder.path().join("services");
        let services = Arc::new(tokio::task::spawn_blocking(move || Services::start(&at)).await.unwrap());

        fit_on_disk(&services).await;

        let owners = Owners::default();
        let roles = [(Role::Edge, EDGES), (Role::Settle, SETTLEMENTS), (Role::Api, APIS)];
        let named: Vec<(Role, &'static str)> =
            roles.iter().flat_map(|(role, names)| names.map(|name| (*role, name))).collect();
        let all: Vec<Line> = named
            .iter()
            .flat_map(|(role, name)| parts_of(*role).iter().map(move |part| (*name, *part)))
            .collect();
        let lines = Arc::new(Lines::new(&all, Arc::clone(&owners)));
        let address = |name: &str| services.get(name).parse::<SocketAddr>().unwrap();
        lines.listen_for_all(Part::Kafka, address("KAFKA_PROXY"), address("KAFKA_BEHIND")).await;

        let mut shared = common();
        set(&mut shared, "KAFKA__BROKERS", services.get("KAFKA_PROXY"));
        let mut settings = shared.clone();
        set(&mut settings, "STORE__URL", services.get("POSTGRES"));
        let mut processes = Vec::new();
        for (role, name) in named {
            let mut own = shared.clone();
            for (part, key, url) in
                [(Part::Redis, "REDIS__URL", "REDIS"), (Part::Postgres, "STORE__URL", "POSTGRES")]
            {
                if parts_of(role).contains(&part) {
                    let url = services.get(url);
                    let direct = host_of(url);
                    let line = lines.listen((name, part), direct.parse().unwrap()).await;
                    set(&mut own, key, &url.replace(direct, &line.to_string()));
                }
            }
            if role == Role::Edge {
                set(&mut own, "EDGE__NAME", name);
                let spool = disk_folder(folder.path(), DiskOf::Edge(name)).join("spool.db");
                set(&mut own, "SPOOL__PATH", &spool.display().to_string());
            }
            processes.push(Arc::new(Process::new(name, role, folder.path(), own, Arc::clone(&owners))));
        }
        let supervisor = tokio::spawn(supervise(processes.clone()));
        let secret = data_encoding::HEXLOWER.decode(TOKEN_SECRET.as_bytes()).unwrap().try_into().unwrap();
        let tokens = KeyRing::new(vec![TokenKey { id: 1, state: KeyState::Active, secret }]).unwrap();
        let mut world = Self {
            processes,
            supervisor,
            services,
            disks,
            lines,
            market: Market::default(),
            tokens,
            settings,
            tries: AtomicU64::new(0),
            folder: Some(folder),
        };
        world.furnish().await;
        world
    }

    /// Topics, schema, accounts, programs; everything running.
    async fn furnish(&mut self) {
        let partitions = PARTITIONS.to_string();
        self.ok(&[
            "topics",
            "create",
            "--replication",
            "1",
            "--min-insync",
            "1",
            "--partitions",
            &partitions,
        ]);
        self.ok(&["migrate"]);
        let mut accounts = Vec::new();
        for (slug, host) in [("hot", "hot.example"), ("calm", "calm.example")] {
            self.ok(&["account", "create", slug, "--domain", host]);
            let key = self.ok(&["key", "create", "--account", slug]).trim().to_owned();
            accounts.push(Account { slug, host, key, affiliates: Default::default() });
        }
        self.market = Arc::new(accounts);
        for process in &self.processes {
            process.start();
        }
        self.all_ready().await;
        for account in 0..self.market.len() {
            let mut merchant = Merchant::new(Arc::clone(&self.market), account, self.of(Role::Api));
            for program in Program::ALL {
                merchant.add_program(program).await;
            }
            for _ in 0..3 {
                merchant.add_affiliate().await;
            }
        }
        self.links_work().await;
    }

    pub fn of(&self, role: Role) -> Vec<Arc<Process>> {
        self.processes.iter().filter(|process| process.role == role).cloned().collect()
    }

    pub fn process(&self, name: &str) -> &Arc<Process> {
        self.processes.iter().find(|process| process.name == name).unwrap()
    }

    /// Waits until every process is ready.
    pub async fn all_ready(&self) {
        eventually("all processes to be ready", async || {
            let late: Vec<_> = self.processes.iter().filter(|process| !process.is_ready()).collect();
            match late.as_slice() {
                [] => Ok(()),
                [first, ..] => Err(format!("{} is not", first.name)),
            }
        })
        .await;
    }

    /// Waits until every edge knows every link.
    pub async fn links_work(&self) {
        let client = crate::visitor::http();
        for edge in self.of(Role::Edge) {
            for account in self.market.iter() {
                let affiliates = account.affiliates.read().unwrap().clone();
                for (affiliate, program) in
                    affiliates.iter().flat_map(|affiliate| Program::ALL.map(|program| (affiliate, program)))
                {
                    let code = affiliate.link(program);
                    eventually("a link to work", async || {
                        let address = edge.address().ok_or_else(|| format!("{} is down", edge.name))?;
                        self.tries.fetch_add(1, Ordering::Relaxed);
                        let request = client.head(format!("{address}/r/{code}")).header("host", account.host);
                        let answer = request.send().await.map_err(|error| error.to_string())?;
                        let found = answer.status() == reqwest::StatusCode::FOUND;
                        found
                            .then_some(())
                            .ok_or_else(|| format!("{} on {}: {}", code, edge.name, answer.status()))
                    })
                    .await;
                }
            }
        }
        for account in self.market.iter() {
            account.affiliates.write().unwrap().iter_mut().for_each(|affiliate| affiliate.known = true);
        }
    }

    /// Runs a command to its end, with the direct way to the services; answers its code and what it wrote.
    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        let folder = self.folder().join("commands");
        fs::create_dir_all(&folder).unwrap();
        let mut command = binary(&self.settings);
        let output = command.args(arguments).arg("--data-dir").arg(folder).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().unwrap();
        (code, if code == 0 { text } else { format!("{text}{error}") })
    }

    /// A command that has to succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// Where an edge keeps its spool.
    pub fn spool(&self, edge: &'static str) -> PathBuf {
        disk_folder(self.folder(), DiskOf::Edge(edge)).join("spool.db")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.supervisor.abort();
        for process in &self.processes {
            process.thaw();
            process.kill();
        }
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            println!("kept for whoever looks into it: {}", folder.keep().display());
        }
    }
}

fn set(settings: &mut Vec<(String, String)>, key: &str, value: &str) {
    let key = format!("WAYPOST__{key}");
    settings.retain(|(other, _)| *other != key);
    settings.push((key, value.to_owned()));
}

/// Settings that all processes share.
fn common() -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let key = json!([{"id": 1, "state": "active", "secret": TOKEN_SECRET}]);
    let key = format!("[{{ id = 1, state = \"active\", secret = {} }}]", key[0]["secret"]);
    for (name, value) in [
        ("TOKEN__KEYS", key.as_str()),
        ("VISITOR__HASH_SECRET", &TOKEN_SECRET.chars().rev().collect::<String>()),
        ("SECRETS__KEYS", &format!("[\"{}\"]", TOKEN_SECRET.replace('f', "1"))),
        ("EDGE__CORES", "1"),
        ("EDGE__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]"),
        ("EDGE__DRAIN_DELAY_MS", "100"),
        ("EDGE__DRAIN_TIMEOUT_MS", "15000"),
        ("API__RATE_LIMIT_PER_MINUTE", "1000000"),
        // The least that brokers accept.
        ("KAFKA__SESSION_TIMEOUT_MS", "6000"),
        ("CATALOG__SNAPSHOT_INTERVAL_MS", "500"),
        ("LOG__FORMAT", "text"),
    ] {
        set(&mut settings, name, value);
    }
    settings
}

/// `host:port` of a URL.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").unwrap().1;
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap()
}

fn disk_folder(folder: &Path, of: DiskOf) -> PathBuf {
    match of {
        DiskOf::Edge(name) => folder.join(format!("{name}-spool")),
        DiskOf::Part(part) => folder.join("services").join(part.name()),
    }
}

/// Those that are filled; none only where somebody has said so.
fn mount_disks(folder: &Path) -> Vec<(DiskOf, Disk)> {
    let mut disks = Vec::new();
    if env::var("WAYPOST_FAULTS_DISKS").as_deref() == Ok("off") {
        println!("no disk is filled: WAYPOST_FAULTS_DISKS is off");
        return disks;
    }
    // Room for the spool's reserve, and for the longest outage twice: in its write-ahead log and in itself.
    let of_edges = EDGES.map(|edge| (DiskOf::Edge(edge), 32));
    let of_parts = [(DiskOf::Part(Part::Kafka), 256), (DiskOf::Part(Part::Postgres), 512)];
    for (of, megabytes) in of_edges.into_iter().chain(of_parts) {
        let at = disk_folder(folder, of);
        fs::create_dir_all(&at).unwrap();
        let Some(disk) = Disk::mount(&at, megabytes) else {
            panic!("a tmpfs cannot be mounted here: WAYPOST_FAULTS_DISKS=off leaves full disks out");
        };
        disks.push((of, disk));
    }
    disks
}

/// Keeps PostgreSQL's log well below the size of its disk.
async fn fit_on_disk(services: &Services) {
    let url = services.get("POSTGRES");
    let (host, password) = (host_of(url), url.split([':', '@']).nth(2).unwrap());
    let db = Database::connect(format!("postgres://postgres:{password}@{host}/postgres")).await.unwrap();
    for sql in ["ALTER SYSTEM SET max_wal_size = '128MB'", "SELECT pg_reload_conf()"] {
        db.execute_unprepared(sql).await.unwrap();
    }
    db.close().await.unwrap();
}

/// Asks again until it is so.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < deadline, "waited {SOON:?} for {what}: {why}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}
