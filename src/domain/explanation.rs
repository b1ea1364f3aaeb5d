//! How a line came about, in sentences and in figures (MONEY 12). Everything in them was stored when it happened.

mod bonus;
mod changes;
mod price;
mod words;

use serde::{Deserialize, Serialize};
use serde_json::json;

use self::words::{capital, cause, count_days, duration, money, noun, stopped};
use super::{
    amount::Currency,
    attribution::{PassedOver, Resolved},
    bonuses::BonusPricing,
    ids::Prefix,
    pricing::Pricing,
    program::RefundPolicy,
    rates::StoredRate,
    reason::{Input, LineKind, LineStatus, Stop, Warning},
    time::Timestamp,
};

/// All that is stored about a line.
#[derive(Clone, Debug)]
pub struct Story {
    pub kind: LineKind,
    /// The names by which the account knows them.
    pub program: String,
    /// Who earns the line.
    pub affiliate: String,
    /// Whose conversion it is; the same but for a level.
    pub referrer: String,
    /// When the conversion happened.
    pub occurred_at: Timestamp,
    /// None for a line without a conversion.
    pub attribution: Option<Resolved>,
    /// The conversion's warnings that no input caused, such as `amount_rounded`.
    pub warnings: Vec<Warning>,
    /// Of the conversion's currency to the program's; none where they are the same.
    pub rate: Option<StoredRate>,
    /// The line's place in its conversion, from 1.
    pub number: i32,
    /// How many lines the conversion has.
    pub lines: usize,
    /// As it was priced when it was made; none for a line that follows from no price.
    pub pricing: Option<Pricing>,
    /// What had been refunded of the conversion before the line was made, where something was.
    pub refunded_before: Option<i64>,
    /// The identifier and the figures of a bonus.
    pub bonus: Option<(String, BonusPricing)>,
    /// As in force when the conversion happened, as far as was known when the line was made.
    pub refund_policy: RefundPolicy,
    /// The line's currency.
    pub currency: Currency,
    /// Minor units when it was made, and now.
    pub made_amount: i64,
    /// Its part of what was left of the conversion when it was made, in minor units of that currency.
    pub made_sub_amount: Option<i64>,
    pub amount: i64,
    pub status: LineStatus,
    /// The code of the rule that stopped the line when it was made.
    pub made_reason: Option<String>,
    pub comment: Option<String>,
    pub created_at: Timestamp,
    /// The status in which it was made: the first change's `status_before`, or what it is now.
    pub started_as: LineStatus,
    /// In order.
    pub changes: Vec<Change>,
    pub payout_delay_days: u32,
    pub approved_at: Option<Timestamp>,
    pub final_at: Option<Timestamp>,
    /// Payments have covered it.
    pub paid: bool,
}

/// Something that happened to the line later.
#[derive(Clone, Debug)]
pub struct Change {
    pub at: Timestamp,
    pub what: ChangeKind,
    pub amount_before: i64,
    pub amount_after: i64,
    pub status_before: LineStatus,
    pub status_after: LineStatus,
    /// The codes of the rules that stopped it.
    pub reason_before: Option<String>,
    pub reason_after: Option<String>,
    /// Its part of what is left of the conversion, in minor units of that currency.
    pub sub_amount_before: Option<i64>,
    pub sub_amount_after: Option<i64>,
    /// What was left of the conversion.
    pub left_after: Option<i64>,
    /// The refund that caused it.
    pub refund: Option<RefundFact>,
    /// As in force when the conversion happened, as far as was known at the change: versions may be backdated.
    pub refund_policy: RefundPolicy,
    /// The price from then on, where it was worked out anew.
    pub pricing: Option<Pricing>,
    pub comment: Option<String>,
}

impl Change {
    /// A recalculation came to no such line any more.
    fn ends_the_line(&self) -> bool {
        let ended = Some(Stop::Recalculated.as_str());
        self.reason_after.as_deref() == ended && self.reason_before.as_deref() != ended
    }
}

/// What changed a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Approved, disapproved, reopened.
    Review,
    Refunded,
    /// Its amount was set by hand.
    Edited,
    /// The amount of its conversion became another.
    ConversionEdited,
    Recalculated,
}

impl ChangeKind {
    /// Reads the word of a stored change.
    pub fn parse(text: &str) -> Self {
        match text {
            "refunded" => Self::Refunded,
            "edited" => Self::Edited,
            "conversion_edited" => Self::ConversionEdited,
            "recalculated" => Self::Recalculated,
            _ => Self::Review,
        }
    }
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
    /// The exchange rate, with the rows of the table that it comes from.
    Rate,
    /// Why somebody else earns of it: an upline.
    Level,
    /// The rule, its version, and why it was the most specific.
    Rule,
    /// The measure of a tiered price, and the bracket.
    Measure,
    /// Recurrence and caps, as they stood before.
    Limits,
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
    /// Payments have covered it.
    Paid,
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

/// Tells the story in order: whose it is, by which rule, the figures, and what happened to it since.
pub fn explain(story: &Story) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(resolved) = &story.attribution {
        steps.extend(resolved.passed_over.iter().map(passed_over));
        steps.push(attribution(story, resolved));
        steps.push(window(story, resolved));
    }
    steps.extend(story.warnings.iter().map(|warning| warned(story, *warning)));
    match (&story.pricing, &story.bonus) {
        (Some(pricing), _) => {
            steps.extend(price::steps(story, pricing));
            let refunded = story.refunded_before.filter(|_| story.refund_policy == RefundPolicy::Reverse);
            steps.extend(refunded.map(|refunded| changes::refunded_before(story, pricing, refunded)));
        }
        (None, Some((_, pricing))) => steps.extend(bonus::steps(story, pricing)),
        (None, None) => steps.push(by_hand(story)),
    }
    steps.push(review(story));
    steps.extend(changes::steps(story));
    steps.push(result(story));
    if story.paid {
        steps.push(paid(story));
    }
    steps
}

/// A line that somebody made.
fn by_hand(story: &Story) -> Step {
    let worth = money(story.currency, story.made_amount);
    let comment = story.comment.as_ref().map_or_else(String::new, |comment| format!(": {comment}"));
    Step {
        step: StepKind::Calculation,
        text: format!("Somebody made this adjustment of {worth} for affiliate {}{comment}.", story.affiliate),
        data: json!({
            "amount": story.currency.format(story.made_amount), "currency": story.currency,
            "comment": story.comment,
        }),
    }
}

fn passed_over(passed: &PassedOver) -> Step {
    let PassedOver { input, warning } = *passed;
    Step {
        step: StepKind::PassedOver,
        text: format!("{} was passed over: {}.", capital(noun(input)), cause(warning)),
        data: json!({ "input": input, "warning": warning }),
    }
}

fn attribution(story: &Story, resolved: &Resolved) -> Step {
    let Story { program, referrer: affiliate, .. } = story;
    let click = resolved.click_id.map(|id| Prefix::Click.format(id));
    let click_text = click.as_ref().map_or_else(String::new, |id| format!(" {id}"));
    let text = match (resolved.input, resolved.named_by) {
        (Input::CustomerId, None) => {
            format!("The customer is known in program {program} and belongs to affiliate {affiliate}.")
        }
        (Input::CustomerId, Some(named_by)) => format!(
            "{} named program {program}. The customer is known there and belongs to affiliate {affiliate}, which \
             goes first.",
            capital(noun(named_by))
        ),
        (Input::Coupon, _) => format!("The coupon belongs to affiliate {affiliate} in program {program}."),
        (Input::ReferralCode, _) => {
            format!("The referral code is that of a link of affiliate {affiliate} in program {program}.")
        }
        (Input::Click, _) => {
            format!("The click{click_text} followed a link of affiliate {affiliate} in program {program}.")
        }
        (Input::AssetSource, _) => {
            format!("The asset and source are those of a link of affiliate {affiliate} in program {program}.")
        }
        (Input::TrackingId, _) => format!(
            "The latest click with the tracking id,{click_text}, followed a link of affiliate {affiliate} in \
             program {program}."
        ),
    };
    Step {
        step: StepKind::Attribution,
        text,
        data: json!({
            "input": resolved.input, "named_by": resolved.named_by, "known_customer": resolved.known_customer,
            "program": program, "affiliate": affiliate, "click_id": click,
        }),
    }
}

fn window(story: &Story, resolved: &Resolved) -> Step {
    let occurred = story.occurred_at;
    let text = match (resolved.clicked_at, resolved.window_days) {
        (Some(clicked), days) => {
            let distance = if occurred < clicked {
                format!(
                    "The conversion happened {} before the click; up to 5 minutes count as at its time",
                    duration(clicked.0 - occurred.0)
                )
            } else {
                format!("The conversion happened {} after the click", duration(occurred.0 - clicked.0))
            };
            match days {
                Some(days) => format!("{distance}, within the window of {}.", count_days(days)),
                None => format!("{distance}; the program accepts a click of any age."),
            }
        }
        (None, _) if resolved.input == Input::Coupon => {
            format!("The coupon was valid at {occurred}, when the conversion happened.")
        }
        (None, _) => format!("No attribution window applies to {}.", noun(resolved.input)),
    };
    Step {
        step: StepKind::Window,
        text,
        data: json!({
            "clicked_at": resolved.clicked_at.map(|at| at.to_string()), "occurred_at": occurred.to_string(),
            "window_days": resolved.window_days,
        }),
    }
}

fn warned(story: &Story, warning: Warning) -> Step {
    let text = match (warning, &story.pricing) {
        (Warning::AmountRounded, Some(pricing)) => format!(
            "An amount was sent with more digits after the point than the {} of {}; it was rounded, a half to the \
             even neighbour.",
            pricing.conversion_currency.exponent(),
            pricing.conversion_currency
        ),
        (other, _) => format!("{}.", capital(cause(other))),
    };
    Step { step: StepKind::Warning, text, data: json!({ "warning": warning }) }
}

fn review(story: &Story) -> Step {
    let for_review = story.attribution.as_ref().is_some_and(|resolved| resolved.review);
    let text = match (story.started_as, &story.made_reason) {
        (LineStatus::Approved, _) if story.kind == LineKind::Adjustment => {
            "Adjustments start approved and are final at once.".into()
        }
        (LineStatus::Approved, _) => {
            "The program approves commissions by itself: it started approved.".into()
        }
        (LineStatus::Pending, _) if for_review => {
            "Its click sends conversions to review: it started pending.".into()
        }
        (LineStatus::Pending, _) => {
            "The program does not approve commissions by itself: it started pending.".into()
        }
        (LineStatus::Disapproved, Some(reason)) => {
            format!("{} ({reason}): it started disapproved.", stopped(reason))
        }
        (LineStatus::Disapproved, None) => "It started disapproved.".to_owned(),
    };
    Step {
        step: StepKind::Review,
        text,
        data: json!({
            "at": story.created_at.to_string(), "status": story.started_as, "review": for_review,
            "reason": story.made_reason,
        }),
    }
}

fn result(story: &Story) -> Step {
    let worth = money(story.currency, story.amount);
    let text = match (story.status, story.approved_at, story.final_at) {
        (LineStatus::Pending, _, _) => format!("It is worth {worth} and waits for approval."),
        (LineStatus::Disapproved, _, _) => "It is disapproved and counts nothing.".to_owned(),
        (LineStatus::Approved, _, Some(final_at)) if story.kind == LineKind::Adjustment => {
            format!("It is worth {worth} and may be withdrawn from {final_at} on.")
        }
        (LineStatus::Approved, Some(approved), Some(final_at)) => format!(
            "It is worth {worth}, approved at {approved}. It may be withdrawn from {final_at} on, the later of its \
             approval and {} after the {}.",
            count_days(story.payout_delay_days),
            if story.kind == LineKind::Bonus { "award" } else { "conversion" }
        ),
        (LineStatus::Approved, _, _) => format!("It is worth {worth} and approved."),
    };
    Step {
        step: StepKind::Result,
        text,
        data: json!({
            "amount": story.currency.format(story.amount), "currency": story.currency, "status": story.status,
            "approved_at": story.approved_at.map(|at| at.to_string()),
            "payout_delay_days": story.payout_delay_days,
            "final_at": story.final_at.map(|at| at.to_string()),
        }),
    }
}

fn paid(story: &Story) -> Step {
    Step {
        step: StepKind::Paid,
        text: "Payments have covered it.".to_owned(),
        data: json!({ "amount": story.currency.format(story.amount), "currency": story.currency }),
    }
}

#[cfg(test)]
mod tests;
