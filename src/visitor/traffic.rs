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
