//! `POST /v1/events/{click,lead,appointment,conversion,purchase,refund}` (DESIGN section 8).
//!
//! 202 means that the event log has made every accepted event durable; `Waypost-Durability` says how. One object
//! answers with one result. An array answers `{"data": […]}` with a result for each element, in order: 202 when all
//! were accepted, 207 when some were, 400 when none was. When the log refuses, nothing of the request is stored and
//! the answer is 503 with `Retry-After`. A log that does not answer in time is 503 as well; what it stores later has the
//! same ids as a repeat, and takes effect once.
//!
//! Pages of any origin may post (publishable keys stand in them): CORS is open, and no cookie is ever looked at.

mod auth;
mod click;

use std::{net::IpAddr, rc::Rc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use hyper::body::Body as HttpBody;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use self::auth::Caller;
use super::{
    append, body,
    click::PendingClick,
    click_batch,
    core::Core,
    problem::{Problem, Refusal},
    response::{EdgeBody, json},
};
use crate::{
    domain::{ids::Prefix, reason::ConversionKind, time::Timestamp, traffic::TrafficClass},
    events::{
        Body, Channel,
        report::{self, Fields},
    },
    stream::{Durability, Record, Topic},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const DURABILITY: HeaderName = HeaderName::from_static("waypost-durability");
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// What the path says is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Click,
    Conversion(ConversionKind),
    Refund,
}

impl EventKind {
    /// By the last word of the path.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "click" => Some(Self::Click),
            "refund" => Some(Self::Refund),
            other => report::kind_named(other).map(Self::Conversion),
        }
    }

    /// Whether publishable keys may send it.
    fn is_public(self) -> bool {
        match self {
            Self::Click | Self::Conversion(ConversionKind::Lead) => true,
            Self::Conversion(ConversionKind::Appointment | ConversionKind::Conversion) | Self::Refund => {
                false
            }
        }
    }
}

/// Answers a request to take events.
pub(crate) async fn collect<B>(
    core: &Rc<Core>,
    kind: EventKind,
    parts: Parts,
    content: B,
    peer: IpAddr,
) -> Response<EdgeBody>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let mut response = match take(core, kind, &parts, content, peer).await {
        Ok(response) => response,
        Err(refusal) => {
            core.metrics().events.refused.increment(1);
            refusal.response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("waypost-durability, retry-after"),
    );
    response
}

/// Answers a browser that asks whether a page may post.
pub(crate) fn preflight() -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, x-api-key, api-key, content-type, idempotency-key",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn take<B>(
    core: &Rc<Core>,
    kind: EventKind,
    parts: &Parts,
    content: B,
    peer: IpAddr,
) -> Result<Response<EdgeBody>, Refusal>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let caller = auth::authenticate(&core.parts.catalog.read(), &parts.headers, kind)?;
    check_media_type(&parts.headers)?;
    let idempotency = idempotency_key(&parts.headers)?;
    let content = body::read(&parts.headers, content, core.limits.body_bytes, core.limits.body_time).await?;
    let text = std::str::from_utf8(&content).map_err(|_| Refusal::Json("it is not UTF-8".to_owned()))?;
    let items = Items::read(text, core.limits.batch_events)?;
    let request = Request { core, kind, caller, headers: &parts.headers, peer, idempotency };

    let mut texts = Vec::new();
    let mut read: Vec<Result<Taken, Refusal>> =
        items.list.iter().enumerate().map(|(n, item)| request.read(item, n, &mut texts)).collect();
    let records = stamp(core, &mut read, &texts).await;
    drop(texts);
    let accepted = records.len();
    let metrics = &core.metrics().events;
    metrics.invalid.increment((read.len() - accepted) as u64);
    let durability = if accepted == 0 {
        None
    } else {
        let retry_safe = read.iter().flatten().all(|taken| taken.retry_safe);
        match append::durable(core, records, retry_safe).await {
            Ok(durability) => {
                metrics.accepted.increment(accepted as u64);
                Some(durability)
            }
            Err(error) => {
                metrics.not_stored.increment(accepted as u64);
                return Ok(Refusal::NotStored(error).response());
            }
        }
    };
    Ok(items.answer(&read, durability))
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut words = text.split(';').map(str::trim);
    let is_json = words.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let is_utf8 = words.all(|word| match word.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        Some(_) | None => true,
    });
    let is_plain = headers.get(header::CONTENT_ENCODING).is_none_or(|value| value == "identity");
    if is_json && is_utf8 && is_plain { Ok(()) } else { Err(Refusal::MediaType) }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()));
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        (Some(_), Some(_)) => Err(Refusal::field("idempotency-key", "must be given once")),
        (None, _) => Err(Refusal::field(
            "idempotency-key",
            format!("must have 1 to {MAX_IDEMPOTENCY_KEY} characters of printable ASCII"),
        )),
    }
}

/// The elements of a request.
struct Items<'a> {
    list: Vec<&'a RawValue>,
    is_batch: bool,
}

impl<'a> Items<'a> {
    fn read(text: &'a str, max: usize) -> Result<Self, Refusal> {
        let broken = |error: serde_json::Error| Refusal::Json(error.to_string());
        if !text.trim_start().starts_with('[') {
            return Ok(Self { list: vec![serde_json::from_str(text).map_err(broken)?], is_batch: false });
        }
        let list: Vec<&RawValue> = serde_json::from_str(text).map_err(broken)?;
        if list.is_empty() || list.len() > max {
            return Err(Refusal::field("body", format!("must have 1 to {max} events")));
        }
        Ok(Self { list, is_batch: true })
    }

    fn answer(&self, read: &[Result<Taken, Refusal>], durability: Option<Durability>) -> Response<EdgeBody> {
        let results: Vec<Outcome<'_>> =
            read.iter().enumerate().map(|(n, item)| Outcome::of(item, self.is_batch.then_some(n))).collect();
        let accepted = read.iter().filter(|item| item.is_ok()).count();
        let mut response = match read {
            [Err(refusal)] if !self.is_batch => return refusal.response(),
            [_] if !self.is_batch => json(StatusCode::ACCEPTED, to_json(&results.first())),
            all if accepted == all.len() => json(StatusCode::ACCEPTED, to_json(&Batch::of(results))),
            _ if accepted > 0 => json(StatusCode::MULTI_STATUS, to_json(&Batch::of(results))),
            _ => none_accepted(results),
        };
        if let Some(durability) = durability {
            response.headers_mut().insert(DURABILITY, HeaderValue::from_static(durability.as_str()));
        }
        response
    }
}

fn to_json(document: &impl Serialize) -> Vec<u8> {
    // Texts, numbers and flags always serialise.
    serde_json::to_vec(document).unwrap_or_default()
}

/// A problem document with the result of each element beside it.
fn none_accepted(results: Vec<Outcome<'_>>) -> Response<EdgeBody> {
    #[derive(Serialize)]
    struct NoneAccepted<'a> {
        #[serde(flatten)]
        problem: Problem<'a>,
        data: Vec<Outcome<'a>>,
    }
    let refusal = Refusal::field("body", "none of the events can be read");
    let document = NoneAccepted { problem: refusal.problem(), data: results };
    let mut response = json(refusal.status(), to_json(&document));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

#[derive(Serialize)]
struct Batch<'a> {
    data: Vec<Outcome<'a>>,
}

impl<'a> Batch<'a> {
    fn of(data: Vec<Outcome<'a>>) -> Self {
        Self { data }
    }
}

/// The result of one element.
#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// `accepted` or `invalid`.
    status: &'static str,
    /// Whether sending it again can take effect only once.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_safe: Option<bool>,
    /// It waits until somebody accepts it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    held: bool,
    #[serde(flatten)]
    click: Option<&'a Followed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem<'a>>,
}

impl<'a> Outcome<'a> {
    fn of(item: &'a Result<Taken, Refusal>, index: Option<usize>) -> Self {
        let (taken, problem) = match item {
            Ok(taken) => (Some(taken), None),
            Err(refusal) => (None, Some(refusal.problem())),
        };
        Self {
            index,
            id: taken.map(|taken| Prefix::Event.format(taken.id)),
            status: if taken.is_some() { "accepted" } else { "invalid" },
            retry_safe: taken.map(|taken| taken.retry_safe),
            held: taken.is_some_and(|taken| taken.held),
            click: taken.and_then(|taken| taken.followed.as_ref()),
            problem,
        }
    }
}

/// Where a reported click leads.
#[derive(Debug, Serialize)]
struct Followed {
    click_id: String,
    token: Option<String>,
    destination: String,
    class: TrafficClass,
}

/// An element that was read.
#[derive(Debug)]
struct Taken {
    id: Uuid,
    retry_safe: bool,
    held: bool,
    followed: Option<Followed>,
    /// Taken out when it is stamped.
    event: Option<Unstamped>,
}

#[derive(Debug)]
enum Unstamped {
    Report(Body),
    Click(Box<PendingClick>),
}

/// What all elements of a request have in common.
struct Request<'a> {
    core: &'a Core,
    kind: EventKind,
    caller: Caller,
    headers: &'a HeaderMap,
    peer: IpAddr,
    idempotency: Option<&'a str>,
}

impl Request<'_> {
    /// What a click says is written at the end of `texts`.
    fn read(&self, item: &RawValue, index: usize, texts: &mut Vec<u8>) -> Result<Taken, Refusal> {
        let fields = Fields::of_json(item, String::new())?;
        let Caller { account, authority } = self.caller;
        let body = match self.kind {
            EventKind::Click => return self.read_click(fields, texts),
            EventKind::Conversion(kind) => Body::Conversion(Box::new(report::conversion(
                fields,
                account,
                kind,
                Channel::Rest,
                authority,
            )?)),
            EventKind::Refund => Body::Refund(Box::new(report::refund(fields, account)?)),
        };
        let id = report::id_of(&body, self.idempotency.map(|key| (key, index)));
        Ok(Taken {
            id: id.unwrap_or_else(|| self.core.new_id(Timestamp::now())),
            retry_safe: id.is_some(),
            held: authority.holds(),
            followed: None,
            event: Some(Unstamped::Report(body)),
        })
    }

    fn read_click(&self, fields: Fields<'_>, texts: &mut Vec<u8>) -> Result<Taken, Refusal> {
        let reported =
            click::follow_reported(self.core, self.caller, fields, self.headers, self.peer, texts)?;
        let followed = Followed {
            click_id: Prefix::Click.format(reported.click.click_id),
            token: reported.token,
            destination: reported.destination,
            class: reported.click.class_by_request,
        };
        Ok(Taken {
            id: reported.click.click_id,
            retry_safe: false,
            held: false,
            followed: Some(followed),
            event: Some(Unstamped::Click(Box::new(reported.click))),
        })
    }
}

/// The records of what was read, in order. Clicks are checked for duplicates first, all at once.
async fn stamp(core: &Core, read: &mut [Result<Taken, Refusal>], texts: &[u8]) -> Vec<Record> {
    let now = Timestamp::now();
    let mut records = Vec::with_capacity(read.len());
    let mut clicks = Vec::new();
    let mut followed = Vec::new();
    for taken in read.iter_mut().flatten() {
        match taken.event.take() {
            Some(Unstamped::Report(body)) => {
                records.push(core.record(Topic::Conversions, taken.id, now, body));
            }
            Some(Unstamped::Click(click)) => {
                clicks.push(*click);
                followed.extend(taken.followed.as_mut());
            }
            None => {}
        }
    }
    let mut buffer = BytesMut::new();
    let repeats = if clicks.is_empty() { Vec::new() } else { click_batch::duplicates(core, &clicks).await };
    for ((click, repeat), followed) in clicks.into_iter().zip(repeats).zip(followed) {
        followed.class = click.class(repeat);
        core.metrics().clicks(followed.class).increment(1);
        records.push(core.write_down(&mut buffer, (&click, texts), repeat, now));
    }
    records
}
