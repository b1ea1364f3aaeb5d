//! A click as it stands on the event log, written straight from what the request left behind.
//!
//! The bytes are those of [`Event::encode`](crate::events::Event::encode); a test holds the two together. Clicks are
//! by far the most events, and building an event of owned texts first would cost as much as the redirect.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use http::HeaderValue;
use uuid::Uuid;

use super::{
    click::{LinkQuery, PendingClick, text},
    json_object::object,
    origin::Stamp,
    query::decode,
};
use crate::{
    domain::{time::Timestamp, traffic::TrafficClass},
    events::VERSION,
    visitor::{VisitorHasher, ip_prefix},
};

/// Characters that are kept of a value from a query.
const MAX_VALUE: usize = 255;
/// Characters that are kept of a user agent and of a referrer.
const MAX_HEADER: usize = 1024;

/// The record's payload, taken off the end of `buffer`, which records of one batch share. `scratch` is overwritten.
pub(crate) fn write(
    (buffer, scratch): (&mut BytesMut, &mut Vec<u8>),
    click: &PendingClick,
    duplicate_of: Option<Uuid>,
    origin: Stamp<'_>,
    received_at: Timestamp,
    hasher: &VisitorHasher,
) -> Bytes {
    let query = LinkQuery::read(click.target.query().unwrap_or_default());
    let personal = click.class != TrafficClass::OptedOut;
    let ip = click.ip.filter(|_| personal);
    let mut digits = [0; 32];
    let visitor = ip.map(|ip| {
        HEXLOWER.encode_mut(&hasher.visitor(ip, click.agent, click.at.day()), &mut digits);
    });
    // Many small writes go to a plain vector first, which takes them faster than a shared buffer.
    scratch.clear();
    object(scratch, |event| {
        event.value("v", &VERSION);
        event.uuid("id", click.click_id);
        event.object("origin", |of| {
            of.text("edge", origin.edge);
            of.uuid("boot", origin.boot);
            of.text("stream", origin.stream);
            of.value("n", &origin.n);
        });
        event.value("received_at", &received_at);
        event.object("body", |body| {
            body.object("click", |fields| {
                let class = if duplicate_of.is_some() { TrafficClass::Duplicate } else { click.class };
                fields.value("account", &click.account);
                fields.value("link", &click.link);
                fields.text("class", class.as_str());
                fields.value("attributable", &click.attributable);
                fields.value("review", &click.review);
                fields.text_if("ip_prefix", ip.map(ip_prefix));
                fields.text_if("visitor", visitor.and_then(|()| std::str::from_utf8(&digits).ok()));
                fields.text_if("user_agent", header(click.user_agent.as_ref().filter(|_| personal)));
                fields.text("device", click.agent.device);
                fields.text("os", click.agent.os);
                fields.text("browser", click.agent.browser);
                fields.text_if("country", click.place.country_str());
                if let Some(network) = click.place.network.filter(|_| personal) {
                    fields.value("network", &network);
                }
                fields.text_if("referrer", header(click.referrer.as_ref().filter(|_| personal)));
                fields.text_if("source_id", own_or(click.source_id.as_deref(), query.source_id));
                fields.text_if("asset_id", own_or(click.asset_id.as_deref(), query.asset_id));
                fields.text_if("tracking_id", value(query.tracking_id.filter(|_| personal)));
                let sub_ids = query.sub_ids.map(value);
                if sub_ids.iter().any(Option::is_some) {
                    fields.texts("sub_ids", &sub_ids);
                }
                fields.text_if("deep_link", click.deep_link.as_deref());
                if click.deep_link_refused {
                    fields.value("deep_link_refused", &true);
                }
                if let Some(first) = duplicate_of {
                    fields.uuid("duplicate_of", first);
                }
                if !click.meta_data.is_empty() {
                    fields.value("meta_data", &click.meta_data);
                }
            });
        });
    });
    buffer.extend_from_slice(scratch);
    buffer.split().freeze()
}

fn header(given: Option<&HeaderValue>) -> Option<Cow<'_, str>> {
    given.map(|value| cut(text(Some(value)), MAX_HEADER))
}

/// A value of the query; an empty one says nothing.
fn value(raw: Option<&str>) -> Option<Cow<'_, str>> {
    raw.map(|raw| cut(decode(raw), MAX_VALUE)).filter(|text| !text.is_empty())
}

/// What the link says of itself goes before what its query says.
fn own_or<'a>(own: Option<&'a str>, raw: Option<&'a str>) -> Option<Cow<'a, str>> {
    own.map(Cow::Borrowed).or_else(|| value(raw))
}

/// At most `max` characters, without control characters (which stores refuse).
fn cut(text: Cow<'_, str>, max: usize) -> Cow<'_, str> {
    // Bytes are no fewer than characters, and control characters are ASCII or begin with 0xC2.
    let fits = text.len() <= max && text.bytes().all(|b| (b' '..0x7f).contains(&b) || b > 0xc2);
    if fits { text } else { text.chars().filter(|c| !c.is_control()).take(max).collect::<String>().into() }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::{option, prelude::*};
    use serde_json::Value;

    use super::*;
    use crate::{
        domain::ids::{AccountId, LinkId},
        edge::origin::Stream,
        events::{Body, Event},
        visitor::{Place, UserAgents},
    };

    fn click(class: TrafficClass, query: &str, text: &str, ip: Option<IpAddr>) -> PendingClick {
        let header = HeaderValue::from_bytes(text.replace(char::is_control, "").as_bytes()).ok();
        let own = (!text.is_empty()).then(|| text.into());
        PendingClick {
            account: AccountId(1),
            link: LinkId(2),
            click_id: Uuid::now_v7(),
            at: Timestamp(1_800_000_000_000),
            class,
            attributable: true,
            review: false,
            has_token: true,
            ip,
            place: Place { country: Some(*b"DE"), network: Some(64_500), hosting: false },
            agent: UserAgents::new(1).look(text),
            user_agent: header.clone(),
            referrer: header,
            source_id: own,
            asset_id: None,
            target: format!("/r/x?{query}").parse().unwrap_or_default(),
            deep_link: Some("https://shop.example/".into()),
            deep_link_refused: text.len().is_multiple_of(2),
            window_ms: 1,
            meta_data: [(text.to_owned(), Value::from(text))].into_iter().collect(),
            took_ns: 1,
        }
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_event(
            class in proptest::sample::select(&TrafficClass::ALL),
            query in "((sub[1-5]|source_id|asset_id|tracking_id)=[a-z%0-9]{0,6}&){0,6}",
            text in ".{0,300}",
            ip: Option<IpAddr>,
            duplicate in option::of(Just(Uuid::nil())),
        ) {
            let click = click(class, &query, &text, ip);
            let stream = Stream::new("edge", Uuid::nil(), "clicks", 0);
            let hasher = VisitorHasher::new([1; 32]);
            let mut buffer = BytesMut::new();
            let payload = write((&mut buffer, &mut Vec::new()), &click, duplicate, stream.next(), Timestamp(5), &hasher);
            let event = Event::decode(&payload).unwrap();
            prop_assert_eq!(&event.encode(), &payload[..]);
            let Body::Click(read) = event.body else { panic!("no click") };
            prop_assert_eq!(read.user_agent.is_some(), class != TrafficClass::OptedOut);
            prop_assert_eq!(read.visitor.is_some(), class != TrafficClass::OptedOut && ip.is_some());
            prop_assert_eq!(read.duplicate_of, duplicate);
            prop_assert_eq!(&read.meta_data, &click.meta_data);
        }
    }

    #[test]
    fn values_are_cut_to_what_stores_take() {
        for (text, max, kept) in [
            ("a\u{0}b\nc", 10, "abc"),
            ("ééé", 2, "éé"),
            ("a\u{85}b", 9, "ab"),
            ("Ā", 9, "Ā"),
            ("abc", 3, "abc"),
        ] {
            assert_eq!(cut(text.into(), max), kept, "{text:?}");
        }
    }
}
