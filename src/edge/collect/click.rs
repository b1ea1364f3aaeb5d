//! Clicks that a server or a page reports: the link is followed as a redirect would, and the answer says where it
//! leads.
//!
//! A secret key says whose click it is (`ip`, `user_agent`, `referrer`); without an address nothing is known of the
//! place and no duplicate is looked for. With a publishable key the visitor speaks: address and user agent are
//! those of the request, and only `referrer` may be given.

use std::{net::IpAddr, time::Instant};

use http::{HeaderMap, HeaderValue, Uri, header};
use percent_encoding::utf8_percent_encode;

use super::auth::Caller;
use crate::{
    domain::time::Timestamp,
    edge::{
        click::{LinkQuery, PendingClick, text},
        core::Core,
        problem::Refusal,
        query::VALUE,
        redirect::{Found, Origin, Visitor, follow, opts_out},
    },
    events::report::{Fields, MAX_ID},
    visitor::Place,
};

const MAX_HEADER: usize = 1024;
const MAX_TO: usize = crate::domain::destination::MAX_DESTINATION;

/// A click that was followed.
#[derive(Debug)]
pub(crate) struct Reported {
    pub click: PendingClick,
    /// None where the visitor opted out or nothing may be attributed.
    pub token: Option<String>,
    pub destination: String,
}

/// Follows the link that one element names. What it says of the click is written at the end of `texts`.
///
/// # Errors
/// A field that cannot be read, is unknown, or names no link of the account.
pub(crate) fn follow_reported(
    core: &Core,
    caller: Caller,
    mut fields: Fields<'_>,
    headers: &HeaderMap,
    peer: IpAddr,
    texts: &mut Vec<u8>,
) -> Result<Reported, Refusal> {
    let started = Instant::now();
    let code = fields.code("referral_code")?;
    let code = fields.need("referral_code", code)?;
    let mut query = String::new();
    for name in ["to", "source_id", "asset_id", "tracking_id", "sub1", "sub2", "sub3", "sub4", "sub5"] {
        let max = if name == "to" { MAX_TO } else { MAX_ID };
        if let Some(value) = fields.text(name, max)? {
            let separator = if query.is_empty() { "/?" } else { "&" };
            query.extend([separator, name, "="]);
            query.extend(utf8_percent_encode(&value, VALUE));
        }
    }
    let referrer = header_field(&mut fields, "referrer")?;
    let (ip, user_agent) = if caller.is_public() {
        (Some(core.client_ip(peer, headers)), headers.get(header::USER_AGENT).cloned())
    } else {
        let ip = fields.text("ip", MAX_ID)?;
        let ip =
            ip.map(|ip| ip.parse().map_err(|_| Refusal::field("ip", "must be an IP address"))).transpose()?;
        (ip, header_field(&mut fields, "user_agent")?)
    };
    let meta_data = fields.meta_data()?;
    fields.finish()?;
    // Encoded as a value and a fixed name: always a target.
    let target: Uri = if query.is_empty() { Uri::default() } else { query.parse().unwrap_or_default() };

    let reader = core.parts.catalog.read();
    let unknown = || Refusal::field("referral_code", "no link has this code");
    let found = Found::look_up(&reader, caller.account, &code).ok_or_else(unknown)?;
    let visitor = Visitor {
        now: Timestamp::now(),
        agent: core.agent(&text(user_agent.as_ref())),
        place: ip.map_or(Place::default(), |ip| core.place(ip)),
        head: false,
        opted_out: caller.is_public() && opts_out(headers),
        prefetch: false,
    };
    let mut scratch = core.scratch.borrow_mut();
    let asked = LinkQuery::read(target.query().unwrap_or_default());
    let followed = follow(core, &found, &visitor, &asked, target.query(), &mut scratch)
        .ok_or_else(|| Refusal::field("referral_code", "neither link nor program has a destination"))?;
    let token = Some(scratch.token.clone()).filter(|token| !token.is_empty());
    let destination = String::from_utf8_lossy(&scratch.location).into_owned();
    let origin = Origin {
        ip,
        user_agent: user_agent.as_ref(),
        referrer: referrer.as_ref(),
        query: &asked,
        meta_data: Some(&meta_data),
    };
    let click = followed.click(core, &found, &visitor, &origin, texts, started);
    Ok(Reported { click, token, destination })
}

fn header_field(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<HeaderValue>, Refusal> {
    let text = fields.text(name, MAX_HEADER)?;
    // Text without control characters is always a header's value.
    Ok(text.and_then(|text| HeaderValue::try_from(text).ok()))
}
