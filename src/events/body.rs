//! The bodies of events.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::{
    amount::DecimalText,
    ids::{AccountId, LinkId},
    reason::ConversionKind,
    time::Timestamp,
    traffic::TrafficClass,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    Click(Box<Click>),
    Conversion(Box<Conversion>),
    Refund(Box<Refund>),
    /// The last event of a stream: its edge stopped in good order and its `n` is the last.
    End,
}

/// A followed link. The event's id is the click id; the time of the click is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Click {
    pub account: AccountId,
    pub link: LinkId,
    pub class: TrafficClass,
    /// Whether a conversion may be attributed: false for classes that do not attribute, a suspended affiliate,
    /// an expired link.
    pub attributable: bool,
    /// Whether conversions by this click go to review.
    pub review: bool,
    /// /24 or /48 of the visitor's address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ip_prefix: Option<String>,
    /// Keyed by a secret and the UTC day: the same visitor is known again that day, and no longer. 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub visitor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_agent: Option<String>,
    /// `desktop`, `mobile`, `crawler`, …; `unknown` where nobody knows.
    pub device: String,
    pub os: String,
    pub browser: String,
    /// ISO 3166 alpha-2.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub country: Option<String>,
    /// The number of the visitor's network (ASN).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub network: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub referrer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asset_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tracking_id: Option<String>,
    #[serde(skip_serializing_if = "no_sub_ids", default)]
    pub sub_ids: [Option<String>; 5],
    /// The deep link that was followed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deep_link: Option<String>,
    /// A deep link was asked for and not followed.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub deep_link_refused: bool,
    /// The earlier click of the same visitor, of class `duplicate`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duplicate_of: Option<Uuid>,
    /// Query parameters that stand for themselves, as given over REST.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub meta_data: Map<String, Value>,
}

fn no_sub_ids(ids: &[Option<String>; 5]) -> bool {
    ids.iter().all(Option::is_none)
}

/// How an event came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Pixel,
    Rest,
}

/// How far the sender is believed (DESIGN section 8). It decides between settling and holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// A secret key.
    Secret,
    /// A secret key with the scope `import`: old conversions too.
    Import,
    /// A pixel with a right signature.
    SignedPixel,
    /// An unsigned pixel of a program that takes them as they come.
    OpenPixel,
    /// An unsigned pixel of a program that holds them.
    HeldPixel,
    /// A publishable key: held, and what it says of amounts is ignored.
    Publishable,
}

impl Authority {
    /// Whether the conversion waits until somebody accepts it.
    pub const fn holds(self) -> bool {
        matches!(self, Self::HeldPixel | Self::Publishable)
    }
}

/// A lead, appointment or sale that was reported. Everything is as the sender wrote it; rules come later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    pub account: AccountId,
    pub kind: ConversionKind,
    pub channel: Channel,
    pub authority: Authority,
    /// 32 hex digits of BLAKE3 over what the sender said, so that the same id with another body is noticed.
    pub fingerprint: String,
    /// The program's slug.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program_group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub amount: Option<DecimalText>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub coupon: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub referral_code: Option<String>,
    /// A click token, or a click id as UUID or `clk_…`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub click_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asset_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tracking_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commission_type: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub commissions: Vec<CommissionEntry>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub occurred_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "no_sub_ids", default)]
    pub sub_ids: [Option<String>; 5],
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub meta_data: Map<String, Value>,
}

impl Conversion {
    /// Whether what it says of amounts counts (MONEY 3).
    pub fn amounts_believed(&self) -> bool {
        self.authority != Authority::Publishable
    }

    /// Its `commissions`, where they count.
    pub fn believed_commissions(&self) -> &[CommissionEntry] {
        if self.amounts_believed() { &self.commissions } else { &[] }
    }
}

/// One part of a conversion with a commission of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionEntry {
    pub sub_amount: DecimalText,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commission_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
}

/// Money that went back to the buyer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    pub account: AccountId,
    /// As of a conversion.
    pub fingerprint: String,
    /// The refund's own, unique in the account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_id: Option<String>,
    /// `cnv_…`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conversion_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program: Option<String>,
    /// The kind of the conversion that `conversion_external_id` names; a sale unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<ConversionKind>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conversion_external_id: Option<String>,
    /// None: all that is left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub amount: Option<DecimalText>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub meta_data: Map<String, Value>,
}
