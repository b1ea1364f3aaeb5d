//! Whose conversion it is (MONEY 2): the first input that resolves decides.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    ids::{AffiliateId, LinkId, ProgramId},
    reason::{Input, Rejection, Standing, Waits, Warning},
    time::Timestamp,
};

/// What an input points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    /// The link that was followed or named; none for a coupon.
    pub link: Option<LinkId>,
}

/// What is known of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given<T> {
    /// The conversion does not carry it.
    #[default]
    Absent,
    /// It was given and nothing in this account goes by it.
    Unknown,
    Found(T),
}

/// A coupon that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponFact {
    pub candidate: Candidate,
    /// Included.
    pub starts_at: Option<Timestamp>,
    /// Excluded.
    pub ends_at: Option<Timestamp>,
}

/// A click that is known to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClickFact {
    pub click_id: Uuid,
    pub clicked_at: Timestamp,
    /// Whether a conversion may be attributed to it: by the token's flags, or by the stored click.
    pub attributable: bool,
    /// Whether its conversions go to review.
    pub review: bool,
    pub candidate: Candidate,
    /// Days of the program's window.
    pub cookie_time_days: u32,
    /// Whether a click counts however old it is (`override_max_cookie_time`).
    pub any_age: bool,
}

/// What a click token or a click id proved to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClickEvidence {
    #[default]
    Absent,
    /// A token with a right signature, or a stored click.
    Proven(ClickFact),
    /// A bare id, or a token of a revoked key, whose click is not stored and may still arrive.
    NotStored,
    /// A token of a key that is not known here and may still become so.
    UnknownKey,
    /// The token's signature does not match.
    Forged,
    /// No click id at all, or its link is not one of this account.
    Unknown,
}

/// All that attribution looks at. It is stored, so that its answer can be explained and repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub occurred_at: Timestamp,
    /// The program that the request or the pixel's path names.
    pub named_program: Option<ProgramId>,
    /// The programs of the program group that was named.
    pub group: Option<Vec<ProgramId>>,
    /// One candidate for each program in which the given customer id is known.
    pub customers: Given<Vec<Candidate>>,
    pub coupon: Given<CouponFact>,
    pub referral_code: Given<Candidate>,
    pub click: ClickEvidence,
    pub asset_source: Given<Candidate>,
    /// The latest click of the tracking id that may attribute and is not later than 5 minutes after the
    /// conversion.
    pub tracking_id: Given<ClickFact>,
    /// The time of a pending conversion is over: what is still missing is passed over.
    pub waited_out: bool,
}

/// An input that did not resolve, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    pub input: Input,
    pub warning: Warning,
}

/// The answer: whose conversion it is and how that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The input that decided.
    pub input: Input,
    /// The input that named the program in which the customer was found; none where the customer needed none.
    pub named_by: Option<Input>,
    pub candidate: Candidate,
    /// The click that decided.
    pub click_id: Option<Uuid>,
    pub clicked_at: Option<Timestamp>,
    /// Whether the click sends the conversion to review.
    pub review: bool,
    /// Days of the window that was kept; none where none applies.
    pub window_days: Option<u32>,
    /// Whether a customer that was known before decided.
    pub known_customer: bool,
    pub passed_over: Vec<PassedOver>,
}

/// What came of the inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    Resolved(Resolved),
    /// Something that may still arrive decides.
    Pending(Waits),
    Rejected(Rejection, Vec<PassedOver>),
}

/// Tries the inputs in their order (MONEY 2).
pub fn attribute(facts: &Facts) -> Attribution {
    todo!()
}

/// Whether the affiliate may earn: approved in the program and suspended nowhere, both as it stood when the
/// conversion happened. `None`: never enrolled, or nothing was ever said about it everywhere.
pub fn admit(in_program: Option<Standing>, everywhere: Option<Standing>) -> Result<(), Rejection> {
    todo!()
}

/// Whether a conversion may claim to have happened at `occurred_at` (MONEY 2).
pub fn check_occurred_at(
    occurred_at: Timestamp,
    received_at: Timestamp,
    max_age_days: u32,
    may_import: bool,
) -> Result<(), Rejection> {
    todo!()
}
