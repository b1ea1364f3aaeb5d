//! Traffic classes: what kind of visit a click was, and what that means (DESIGN section 7).

use serde::{Deserialize, Serialize};

/// Every click has exactly one class. Nothing is dropped; the class decides what counts and what attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficClass {
    Valid,
    /// The same visitor on the same link within the window.
    Duplicate,
    /// The browser fetched ahead of the visitor.
    Prefetch,
    /// The network is a hosting network.
    Datacenter,
    Crawler,
    /// A HEAD request.
    Head,
    /// `Sec-GPC: 1` or `cons=0`.
    OptedOut,
}

impl TrafficClass {
    pub const ALL: [Self; 7] = [
        Self::Valid,
        Self::Duplicate,
        Self::Prefetch,
        Self::Datacenter,
        Self::Crawler,
        Self::Head,
        Self::OptedOut,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Duplicate => "duplicate",
            Self::Prefetch => "prefetch",
            Self::Datacenter => "datacenter",
            Self::Crawler => "crawler",
            Self::Head => "head",
            Self::OptedOut => "opted_out",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// Whether a click of this class is counted as a visit.
    pub const fn counts(self) -> bool {
        match self {
            Self::Valid | Self::OptedOut => true,
            Self::Duplicate | Self::Prefetch | Self::Datacenter | Self::Crawler | Self::Head => false,
        }
    }

    /// Whether a conversion may be attributed to a click of this class.
    pub const fn attributes(self) -> bool {
        match self {
            Self::Valid | Self::Duplicate | Self::Prefetch | Self::Datacenter => true,
            Self::Crawler | Self::Head | Self::OptedOut => false,
        }
    }

    /// Whether conversions by a click of this class go to review.
    pub const fn needs_review(self) -> bool {
        matches!(self, Self::Datacenter)
    }
}
