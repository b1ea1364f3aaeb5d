//! How a line came about, in sentences and in figures (MONEY 12). Everything in them was stored when it happened.

mod changes;
mod words;

use serde::{Deserialize, Serialize};
use serde_json::json;

use self::changes::{changed, refunded};
use self::words::{capital, cause, count_days, duration, money, noun, rounding};
use super::{
    amount::Currency,
    attribution::{PassedOver, Resolved},
    ids::Prefix,
    pricing::{Pricing, exact_amount},
    program::{Price, RefundPolicy},
    reason::{Input, LineStatus, Warning},
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

/// Tells the story in order: whose it is, by which rule, the figures, and what happened to it since.
pub fn explain(story: &Story) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(resolved) = &story.attribution {
        steps.extend(resolved.passed_over.iter().map(passed_over));
        steps.push(attribution(story, resolved));
        steps.push(window(story, resolved));
    }
    steps.extend(story.warnings.iter().map(|warning| warned(story, *warning)));
    steps.push(rule(story));
    steps.push(calculation(story));
    steps.push(review(story));
    for change in &story.changes {
        match &change.refund {
            Some(refund) => steps.push(refunded(story, change, refund)),
            None => steps.extend(changed(story, change)),
        }
    }
    steps.push(result(story));
    steps
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
    let Story { program, affiliate, .. } = story;
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
    let currency = story.pricing.conversion_currency;
    let text = match warning {
        Warning::AmountRounded => format!(
            "An amount was sent with more digits after the point than the {} of {currency}; it was rounded, a half \
             to the even neighbour.",
            currency.exponent()
        ),
        other => format!("{}.", capital(cause(other))),
    };
    Step { step: StepKind::Warning, text, data: json!({ "warning": warning }) }
}

fn rule(story: &Story) -> Step {
    let Pricing { price, program_version, commission_type, .. } = &story.pricing;
    let (value, data) = match price {
        Price::Fixed { value } => {
            let value = story.currency.format(*value);
            (format!("a fixed {value} {}", story.currency), json!({ "form": "fixed", "value": value }))
        }
        Price::Percentage { value } => {
            (format!("{value} % of the amount"), json!({ "form": "percentage", "value": value.to_string() }))
        }
    };
    let mut data = data;
    data["commission_type"] = json!(commission_type);
    data["program_version"] = json!(program_version);
    Step {
        step: StepKind::Rule,
        text: format!(
            "Version {program_version} of program {} was in force. Its commission type {commission_type} pays {value}.",
            story.program
        ),
        data,
    }
}

fn calculation(story: &Story) -> Step {
    let pricing = &story.pricing;
    let exact =
        pricing.exact.parse().unwrap_or_else(|_| exact_amount(&pricing.price, pricing.original_sub_amount));
    let sub_amount = pricing.conversion_currency.format(pricing.original_sub_amount);
    let worth = match &pricing.price {
        Price::Fixed { .. } => format!(
            "The commission is {}, whatever the amount.",
            money(story.currency, pricing.priced_amount)
        ),
        Price::Percentage { value } => format!(
            "{value} % of {sub_amount} {} is {}.",
            pricing.conversion_currency,
            rounding(story.currency, &exact)
        ),
    };
    let place = match story.sub_amounts.len() {
        0 | 1 => String::new(),
        lines => format!(
            "This is line {} of {lines}, for {sub_amount} {}. ",
            story.number, pricing.conversion_currency
        ),
    };
    Step {
        step: StepKind::Calculation,
        text: format!("{place}{worth}"),
        data: json!({
            "line": story.number,
            "conversion_amount": pricing.conversion_currency.format(pricing.conversion_amount),
            "sub_amount": sub_amount, "conversion_currency": pricing.conversion_currency,
            "exact_minor_units": pricing.exact, "amount": story.currency.format(pricing.priced_amount),
            "currency": story.currency,
        }),
    }
}

fn review(story: &Story) -> Step {
    let for_review = story.attribution.as_ref().is_some_and(|resolved| resolved.review);
    let text = match (story.started_as, &story.reason) {
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
            format!("A rule stopped it ({reason}): it started disapproved.")
        }
        (LineStatus::Disapproved, None) => "It started disapproved.".to_owned(),
    };
    Step {
        step: StepKind::Review,
        text,
        data: json!({
            "at": story.created_at.to_string(), "status": story.started_as, "review": for_review,
            "reason": story.reason,
        }),
    }
}

fn result(story: &Story) -> Step {
    let worth = money(story.currency, story.amount);
    let text = match (story.status, story.approved_at, story.final_at) {
        (LineStatus::Pending, _, _) => format!("It is worth {worth} and waits for approval."),
        (LineStatus::Disapproved, _, _) => "It is disapproved and counts nothing.".to_owned(),
        (LineStatus::Approved, Some(approved), Some(final_at)) => format!(
            "It is worth {worth}, approved at {approved}. It may be withdrawn from {final_at} on, the later of its \
             approval and {} after the conversion.",
            count_days(story.payout_delay_days)
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

#[cfg(test)]
mod tests;
