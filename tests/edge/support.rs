//! An edge on a port of its own, with a catalog of two accounts and a log that can be told to fail.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use waypost::{
    catalog::{
        AccountRecord, AffiliateRecord, Catalog, CatalogRecord, DomainRecord, KeyKind, KeyRecord, LinkRecord,
        ProgramRecord, Scope, Versioned,
    },
    config::{EdgeSettings, GeoipSettings},
    domain::{
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        price::{Price, Recurrence},
        program::{
            AttributionModel, CommissionType, PixelTrust, ProgramSettings, ReferrerPolicy, RefundPolicy,
            SameSite,
        },
        reason::Standing,
        sealed::{NONCE_BYTES, SealingKeys, pixel_secret_of},
        time::Timestamp,
        token::{KeyRing, KeyState, TokenKey},
    },
    edge::{self, EdgeHandle, EdgeParts},
    events::{Body, Click, Conversion, Event, Refund},
    stream::{Append, AppendDone, AppendError, Durability, EventSink, Record},
    telemetry::edge::EdgeMetrics,
    visitor::{Geo, MemoryRecentVisits, TrustedProxies, VisitorHasher},
};

/// How long anything may take that is expected to happen.
pub const DEADLINE: Duration = Duration::from_secs(60);
pub const HOST: &str = "go.demo.example";
pub const OTHER_HOST: &str = "go.other.example";
pub const SECRET_KEY: &str = "sk_demo";
pub const IMPORT_KEY: &str = "sk_import";
pub const READ_KEY: &str = "sk_read";
pub const REVOKED_KEY: &str = "sk_revoked";
pub const PUBLIC_KEY: &str = "pk_demo";
pub const OTHER_KEY: &str = "sk_other";
pub const PIXEL_SECRET: &str = "pixel-secret";
pub const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                           Chrome/126.0.0.0 Safari/537.36";

/// What the log does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Store,
    Full,
    Fail,
    /// Never says how it ended.
    Hang,
}

/// An event log that remembers.
#[derive(Debug, Default)]
pub struct RecordingSink {
    mode: AtomicU8,
    records: Mutex<Vec<Record>>,
    hanging: Mutex<Vec<AppendDone>>,
}

impl RecordingSink {
    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    pub fn events(&self) -> Vec<Event> {
        self.records().iter().map(|record| Event::decode(&record.payload).unwrap()).collect()
    }

    /// Lets go of what hangs, as stored.
    pub fn release(&self) {
        for done in self.hanging.lock().unwrap().drain(..) {
            done.resolve(Ok(Durability::Local));
        }
    }

    pub fn hanging(&self) -> usize {
        self.hanging.lock().unwrap().len()
    }
}

impl EventSink for RecordingSink {
    fn append(&self, records: Vec<Record>) -> Append {
        let (done, append) = Append::new();
        match self.mode.load(Ordering::SeqCst) {
            1 => done.resolve(Err(AppendError::Full)),
            2 => done.resolve(Err(AppendError::Failed)),
            3 => self.hanging.lock().unwrap().push(done),
            _ => {
                self.records.lock().unwrap().extend(records);
                done.resolve(Ok(Durability::Local));
            }
        }
        append
    }
}

/// The rules that the demo programs differ from.
pub fn program_settings() -> ProgramSettings {
    ProgramSettings {
        name: "Shop".into(),
        destination: "https://shop.example/landing".into(),
        deep_link_hosts: vec!["shop.example".into(), "*.shop.example".into()],
        allow_http: false,
        referral_parameter: "ref".into(),
        click_parameter: "click_id".into(),
        cookie_time: 30,
        override_max_cookie_time: false,
        cookie_same_site: SameSite::Lax,
        attribution_model: AttributionModel::LastClick,
        referrer_policy: ReferrerPolicy::StrictOriginWhenCrossOrigin,
        pixel: PixelTrust::Open,
        duplicate_window_ms: 3_600_000,
        commission_types: vec![CommissionType {
            identifier: "standard".into(),
            title: "Standard".into(),
            price: Price::Fixed { value: 100 },
            first_payment: None,
            recurrence: Recurrence::Forever,
            count_towards_cap: true,
        }],
        default_commission_type: "standard".into(),
        auto_approve_commissions: false,
        payout_delay: 30,
        refund_policy: RefundPolicy::Reverse,
        program_group: None,
        recurring: true,
        recurring_cap: None,
        recurring_period_days: None,
        settle_in_program_currency: false,
        levels: Vec::new(),
        caps: Vec::new(),
    }
}

pub fn settings() -> EdgeSettings {
    EdgeSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        default_account: String::new(),
        name: "test".into(),
        cores: 2,
        trusted_proxies: Vec::new(),
        max_connections: 1000,
        max_header_bytes: 16_384,
        max_body_bytes: 65_536,
        max_batch_events: 500,
        header_read_timeout_ms: 5_000,
        body_read_timeout_ms: 5_000,
        pixel_wait_ms: 2_000,
        append_timeout_ms: 10_000,
        drain_delay_ms: 0,
        drain_timeout_ms: 5_000,
    }
}

pub fn keys() -> KeyRing {
    KeyRing::new(vec![TokenKey { id: 1, state: KeyState::Active, secret: [9; 32] }]).unwrap()
}

pub fn sealing() -> SealingKeys {
    SealingKeys::new(&[[5; 32]]).unwrap()
}

/// Applies records; each call is newer than the last.
pub fn apply(catalog: &Catalog, record: CatalogRecord) {
    let version = Timestamp::now().0;
    catalog.apply(Versioned { version, record });
}

pub fn program(id: i64, account: i64, slug: &str, settings: ProgramSettings) -> CatalogRecord {
    CatalogRecord::Program(Box::new(ProgramRecord {
        id: ProgramId(id),
        account: AccountId(account),
        slug: slug.into(),
        settings: Arc::new(settings),
        pixel_secret: sealing().seal(&[1; NONCE_BYTES], &pixel_secret_of(ProgramId(id)), PIXEL_SECRET),
        deleted: false,
    }))
}

/// Signed pixels alone, by a secret that was sealed with a key that the edge does not have.
fn unreadable(id: i64, account: i64, slug: &str, settings: ProgramSettings) -> CatalogRecord {
    let mut record = program(id, account, slug, settings);
    if let CatalogRecord::Program(program) = &mut record {
        let other = SealingKeys::new(&[[6; 32]]).unwrap();
        let owner = pixel_secret_of(ProgramId(id));
        program.pixel_secret = other.seal(&[1; NONCE_BYTES], &owner, PIXEL_SECRET);
    }
    record
}

pub fn link(id: i64, account: i64, code: &str, program: i64, affiliate: i64) -> LinkRecord {
    LinkRecord {
        id: LinkId(id),
        account: AccountId(account),
        code: code.into(),
        program: ProgramId(program),
        affiliate: AffiliateId(affiliate),
        destination: None,
        source_id: None,
        asset_id: None,
        expires_at: None,
        deleted: false,
    }
}

fn key(text: &str, account: i64, kind: KeyKind, scopes: Vec<Scope>, revoked: bool) -> CatalogRecord {
    let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
    CatalogRecord::Key(KeyRecord { hash, account: AccountId(account), kind, scopes, revoked })
}

fn affiliate(id: i64, slug: &str, suspended: bool, standing: Standing) -> CatalogRecord {
    CatalogRecord::Affiliate(AffiliateRecord {
        id: AffiliateId(id),
        account: AccountId(if id == 9 { 2 } else { 1 }),
        slug: slug.into(),
        suspended,
        programs: (1..=9).map(|program| (ProgramId(program), standing)).collect(),
        deleted: false,
    })
}

/// Accounts `demo` (1) and `other` (2), with what belongs to them.
fn fill(catalog: &Catalog) {
    let domain = |host: &str, account, cookie_domain: Option<&str>| {
        CatalogRecord::Domain(DomainRecord {
            host: host.into(),
            account: AccountId(account),
            cookie_domain: cookie_domain.map(Into::into),
            deleted: false,
        })
    };
    let account = |id, slug: &str, fallback_url: Option<&str>| {
        let fallback_url = fallback_url.map(Into::into);
        CatalogRecord::Account(AccountRecord { id: AccountId(id), slug: slug.into(), fallback_url })
    };
    let with = |change: &dyn Fn(&mut ProgramSettings)| {
        let mut settings = program_settings();
        change(&mut settings);
        settings
    };
    let records = [
        account(1, "demo", None),
        account(2, "other", Some("https://other.example/404?x=1")),
        domain(HOST, 1, None),
        domain("shared.demo.example", 1, Some("demo.example")),
        domain(OTHER_HOST, 2, None),
        key(SECRET_KEY, 1, KeyKind::Secret, vec![Scope::Events], false),
        key(IMPORT_KEY, 1, KeyKind::Secret, vec![Scope::Events, Scope::Import], false),
        key(READ_KEY, 1, KeyKind::Secret, vec![Scope::Read], false),
        key(REVOKED_KEY, 1, KeyKind::Secret, vec![Scope::Events], true),
        key(PUBLIC_KEY, 1, KeyKind::Publishable, vec![], false),
        key(OTHER_KEY, 2, KeyKind::Secret, vec![Scope::Events], false),
        affiliate(1, "jane-doe", false, Standing::Approved),
        affiliate(2, "sue", true, Standing::Approved),
        affiliate(3, "tom", false, Standing::Suspended),
        affiliate(9, "olga", false, Standing::Approved),
        program(1, 1, "shop", program_settings()),
        program(2, 1, "first", with(&|s| s.attribution_model = AttributionModel::FirstClick)),
        program(3, 1, "held", with(&|s| s.pixel = PixelTrust::Held)),
        program(4, 1, "signed", with(&|s| s.pixel = PixelTrust::Signed)),
        program(
            5,
            1,
            "names",
            with(&|s| {
                s.referral_parameter = "partner".into();
                s.click_parameter = "cid".into();
                s.cookie_same_site = SameSite::None;
                s.referrer_policy = ReferrerPolicy::NoReferrer;
                s.allow_http = true;
                s.destination = "http://names.example/".into();
                s.deep_link_hosts = vec!["names.example".into()];
            }),
        ),
        unreadable(6, 1, "unreadable", with(&|s| s.pixel = PixelTrust::Signed)),
        program(9, 2, "shop", program_settings()),
    ];
    for record in records {
        apply(catalog, record);
    }
    let with = |mut link: LinkRecord, change: &dyn Fn(&mut LinkRecord)| {
        change(&mut link);
        link
    };
    for link in [
        link(1, 1, "jane", 1, 1),
        link(2, 1, "first", 2, 1),
        link(3, 1, "sue", 1, 2),
        link(4, 1, "tom", 1, 3),
        with(link(5, 1, "expired", 1, 1), &|link| link.expires_at = Some(Timestamp(1))),
        with(link(6, 1, "macros", 1, 1), &|link| {
            link.destination = Some(
                "https://shop.example/{program}/{sub1}?aff={affiliate}&c={code}&src={source}&t={click_id}&ts={timestamp}&r={random}#{sub2}"
                    .into(),
            );
            link.source_id = Some("blog".into());
            link.asset_id = Some("banner".into());
        }),
        with(link(7, 1, "broken", 1, 1), &|link| link.destination = Some("https://{sub1}/".into())),
        with(link(8, 1, "plain-http", 1, 1), &|link| link.destination = Some("http://shop.example/".into())),
        link(10, 1, "names", 5, 1),
        link(11, 1, "first-too", 2, 1),
        link(9, 2, "olga", 9, 9),
    ] {
        apply(catalog, CatalogRecord::Link(link));
    }
    catalog.mark_loaded();
}

/// A running edge.
pub struct Edge {
    pub sink: Arc<RecordingSink>,
    pub keys: KeyRing,
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub handle: EdgeHandle,
    metrics: PrometheusHandle,
}

impl Edge {
    pub fn start() -> Self {
        Self::start_with(settings())
    }

    pub fn start_with(settings: EdgeSettings) -> Self {
        let nothing = GeoipSettings {
            country: PathBuf::new(),
            asn: PathBuf::new(),
            hosting_networks: Vec::new(),
            check_interval_ms: 60_000,
        };
        Self::start_at(settings, &nothing)
    }

    /// With databases of places.
    pub fn start_at(settings: EdgeSettings, geoip: &GeoipSettings) -> Self {
        let catalog = Arc::new(Catalog::new());
        fill(&catalog);
        let sink = Arc::new(RecordingSink::default());
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let parts = EdgeParts {
            name: settings.name.as_str().into(),
            catalog,
            keys: Arc::new(keys()),
            sealing: Arc::new(sealing()),
            geo: Geo::open(geoip).unwrap(),
            hasher: VisitorHasher::new([7; 32]),
            proxies: TrustedProxies::new(settings.trusted_proxies.clone()),
            user_agents: 1000,
            recent: Arc::new(MemoryRecentVisits::new(1000)),
            sink: sink.clone(),
            metrics: metrics::with_local_recorder(&recorder, EdgeMetrics::register),
        };
        let listeners = edge::bind(settings.listen, settings.cores).unwrap();
        let shutdown = CancellationToken::new();
        let handle = edge::serve(&settings, parts, listeners, shutdown.clone()).unwrap();
        Self { sink, keys: keys(), address: handle.local_addr(), shutdown, handle, metrics }
    }

    /// A request as bytes; the answer until the edge closes, or until it is whole.
    pub async fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The edge may refuse and close before it has all of it.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ =
            timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the edge has to answer in time");
        answer
    }

    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("Host: {HOST}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += body;
        Reply::read(&self.raw(request.as_bytes()).await)
    }

    /// As a browser.
    pub async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        let mut all = vec![("User-Agent", BROWSER)];
        all.retain(|_| !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")));
        all.extend(headers);
        self.send("GET", target, &all, "").await
    }

    pub async fn post(&self, kind: &str, key: &str, body: &str) -> Reply {
        self.post_with(kind, &[("X-Api-Key", key)], body).await
    }

    pub async fn post_with(&self, kind: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(headers);
        self.send("POST", &format!("/v1/events/{kind}"), &all, body).await
    }

    /// The events, once there are `count`.
    pub async fn events(&self, count: usize) -> Vec<Event> {
        until(|| self.sink.records().len() >= count).await;
        let events = self.sink.events();
        assert_eq!(events.len(), count, "{events:#?}");
        events
    }

    /// The one click so far.
    pub async fn click(&self) -> Click {
        match self.events(1).await.remove(0).body {
            Body::Click(click) => *click,
            other => panic!("{other:?}"),
        }
    }

    /// The value of a series, written as Prometheus does.
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no series {series} in\n{text}")).parse().unwrap()
    }

    pub async fn metric_is(&self, series: &str, value: u64) {
        until(|| self.metric(series) >= value).await;
        assert_eq!(self.metric(series), value, "{series}");
    }

    /// Drains, and waits until it is over.
    pub async fn stop(self) -> Arc<RecordingSink> {
        self.shutdown.cancel();
        timeout(DEADLINE, self.handle.join()).await.unwrap().unwrap();
        self.sink
    }
}

/// Polls until it is so.
pub async fn until(mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < DEADLINE, "it never came to be so");
        sleep(Duration::from_millis(2)).await;
    }
}

pub fn conversion(event: &Event) -> &Conversion {
    match &event.body {
        Body::Conversion(conversion) => conversion,
        other => panic!("{other:?}"),
    }
}

pub fn refund(event: &Event) -> &Refund {
    match &event.body {
        Body::Refund(refund) => refund,
        other => panic!("{other:?}"),
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer in {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    /// The one header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(other, _)| other == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is given twice: {:?}", self.headers);
        first
    }

    pub fn location(&self) -> &str {
        self.header("location").unwrap_or_else(|| panic!("no location: {self:?}"))
    }

    /// The query of the location, decoded.
    pub fn query(&self) -> HashMap<String, String> {
        let url = url::Url::parse(self.location()).unwrap();
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    pub fn cookie(&self) -> Option<&str> {
        self.header("set-cookie")
    }

    /// The token in the cookie.
    pub fn cookie_token(&self) -> Option<&str> {
        self.cookie().map(|cookie| cookie.split(['=', ';']).nth(1).unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }
}
