//! Whose conversion it is (MONEY 2): the first input that resolves decides.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    ids::{AffiliateId, LinkId, ProgramId},
    reason::{Input, Rejection, Standing, Waits, Warning},
    time::Timestamp,
};

/// How far clocks may differ: a conversion may lie this much before its click or after its receipt. Milliseconds.
pub const TOLERANCE_MS: i64 = 5 * 60 * 1000;

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
    let mut passed_over = Vec::new();
    for input in Input::ALL {
        match attempt(*input, facts) {
            Attempt::Nothing => {}
            Attempt::Failed(warning) => passed_over.push(PassedOver { input: *input, warning }),
            Attempt::Waits(waits) => return Attribution::Pending(waits),
            Attempt::Found(found) => return decide(*input, found, facts, passed_over),
        }
    }
    Attribution::Rejected(Rejection::Unattributed, passed_over)
}

/// What one input comes to.
enum Attempt {
    /// It was not given, or it is a customer that nobody knows yet.
    Nothing,
    Failed(Warning),
    Waits(Waits),
    Found(Found),
}

struct Found {
    candidate: Candidate,
    click: Option<ClickFact>,
}

impl Found {
    fn without_click(candidate: Candidate) -> Attempt {
        Attempt::Found(Self { candidate, click: None })
    }
}

fn attempt(input: Input, facts: &Facts) -> Attempt {
    match input {
        Input::CustomerId => customer(facts).map_or(Attempt::Nothing, Found::without_click),
        Input::Coupon => match &facts.coupon {
            Given::Absent => Attempt::Nothing,
            Given::Unknown => Attempt::Failed(Warning::UnknownCoupon),
            Given::Found(coupon) if coupon.is_valid(facts.occurred_at) => {
                Found::without_click(coupon.candidate)
            }
            Given::Found(_) => Attempt::Failed(Warning::CouponExpired),
        },
        Input::ReferralCode => named(&facts.referral_code, Warning::UnknownReferralCode),
        Input::Click => click(facts),
        Input::AssetSource => named(&facts.asset_source, Warning::UnknownAssetSource),
        Input::TrackingId => tracking_id(facts),
    }
}

/// The customer in the named program or, where none is named, in the only one of those asked for that knows it.
fn customer(facts: &Facts) -> Option<Candidate> {
    let Given::Found(customers) = &facts.customers else {
        return None;
    };
    let admitted = |program| match facts.named_program {
        Some(named) => program == named,
        None => facts.in_group(program),
    };
    let mut known = customers.iter().filter(|customer| admitted(customer.program));
    let first = known.next()?;
    known.next().is_none().then_some(*first)
}

fn named(given: &Given<Candidate>, unknown: Warning) -> Attempt {
    match given {
        Given::Absent => Attempt::Nothing,
        Given::Unknown => Attempt::Failed(unknown),
        Given::Found(candidate) => Found::without_click(*candidate),
    }
}

fn click(facts: &Facts) -> Attempt {
    let missing = |waits| match facts.waited_out {
        true => Attempt::Failed(Warning::UnknownClick),
        false => Attempt::Waits(waits),
    };
    match &facts.click {
        ClickEvidence::Absent => Attempt::Nothing,
        ClickEvidence::Unknown => Attempt::Failed(Warning::UnknownClick),
        ClickEvidence::Forged => Attempt::Failed(Warning::ClickForged),
        ClickEvidence::NotStored => missing(Waits::ClickNotStored),
        ClickEvidence::UnknownKey => missing(Waits::TokenKeyUnknown),
        ClickEvidence::Proven(click) => match click.check(facts.occurred_at) {
            Ok(()) => Attempt::Found(Found { candidate: click.candidate, click: Some(*click) }),
            Err(warning) => Attempt::Failed(warning),
        },
    }
}

fn tracking_id(facts: &Facts) -> Attempt {
    match &facts.tracking_id {
        Given::Absent => Attempt::Nothing,
        Given::Unknown => Attempt::Failed(Warning::UnknownTrackingId),
        Given::Found(click) => match click.check(facts.occurred_at) {
            Ok(()) => Attempt::Found(Found { candidate: click.candidate, click: Some(*click) }),
            Err(Warning::ClickExpired) => Attempt::Failed(Warning::ClickExpired),
            // It is not among the clicks that are looked for.
            Err(_) => Attempt::Failed(Warning::UnknownTrackingId),
        },
    }
}

/// An input has resolved: its program has to be the one asked for, and a customer known there goes before it.
fn decide(input: Input, found: Found, facts: &Facts, passed_over: Vec<PassedOver>) -> Attribution {
    let program = found.candidate.program;
    let named = facts.named_program.is_none_or(|named| named == program);
    if !named || !facts.in_group(program) {
        return Attribution::Rejected(Rejection::ProgramMismatch, passed_over);
    }
    let known = match &facts.customers {
        Given::Found(customers) => customers.iter().find(|customer| customer.program == program),
        Given::Absent | Given::Unknown => None,
    };
    if let Some(candidate) = known {
        return Attribution::Resolved(Resolved {
            input: Input::CustomerId,
            named_by: (input != Input::CustomerId).then_some(input),
            candidate: *candidate,
            click_id: None,
            clicked_at: None,
            review: false,
            window_days: None,
            known_customer: true,
            passed_over,
        });
    }
    Attribution::Resolved(Resolved {
        input,
        named_by: None,
        candidate: found.candidate,
        click_id: found.click.map(|click| click.click_id),
        clicked_at: found.click.map(|click| click.clicked_at),
        review: found.click.is_some_and(|click| click.review),
        window_days: found.click.filter(|click| !click.any_age).map(|click| click.cookie_time_days),
        known_customer: false,
        passed_over,
    })
}

impl Facts {
    fn in_group(&self, program: ProgramId) -> bool {
        self.group.as_ref().is_none_or(|programs| programs.contains(&program))
    }
}

impl CouponFact {
    fn is_valid(&self, at: Timestamp) -> bool {
        self.starts_at.is_none_or(|start| start <= at) && self.ends_at.is_none_or(|end| at < end)
    }
}

impl ClickFact {
    /// Whether a conversion at `at` may be attributed to this click.
    fn check(&self, at: Timestamp) -> Result<(), Warning> {
        let at =
            if at < self.clicked_at && self.clicked_at <= at + TOLERANCE_MS { self.clicked_at } else { at };
        if !self.any_age && at > self.clicked_at.plus_days(self.cookie_time_days.into()) {
            return Err(Warning::ClickExpired);
        }
        if !self.attributable {
            return Err(Warning::ClickInvalidTraffic);
        }
        if at < self.clicked_at {
            return Err(Warning::ConversionBeforeClick);
        }
        Ok(())
    }
}

/// Whether the affiliate may earn (MONEY 2, end): approved in the program and suspended nowhere, both as it stood
/// when the conversion happened. `None`: nothing had been said by then; for `in_program` that is never enrolled.
///
/// # Errors
/// [`Rejection::AffiliateNotApproved`], [`Rejection::AffiliateSuspended`].
pub fn admit(in_program: Option<Standing>, everywhere: Option<Standing>) -> Result<(), Rejection> {
    match in_program {
        Some(Standing::Approved) if everywhere == Some(Standing::Suspended) => {
            Err(Rejection::AffiliateSuspended)
        }
        Some(Standing::Approved) => Ok(()),
        Some(Standing::Suspended) => Err(Rejection::AffiliateSuspended),
        Some(Standing::Pending | Standing::Disapproved) | None => Err(Rejection::AffiliateNotApproved),
    }
}

/// Whether a conversion may claim to have happened at `occurred_at` (MONEY 2, end); the limits are included.
///
/// # Errors
/// [`Rejection::OccurredInFuture`], [`Rejection::OccurredTooLongAgo`].
pub fn check_occurred_at(
    occurred_at: Timestamp,
    received_at: Timestamp,
    max_age_days: u32,
    may_import: bool,
) -> Result<(), Rejection> {
    if occurred_at > received_at + TOLERANCE_MS {
        return Err(Rejection::OccurredInFuture);
    }
    if !may_import && received_at > occurred_at.plus_days(max_age_days.into()) {
        return Err(Rejection::OccurredTooLongAgo);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
