//! A program's settings: what one version of its rules says.

use serde::{Deserialize, Serialize};

use super::amount::Percent;

/// Which click the browser keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributionModel {
    /// A new click replaces the cookie.
    #[default]
    LastClick,
    /// A valid cookie stays.
    FirstClick,
}

/// How far an unsigned pixel is believed (DESIGN section 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelTrust {
    /// Only with a right signature.
    Signed,
    /// Unsigned ones wait for review.
    #[default]
    Held,
    /// Taken as they come; the merchant's choice.
    Open,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    #[default]
    Lax,
    None,
}

/// The `Referrer-Policy` of the redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferrerPolicy {
    NoReferrer,
    Origin,
    #[default]
    StrictOriginWhenCrossOrigin,
    UnsafeUrl,
}

impl ReferrerPolicy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoReferrer => "no-referrer",
            Self::Origin => "origin",
            Self::StrictOriginWhenCrossOrigin => "strict-origin-when-cross-origin",
            Self::UnsafeUrl => "unsafe-url",
        }
    }
}

/// What becomes of lines when a conversion is refunded (MONEY 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundPolicy {
    #[default]
    Reverse,
    Keep,
}

/// What a line is worth (MONEY 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "form")]
pub enum Price {
    /// Minor units of the program's currency.
    Fixed { value: i64 },
    /// Percent of the sub amount, in the conversion's currency.
    Percentage { value: Percent },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionType {
    /// The name that conversions give: `standard`.
    pub identifier: String,
    pub title: String,
    #[serde(flatten)]
    pub price: Price,
}

/// One version of a program's rules. A change writes a new version from that moment on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSettings {
    pub name: String,
    /// Where a link leads that has no destination of its own; an absolute URL, macros allowed.
    pub destination: String,
    /// Hosts that `?to=` may name: `shop.example`, or `*.shop.example` for every host below it.
    pub deep_link_hosts: Vec<String>,
    /// Whether destinations and deep links may be http.
    pub allow_http: bool,
    /// Query parameter that carries the referral code.
    pub referral_parameter: String,
    /// Query parameter that carries the click token.
    pub click_parameter: String,
    /// Days, the attribution window and the cookie's lifetime.
    pub cookie_time: u32,
    /// Whether a click counts however old it is.
    pub override_max_cookie_time: bool,
    pub cookie_same_site: SameSite,
    pub attribution_model: AttributionModel,
    pub referrer_policy: ReferrerPolicy,
    pub pixel: PixelTrust,
    /// Milliseconds in which a second click of the same visitor on the same link does not count.
    pub duplicate_window_ms: u32,
    pub commission_types: Vec<CommissionType>,
    /// The type of a conversion that names none.
    pub default_commission_type: String,
    pub auto_approve_commissions: bool,
    /// Days from the conversion until an approved line is final.
    pub payout_delay: u32,
    pub refund_policy: RefundPolicy,
    /// Programs of one group are named together by `program_group`.
    pub program_group: Option<String>,
}

impl ProgramSettings {
    pub fn commission_type(&self, identifier: &str) -> Option<&CommissionType> {
        self.commission_types.iter().find(|kind| kind.identifier == identifier)
    }
}
