//! A click between its answer and the event log.
//!
//! What the request tells of it becomes text at once (`click_record::tell`): all of it is at hand then, nothing is
//! copied twice, and the connection's buffer is free for the next request. What depends on the clicks before it, its
//! class and its number, follows when its batch is written down.
//!
//! Of a visitor who opted out only what does not tell one visitor from another is kept: link, class, country,
//! device, and what the link itself brought (`sub1`..`sub5`, `source_id`, `asset_id`, the deep link). Address
//! prefix, visitor hash, network, user agent, referrer and `tracking_id` are left out.

use std::borrow::Cow;

use http::HeaderValue;
use uuid::Uuid;

use super::{
    click_record::Told,
    query::{is_name, pairs},
};
use crate::{
    domain::{
        ids::{AccountId, LinkId},
        traffic::TrafficClass,
    },
    visitor::Visit,
};

/// The query parameters of a link that Waypost reads. All but `to` and `cons` also pass through to the destination.
/// Values are still encoded; the first of a repeated name counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkQuery<'a> {
    pub to: Option<&'a str>,
    /// More than one `to`: which one was meant is anybody's guess.
    pub to_repeated: bool,
    /// `cons=0`.
    pub no_consent: bool,
    pub source_id: Option<&'a str>,
    pub asset_id: Option<&'a str>,
    pub tracking_id: Option<&'a str>,
    pub sub_ids: [Option<&'a str>; 5],
}

impl<'a> LinkQuery<'a> {
    pub(crate) fn read(query: &'a str) -> Self {
        let mut read = Self::default();
        for (name, value) in pairs(query) {
            let is = |known: &str| is_name(name.as_bytes(), known.as_bytes());
            if is("to") {
                read.to_repeated |= read.to.is_some();
                read.to.get_or_insert(value);
            } else if is("cons") {
                read.no_consent |= value == "0";
            } else if is("source_id") {
                read.source_id.get_or_insert(value);
            } else if is("asset_id") {
                read.asset_id.get_or_insert(value);
            } else if is("tracking_id") {
                read.tracking_id.get_or_insert(value);
            } else {
                for (n, known) in ["sub1", "sub2", "sub3", "sub4", "sub5"].into_iter().enumerate() {
                    if is(known) {
                        read.sub_ids[n].get_or_insert(value);
                    }
                }
            }
        }
        read
    }
}

/// A click that was answered: what is still asked of it, and where the rest of its record stands.
#[derive(Debug)]
pub struct PendingClick {
    pub(crate) account: AccountId,
    pub(crate) link: LinkId,
    pub(crate) click_id: Uuid,
    /// As it is without a look at earlier clicks.
    pub(crate) class_by_request: TrafficClass,
    /// Whether the destination was told the click id.
    pub(crate) has_token: bool,
    /// What the duplicate check compares; none where there is nothing to compare, or nothing would follow from it.
    pub(crate) visit: Option<Visit>,
    pub(crate) told: Told,
    /// Nanoseconds that the redirect took.
    pub(crate) took_ns: u64,
}

impl PendingClick {
    /// Its class, once it is known which click it repeats.
    pub(crate) fn class(&self, duplicate_of: Option<Uuid>) -> TrafficClass {
        duplicate_of.map_or(self.class_by_request, |_| TrafficClass::Duplicate)
    }
}

/// A header's text; bytes that are no UTF-8 become U+FFFD.
pub(crate) fn text(value: Option<&HeaderValue>) -> Cow<'_, str> {
    let bytes = value.map_or(&[][..], HeaderValue::as_bytes);
    // The check alone is many times faster than looking for what to replace.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_repeated_name_counts() {
        let read = LinkQuery::read("sub1=a&sub1=b&%73ub2=c&to=x&to=y&cons=0&source_id=s&x=y");
        assert_eq!(read.sub_ids, [Some("a"), Some("c"), None, None, None]);
        assert_eq!((read.to, read.to_repeated, read.no_consent), (Some("x"), true, true));
        assert_eq!((read.source_id, read.asset_id), (Some("s"), None));
        assert!(!LinkQuery::read("cons=1&to=x").no_consent);
    }
}
