//! What happened to a line after it was made: refunds, with the figures to work them out by hand, and review.

use serde_json::json;

use super::{
    Change, RefundFact, Step, StepKind, Story,
    words::{money, rounding},
};
use crate::domain::{
    pricing::to_minor,
    program::{Price, RefundPolicy},
    reason::LineStatus,
    refunds::{exact_after, sub_amounts_left},
};

/// A refund, what is left, and what that makes of the line.
pub(super) fn refunded(story: &Story, change: &Change, refund: &RefundFact) -> Step {
    let pricing = &story.pricing;
    let (amount, paid_in) = (pricing.conversion_amount, pricing.conversion_currency);
    let left = amount - refund.refunded_in_all;
    let mut note = String::new();
    for (name, value) in [("id", &refund.external_id), ("reason", &refund.reason)] {
        if let Some(value) = value {
            note.push_str(&format!(", {name} {value}"));
        }
    }
    let head = if amount == 0 {
        format!("At {} the conversion was refunded whole{note}.", change.at)
    } else {
        format!(
            "At {} {} of {} were refunded{note}; {} are left.",
            change.at,
            money(paid_in, refund.amount),
            money(paid_in, amount),
            money(paid_in, left)
        )
    };
    let (why, sub_amount) = match story.refund_policy {
        RefundPolicy::Keep => (" The program keeps commissions when a sale is refunded.".to_owned(), None),
        RefundPolicy::Reverse => {
            let sub_amount = sub_amount_left(story, refund);
            (repriced(story, change, refund, sub_amount), Some(sub_amount))
        }
    };
    let effect = if change.amount_before == change.amount_after {
        format!("The commission stays {}.", money(story.currency, change.amount_after))
    } else {
        format!(
            "The commission goes from {} to {}.",
            money(story.currency, change.amount_before),
            money(story.currency, change.amount_after)
        )
    };
    Step {
        step: StepKind::Refund,
        text: format!("{head}{why} {effect}"),
        data: json!({
            "at": change.at.to_string(), "refunded": paid_in.format(refund.amount),
            "refunded_in_all": paid_in.format(refund.refunded_in_all), "left": paid_in.format(left),
            "external_id": refund.external_id, "reason": refund.reason, "policy": story.refund_policy,
            "sub_amount": sub_amount.map(|minor| paid_in.format(minor)),
            "conversion_currency": paid_in, "amount_before": story.currency.format(change.amount_before),
            "amount_after": story.currency.format(change.amount_after), "currency": story.currency,
        }),
    }
}

/// This line's part of what is left after a refund.
fn sub_amount_left(story: &Story, refund: &RefundFact) -> i64 {
    let left = sub_amounts_left(story.pricing.conversion_amount, refund.refunded_in_all, &story.sub_amounts);
    let place = usize::try_from(story.number - 1).ok();
    place.and_then(|place| left.get(place).copied()).unwrap_or_default()
}

/// The price after a refund, as it can be worked out by hand.
fn repriced(story: &Story, change: &Change, refund: &RefundFact, sub_amount: i64) -> String {
    let pricing = &story.pricing;
    let (amount, paid_in) = (pricing.conversion_amount, pricing.conversion_currency);
    if amount == refund.refunded_in_all {
        return " Nothing is left to pay a commission for.".to_owned();
    }
    let exact = exact_after(&pricing.price, sub_amount, amount, refund.refunded_in_all);
    let product = match &pricing.price {
        Price::Fixed { value } => format!(
            "{} times {} / {}",
            money(story.currency, *value),
            paid_in.format(amount - refund.refunded_in_all),
            paid_in.format(amount)
        ),
        Price::Percentage { value } => format!("{value} % of {}", money(paid_in, sub_amount)),
    };
    let part = match story.sub_amounts.len() {
        0 | 1 => String::new(),
        _ => format!(" This line's part of that is {}.", money(paid_in, sub_amount)),
    };
    let bound = match to_minor(&exact) > change.amount_before {
        true => " A refund never raises a commission.",
        false => "",
    };
    format!("{part} {product} is {}.{bound}", rounding(story.currency, &exact))
}

/// A change that no refund caused; none where nothing changed.
pub(super) fn changed(story: &Story, change: &Change) -> Option<Step> {
    let mut said = Vec::new();
    if change.amount_before != change.amount_after {
        said.push(format!(
            "its amount was changed from {} to {}",
            money(story.currency, change.amount_before),
            money(story.currency, change.amount_after)
        ));
    }
    match (change.status_before, change.status_after) {
        (before, after) if before == after => {}
        (LineStatus::Disapproved, LineStatus::Approved) => said.push("it was reopened and approved".into()),
        (LineStatus::Disapproved, _) => said.push("it was reopened".into()),
        (_, LineStatus::Approved) => said.push("it was approved".into()),
        (_, LineStatus::Disapproved) => said.push("it was disapproved".into()),
        (_, LineStatus::Pending) => said.push("its approval was taken back".into()),
    }
    (!said.is_empty()).then(|| Step {
        step: StepKind::Change,
        text: format!("At {} {}.", change.at, said.join(" and ")),
        data: json!({
            "at": change.at.to_string(), "amount_before": story.currency.format(change.amount_before),
            "amount_after": story.currency.format(change.amount_after), "currency": story.currency,
            "status_before": change.status_before, "status_after": change.status_after,
        }),
    })
}
