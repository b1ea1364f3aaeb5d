//! The commands of the ledger, as they stand in the journal.
//!
//! A command holds all that its effect depends on beside the ledger itself: ids that were given out, what a click
//! token proved, which stored clicks were found. So the journal alone rebuilds every line, posting and balance.
//! Nothing that names a person and no secret is ever journaled: what merchants attach to an event as they like stays
//! with the row that it made, where it can be erased.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::evidence::Evidence;
use crate::{
    domain::{
        amount::Currency,
        bonuses::BonusSettings,
        ids::{AffiliateId, LinkId, ProgramId, Slug},
        price::{OverrideRule, Target},
        program::ProgramSettings,
        reason::{CustomerTrack, Standing},
        time::Timestamp,
    },
    events::{Body, Conversion, Event},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Create a program or write a new version of its settings, in force from now on.
    PutProgram(Box<PutProgram>),
    DeleteProgram {
        program: ProgramId,
    },
    PutAffiliate(PutAffiliate),
    DeleteAffiliate {
        affiliate: AffiliateId,
    },
    /// How an affiliate stands in a program from now on.
    SetStanding {
        program: ProgramId,
        affiliate: AffiliateId,
        standing: Standing,
    },
    PutLink(Box<PutLink>),
    DeleteLink {
        link: LinkId,
    },
    PutCoupon(PutCoupon),
    DeleteCoupon {
        coupon: Uuid,
    },
    /// A conversion or a refund came in.
    Receive {
        event: Box<Event>,
        evidence: Box<Evidence>,
        terms: Terms,
    },
    /// A pending conversion is tried again; `waited_out`: its time is over.
    RetryConversion {
        conversion: Uuid,
        evidence: Box<Evidence>,
        waited_out: bool,
    },
    /// A pending refund's time is over and its conversion did not come.
    GiveUpRefund {
        refund: Uuid,
    },
    /// Somebody accepted a held conversion.
    AcceptHeld {
        conversion: Uuid,
        evidence: Box<Evidence>,
        terms: Terms,
    },
    /// Somebody refused a held conversion.
    DeclineHeld {
        conversion: Uuid,
    },
    ApproveLine {
        line: Uuid,
    },
    DisapproveLine {
        line: Uuid,
    },
    /// Back to pending.
    ReopenLine {
        line: Uuid,
    },
    /// Somebody sets what a line is worth.
    EditLine {
        line: Uuid,
        /// Minor units of the line's currency.
        amount: i64,
        comment: Option<String>,
    },
    /// Somebody adds or takes an amount.
    Adjust(Box<Adjust>),
    EditConversion {
        conversion: Uuid,
        /// Minor units of the conversion's currency.
        amount: i64,
    },
    Recalculate {
        conversion: Uuid,
        rules: RulesOf,
    },
    DeleteConversion {
        conversion: Uuid,
    },
    PutGroup(PutGroup),
    DeleteGroup {
        group: Uuid,
    },
    /// The group of an affiliate from now on.
    SetGroup {
        affiliate: AffiliateId,
        group: Option<Uuid>,
    },
    /// The parent of an affiliate from now on.
    SetParent {
        affiliate: AffiliateId,
        parent: Option<AffiliateId>,
    },
    PutOverride(Box<PutOverride>),
    PutBonus(Box<PutBonus>),
    DeleteBonus {
        bonus: Uuid,
    },
    /// An interval of a bonus has closed, and its affiliate may have reached a target.
    AwardBonus {
        bonus: Uuid,
        affiliate: AffiliateId,
        /// When the interval began.
        interval: Timestamp,
    },
    /// A customer before the first conversion, attributed by the same inputs.
    CreateCustomer {
        id: Uuid,
        /// The customer's id and what attributes it.
        inputs: Box<Conversion>,
        track: CustomerTrack,
        evidence: Box<Evidence>,
    },
    /// Another affiliate's from now on; conversions settled before stay.
    MoveCustomer {
        customer: Uuid,
        affiliate: AffiliateId,
        link: Option<LinkId>,
    },
    SetCanceled {
        customer: Uuid,
        canceled: bool,
    },
    RecordPayment(Box<Pay>),
    CancelPayment {
        payment: Uuid,
    },
    CreatePayout(Box<Pay>),
    EndPayout {
        payout: Uuid,
        end: PayoutEnd,
    },
    /// The least that a payout may be; none: any.
    SetPayoutMinimum {
        currency: Currency,
        amount: Option<i64>,
    },
}

/// The rules of a recalculation (MONEY 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RulesOf {
    /// In force when the conversion happened.
    Then,
    /// Today's.
    Current,
}

/// How a payout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutEnd {
    Paid,
    Failed,
    Cancelled,
}

impl Command {
    /// Whether programs, standings or links are others after it.
    pub(super) fn changes_rules(&self) -> bool {
        match self {
            Self::PutProgram(_)
            | Self::DeleteProgram { .. }
            | Self::PutAffiliate(_)
            | Self::DeleteAffiliate { .. }
            | Self::SetStanding { .. }
            | Self::PutLink(_)
            | Self::DeleteLink { .. }
            | Self::PutCoupon(_)
            | Self::DeleteCoupon { .. }
            | Self::PutGroup(_)
            | Self::DeleteGroup { .. }
            | Self::SetGroup { .. }
            | Self::SetParent { .. }
            | Self::PutOverride(_)
            | Self::PutBonus(_)
            | Self::DeleteBonus { .. } => true,
            Self::Receive { .. }
            | Self::RetryConversion { .. }
            | Self::GiveUpRefund { .. }
            | Self::AcceptHeld { .. }
            | Self::DeclineHeld { .. }
            | Self::ApproveLine { .. }
            | Self::DisapproveLine { .. }
            | Self::ReopenLine { .. }
            | Self::EditLine { .. }
            | Self::Adjust(_)
            | Self::EditConversion { .. }
            | Self::Recalculate { .. }
            | Self::DeleteConversion { .. }
            | Self::AwardBonus { .. }
            | Self::CreateCustomer { .. }
            | Self::MoveCustomer { .. }
            | Self::SetCanceled { .. }
            | Self::RecordPayment(_)
            | Self::CancelPayment { .. }
            | Self::CreatePayout(_)
            | Self::EndPayout { .. }
            | Self::SetPayoutMinimum { .. } => false,
        }
    }

    /// The command as it is journaled: without `meta_data`, on which nothing depends.
    pub(super) fn to_journal(&self) -> Cow<'_, Self> {
        let Self::Receive { event, evidence, terms } = self else { return Cow::Borrowed(self) };
        let mut event = event.clone();
        match &mut event.body {
            Body::Conversion(conversion) if !conversion.meta_data.is_empty() => conversion.meta_data.clear(),
            Body::Refund(refund) if !refund.meta_data.is_empty() => refund.meta_data.clear(),
            Body::Conversion(_) | Body::Refund(_) | Body::Click(_) | Body::End => return Cow::Borrowed(self),
        }
        Cow::Owned(Self::Receive { event, evidence: evidence.clone(), terms: *terms })
    }
}

/// The operator's limits at the time of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Days after which a conversion needs a key with the scope `import`.
    pub max_age_days: u32,
    /// Milliseconds that an event waits for its click, its key or its conversion.
    pub pending_time_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutProgram {
    pub id: ProgramId,
    pub slug: Slug,
    /// Cannot change once the program has a conversion.
    pub currency: Currency,
    pub settings: ProgramSettings,
    /// In force from then on; none: from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutAffiliate {
    pub id: AffiliateId,
    pub slug: Slug,
    /// In every program.
    pub suspended: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutLink {
    pub id: LinkId,
    pub uid: Uuid,
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    pub code: String,
    pub destination: Option<String>,
    pub source_id: Option<String>,
    pub asset_id: Option<String>,
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutCoupon {
    pub id: Uuid,
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    pub code: String,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutGroup {
    pub id: Uuid,
    pub slug: Slug,
    pub title: String,
}

/// Whose override it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    Affiliate(AffiliateId),
    Group(Uuid),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutOverride {
    pub id: Uuid,
    pub program: ProgramId,
    pub whose: Whose,
    pub target: Target,
    /// None: removed.
    pub rule: Option<OverrideRule>,
    /// In force from then on; none: from now.
    pub from: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutBonus {
    pub id: Uuid,
    pub program: ProgramId,
    pub settings: BonusSettings,
    /// In force from then on; none: from now.
    pub from: Option<Timestamp>,
}

/// A line by hand: final at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adjust {
    pub id: Uuid,
    pub affiliate: AffiliateId,
    /// None: of no program.
    pub program: Option<ProgramId>,
    pub currency: Currency,
    /// Minor units; may be below 0.
    pub amount: i64,
    pub comment: String,
}

/// A payment or payout to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pay {
    pub id: Uuid,
    pub affiliate: AffiliateId,
    pub currency: Currency,
    /// Minor units, above 0.
    pub amount: i64,
    pub comment: Option<String>,
}
