//! A shop, an event log, and settlement between the two.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::json;
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waypost::{
    config::{SettlementSettings, SpoolSettings},
    domain::{
        calendar::Zone,
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        reason::{ConversionKind, Standing},
        time::Timestamp,
        token::{KeyRing, KeyState, TokenKey},
        traffic::TrafficClass,
    },
    events::{Authority, Body, Channel, Click, Conversion, Event, Origin, Refund, VERSION},
    ledger::{self, Command, Intake, PutAffiliate, PutLink, PutProgram, Terms, replay, verify},
    settlement::{
        SettlementParts,
        reconcile::{self, Reconciliation},
        serve,
    },
    store::{Store, accounts, entities::balance},
    stream::{
        Assignment, Delivery, EndOfLog, Ends, EventSink, EventSource, Record, SourceError, Topic,
        spool::{Spool, SpoolSink},
    },
    telemetry::{settlement::SettlementMetrics, stream::StreamMetrics},
};

use crate::backend::Database;

pub const PATIENCE: Duration = Duration::from_secs(120);
pub const SHOP: ProgramId = ProgramId(1);
pub const JANE: AffiliateId = AffiliateId(1);
pub const JANES_LINK: LinkId = LinkId(1);

pub struct World {
    pub folder: TempDir,
    pub store: Store,
    pub spool: Spool,
    pub sink: Arc<SpoolSink>,
    pub account: AccountId,
    pub settings: SettlementSettings,
    #[allow(dead_code, reason = "kept to the end; processes ask for its address")]
    pub database: Database,
}

/// A settlement that runs.
pub struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// As a crash: nothing is finished that was begun.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

fn metrics() -> SettlementMetrics {
    static METRICS: OnceLock<SettlementMetrics> = OnceLock::new();
    METRICS.get_or_init(SettlementMetrics::register).clone()
}

impl World {
    pub async fn open() -> Self {
        Self::open_on(Database::create().await).await
    }

    pub async fn open_on(database: Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = database.store().await;
        let settings =
            SpoolSettings { path: PathBuf::new(), max_bytes: 1 << 30, commit_events: 1000, commit_ms: 1 };
        let spool =
            Spool::open(&settings, &folder.path().join("spool.db"), StreamMetrics::register()).unwrap();
        let sink = spool.sink();
        let account = furnish(&store, "demo", &Zone::utc(), &rules(SHOP, JANE, JANES_LINK, "jane")).await;
        let settings = SettlementSettings {
            batch_events: 50,
            batch_wait_ms: 5,
            pending_time_ms: 60_000,
            max_age_days: 30,
            click_retention_days: 400,
            audit_interval_ms: 300_000,
            bonus_interval_ms: 60_000,
        };
        Self { folder, store, spool, sink, account, settings, database }
    }

    /// Looks at the store over new connections: its server was restarted, and those that are open may not know yet.
    #[allow(dead_code, reason = "only a server can be restarted")]
    pub async fn connect_again(&mut self) {
        self.store = self.database.store().await;
    }

    /// Another account, with a shop and an affiliate of its own.
    #[allow(dead_code, reason = "tests of one backend need a second account")]
    pub async fn account_with(
        &self,
        program: ProgramId,
        affiliate: AffiliateId,
        link: LinkId,
        who: &str,
    ) -> AccountId {
        self.account_in(&Zone::utc(), program, affiliate, link, who).await
    }

    /// As [`Self::account_with`], with days that begin as in a time zone.
    pub async fn account_in(
        &self,
        zone: &Zone,
        program: ProgramId,
        affiliate: AffiliateId,
        link: LinkId,
        who: &str,
    ) -> AccountId {
        furnish(&self.store, &format!("of-{who}"), zone, &rules(program, affiliate, link, who)).await
    }

    pub fn parts(&self) -> SettlementParts {
        let key = TokenKey { id: 1, state: KeyState::Active, secret: [1; 32] };
        let keys = Arc::new(KeyRing::new(vec![key]).unwrap());
        let terms = Terms { max_age_days: 30, pending_time_ms: self.settings.pending_time_ms.cast_signed() };
        SettlementParts {
            store: self.store.clone(),
            intake: Arc::new(Intake::new(keys, terms)),
            settings: self.settings.clone(),
            metrics: metrics(),
        }
    }

    pub fn settle(&self) -> Running {
        let sources =
            (self.spool.source(Topic::Clicks).unwrap(), self.spool.source(Topic::Conversions).unwrap());
        self.settle_from(sources.0, sources.1)
    }

    pub fn settle_from<S: EventSource>(&self, clicks: S, conversions: S) -> Running {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(self.parts(), clicks, conversions, shutdown.clone()));
        Running { shutdown, task }
    }

    pub async fn append(&self, topic: Topic, payloads: Vec<Bytes>) {
        let record = |payload| Record { topic, key: None, payload };
        self.sink.append(payloads.into_iter().map(record).collect()).await.unwrap();
    }

    pub async fn append_events(&self, topic: Topic, events: &[Event]) {
        self.append(topic, events.iter().map(|event| event.encode().into()).collect()).await;
    }

    /// Settles what is in the log to its end, and stops.
    pub async fn settle_all(&self) {
        let running = self.settle();
        self.caught_up().await;
        running.stop().await;
    }

    /// Waits until both consumers stand at the end of the log.
    pub async fn caught_up(&self) {
        eventually("the end of the log", || async {
            let stats = self.spool.stats();
            for topic in Topic::ALL {
                let at =
                    waypost::store::streams::position(self.store.reader(), topic.name(), 0).await.unwrap();
                if at < stats.topics[topic.index()].next_offset {
                    return false;
                }
            }
            true
        })
        .await;
    }

    pub async fn reconcile(&self) -> Reconciliation {
        reconcile::reconcile(self.store.reader()).await.unwrap()
    }

    /// Outcomes of all streams together.
    pub async fn outcomes(&self) -> BTreeMap<String, i64> {
        let mut outcomes = BTreeMap::new();
        for stream in self.reconcile().await.streams {
            for (outcome, events) in stream.outcomes {
                *outcomes.entry(outcome).or_default() += events;
            }
        }
        outcomes
    }

    pub async fn balances(&self) -> BTreeMap<(i64, String), i64> {
        let rows = balance::Entity::find().all(self.store.reader()).await.unwrap();
        rows.into_iter().map(|row| ((row.affiliate_id, row.ledger_account), row.amount)).collect()
    }

    pub async fn assert_sound(&self) {
        let verified = verify::verify(self.store.reader()).await.unwrap();
        assert_eq!(verified.differences, Vec::<String>::new());
        assert_eq!(self.reconcile().await.differences, Vec::<String>::new());
        let path = self.folder.path().join(format!("copy-{}.db", Uuid::now_v7()));
        let copy = Store::open(&Store::sqlite_url(&path)).await.unwrap();
        let replayed = replay::replay(self.store.reader(), &copy).await.unwrap();
        assert_eq!((replayed.differing, replayed.differences), (0, Vec::new()));
        copy.close().await.unwrap();
    }

    /// Lets the time of all that waits end before now. Answers how many there are.
    pub async fn end_their_time(&self) -> u64 {
        let before = Timestamp::now().0 - 60_000;
        let tx = self.store.begin().await.unwrap();
        let mut waiting = 0;
        for table in ["conversions", "refunds"] {
            let sql = format!("UPDATE {table} SET waits_until = {before} WHERE waits_until IS NOT NULL");
            waiting += tx.execute_unprepared(&sql).await.unwrap().rows_affected();
        }
        tx.commit().await.unwrap();
        waiting
    }

    pub fn sale(&self, external_id: &str, amount: &str) -> Conversion {
        Conversion {
            account: self.account,
            kind: ConversionKind::Conversion,
            channel: Channel::Rest,
            authority: Authority::Secret,
            fingerprint: format!("{external_id}/{amount}"),
            program: None,
            program_group: None,
            external_id: Some(external_id.to_owned()),
            amount: Some(amount.parse().unwrap()),
            currency: None,
            customer_id: None,
            coupon: None,
            referral_code: Some("jane".to_owned()),
            click_id: None,
            asset_id: None,
            source_id: None,
            tracking_id: None,
            commission_type: None,
            commissions: Vec::new(),
            occurred_at: None,
            sub_ids: Default::default(),
            meta_data: serde_json::Map::new(),
        }
    }

    pub fn refund(&self, conversion_external_id: &str, amount: Option<&str>) -> Refund {
        Refund {
            account: self.account,
            fingerprint: format!("{conversion_external_id}/{amount:?}"),
            external_id: None,
            conversion_id: None,
            program: Some("shop".to_owned()),
            kind: None,
            conversion_external_id: Some(conversion_external_id.to_owned()),
            amount: amount.map(|amount| amount.parse().unwrap()),
            currency: None,
            reason: None,
            meta_data: serde_json::Map::new(),
        }
    }

    pub fn click(&self, class: TrafficClass, country: Option<&str>, device: &str) -> Click {
        Click {
            account: self.account,
            link: JANES_LINK,
            class,
            attributable: class.attributes(),
            review: class.needs_review(),
            ip_prefix: None,
            visitor: None,
            user_agent: None,
            device: device.to_owned(),
            os: "Linux".to_owned(),
            browser: "Firefox".to_owned(),
            country: country.map(str::to_owned),
            network: None,
            referrer: None,
            source_id: None,
            asset_id: None,
            tracking_id: None,
            sub_ids: Default::default(),
            deep_link: None,
            deep_link_refused: false,
            duplicate_of: None,
            meta_data: serde_json::Map::new(),
        }
    }
}

async fn furnish(store: &Store, slug: &str, zone: &Zone, rules: &[Command]) -> AccountId {
    let opened = Timestamp(Timestamp::now().0 - 1_000);
    let tx = store.begin().await.unwrap();
    let account = accounts::create(&tx, &slug.parse().unwrap(), slug, zone, opened).await.unwrap();
    for command in rules {
        ledger::apply(&tx, account, opened, command).await.unwrap();
    }
    tx.commit().await.unwrap();
    account
}

/// USD, 10 %; an affiliate with a link of their name.
fn rules(program: ProgramId, affiliate: AffiliateId, link: LinkId, who: &str) -> Vec<Command> {
    let settings = serde_json::from_value(json!({
        "name": "Shop", "destination": "https://shop.example/", "deep_link_hosts": [], "allow_http": false,
        "referral_parameter": "ref", "click_parameter": "click_id", "cookie_time": 30,
        "override_max_cookie_time": false, "cookie_same_site": "lax", "attribution_model": "last_click",
        "referrer_policy": "no-referrer", "pixel": "held", "duplicate_window_ms": 3_600_000,
        "commission_types": [
            {"identifier": "standard", "title": "10 %", "form": "percentage", "value": 1_000_000_000},
        ],
        "default_commission_type": "standard", "auto_approve_commissions": false, "payout_delay": 14,
        "refund_policy": "reverse", "program_group": null,
    }))
    .unwrap();
    let (id, slug) = (program, "shop".parse().unwrap());
    vec![
        Command::PutProgram(Box::new(PutProgram {
            id,
            slug,
            currency: "USD".parse().unwrap(),
            settings,
            from: None,
        })),
        Command::PutAffiliate(PutAffiliate { id: affiliate, slug: who.parse().unwrap(), suspended: false }),
        Command::SetStanding { program, affiliate, standing: Standing::Approved },
        Command::PutLink(Box::new(PutLink {
            id: link,
            uid: Uuid::from_u128(link.0.unsigned_abs().into()),
            program,
            affiliate,
            code: who.to_owned(),
            destination: None,
            source_id: None,
            asset_id: None,
            expires_at: None,
        })),
    ]
}

/// Numbers events as one stream of one boot of an edge does.
pub struct Numbered {
    boot: Uuid,
    stream: &'static str,
    n: u64,
}

impl Numbered {
    pub fn new(boot: u128, stream: &'static str) -> Self {
        Self { boot: Uuid::from_u128(boot), stream, n: 0 }
    }

    pub fn event(&mut self, body: Body) -> Event {
        self.event_with(Uuid::now_v7(), body)
    }

    pub fn event_with(&mut self, id: Uuid, body: Body) -> Event {
        self.n += 1;
        let origin = Origin { edge: "edge-1".into(), boot: self.boot, stream: self.stream.into(), n: self.n };
        Event { v: VERSION, id, origin, received_at: Timestamp::now(), body }
    }

    pub fn sale(&mut self, sale: Conversion) -> Event {
        self.event(Body::Conversion(Box::new(sale)))
    }

    pub fn refund(&mut self, refund: Refund) -> Event {
        self.event(Body::Refund(Box::new(refund)))
    }

    pub fn click(&mut self, click: Click) -> Event {
        self.event(Body::Click(Box::new(click)))
    }

    pub fn end(&mut self) -> Event {
        self.event(Body::End)
    }

    /// A number that no event gets.
    pub fn lose(&mut self) {
        self.n += 1;
    }
}

/// Polls until `done`, or fails after [`PATIENCE`].
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// An event log in memory that a test can change under its readers.
#[derive(Clone, Default)]
pub struct FakeSource {
    records: Arc<Mutex<Vec<Bytes>>>,
    position: usize,
    held: bool,
}

impl FakeSource {
    pub fn push(&self, payload: Bytes) {
        self.records.lock().unwrap().push(payload);
    }

    pub fn replace(&self, at: usize, payload: Bytes) {
        self.records.lock().unwrap()[at] = payload;
    }
}

impl EndOfLog for FakeSource {
    async fn ends(&self) -> Result<Ends, SourceError> {
        let records = i64::try_from(self.records.lock().unwrap().len()).unwrap();
        Ok([(0, records)].into())
    }
}

impl EventSource for FakeSource {
    type End = Self;

    fn end(&self) -> Self {
        self.clone()
    }

    fn assignment(&self) -> Assignment {
        Assignment { generation: 1, partitions: [0].into() }
    }

    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, SourceError> {
        let found: Vec<Delivery> = {
            let records = self.records.lock().unwrap();
            let rest = records.iter().enumerate().skip(self.position).take(if self.held { 0 } else { max });
            rest.map(|(offset, payload)| Delivery {
                partition: 0,
                offset: i64::try_from(offset).unwrap(),
                payload: payload.clone(),
            })
            .collect()
        };
        if found.is_empty() {
            sleep(wait).await;
        }
        self.position += found.len();
        Ok(found)
    }

    async fn rewind(&mut self, partition: i32) -> Result<(), SourceError> {
        self.seek(partition, 0).await
    }

    async fn seek(&mut self, _partition: i32, offset: i64) -> Result<(), SourceError> {
        (self.position, self.held) = (usize::try_from(offset).unwrap(), false);
        Ok(())
    }

    async fn bounds(&self, _partition: i32) -> Result<(i64, i64), SourceError> {
        Ok((0, self.ends().await?[&0]))
    }

    fn hold(&mut self, _partition: i32) {
        self.held = true;
    }

    async fn consumed(&mut self, _partition: i32, _offset: i64) -> Result<(), SourceError> {
        Ok(())
    }
}
