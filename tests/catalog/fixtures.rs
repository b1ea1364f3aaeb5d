//! A store, a topic of its own, publishers and edges.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waypost::{
    catalog::{AccountRecord, Catalog, CatalogRecord, DomainRecord, KeyKind, KeyRecord, LinkRecord, Scope},
    config::{KafkaSettings, Settings},
    domain::ids::{AccountId, AffiliateId, LinkId, ProgramId},
    jobs::{catalog_publisher, catalog_topic::CatalogTopic},
    store::{Store, catalog, publications},
    stream::kafka::{
        admin::Admin,
        client::catalog_topic,
        topics::{Plan, Wanted, plans},
    },
    telemetry::catalog::{CatalogMetrics, PublisherMetrics},
};

use crate::services;

pub const PATIENCE: Duration = Duration::from_secs(120);
pub const ACCOUNT: AccountId = AccountId(1);
pub const PARTITIONS: i32 = 3;

/// A store and a topic.
pub struct World {
    pub folder: TempDir,
    pub store: Store,
    pub settings: Settings,
}

/// A publisher that runs.
pub struct Publisher {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// An edge's catalog that follows the topic.
pub struct Edge {
    pub catalog: Arc<Catalog>,
    topic: CatalogTopic,
}

impl World {
    pub async fn new() -> Self {
        let world = Self::without_topic().await;
        world.create_topic(&[]).await;
        world
    }

    pub async fn without_topic() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Store::sqlite_url(&folder.path().join("store.db")).as_str()).await.unwrap();
        let mut settings = Settings::default();
        settings.kafka.brokers = services::kafka();
        settings.kafka.prefix = format!("t{}.", Uuid::now_v7().simple());
        settings.catalog.snapshot_interval_ms = 100;
        Self { folder, store, settings }
    }

    pub fn topic(&self) -> String {
        catalog_topic(&self.settings.kafka)
    }

    pub async fn create_topic(&self, config: &[(&'static str, &'static str)]) {
        create_topic(&self.settings.kafka, config).await;
    }

    pub fn publisher(&self) -> Publisher {
        publisher(&self.store, &self.settings.kafka)
    }

    pub fn snapshot(&self) -> PathBuf {
        self.folder.path().join("catalog.snapshot")
    }

    /// An edge with the snapshot of this name.
    pub async fn edge_at(&self, snapshot: PathBuf) -> Edge {
        Edge::start(&self.settings, snapshot).await
    }

    /// An edge with a snapshot of its own.
    pub async fn edge(&self) -> Edge {
        self.edge_at(self.folder.path().join(format!("{}.snapshot", Uuid::now_v7()))).await
    }

    pub async fn put(&self, records: Vec<CatalogRecord>) {
        put(&self.store, records).await;
    }

    /// Waits until everything in the store is on the topic.
    pub async fn published(&self) {
        until("everything is published", async || {
            let row = publications::find(self.store.reader(), &self.topic()).await.unwrap();
            let outbox = publications::outbox(self.store.reader(), &self.topic()).await.unwrap();
            outbox.waiting == 0 && row.is_some_and(|row| row.whole)
        })
        .await;
    }
}

pub fn publisher(store: &Store, kafka: &KafkaSettings) -> Publisher {
    let shutdown = CancellationToken::new();
    let metrics = PublisherMetrics::register();
    let run = catalog_publisher::run(store.clone(), kafka.clone(), metrics, shutdown.clone());
    Publisher { shutdown, task: tokio::spawn(run) }
}

/// The topic as it is made.
pub fn plan(kafka: &KafkaSettings) -> Plan {
    let wanted = Wanted {
        partitions: 1,
        catalog_partitions: PARTITIONS,
        replication: 1,
        min_insync: 1,
        click_retention_days: 1,
        conversion_retention_days: 1,
    };
    let [_, _, plan] = plans(kafka, &wanted);
    plan
}

pub async fn create_topic(kafka: &KafkaSettings, config: &[(&'static str, &'static str)]) {
    use rdkafka::{
        admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
        client::DefaultClientContext,
    };
    let plan = plan(kafka);
    let admin = Admin::connect(kafka).await.unwrap();
    if config.is_empty() {
        assert!(admin.create(&plan).await.unwrap());
    } else {
        let admin: AdminClient<DefaultClientContext> =
            waypost::stream::kafka::client::connection(kafka).create().unwrap();
        let topic = NewTopic {
            name: &plan.name,
            num_partitions: PARTITIONS,
            replication: TopicReplication::Fixed(1),
            config: config.to_vec(),
        };
        let made = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }
    admin.until_known(&[plan]).await.unwrap();
}

pub async fn put(store: &Store, records: Vec<CatalogRecord>) {
    let tx = store.begin().await.unwrap();
    for record in records {
        catalog::publish(&tx, record).await.unwrap();
    }
    tx.commit().await.unwrap();
}

impl Publisher {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

impl Edge {
    pub async fn start(settings: &Settings, snapshot: PathBuf) -> Self {
        let catalog = Arc::new(Catalog::new());
        let (kafka, of, into) = (settings.kafka.clone(), settings.catalog.clone(), catalog.clone());
        let metrics = CatalogMetrics::register();
        let topic = spawn_blocking(move || CatalogTopic::start(&kafka, &of, snapshot, into, metrics));
        Self { topic: topic.await.unwrap().unwrap(), catalog }
    }

    pub async fn loaded(self) -> Self {
        let loaded = self.topic.loaded();
        tokio::time::timeout(PATIENCE, loaded.cancelled()).await.expect("the catalog has to be loaded");
        assert!(self.catalog.is_loaded());
        self
    }

    pub fn destination(&self, code: &str) -> Option<String> {
        let reader = self.catalog.read();
        reader.link(ACCOUNT, code).map(|link| link.destination().unwrap_or_default().to_owned())
    }

    pub fn has(&self, code: &str) -> bool {
        self.destination(code).is_some()
    }

    /// Waits until the code leads there; `None`: nowhere.
    pub async fn leads(&self, code: &str, destination: Option<&str>) {
        until(&format!("{code} leads to {destination:?}"), async || {
            self.destination(code).as_deref() == destination
        })
        .await;
    }

    pub async fn stop(self) {
        spawn_blocking(move || self.topic.close()).await.unwrap();
    }
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub fn link(id: i64, code: &str, destination: &str) -> CatalogRecord {
    CatalogRecord::Link(LinkRecord {
        id: LinkId(id),
        account: ACCOUNT,
        code: code.into(),
        program: ProgramId(1),
        affiliate: AffiliateId(1),
        destination: Some(destination.into()),
        source_id: None,
        asset_id: None,
        expires_at: None,
        deleted: false,
    })
}

pub fn removed(id: i64, code: &str) -> CatalogRecord {
    let CatalogRecord::Link(link) = link(id, code, "") else { unreachable!() };
    CatalogRecord::Link(LinkRecord { deleted: true, ..link })
}

pub fn account() -> CatalogRecord {
    CatalogRecord::Account(AccountRecord { id: ACCOUNT, slug: "shop".into(), fallback_url: None })
}

pub fn domain(host: &str, deleted: bool) -> CatalogRecord {
    CatalogRecord::Domain(DomainRecord { host: host.into(), account: ACCOUNT, cookie_domain: None, deleted })
}

pub fn key(digit: char, revoked: bool) -> CatalogRecord {
    CatalogRecord::Key(KeyRecord {
        hash: digit.to_string().repeat(64),
        account: ACCOUNT,
        kind: KeyKind::Secret,
        scopes: vec![Scope::Events],
        revoked,
    })
}
