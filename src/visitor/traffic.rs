//! The traffic class of a click, from what the request says (DESIGN section 7).
//!
//! Where several signals are on, the first of this order decides:
//!
//! | order | signal | class | attributes |
//! |---|---|---|---|
//! | 1 | `opted_out` | `opted_out` | no, and no token at all |
//! | 2 | `head` | `head` | no |
//! | 3 | `crawler` | `crawler` | no |
//! | 4 | `hosting` | `datacenter` | yes, conversions go to review |
//! | 5 | `prefetch` | `prefetch` | yes |
//! | 6 | none | `valid` | yes |
//!
//! Opting out stands above all, because it forbids the token itself. No class that attributes masks one that does
//! not, and none without review masks the one with it. `duplicate` is for the duplicate check to say, later, and
//! only of a `valid` click.

use http::{HeaderMap, HeaderName, header::HeaderValue};

use crate::domain::traffic::TrafficClass;

/// What a request says about its traffic class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// The method is HEAD.
    pub head: bool,
    /// `Sec-GPC: 1` or `cons=0`.
    pub opted_out: bool,
    /// [`is_prefetch`].
    pub prefetch: bool,
    /// [`Agent::crawler`](super::Agent::crawler).
    pub crawler: bool,
    /// [`Place::hosting`](super::Place::hosting).
    pub hosting: bool,
}

impl Signals {
    /// The class that the first signal in the module's order gives.
    pub const fn class(self) -> TrafficClass {
        if self.opted_out {
            TrafficClass::OptedOut
        } else if self.head {
            TrafficClass::Head
        } else if self.crawler {
            TrafficClass::Crawler
        } else if self.hosting {
            TrafficClass::Datacenter
        } else if self.prefetch {
            TrafficClass::Prefetch
        } else {
            TrafficClass::Valid
        }
    }
}

const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const PURPOSE: HeaderName = HeaderName::from_static("purpose");
const X_PURPOSE: HeaderName = HeaderName::from_static("x-purpose");
const X_MOZ: HeaderName = HeaderName::from_static("x-moz");

/// Whether a browser fetches ahead of its user: `Sec-Purpose: prefetch` (also `prefetch;prerender`),
/// `Purpose: prefetch`, `X-Purpose: preview` or `X-Moz: prefetch`.
pub fn is_prefetch(headers: &HeaderMap) -> bool {
    [SEC_PURPOSE, PURPOSE, X_PURPOSE, X_MOZ]
        .iter()
        .any(|name| headers.get_all(name).iter().any(says_prefetch))
}

fn says_prefetch(value: &HeaderValue) -> bool {
    value.as_bytes().split(|byte| matches!(byte, b';' | b',')).any(|word| {
        let word = word.trim_ascii();
        ["prefetch", "prerender", "preview"].iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Signals> {
        (0..32_u8).map(|bits| Signals {
            head: bits & 1 != 0,
            opted_out: bits & 2 != 0,
            prefetch: bits & 4 != 0,
            crawler: bits & 8 != 0,
            hosting: bits & 16 != 0,
        })
    }

    #[test]
    fn a_signal_alone_gives_its_class() {
        let none = Signals::default();
        for (signals, class) in [
            (none, TrafficClass::Valid),
            (Signals { head: true, ..none }, TrafficClass::Head),
            (Signals { opted_out: true, ..none }, TrafficClass::OptedOut),
            (Signals { prefetch: true, ..none }, TrafficClass::Prefetch),
            (Signals { crawler: true, ..none }, TrafficClass::Crawler),
            (Signals { hosting: true, ..none }, TrafficClass::Datacenter),
        ] {
            assert_eq!(signals.class(), class);
        }
    }

    #[test]
    fn no_class_masks_a_stricter_one() {
        for signals in all() {
            let class = signals.class();
            assert_eq!(class == TrafficClass::OptedOut, signals.opted_out, "{signals:?}");
            let strict = signals.opted_out || signals.head || signals.crawler;
            assert_eq!(class.attributes(), !strict, "{signals:?}");
            assert_eq!(class.needs_review(), signals.hosting && !strict, "{signals:?}");
            assert_ne!(class, TrafficClass::Duplicate, "{signals:?}");
        }
    }

    #[test]
    fn fetching_ahead_is_seen_in_every_header_that_says_so() {
        for (name, value, expected) in [
            ("sec-purpose", "prefetch", true),
            ("sec-purpose", "prefetch;prerender", true),
            ("sec-purpose", "prefetch; anonymous-client-ip", true),
            ("sec-purpose", "Prefetch", true),
            ("purpose", "prefetch", true),
            ("purpose", "preview", true),
            ("x-purpose", "preview", true),
            ("x-moz", "prefetch", true),
            ("x-moz", " prefetch ", true),
            ("sec-purpose", "navigate", false),
            ("sec-purpose", "prefetching", false),
            ("sec-purpose", "", false),
            ("x-other", "prefetch", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            assert_eq!(is_prefetch(&headers), expected, "{name}: {value}");
            headers.insert(SEC_PURPOSE, "x".parse().unwrap());
            headers.append(SEC_PURPOSE, "prefetch".parse().unwrap());
            assert!(is_prefetch(&headers));
        }
        assert!(!is_prefetch(&HeaderMap::new()));
    }
}
