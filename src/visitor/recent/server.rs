//! Redis itself: one server, the primary that Sentinel names, or a cluster.
//!
//! A visit is `SET key click-id NX GET PX window`: what was there before, or nothing, is the answer and decides.
//! Redis takes NX together with GET since 7.0. One server is asked for all visits by one script (EVAL), or by one
//! pipeline where it takes none; a cluster for each by itself, as their keys are on all its nodes.
//!
//! ```text
//! key    prefix, then the 16 bytes of the visit
//! value  the 16 bytes of the click id that came first
//! ```

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tracing::info;
use uuid::Uuid;

use super::Visit;
use crate::config::{RedisKind, RedisSettings, RedisUrl, RedisUrlError};

/// A command's data beside its key: SET, click id, NX, GET, PX and up to eight digits.
const COMMAND_BYTES: usize = 3 + 16 + 2 + 3 + 2 + 8;
const COMMAND_ARGUMENTS: usize = 7;
/// For keys with their click ids and windows in turn: the place and the first of each that was known before, or the
/// error that its key gave. Those that are not named are fresh.
const FIRSTS: &str = "\
    local known = {} \
    for n, key in ipairs(KEYS) do \
        local first = redis.pcall('SET', key, ARGV[2 * n - 1], 'NX', 'GET', 'PX', ARGV[2 * n]) \
        if first then known[#known + 1] = n; known[#known + 1] = first end \
    end \
    return known";
/// EVAL, the script and the number of keys.
const SCRIPT_ARGUMENTS: usize = 3;
const SCRIPT_BYTES: usize = 4 + FIRSTS.len() + 4;
/// Key, click id and window, without the prefix of the key.
const VISIT_ARGUMENTS: usize = 3;
const VISIT_BYTES: usize = 16 + 16 + 8;
/// How long one connection may take to be made, TLS and log-in included.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a cluster's node is asked again after it moved a key; each batch is bounded by its own time limit.
const CLUSTER_RETRIES: u32 = 4;
const CLUSTER_RETRY_WAIT_MS: u64 = 5;

/// Why Redis can never be used with these settings.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("`redis.url` {0}")]
    Url(#[from] RedisUrlError),
    #[error("`redis.ca` {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`redis.ca` {} is not a file of certificates in PEM", path.display())]
    NoCertificate { path: PathBuf },
    #[error("Redis cannot be used: {0}")]
    Client(RedisError),
}

/// Where Redis is; makes connections.
pub(super) struct Server {
    url: RedisUrl,
    certificates: Option<TlsCertificates>,
    prefix: Box<[u8]>,
    /// Learnt from its answers, as of a user without the right to them.
    refuses_scripts: AtomicBool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A connection that many batches use at once. It belongs to the runtime on which it was made.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What Redis says of one visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Who was there before.
    First(Uuid),
    Fresh,
    /// An error, or something that is not ours; of this visit only.
    Unknown,
}

impl Server {
    /// # Errors
    /// Settings that can never work. Nothing is connected yet.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, ServerError> {
        let url: RedisUrl = settings.url.parse()?;
        let certificates = if url.tls { authorities(settings)? } else { None };
        let server = Self {
            url,
            certificates,
            prefix: settings.prefix.as_bytes().into(),
            refuses_scripts: AtomicBool::new(false),
        };
        match &server.url.kind {
            RedisKind::Single => drop(server.client().map_err(ServerError::Client)?),
            RedisKind::Sentinel { primary } => {
                drop(server.sentinel(primary, false).map_err(ServerError::Client)?);
            }
            RedisKind::Cluster => drop(server.cluster().map_err(ServerError::Client)?),
        }
        Ok(server)
    }

    /// # Errors
    /// What Redis or the network says; never more than a few seconds later.
    pub(super) async fn connect(&self) -> Result<Connection, RedisError> {
        // The time limit of a batch is its caller's.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        match &self.url.kind {
            RedisKind::Single => self
                .client()?
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map(Connection::Single),
            RedisKind::Sentinel { primary } => {
                let mut found = self.sentinel(primary, false)?.async_get_client().await;
                if let (Err(error), true) = (&found, self.url.password.is_some())
                    && wants_password(error)
                {
                    found = self.sentinel(primary, true)?.async_get_client().await;
                }
                found?.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Single)
            }
            RedisKind::Cluster => {
                let config = ClusterConfig::new().set_connection_timeout(CONNECT);
                self.cluster()?.get_async_connection_with_config(config).await.map(Connection::Cluster)
            }
        }
    }

    /// Asks for all visits at once, and answers in their order.
    ///
    /// # Errors
    /// The connection failed, or Redis refused every visit: the first refusal.
    pub(super) async fn ask(
        &self,
        connection: Connection,
        visits: &[Visit],
    ) -> Result<Vec<Answer>, RedisError> {
        match connection {
            Connection::Single(connection) if self.refuses_scripts.load(Ordering::Relaxed) => {
                self.ask_in_turn(connection, visits).await
            }
            Connection::Single(connection) => match self.ask_at_once(connection.clone(), visits).await {
                Err(error) if may_be_about_scripts(&error) => {
                    let answers = self.ask_in_turn(connection, visits).await?;
                    if !self.refuses_scripts.swap(true, Ordering::Relaxed) {
                        info!(%error, "Redis takes no scripts, and is asked for each visit by itself");
                    }
                    Ok(answers)
                }
                answered => answered,
            },
            Connection::Cluster(connection) => self.ask_each(&connection, visits).await,
        }
    }

    /// One command for each visit, all in one pipeline.
    async fn ask_in_turn(
        &self,
        mut connection: MultiplexedConnection,
        visits: &[Visit],
    ) -> Result<Vec<Answer>, RedisError> {
        let mut pipeline = Pipeline::with_capacity(visits.len());
        for visit in visits {
            pipeline.add_command(self.command(visit));
        }
        let values = connection.req_packed_commands(&pipeline, 0, visits.len()).await?;
        unless_all_are_refused(values.into_iter().map(Value::extract_error).collect())
    }

    /// One server has all keys: one script for all visits costs this side a fraction of a command for each.
    async fn ask_at_once(
        &self,
        mut connection: MultiplexedConnection,
        visits: &[Visit],
    ) -> Result<Vec<Answer>, RedisError> {
        let unexpected =
            || RedisError::from((ErrorKind::UnexpectedReturnType, "the script's answer is of no use"));
        let known = match connection.req_packed_command(&self.script(visits)).await? {
            Value::Array(known) => known,
            refused => {
                refused.extract_error()?;
                return Err(unexpected());
            }
        };
        let mut values = vec![Ok(Value::Nil); visits.len()];
        let mut known = known.into_iter();
        while let Some(place) = known.next() {
            let (Value::Int(place), Some(value)) = (place, known.next()) else { return Err(unexpected()) };
            let place = usize::try_from(place).ok().and_then(|place| values.get_mut(place.checked_sub(1)?));
            *place.ok_or_else(unexpected)? = value.extract_error();
        }
        unless_all_are_refused(values)
    }

    /// Each visit goes to the node of its key, all at once; the connection follows keys that moved.
    async fn ask_each(
        &self,
        connection: &ClusterConnection,
        visits: &[Visit],
    ) -> Result<Vec<Answer>, RedisError> {
        let asked = visits.iter().map(|visit| {
            let mut connection = connection.clone();
            let route = Route::with_key(self.key(visit), SlotAddr::Master);
            let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
            let command = self.command(visit);
            async move { connection.route_command(command, route).await?.extract_error() }
        });
        unless_all_are_refused(join_all(asked).await)
    }

    fn script(&self, visits: &[Visit]) -> Cmd {
        let mut script = Cmd::with_capacity(
            SCRIPT_ARGUMENTS + VISIT_ARGUMENTS * visits.len(),
            SCRIPT_BYTES + visits.len() * (self.prefix.len() + VISIT_BYTES),
        );
        script.arg("EVAL").arg(FIRSTS).arg(visits.len());
        let mut key = self.prefix.to_vec();
        for visit in visits {
            key.truncate(self.prefix.len());
            key.extend_from_slice(&visit.key);
            script.arg(&key[..]);
        }
        for visit in visits {
            script.arg(visit.click_id.as_bytes()).arg(visit.window());
        }
        script
    }

    fn key(&self, visit: &Visit) -> Vec<u8> {
        [&*self.prefix, &visit.key].concat()
    }

    fn command(&self, visit: &Visit) -> Cmd {
        let mut command =
            Cmd::with_capacity(COMMAND_ARGUMENTS, self.prefix.len() + visit.key.len() + COMMAND_BYTES);
        command.arg("SET").arg(self.key(visit)).arg(visit.click_id.as_bytes());
        command.arg("NX").arg("GET").arg("PX").arg(visit.window());
        command
    }

    fn client(&self) -> Result<Client, RedisError> {
        let [node, ..] = &*self.url.nodes else {
            return Err((ErrorKind::InvalidClientConfig, "no host is named").into());
        };
        let connection = self
            .address(node)
            .into_connection_info()?
            .set_redis_settings(self.log_in())
            .set_tcp_settings(tcp());
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(connection, certificates.clone()),
            None => Client::open(connection),
        }
    }

    /// Sentinels often want no password where Redis does, and refuse one then.
    fn sentinel(&self, primary: &str, with_password: bool) -> Result<SentinelClient, RedisError> {
        let nodes = self.url.nodes.iter().map(|node| self.address(node));
        let mut builder = SentinelClientBuilder::new(nodes, primary, SentinelServerType::Master)?
            .set_client_to_redis_db(self.url.database)
            .set_client_to_redis_tcp_settings(tcp());
        if let Some(username) = &self.url.username {
            builder = builder.set_client_to_redis_username(username);
            if with_password {
                builder = builder.set_client_to_sentinel_username(username);
            }
        }
        if let Some(password) = &self.url.password {
            builder = builder.set_client_to_redis_password(password);
            if with_password {
                builder = builder.set_client_to_sentinel_password(password);
            }
        }
        if self.url.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }

    fn cluster(&self) -> Result<ClusterClient, RedisError> {
        let nodes = self.url.nodes.iter().map(|node| self.address(node));
        let mut builder = ClusterClient::builder(nodes)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(CLUSTER_RETRY_WAIT_MS)
            .connection_timeout(CONNECT)
            .tcp_settings(tcp());
        if let Some(username) = &self.url.username {
            builder = builder.username(username);
        }
        if let Some(password) = &self.url.password {
            builder = builder.password(password);
        }
        if self.url.tls {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        builder.build()
    }

    fn address(&self, (host, port): &(String, u16)) -> ConnectionAddr {
        if self.url.tls {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        }
    }

    fn log_in(&self) -> RedisConnectionInfo {
        let mut log_in = RedisConnectionInfo::default().set_db(self.url.database);
        if let Some(username) = &self.url.username {
            log_in = log_in.set_username(username);
        }
        if let Some(password) = &self.url.password {
            log_in = log_in.set_password(password);
        }
        log_in
    }
}

/// Whether each visit by itself may be answered all the same.
fn may_be_about_scripts(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOPERM" | "CROSSSLOT")) || error.to_string().contains("unknown command")
}

/// # Errors
/// All are errors: the first of them.
fn unless_all_are_refused(values: Vec<Result<Value, RedisError>>) -> Result<Vec<Answer>, RedisError> {
    let answers: Vec<_> = values.iter().map(Answer::of).collect();
    let refused = values
        .into_iter()
        .zip(&answers)
        .try_fold(None, |first, (value, answer)| (*answer == Answer::Unknown).then(|| first.or(value.err())));
    match refused {
        Some(Some(error)) => Err(error),
        Some(None) | None => Ok(answers),
    }
}

impl Answer {
    fn of(value: &Result<Value, RedisError>) -> Self {
        match value {
            Ok(Value::Nil) => Self::Fresh,
            Ok(Value::BulkString(bytes)) => Uuid::from_slice(bytes).map_or(Self::Unknown, Self::First),
            Ok(_) | Err(_) => Self::Unknown,
        }
    }
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn wants_password(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("NOAUTH" | "NOPERM"))
}

/// The authorities whose word proves Redis; `None`: the system's.
fn authorities(settings: &RedisSettings) -> Result<Option<TlsCertificates>, ServerError> {
    // Refused when there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let path = &settings.ca;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let pem = fs::read(path).map_err(|source| ServerError::Unreadable { path: path.clone(), source })?;
    let mut trusted = RootCertStore::empty();
    let valid = CertificateDer::pem_slice_iter(&pem)
        .all(|certificate| certificate.is_ok_and(|it| trusted.add(it).is_ok()));
    if !valid || trusted.is_empty() {
        return Err(ServerError::NoCertificate { path: path.clone() });
    }
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }))
}
