//! `GET|HEAD /r/{code}`: from the request to its answer, without waiting for anything (DESIGN section 7).
//!
//! What the design leaves open is decided here:
//!
//! - The URL carries this click's token under both attribution models. The model decides the token that the browser
//!   keeps: under `first_click` a cookie stays that verifies, may attribute, is within the window and belongs to a
//!   link of the same program. A merchant who wants the first click reads the cookie through the pixel.
//! - A click that may not attribute (crawler, HEAD) gets a token that says so, and never a cookie: it would push out
//!   one that may.
//! - An affiliate who is suspended, an expired link: neither token nor code nor cookie.
//! - `cons=0` and `Sec-GPC: 1`: the code still travels, it names the affiliate and nobody else.
//! - `to` and `cons` are taken out of the query; `sub1`..`sub5`, `source_id`, `asset_id` and `tracking_id` are
//!   written down and pass through, because a checkout page reports with them.
//! - A query that is not well encoded redirects all the same; a code that is not is refused.

use std::{borrow::Cow, net::IpAddr, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use metrics::Counter;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    click::{LinkQuery, PendingClick, text},
    click_record::{self, Telling},
    cookies,
    core::{Core, Scratch},
    deep_link,
    host::host_of,
    location::{self, Own, Values},
    problem::Refusal,
    query::{decode, hex_byte},
    response::EdgeBody,
};
use crate::{
    catalog::{AffiliateRecord, CatalogReader, LinkEntry, ProgramRecord},
    domain::{
        destination::Destination, ids::AccountId, program::AttributionModel, reason::Standing,
        time::Timestamp, token::ClickToken, traffic::TrafficClass,
    },
    visitor::{Agent, Place, Signals, Visit, is_prefetch},
};

const SEC_GPC: HeaderName = HeaderName::from_static("sec-gpc");
const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
/// Headers that a redirect sets, so that the map is made once.
const HEADERS: usize = 6;

/// An answer, and the click that it was.
#[derive(Debug)]
pub struct Redirected {
    pub response: Response<EdgeBody>,
    pub click: Option<PendingClick>,
}

impl From<Refusal> for Redirected {
    fn from(refusal: Refusal) -> Self {
        Self { response: refusal.response(), click: None }
    }
}

/// Answers a request for a link. What it says of the click is written at the end of `texts`.
pub fn redirect(core: &Core, parts: &Parts, peer: IpAddr, texts: &mut Vec<u8>) -> Redirected {
    let started = Instant::now();
    let metrics = &core.metrics().redirects;
    let (host, code) = match host_of(parts).and_then(|host| Ok((host, code_of(parts.uri.path())?))) {
        Ok(named) => named,
        Err(refusal) => {
            metrics.malformed.increment(1);
            return refusal.into();
        }
    };
    let reader = core.parts.catalog.read();
    let Some((account, domain)) = core.account(&reader, &host) else {
        metrics.unknown_host.increment(1);
        return Refusal::UnknownHost.into();
    };
    let Some(found) = Found::look_up(&reader, account, &code) else {
        return nowhere(core, &reader, account, &metrics.unknown_code);
    };
    let now = Timestamp::now();
    let query = parts.uri.query();
    let asked = LinkQuery::read(query.unwrap_or_default());
    let ip = core.client_ip(peer, &parts.headers);
    let user_agent = parts.headers.get(header::USER_AGENT);
    let visit = Visitor {
        now,
        agent: core.agent(&text(user_agent)),
        place: core.place(ip),
        head: parts.method == Method::HEAD,
        opted_out: asked.no_consent || opts_out(&parts.headers),
        prefetch: is_prefetch(&parts.headers),
    };
    let mut scratch = core.scratch.borrow_mut();
    let scratch = &mut *scratch;
    let Some(followed) = follow(core, &found, &visit, &asked, query, scratch) else {
        return nowhere(core, &reader, account, &metrics.no_destination);
    };
    let mut response = leads_to(&scratch.location);
    let settings = &found.program.settings;
    let headers = response.headers_mut();
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static(settings.referrer_policy.as_str()));
    if followed.attributable
        && settings.cookie_time > 0
        && !keeps_cookie(core, &reader, &parts.headers, found.program, now)
    {
        scratch.cookie.clear();
        let cookie_domain = domain.and_then(|domain| domain.cookie_domain.as_deref());
        cookies::write(&mut scratch.cookie, &found.program.slug, &scratch.token, settings, cookie_domain);
        if let Some(cookie) = header_value(&scratch.cookie) {
            headers.insert(header::SET_COOKIE, cookie);
        }
    }
    let origin = Origin {
        ip: Some(ip),
        user_agent,
        referrer: parts.headers.get(header::REFERER),
        query: &asked,
        meta_data: None,
    };
    let click = followed.click(core, &found, &visit, &origin, texts, started);
    Redirected { response, click: Some(click) }
}

/// A link with what belongs to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub link: &'a LinkEntry,
    pub program: &'a ProgramRecord,
    pub affiliate: Option<&'a AffiliateRecord>,
}

impl<'a> Found<'a> {
    /// `None` where the code is unknown, or its program is not there (any more).
    pub(crate) fn look_up(reader: &'a CatalogReader<'_>, account: AccountId, code: &str) -> Option<Self> {
        let link = reader.link(account, code)?;
        let program = reader.program(link.program())?;
        Some(Self { link, program, affiliate: reader.affiliate(link.affiliate()) })
    }

    /// Whether clicks may still be attributed.
    fn is_live(&self, now: Timestamp) -> bool {
        let active = self.affiliate.is_some_and(|affiliate| {
            let suspended = (self.program.id, Standing::Suspended);
            !affiliate.suspended && !affiliate.programs.contains(&suspended)
        });
        active && self.link.expires_at().is_none_or(|expires| now < expires)
    }
}

/// Who follows the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor {
    pub now: Timestamp,
    pub agent: Agent,
    pub place: Place,
    pub head: bool,
    pub opted_out: bool,
    pub prefetch: bool,
}

/// Where a click comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// None where nobody knows it.
    pub ip: Option<IpAddr>,
    pub user_agent: Option<&'a HeaderValue>,
    pub referrer: Option<&'a HeaderValue>,
    pub query: &'a LinkQuery<'a>,
    pub meta_data: Option<&'a Map<String, Value>>,
}

/// A followed link. Its URL and its token are in the scratch buffers.
#[derive(Debug)]
pub(crate) struct Followed {
    pub click_id: Uuid,
    pub class: TrafficClass,
    pub attributable: bool,
    pub review: bool,
    pub has_token: bool,
    pub deep_link: Option<String>,
    pub deep_link_refused: bool,
}

impl Followed {
    /// The click, told at the end of `texts`.
    pub(crate) fn click(
        &self,
        core: &Core,
        found: &Found<'_>,
        visitor: &Visitor,
        origin: &Origin<'_>,
        texts: &mut Vec<u8>,
        started: Instant,
    ) -> PendingClick {
        let hasher = &core.parts.hasher;
        let telling = Telling {
            at: visitor.now,
            class: self.class,
            attributable: self.attributable,
            review: self.review,
            ip: origin.ip,
            place: visitor.place,
            agent: visitor.agent,
            user_agent: origin.user_agent,
            referrer: origin.referrer,
            query: origin.query,
            source_id: found.link.source_id(),
            asset_id: found.link.asset_id(),
            deep_link: self.deep_link.as_deref(),
            deep_link_refused: self.deep_link_refused,
            meta_data: origin.meta_data,
        };
        let told = click_record::tell(texts, &telling, hasher);
        let (link, click_id) = (found.link.id(), self.click_id);
        let window_ms = found.program.settings.duplicate_window_ms;
        let compared = origin.ip.filter(|_| self.class == TrafficClass::Valid && window_ms > 0);
        PendingClick {
            account: found.program.account,
            link,
            click_id,
            class_by_request: self.class,
            has_token: self.has_token,
            visit: compared.map(|ip| Visit {
                key: hasher.visit_key(ip, visitor.agent, link),
                click_id,
                window_ms,
            }),
            told,
            took_ns: u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

/// Decides class, token and destination. The URL and the token (empty: none) are left in the scratch buffers.
/// `None` where neither the link nor the program has a destination that can be used.
pub(crate) fn follow(
    core: &Core,
    found: &Found<'_>,
    visitor: &Visitor,
    asked: &LinkQuery<'_>,
    brought: Option<&str>,
    scratch: &mut Scratch,
) -> Option<Followed> {
    let settings = &*found.program.settings;
    let metrics = core.metrics();
    let signals = Signals {
        head: visitor.head,
        opted_out: visitor.opted_out,
        prefetch: visitor.prefetch,
        crawler: visitor.agent.crawler,
        hosting: visitor.place.hosting,
    };
    let class = signals.class();
    let live = found.is_live(visitor.now);
    let attributable = live && class.attributes();
    let review = class.needs_review();
    let click_id = core.new_id(visitor.now);
    let has_token = live && class != TrafficClass::OptedOut;
    scratch.token.clear();
    if has_token {
        let token = ClickToken { click_id, link: found.link.id(), attributable, review };
        core.parts.keys.sign_into(&token, &mut scratch.token);
    }

    let deep_url = asked.to.filter(|to| !to.is_empty()).map(|to| {
        let followed = if asked.to_repeated {
            None
        } else {
            deep_link::follow(&decode(to), &settings.deep_link_hosts, settings.allow_http)
        };
        let counter =
            if followed.is_some() { &metrics.deep_links_followed } else { &metrics.deep_links_refused };
        counter.increment(1);
        followed
    });
    let deep_link_refused = matches!(deep_url, Some(None));
    let deep_url = deep_url.flatten().map(String::from);
    let own = [
        Own { name: &settings.referral_parameter, value: live.then_some(found.link.code()) },
        Own { name: &settings.click_parameter, value: has_token.then_some(scratch.token.as_str()) },
    ];
    scratch.location.clear();
    let deep = deep_url.as_deref().and_then(|url| Destination::read(url, settings.allow_http).ok());
    match deep {
        Some(destination) => location::write(&mut scratch.location, &destination, None, brought, &own),
        None => {
            let of_link =
                found.link.destination().and_then(|url| Destination::read(url, settings.allow_http).ok());
            let destination = match of_link {
                Some(destination) => destination,
                None => Destination::read(&settings.destination, settings.allow_http).ok()?,
            };
            let values = Values {
                token: &scratch.token,
                code: found.link.code(),
                affiliate: found.affiliate.map_or("", |affiliate| affiliate.slug.as_str()),
                program: &found.program.slug,
                source: match found.link.source_id() {
                    Some(source) => Cow::Borrowed(source),
                    None => decode(asked.source_id.unwrap_or_default()),
                },
                sub_ids: asked.sub_ids,
                country: visitor.place.country,
                device: visitor.agent.device,
                os: visitor.agent.os,
                browser: visitor.agent.browser,
                at: visitor.now,
                random: core.random(),
            };
            location::write(&mut scratch.location, &destination, Some(&values), brought, &own);
        }
    }
    Some(Followed {
        click_id,
        class,
        attributable,
        review,
        has_token,
        deep_link: deep_url,
        deep_link_refused,
    })
}

/// Whether the browser asks not to be told apart from others.
pub(crate) fn opts_out(headers: &HeaderMap) -> bool {
    headers.get(SEC_GPC).is_some_and(|value| value == "1")
}

/// Whether the program leaves the cookie that the browser has.
fn keeps_cookie(
    core: &Core,
    reader: &CatalogReader<'_>,
    headers: &HeaderMap,
    program: &ProgramRecord,
    now: Timestamp,
) -> bool {
    let settings = &program.settings;
    if settings.attribution_model == AttributionModel::LastClick {
        return false;
    }
    cookies::values(headers, &program.slug).any(|value| {
        core.parts.keys.verify(value).is_ok_and(|token| {
            let in_window = settings.override_max_cookie_time
                || token.clicked_at().is_some_and(|at| now <= at.plus_days(settings.cookie_time.into()));
            let of_program = reader.link_by_id(token.link).is_some_and(|link| link.program() == program.id);
            token.attributable && in_window && of_program
        })
    })
}

/// The code in `/r/{code}`, percent-decoded.
fn code_of(path: &str) -> Result<Cow<'_, str>, Refusal> {
    let raw = path.strip_prefix("/r/").unwrap_or_default();
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let digits = after.get(..2).and_then(hex_byte);
            bytes.push(
                digits.ok_or_else(|| Refusal::field("code", "has a percent sign without two hex digits"))?,
            );
            rest = &after[2..];
        } else {
            bytes.push(*first);
        }
    }
    let code = String::from_utf8(bytes).map_err(|_| Refusal::field("code", "must be UTF-8"))?;
    if code.chars().any(char::is_control) {
        return Err(Refusal::field("code", "must not have control characters"));
    }
    Ok(Cow::Owned(code))
}

/// There is nowhere to lead to: the account's fallback, or 404, which `without` counts.
fn nowhere(core: &Core, reader: &CatalogReader<'_>, account: AccountId, without: &Counter) -> Redirected {
    let fallback = reader.account(account).and_then(|account| account.fallback_url.as_deref());
    let Some(destination) = fallback.and_then(|url| Destination::read(url, true).ok()) else {
        without.increment(1);
        return Refusal::UnknownCode.into();
    };
    core.metrics().redirects.fallback.increment(1);
    let mut url = Vec::with_capacity(destination.origin.len() + destination.path.len() + 1);
    location::write(&mut url, &destination, None, None, &[]);
    Redirected { response: leads_to(&url), click: None }
}

/// A redirect that nobody keeps.
fn leads_to(url: &[u8]) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::default());
    *response.status_mut() = StatusCode::FOUND;
    let mut headers = HeaderMap::with_capacity(HEADERS);
    if let Some(location) = header_value(url) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(X_ROBOTS_TAG, HeaderValue::from_static("noindex, nofollow"));
    *response.headers_mut() = headers;
    response
}

/// One allocation; `None` for bytes that no header may have, which [`location`] and [`cookies`] never write.
fn header_value(bytes: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_decoded_strictly() {
        assert_eq!(code_of("/r/jane").unwrap(), "jane");
        assert_eq!(code_of("/r/j%61ne+1").unwrap(), "jane+1");
        for bad in ["/r/%", "/r/%1", "/r/%zz", "/r/%ff", "/r/a%00", "/r/%0d%0a", "/r/a%"] {
            assert!(code_of(bad).is_err(), "{bad}");
        }
    }
}
