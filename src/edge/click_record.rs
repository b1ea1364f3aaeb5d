//! A click as it stands on the event log, written straight from the request.
//!
//! The bytes are those of [`Event::encode`](crate::events::Event::encode); a test holds the two together. Clicks are
//! by far the most events, and building an event of owned texts first would cost as much as the redirect. They are
//! written in two steps: [`tell`] what the request says, then [`write`] the record around it.

use std::{borrow::Cow, net::IpAddr};

use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use http::HeaderValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    click::{LinkQuery, PendingClick, text},
    json_object::{more, object},
    origin::Stamp,
    query::decode,
};
use crate::{
    domain::{time::Timestamp, traffic::TrafficClass},
    events::VERSION,
    visitor::{Agent, Place, VisitorHasher, ip_prefix},
};

/// Characters that are kept of a value from a query.
const MAX_VALUE: usize = 255;
/// Characters that are kept of a user agent and of a referrer.
const MAX_HEADER: usize = 1024;

/// What a request says of its click.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling<'a> {
    pub at: Timestamp,
    /// As it is without a look at earlier clicks.
    pub class: TrafficClass,
    pub attributable: bool,
    pub review: bool,
    /// None where nobody knows it.
    pub ip: Option<IpAddr>,
    pub place: Place,
    pub agent: Agent,
    pub user_agent: Option<&'a HeaderValue>,
    pub referrer: Option<&'a HeaderValue>,
    pub query: &'a LinkQuery<'a>,
    /// The link's own, which go before those of the query.
    pub source_id: Option<&'a str>,
    pub asset_id: Option<&'a str>,
    pub deep_link: Option<&'a str>,
    pub deep_link_refused: bool,
    pub meta_data: Option<&'a Map<String, Value>>,
}

/// Where the fields that were told stand among the texts of their batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    from: usize,
    /// Where the click that it repeats is named, if there is one.
    repeat: usize,
    to: usize,
}

/// Writes what the request says at the end of `texts`.
pub(crate) fn tell(texts: &mut Vec<u8>, click: &Telling<'_>, hasher: &VisitorHasher) -> Told {
    let query = click.query;
    let personal = click.class != TrafficClass::OptedOut;
    let ip = click.ip.filter(|_| personal);
    let mut digits = [0; 32];
    let visitor = ip.map(|ip| {
        HEXLOWER.encode_mut(&hasher.visitor(ip, click.agent, click.at.day()), &mut digits);
    });
    let from = texts.len();
    more(texts, |fields| {
        fields.value("attributable", &click.attributable);
        fields.value("review", &click.review);
        fields.text_if("ip_prefix", ip.map(ip_prefix));
        fields.text_if("visitor", visitor.and_then(|()| std::str::from_utf8(&digits).ok()));
        fields.text_if("user_agent", header(click.user_agent.filter(|_| personal)));
        fields.text("device", click.agent.device);
        fields.text("os", click.agent.os);
        fields.text("browser", click.agent.browser);
        fields.text_if("country", click.place.country_str());
        if let Some(network) = click.place.network.filter(|_| personal) {
            fields.value("network", &network);
        }
        fields.text_if("referrer", header(click.referrer.filter(|_| personal)));
        fields.text_if("source_id", own_or(click.source_id, query.source_id));
        fields.text_if("asset_id", own_or(click.asset_id, query.asset_id));
        fields.text_if("tracking_id", value(query.tracking_id.filter(|_| personal)));
        let sub_ids = query.sub_ids.map(value);
        if sub_ids.iter().any(Option::is_some) {
            fields.texts("sub_ids", &sub_ids);
        }
        fields.text_if("deep_link", click.deep_link);
        if click.deep_link_refused {
            fields.value("deep_link_refused", &true);
        }
    });
    let repeat = texts.len();
    if let Some(meta_data) = click.meta_data.filter(|given| !given.is_empty()) {
        more(texts, |fields| fields.value("meta_data", meta_data));
    }
    Told { from, repeat, to: texts.len() }
}

/// The record's payload, taken off the end of `buffer`, which records of one batch share. `scratch` is overwritten;
/// `texts` are those of the click's batch.
pub(crate) fn write(
    (buffer, scratch): (&mut BytesMut, &mut Vec<u8>),
    (click, texts): (&PendingClick, &[u8]),
    duplicate_of: Option<Uuid>,
    origin: Stamp<'_>,
    received_at: Timestamp,
) -> Bytes {
    let Told { from, repeat, to } = click.told;
    debug_assert!(to <= texts.len(), "the texts of another batch");
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
                fields.value("account", &click.account);
                fields.value("link", &click.link);
                fields.text("class", click.class(duplicate_of).as_str());
                fields.place(texts.get(from..repeat).unwrap_or_default());
                if let Some(first) = duplicate_of {
                    fields.uuid("duplicate_of", first);
                }
                fields.place(texts.get(repeat..to).unwrap_or_default());
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
    use proptest::{option, prelude::*};

    use super::*;
    use crate::{
        domain::ids::{AccountId, LinkId},
        edge::origin::Stream,
        events::{Body, Event},
        visitor::UserAgents,
    };

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_event(
            class in proptest::sample::select(&TrafficClass::ALL),
            query in "((sub[1-5]|source_id|asset_id|tracking_id)=[a-z%0-9]{0,6}&){0,6}",
            text in ".{0,300}",
            ip: Option<IpAddr>,
            duplicate in option::of(Just(Uuid::nil())),
            before in "[a-z]{0,9}",
        ) {
            let header = HeaderValue::from_bytes(text.replace(char::is_control, "").as_bytes()).ok();
            let own = Some(&*text).filter(|text| !text.is_empty());
            let meta_data: Map<String, Value> = [(text.clone(), Value::from(&*text))].into_iter().collect();
            let telling = Telling {
                at: Timestamp(1_800_000_000_000),
                class,
                attributable: true,
                review: false,
                ip,
                place: Place { country: Some(*b"DE"), network: Some(64_500), hosting: false },
                agent: UserAgents::new(1).look(&text),
                user_agent: header.as_ref(),
                referrer: header.as_ref(),
                query: &LinkQuery::read(&query),
                source_id: own,
                asset_id: None,
                deep_link: Some("https://shop.example/"),
                deep_link_refused: text.len().is_multiple_of(2),
                meta_data: Some(&meta_data),
            };
            // Others of the batch stand around it.
            let mut texts = before.into_bytes();
            let told = tell(&mut texts, &telling, &VisitorHasher::new([1; 32]));
            texts.extend_from_slice(b"behind");
            let click = PendingClick {
                account: AccountId(1),
                link: LinkId(2),
                click_id: Uuid::now_v7(),
                class_by_request: class,
                has_token: true,
                visit: None,
                told,
                took_ns: 1,
            };
            let stream = Stream::new("edge", Uuid::nil(), "clicks", 0);
            let mut buffer = BytesMut::new();
            let room = (&mut buffer, &mut Vec::new());
            let payload = write(room, (&click, &texts), duplicate, stream.next(), Timestamp(5));
            let event = Event::decode(&payload).unwrap();
            prop_assert_eq!(&event.encode(), &payload[..]);
            let Body::Click(read) = event.body else { panic!("no click") };
            let personal = class != TrafficClass::OptedOut;
            let theirs = header.as_ref().filter(|_| personal).map(|header| cut(super::text(Some(header)), MAX_HEADER));
            prop_assert_eq!(read.user_agent.as_deref(), theirs.as_deref());
            prop_assert_eq!(read.referrer.as_deref(), theirs.as_deref());
            prop_assert_eq!(read.visitor.is_some(), personal && ip.is_some());
            prop_assert_eq!(read.ip_prefix.is_some(), personal && ip.is_some());
            prop_assert_eq!(read.network, Some(64_500).filter(|_| personal));
            prop_assert!(personal || read.tracking_id.is_none());
            let told = LinkQuery::read(&query).sub_ids.map(super::value);
            let sub_ids = read.sub_ids.each_ref().map(Option::as_deref);
            prop_assert_eq!(sub_ids, told.each_ref().map(Option::as_deref));
            prop_assert_eq!(read.duplicate_of, duplicate);
            prop_assert_eq!(&read.meta_data, &meta_data);
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
