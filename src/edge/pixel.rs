//! `GET /pixel/{program}.gif`: a conversion from a checkout page (DESIGN section 8).
//!
//! The answer is always 200 and the same 43 bytes; `Waypost-Result` says `accepted`, `held`, `unconfirmed` (handed
//! over, but not durable in time), `not_stored` or `rejected`, and `Waypost-Reason` why.
//!
//! | parameter | means |
//! |---|---|
//! | the fields of a conversion | as over REST; `commissions` and `meta_data` as JSON text; empty is absent |
//! | `kind` | `lead`, `appointment`, `conversion` (the default) or `purchase` |
//! | `ts` | seconds since 1970, when the page was made; needed with a signature |
//! | `sig` | the signature; a wrong one is refused whatever the program's setting, one that cannot be checked is held |
//! | others | ignored: pages and tag managers add their own; a signature covers them |
//!
//! No name may be given twice. Without `click_id` the program's cookie stands for it; that is no part of what the
//! sender said.

use std::{borrow::Cow, rc::Rc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header, request::Parts};

use super::{
    append, cookies, core::Core, host::host_of, pixel_signature, problem::Refusal, query, response::EdgeBody,
};
use crate::{
    domain::{
        program::PixelTrust,
        sealed::{OpenError, pixel_secret_of},
        time::Timestamp,
        token::TokenError,
    },
    events::{
        Authority, Body, Channel,
        report::{self, Fields},
    },
    stream::{Record, Topic},
};

/// A transparent GIF of one pixel.
const GIF: &[u8; 43] =
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\
\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
const RESULT: HeaderName = HeaderName::from_static("waypost-result");
const REASON: HeaderName = HeaderName::from_static("waypost-reason");
/// How far `ts` may be from now, in seconds.
const MAX_AGE_SECONDS: i64 = 86_400;
/// Pairs of a query at most.
const MAX_PAIRS: usize = 128;
/// The parameters that are a conversion's fields.
const FIELDS: [&str; 23] = [
    "program_group",
    "external_id",
    "amount",
    "currency",
    "customer_id",
    "coupon",
    "referral_code",
    "click_id",
    "asset_id",
    "source_id",
    "tracking_id",
    "commission_type",
    "commissions",
    "occurred_at",
    "sub1",
    "sub2",
    "sub3",
    "sub4",
    "sub5",
    "meta_data",
    "kind",
    "ts",
    "sig",
];

/// Answers a pixel.
pub(crate) async fn pixel(core: &Rc<Core>, program: &str, parts: &Parts) -> Response<EdgeBody> {
    let metrics = &core.metrics().pixels;
    let (record, held) = match read(core, program, parts) {
        Ok(read) => read,
        Err(refusal) => {
            metrics.rejected.increment(1);
            return gif("rejected", Some(&refusal));
        }
    };
    match tokio::time::timeout(core.limits.pixel_wait, append::begin(core, vec![record])).await {
        Ok(Ok(Ok(_))) => {
            metrics.accepted.increment(1);
            gif(if held { "held" } else { "accepted" }, None)
        }
        Ok(Ok(Err(error))) => {
            metrics.not_stored.increment(1);
            gif("not_stored", Some(&Refusal::NotStored(error)))
        }
        // The record is on its way all the same, and its outcome will be counted.
        Ok(Err(_)) | Err(_) => {
            metrics.unconfirmed.increment(1);
            gif("unconfirmed", None)
        }
    }
}

fn gif(result: &'static str, reason: Option<&Refusal>) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::from(Bytes::from_static(GIF)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/gif"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(RESULT, HeaderValue::from_static(result));
    if let Some(refusal) = reason {
        let text = match refusal.problem().field {
            Some(field) => format!("{}; field={field}; {refusal}", refusal.code()),
            None => format!("{}; {refusal}", refusal.code()),
        };
        if let Ok(text) = HeaderValue::try_from(text) {
            headers.insert(REASON, text);
        }
    }
    response
}

/// The record of the conversion, and whether it is held.
fn read(core: &Core, slug: &str, parts: &Parts) -> Result<(Record, bool), Refusal> {
    let host = host_of(parts)?;
    let reader = core.parts.catalog.read();
    let (account, _) = core.account(&reader, &host).ok_or(Refusal::UnknownHost)?;
    let unknown = || Refusal::field("program", "the account has no such program");
    let program = reader.program_by_slug(account, slug).ok_or_else(unknown)?;
    let mut pairs = Vec::new();
    for (name, value) in query::pairs(parts.uri.query().unwrap_or_default()) {
        let name = query::decode(name);
        if pairs.len() == MAX_PAIRS {
            return Err(Refusal::field("query", format!("may have {MAX_PAIRS} parameters at most")));
        }
        if pairs.iter().any(|(other, _)| *other == name) {
            return Err(Refusal::field("query", "gives a name twice"));
        }
        pairs.push((name, query::decode(value)));
    }
    let now = Timestamp::now();
    let secret = || core.parts.sealing.open(&program.pixel_secret, &pixel_secret_of(program.id));
    let authority = authority(program.settings.pixel, secret, slug, &pairs, now).inspect(|authority| {
        if matches!(authority, Authority::HeldPixel) && !value_of(&pairs, "sig").is_empty() {
            core.metrics().pixels.unreadable_secrets.increment(1);
        }
    })?;
    let kind = report::pixel_kind(value_of(&pairs, "kind"))?;
    pairs.retain(|(name, _)| FIELDS.contains(&&**name) && !matches!(&**name, "kind" | "ts" | "sig"));
    pairs.push(("program".into(), Cow::Borrowed(slug)));
    let mut conversion =
        report::conversion(Fields::of_query(&pairs), account, kind, Channel::Pixel, authority)?;
    if conversion.click_id.is_none() {
        let token = cookies::values(&parts.headers, slug)
            // A token of a key that is not known here may be known to settlement.
            .find(|value| {
                matches!(
                    core.parts.keys.verify(value),
                    Ok(_) | Err(TokenError::UnknownKey(_) | TokenError::RevokedKey(_))
                )
            });
        conversion.click_id = token.map(str::to_owned);
    }
    let body = Body::Conversion(Box::new(conversion));
    let id = report::id_of(&body, None).unwrap_or_else(|| core.new_id(now));
    Ok((core.record(Topic::Conversions, id, now, body), authority.holds()))
}

/// How far the pixel is believed.
fn authority(
    trust: PixelTrust,
    secret: impl FnOnce() -> Result<String, OpenError>,
    program: &str,
    pairs: &[(Cow<'_, str>, Cow<'_, str>)],
    now: Timestamp,
) -> Result<Authority, Refusal> {
    let signature = value_of(pairs, "sig");
    if signature.is_empty() {
        return match trust {
            PixelTrust::Signed => Err(Refusal::field("sig", "must be given")),
            PixelTrust::Held => Ok(Authority::HeldPixel),
            PixelTrust::Open => Ok(Authority::OpenPixel),
        };
    }
    let secret = match secret() {
        Ok(secret) => secret,
        // No signature was ever right.
        Err(OpenError::Empty) => return Err(Refusal::field("sig", "does not match")),
        // The keys are the operator's to mend: until then a person decides, and nothing is lost.
        Err(OpenError::Malformed | OpenError::UnknownKey | OpenError::Forged) => {
            return Ok(Authority::HeldPixel);
        }
    };
    if !pixel_signature::is_right(&secret, program, pairs, signature) {
        return Err(Refusal::field("sig", "does not match"));
    }
    if value_of(pairs, "external_id").is_empty() {
        return Err(Refusal::field("external_id", "must be given with a signature"));
    }
    let seconds: i64 = value_of(pairs, "ts")
        .parse()
        .map_err(|_| Refusal::field("ts", "must be given with a signature, in seconds since 1970"))?;
    if (now.0.div_euclid(1000)).abs_diff(seconds) > MAX_AGE_SECONDS.unsigned_abs() {
        return Err(Refusal::field("ts", "is not within 24 hours"));
    }
    Ok(Authority::SignedPixel)
}

fn value_of<'a>(pairs: &'a [(Cow<'_, str>, Cow<'_, str>)], wanted: &str) -> &'a str {
    pairs.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value)
}
