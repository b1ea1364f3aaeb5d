//! How a line came about, in sentences and in figures (MONEY 12). Everything in them was stored when it happened.

use serde::{Deserialize, Serialize};

use super::{
    amount::Currency,
    attribution::Resolved,
    pricing::Pricing,
    program::RefundPolicy,
    reason::{LineStatus, Warning},
    time::Timestamp,
};

/// All that is stored about a line.
#[derive(Clone, Debug)]
pub struct Story {
    /// The names by which the account knows them.
    pub program: String,
    pub affiliate: String,
    /// When the conversion happened.
    pub occurred_at: Timestamp,
    /// None for a line without a conversion.
    pub attribution: Option<Resolved>,
    /// The conversion's warnings that no input caused, such as `amount_rounded`.
    pub warnings: Vec<Warning>,
    /// The line's place in its conversion, from 1.
    pub number: i32,
    /// The original sub amounts of all lines of the conversion, in their order; this line's is among them.
    pub sub_amounts: Vec<i64>,
    pub pricing: Pricing,
    /// As in force when the conversion happened.
    pub refund_policy: RefundPolicy,
    /// The line's currency.
    pub currency: Currency,
    /// Minor units, now.
    pub amount: i64,
    pub status: LineStatus,
    /// The code of the rule that stopped the line.
    pub reason: Option<String>,
    pub created_at: Timestamp,
    /// The status in which it was made: the first change's `status_before`, or what it is now.
    pub started_as: LineStatus,
    /// In order.
    pub changes: Vec<Change>,
    pub payout_delay_days: u32,
    pub approved_at: Option<Timestamp>,
    pub final_at: Option<Timestamp>,
}

/// Something that happened to the line later.
#[derive(Clone, Debug)]
pub struct Change {
    pub at: Timestamp,
    pub amount_before: i64,
    pub amount_after: i64,
    pub status_before: LineStatus,
    pub status_after: LineStatus,
    /// The refund that caused it.
    pub refund: Option<RefundFact>,
}

/// A refund as far as the explanation needs it.
#[derive(Clone, Debug)]
pub struct RefundFact {
    /// Minor units of the conversion's currency.
    pub amount: i64,
    /// The same for all refunds of the conversion up to this one, this one included.
    pub refunded_in_all: i64,
    /// Its own external id.
    pub external_id: Option<String>,
    pub reason: Option<String>,
}

/// What a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// An input that did not resolve.
    PassedOver,
    /// The input that decided.
    Attribution,
    /// The attribution window.
    Window,
    /// The rule and its version.
    Rule,
    /// The multiplication and the rounding.
    Calculation,
    /// A value was changed on the way in.
    Warning,
    /// The status in which it started.
    Review,
    /// A refund that changed it or left it.
    Refund,
    /// A change of status or amount.
    Change,
    /// What it is worth now and from when it may be withdrawn.
    Result,
}

/// One step of the explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub step: StepKind,
    /// A sentence in plain English.
    pub text: String,
    /// The same in figures.
    pub data: serde_json::Value,
}

/// Tells the story in order.
pub fn explain(story: &Story) -> Vec<Step> {
    todo!()
}
