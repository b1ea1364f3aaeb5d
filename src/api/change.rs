//! A request that changes something: its body, its transaction, and its answer under an `Idempotency-Key`.
//!
//! With a key the answer is stored in the transaction of its effect, so either both happened or neither. For 24
//! hours the same request gets the same answer again (`Idempotency-Replayed: true`) and changes nothing; another
//! request under the same key is refused. A refused request leaves nothing behind and may be sent again. Keys belong to
//! the account, so that a request is the same one after its API key was renewed; but what an API key may do decides what
//! is answered, so with other scopes it is another request.
//!
//! A transaction that the store ended, or whose connection broke, before its commit is begun again by
//! [`super::layers`]. When the connection breaks at the commit itself nobody knows whether it happened: with a key it
//! is begun again all the same, and finds its own answer if it did happen; without one the client is told.

use std::sync::{Arc, OnceLock};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use data_encoding::HEXLOWER;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, Set, SqlErr,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Api, auth::Caller, error::ApiError, fields::Fields};
use crate::{
    domain::{ids::AccountId, time::Timestamp},
    ledger::{self, Command, Effect},
    store::{self, accounts, answers::KEPT_MS, entities::idempotency_key},
};

/// Characters of an `Idempotency-Key` at most.
const MAX_KEY: usize = 255;

/// A request that changes something, not begun yet.
#[derive(Debug)]
pub struct ChangeRequest {
    pub caller: Caller,
    body: Bytes,
    key: Option<Key>,
}

/// In the extensions of a request: its body, once it was read, for when the request is begun again.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptBody(Arc<OnceLock<Bytes>>);

impl KeptBody {
    pub fn is_read(&self) -> bool {
        self.0.get().is_some()
    }
}

#[derive(Clone, Debug)]
struct Key {
    text: String,
    fingerprint: String,
}

/// What [`ChangeRequest::begin`] found.
#[derive(Debug)]
pub enum Begun {
    /// It was answered before; this is that answer.
    Answered(Response),
    Fresh(Change),
}

/// A change under way. Dropped without an answer it leaves nothing behind.
pub struct Change {
    pub tx: DatabaseTransaction,
    pub account: AccountId,
    pub at: Timestamp,
    api: Api,
    key: Option<Key>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("account", &self.account).finish_non_exhaustive()
    }
}

impl FromRequest<Api> for ChangeRequest {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let caller = parts.extensions.get::<Caller>().cloned().ok_or(ApiError::Unauthorized)?;
        let kept = parts.extensions.get::<KeptBody>().cloned().unwrap_or_default();
        let body = match kept.0.get() {
            Some(body) => body.clone(),
            None => read_body(&parts.headers, body, api.settings.max_body_bytes).await?,
        };
        kept.0.get_or_init(|| body.clone());
        let key = if parts.method == Method::POST { key_text(&parts.headers)? } else { None };
        let key = key.map(|text| {
            let mut hasher = blake3::Hasher::new();
            let (method, uri, scopes) = (parts.method.as_str(), parts.uri.to_string(), caller.scopes());
            for part in [method.as_bytes(), uri.as_bytes(), scopes.as_bytes(), &body] {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
            Key { text, fingerprint: HEXLOWER.encode(hasher.finalize().as_bytes()) }
        });
        Ok(Self { caller, body, key })
    }
}

async fn read_body(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, ApiError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > max as u64) {
        return Err(ApiError::BodyTooLarge(max));
    }
    let bytes = to_bytes(body, max).await.map_err(|error| {
        let error: &dyn std::error::Error = &error;
        let mut causes = std::iter::successors(error.source(), |error| error.source());
        let too_large = causes.any(|cause| cause.is::<http_body_util::LengthLimitError>());
        if too_large { ApiError::BodyTooLarge(max) } else { ApiError::BodyBroken }
    })?;
    if !bytes.is_empty() && !is_json(headers) {
        return Err(ApiError::MediaType);
    }
    Ok(bytes)
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let parameters = parameters.trim().to_ascii_lowercase();
        let utf8 =
            parameters.is_empty() || parameters == "charset=utf-8" || parameters == "charset=\"utf-8\"";
        Some(utf8 && essence.trim().eq_ignore_ascii_case("application/json"))
    };
    !headers.contains_key(header::CONTENT_ENCODING)
        && headers.get(header::CONTENT_TYPE).and_then(essence).unwrap_or(false)
}

fn key_text(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let fits = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if !fits || given.next().is_some() {
        let message = format!("must be one text of 1 to {MAX_KEY} visible characters of ASCII");
        return Err(ApiError::field("Idempotency-Key", message));
    }
    Ok(Some(text.to_owned()))
}

impl ChangeRequest {
    /// The body as an object.
    pub fn fields(&self) -> Result<Fields, ApiError> {
        Fields::of_body(&self.body)
    }

    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The body as a report; an empty one has no fields.
    pub fn report(&self) -> Result<&RawValue, ApiError> {
        let body = if self.body.is_empty() { b"{}" } else { &self.body[..] };
        serde_json::from_slice(body).map_err(|error| ApiError::Json(error.to_string()))
    }

    /// The `Idempotency-Key`.
    pub fn key(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.text.as_str())
    }

    /// Begins the transaction, unless the request was answered before.
    pub async fn begin(&self, api: &Api) -> Result<Begun, ApiError> {
        let tx = api.store.begin().await?;
        // What this change reads, nobody changes before it is written; and its key is in use once.
        accounts::lock(&tx, [self.caller.account]).await?;
        let at = Timestamp::now();
        if let Some(key) = &self.key
            && let Some(answer) = find_answer(&tx, api, self.caller.account, key, at).await?
        {
            return Ok(Begun::Answered(answer));
        }
        let account = self.caller.account;
        Ok(Begun::Fresh(Change { tx, account, at, api: api.clone(), key: self.key.clone() }))
    }
}

async fn find_answer(
    db: &impl ConnectionTrait,
    api: &Api,
    account: AccountId,
    key: &Key,
    at: Timestamp,
) -> Result<Option<Response>, ApiError> {
    let row = idempotency_key::Entity::find_by_id((account.0, key.text.clone())).one(db).await?;
    let Some(row) = row.filter(|row| row.created_at > at.0 - KEPT_MS) else { return Ok(None) };
    if row.fingerprint != key.fingerprint {
        return Err(ApiError::IdempotencyReused);
    }
    api.metrics.replayed.increment(1);
    let status = u16::try_from(row.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = json_answer(status.unwrap_or(StatusCode::OK), row.body);
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    Ok(Some(response))
}

fn json_answer(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl Change {
    /// Lets a command take effect in this change.
    pub async fn apply(&self, command: &Command) -> Result<Effect, ApiError> {
        Ok(ledger::apply(&self.tx, self.account, self.at, command).await?)
    }

    /// Commits, and answers with `body`.
    pub async fn answer(self, status: StatusCode, body: &impl Serialize) -> Result<Response, ApiError> {
        let body = serde_json::to_string(body).map_err(ApiError::internal)?;
        if let Some(key) = &self.key
            && let Err(error) = self.remember(key, status, &body).await
        {
            // The same key was used at the same moment and the other came first: its answer counts.
            if !matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) {
                return Err(error.into());
            }
            self.tx.rollback().await?;
            let found = find_answer(self.api.store.reader(), &self.api, self.account, key, self.at).await?;
            return found.ok_or(ApiError::Busy);
        }
        let key = self.key.is_some();
        self.tx.commit().await.map_err(|error| uncommitted(error, key))?;
        Ok(json_answer(status, body))
    }

    /// Commits, and answers that it is done.
    pub async fn done(self) -> Result<Response, ApiError> {
        self.tx.commit().await.map_err(|error| uncommitted(error, false))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn remember(&self, key: &Key, status: StatusCode, body: &str) -> Result<(), DbErr> {
        // One of the same key whose time is over.
        idempotency_key::Entity::delete_many()
            .filter(idempotency_key::Column::AccountId.eq(self.account.0))
            .filter(idempotency_key::Column::Key.eq(&key.text))
            .filter(idempotency_key::Column::CreatedAt.lte(self.at.0 - KEPT_MS))
            .exec(&self.tx)
            .await?;
        let row = idempotency_key::ActiveModel {
            account_id: Set(self.account.0),
            key: Set(key.text.clone()),
            fingerprint: Set(key.fingerprint.clone()),
            status: Set(status.as_u16().into()),
            body: Set(body.to_owned()),
            created_at: Set(self.at.0),
        };
        idempotency_key::Entity::insert(row).exec_without_returning(&self.tx).await?;
        Ok(())
    }
}

/// What the failure of a commit means; `key`: its answer is stored with it.
fn uncommitted(error: DbErr, key: bool) -> ApiError {
    if !store::is_unknown(&error) {
        return error.into();
    }
    tracing::warn!(%error, "the answer to a commit was lost");
    if key { ApiError::Lost } else { ApiError::OutcomeUnknown }
}

/// Begins a change, or returns the answer that the same request got before.
macro_rules! begin {
    ($request:expr, $api:expr) => {
        match $request.begin(&$api).await? {
            $crate::api::change::Begun::Answered(answer) => return Ok(answer),
            $crate::api::change::Begun::Fresh(change) => change,
        }
    };
}
pub(super) use begin;
