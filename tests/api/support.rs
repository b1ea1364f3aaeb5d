//! A real API on a real port over a real store, and a client that reads what it answers.

use std::sync::Arc;

use axum::http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use waypost::{
    api::{self, ApiParts, DemoPage},
    catalog::{KeyKind, Scope},
    config::ApiSettings,
    domain::{
        calendar::Zone,
        ids::{AccountId, ProgramId},
        sealed::SealingKeys,
        time::Timestamp,
        token::{KeyRing, KeyState, TokenKey},
    },
    events::{Body, Event, Origin, VERSION},
    ledger::{Effect, Intake, Terms},
    store::{Store, accounts, keys},
    telemetry::api::ApiMetrics,
};

use crate::backend::Database;

pub fn sealing() -> SealingKeys {
    SealingKeys::new(&[[3; 32]]).unwrap()
}

pub struct Server {
    pub store: Store,
    pub intake: Arc<Intake>,
    pub base: String,
    /// The account `shop` with a key that may read and write.
    pub shop: Client,
    stop: Option<DropGuard>,
    serving: JoinHandle<std::io::Result<()>>,
    #[allow(dead_code, reason = "kept to the end; tests of one backend ask for its address")]
    pub database: Database,
}

/// One account's key.
#[derive(Clone)]
pub struct Client {
    pub account: AccountId,
    pub key: String,
    pub base: String,
    pub http: reqwest::Client,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The answer, which must have this status.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The names of the fields that a problem tells, in their order.
    #[track_caller]
    pub fn fields(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub fn settings() -> ApiSettings {
    ApiSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        max_body_bytes: 65_536,
        request_timeout_ms: 10_000,
        rate_limit_per_minute: 1_000_000,
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(settings(), |_| None).await
    }

    pub async fn start_with(settings: ApiSettings, demo: impl FnOnce(AccountId) -> Option<DemoPage>) -> Self {
        let database = Database::create().await;
        let store = database.store().await;
        let ring = KeyRing::new(vec![TokenKey { id: 1, state: KeyState::Active, secret: [7; 32] }]).unwrap();
        let intake =
            Arc::new(Intake::new(Arc::new(ring), Terms { max_age_days: 30, pending_time_ms: 60_000 }));
        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shop = client(&store, &base, "shop").await;
        let parts = ApiParts {
            store: store.clone(),
            intake: Arc::clone(&intake),
            sealing: Arc::new(sealing()),
            settings,
            metrics: ApiMetrics::register(),
            edge_url: Some("http://edge.example".to_owned()),
            demo: demo(shop.account),
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(api::serve(listener, parts, stop.clone()));
        Self { store, intake, base, shop, stop: Some(stop.drop_guard()), serving, database }
    }

    /// Another account, with a key of its own.
    pub async fn account(&self, slug: &str) -> Client {
        client(&self.store, &self.base, slug).await
    }

    /// Another key of the same account.
    pub async fn key(&self, of: &Client, kind: KeyKind, scopes: &[Scope]) -> Client {
        let tx = self.store.begin().await.unwrap();
        let key = keys::create(&tx, of.account, "test", kind, scopes, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
        Client { key: key.text, ..of.clone() }
    }

    /// Ends the server, which must end in good order.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.await.unwrap().unwrap();
    }

    /// A conversion or refund comes through the event log.
    pub async fn receive(&self, account: AccountId, kind: &str, body: Value) -> Effect {
        let mut body = body;
        body["account"] = json!(account);
        body["fingerprint"] = json!(Uuid::now_v7().simple().to_string());
        if kind == "conversion" {
            for (name, value) in [("kind", "conversion"), ("channel", "rest"), ("authority", "secret")] {
                if body.get(name).is_none() {
                    body[name] = json!(value);
                }
            }
        }
        let body: Body = serde_json::from_value(json!({ kind: body })).unwrap();
        let origin = Origin { edge: "test".into(), boot: Uuid::nil(), stream: "conversions/0".into(), n: 1 };
        let now = Timestamp::now();
        let event = Event { v: VERSION, id: Uuid::now_v7(), origin, received_at: now, body };
        let tx = self.store.begin().await.unwrap();
        let effect = self.intake.receive(&tx, &event, now).await.unwrap();
        tx.commit().await.unwrap();
        effect
    }
}

async fn client(store: &Store, base: &str, slug: &str) -> Client {
    let tx = store.begin().await.unwrap();
    let at = Timestamp::now();
    let account = accounts::create(&tx, &slug.parse().unwrap(), slug, &Zone::utc(), at).await.unwrap();
    let key = keys::create(
        &tx,
        account,
        "test",
        KeyKind::Secret,
        &[Scope::Read, Scope::Write, Scope::Events, Scope::Domains],
        at,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    Client { account, key: key.text, base: base.to_owned(), http: reqwest::Client::new() }
}

impl Client {
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn with(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.send(self.request(method, path).json(body)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.with(Method::POST, path, &body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.with(Method::PATCH, path, &body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.with(Method::PUT, path, &body).await
    }

    /// All rows of a list, page by page.
    pub async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let join = if path.contains('?') { '&' } else { '?' };
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}{join}limit={limit}{cursor}")).await.ok(200);
            let data = page["data"].as_array().unwrap().clone();
            assert!(data.len() <= limit);
            rows.extend(data);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// The program `summer` (USD, 10 %), the affiliate `jane` approved in it, her link `jane` and coupon `JANE10`.
    pub async fn furnish(&self) -> ProgramId {
        self.post("/v1/programs", program("summer")).await.ok(201);
        self.post("/v1/affiliates", json!({"id": "jane", "email": "jane@blog.example"})).await.ok(201);
        self.put("/v1/programs/summer/affiliates/jane", json!({})).await.ok(200);
        self.post("/v1/links", json!({"affiliate": "jane", "code": "jane"})).await.ok(201);
        self.post("/v1/coupons", json!({"affiliate": "jane", "code": "JANE10"})).await.ok(201);
        ProgramId(1)
    }
}

/// What suffices for a program.
pub fn program(id: &str) -> Value {
    json!({
        "id": id, "name": "Summer sale", "currency": "USD", "destination": "https://shop.example/",
        "commission_types": [{"form": "percentage", "value": "10"}],
    })
}
