//! What happened to a line after it was made: refunds, with the figures to work them out by hand, corrections, review.

use serde_json::json;

use super::{
    Change, ChangeKind, RefundFact, Step, StepKind, Story,
    price::{self, worth},
    words::{money, rounding},
};
use crate::domain::{
    price::FlatPrice,
    pricing::{Pricing, to_minor, whole},
    program::RefundPolicy,
    rates::Fraction,
    reason::LineStatus,
    refunds::{SetLine, exact_after, worth as worth_after},
    time::Timestamp,
};

/// What a line's amount follows from at a time.
struct Basis {
    pricing: Option<Pricing>,
    set: Option<SetLine>,
    /// A recalculation came to no such line.
    ended: bool,
}

pub(super) fn steps(story: &Story) -> Vec<Step> {
    let mut basis = Basis { pricing: story.pricing.clone(), set: None, ended: false };
    let mut refunded_before = story.refunded_before.is_some();
    let mut steps = Vec::new();
    for change in &story.changes {
        if let Some(pricing) = &change.pricing {
            basis = Basis { pricing: Some(pricing.clone()), set: None, ended: false };
        }
        basis.ended |= change.ends_the_line();
        match (change.what, &change.refund) {
            (ChangeKind::Refunded, Some(refund)) => steps.push(refunded(story, change, refund, &basis)),
            // One that also changed the status goes by the name of the status.
            (kind, _)
                if kind == ChangeKind::Recalculated || change.pricing.is_some() || change.ends_the_line() =>
            {
                steps.extend(recalculated(story, change, refunded_before));
            }
            (ChangeKind::ConversionEdited, _) => steps.push(conversion_edited(story, change)),
            (
                ChangeKind::Recalculated | ChangeKind::Review | ChangeKind::Refunded | ChangeKind::Edited,
                _,
            ) => {
                steps.extend(changed(story, change));
            }
        }
        if matches!(change.what, ChangeKind::Edited | ChangeKind::ConversionEdited)
            && let Some(left) = change.left_after
        {
            basis.set = Some(SetLine { amount: change.amount_after, left });
        }
        refunded_before |= change.refund.is_some();
    }
    steps
}

/// A refund, what is left, and what that makes of the line.
fn refunded(story: &Story, change: &Change, refund: &RefundFact, basis: &Basis) -> Step {
    let paid_in = basis.pricing.as_ref().map_or(story.currency, |pricing| pricing.conversion_currency);
    let left = change.left_after.unwrap_or_default();
    let amount = left + refund.refunded_in_all;
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
    let exact = match (change.refund_policy, &basis.pricing, change.sub_amount_after) {
        (RefundPolicy::Reverse, Some(pricing), Some(sub_amount)) if left != 0 => {
            let exact = exact_after(pricing, basis.set, sub_amount, left);
            Some(Fraction(if basis.ended { whole(0) } else { exact }))
        }
        _ => None,
    };
    let (why, sub_amount) = match change.refund_policy {
        RefundPolicy::Keep => (" The program keeps commissions when a sale is refunded.".to_owned(), None),
        RefundPolicy::Reverse => {
            let sub_amount = change.sub_amount_after.unwrap_or_default();
            (repriced(story, basis, sub_amount, left, change.amount_before), Some(sub_amount))
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
            "external_id": refund.external_id, "reason": refund.reason, "policy": change.refund_policy,
            "sub_amount": sub_amount.map(|minor| paid_in.format(minor)),
            "conversion_currency": paid_in, "exact_minor_units": exact,
            "amount_before": story.currency.format(change.amount_before),
            "amount_after": story.currency.format(change.amount_after), "currency": story.currency,
        }),
    }
}

/// A line that came with a recalculation does not get what had been refunded by then.
pub(super) fn refunded_before(story: &Story, pricing: &Pricing, refunded: i64) -> Step {
    let sub_amount = story.made_sub_amount.unwrap_or_default();
    let made = format!("It was made at {} by a recalculation. ", story.created_at);
    let left = pricing.conversion_amount - refunded;
    taken_off(story, &made, story.created_at, pricing, (left, sub_amount), story.made_amount)
}

/// The price after a refund, which is never above `most`, as it can be worked out by hand.
fn repriced(story: &Story, basis: &Basis, sub_amount: i64, left: i64, most: i64) -> String {
    if left == 0 {
        return " Nothing is left to pay a commission for.".to_owned();
    }
    if basis.ended {
        return " There is no such line since the conversion was recalculated.".to_owned();
    }
    let Some(pricing) = &basis.pricing else { return String::new() };
    let paid_in = pricing.conversion_currency;
    let exact = exact_after(pricing, basis.set, sub_amount, left);
    let product = match (basis.set, pricing.flat()) {
        (Some(set), _) => format!(
            "{} times {} / {} is {}.",
            money(story.currency, set.amount),
            paid_in.format(left),
            paid_in.format(set.left),
            rounding(story.currency, &exact)
        ),
        (None, Some(FlatPrice::Fixed { value })) => format!(
            "{} times {} / {} is {}.",
            money(story.currency, value),
            paid_in.format(left),
            paid_in.format(pricing.conversion_amount),
            rounding(story.currency, &exact)
        ),
        (None, Some(FlatPrice::Percentage { .. }) | None) => {
            worth(story, pricing, sub_amount, &Fraction(exact.clone()))
        }
    };
    let part = match story.lines {
        0 | 1 => String::new(),
        _ => format!(" This line's part of that is {}.", money(paid_in, sub_amount)),
    };
    let amount = to_minor(&exact);
    let rest = pricing.rest.filter(|rest| basis.set.is_none() && amount > *rest);
    let bound = match rest {
        Some(rest) => format!(" The caps had left {} for it.", money(story.currency, rest)),
        None if amount > most => " A refund never raises a commission.".to_owned(),
        None => String::new(),
    };
    format!("{part} {product}{bound}")
}

/// The conversion got another amount and the line stays.
fn conversion_edited(story: &Story, change: &Change) -> Step {
    let paid_in = story.pricing.as_ref().map_or(story.currency, |pricing| pricing.conversion_currency);
    let left = change.left_after.unwrap_or_default();
    Step {
        step: StepKind::Change,
        text: format!(
            "At {} the amount of the conversion was changed; {} of it are left. The commission stays {}; a refund \
             takes its part of that from now on.",
            change.at,
            money(paid_in, left),
            money(story.currency, change.amount_after)
        ),
        data: json!({
            "at": change.at.to_string(), "left": paid_in.format(left), "conversion_currency": paid_in,
            "amount": story.currency.format(change.amount_after), "currency": story.currency,
        }),
    }
}

/// The line was priced anew: what came of it, the steps of its price again, and what refunds take off that.
fn recalculated(story: &Story, change: &Change, refunded_before: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut said = vec![match change.amount_before == change.amount_after {
        true => format!("it stays {}", money(story.currency, change.amount_after)),
        false => format!(
            "it goes from {} to {}",
            money(story.currency, change.amount_before),
            money(story.currency, change.amount_after)
        ),
    }];
    said.extend(review_words(change).map(str::to_owned));
    if change.pricing.is_none() {
        said.push("there is no such line any more".to_owned());
    }
    steps.push(Step {
        step: StepKind::Change,
        text: format!("At {} the conversion was priced anew: {}.", change.at, said.join("; ")),
        data: figures(story, change),
    });
    if let Some(pricing) = &change.pricing {
        steps.extend(price::steps(story, pricing));
        if change.refund_policy == RefundPolicy::Reverse {
            steps.extend(refunds_taken_off(story, change, pricing, refunded_before));
        }
    }
    steps
}

/// What had been refunded by then comes off a new price. A conversion of amount 0 was refunded whole where there was a
/// refund.
fn refunds_taken_off(
    story: &Story,
    change: &Change,
    pricing: &Pricing,
    refunded_before: bool,
) -> Option<Step> {
    let (left, sub_amount) = (change.left_after?, change.sub_amount_after?);
    let amount = pricing.conversion_amount;
    if amount == left && (amount != 0 || !refunded_before) {
        return None;
    }
    Some(taken_off(story, "", change.at, pricing, (left, sub_amount), change.amount_after))
}

/// A price that a recalculation worked out is that of the whole conversion: what of it is for `left`, of which
/// `sub_amount` is the line's.
fn taken_off(
    story: &Story,
    made: &str,
    at: Timestamp,
    pricing: &Pricing,
    (left, sub_amount): (i64, i64),
    amount_after: i64,
) -> Step {
    let paid_in = pricing.conversion_currency;
    let amount = pricing.conversion_amount;
    let refunded = amount - left;
    let head = if amount == 0 {
        "The conversion had been refunded whole by then.".to_owned()
    } else {
        format!(
            "{} of {} had been refunded by then; {} are left.",
            money(paid_in, refunded),
            money(paid_in, amount),
            money(paid_in, left)
        )
    };
    let basis = Basis { pricing: Some(pricing.clone()), set: None, ended: false };
    let why = repriced(story, &basis, sub_amount, left, i64::MAX);
    // A line that a rule stops has a price and is worth nothing.
    let stopped = worth_after(pricing, None, sub_amount, left) > amount_after;
    let stops = if stopped { " A rule stops it." } else { "" };
    let exact = (left != 0).then(|| Fraction(exact_after(pricing, None, sub_amount, left)));
    Step {
        step: StepKind::Refund,
        text: format!("{made}{head}{why}{stops} The commission is {}.", money(story.currency, amount_after)),
        data: json!({
            "at": at.to_string(), "refunded_in_all": paid_in.format(refunded), "left": paid_in.format(left),
            "policy": RefundPolicy::Reverse, "sub_amount": paid_in.format(sub_amount),
            "conversion_currency": paid_in, "exact_minor_units": exact, "stopped": stopped,
            "amount_after": story.currency.format(amount_after), "currency": story.currency,
        }),
    }
}

fn review_words(change: &Change) -> Option<&'static str> {
    match (change.status_before, change.status_after) {
        (before, after) if before == after => None,
        (LineStatus::Disapproved, LineStatus::Approved) => Some("it was reopened and approved"),
        (LineStatus::Disapproved, _) => Some("it was reopened"),
        (_, LineStatus::Approved) => Some("it was approved"),
        (_, LineStatus::Disapproved) => Some("it was disapproved"),
        (_, LineStatus::Pending) => Some("its approval was taken back"),
    }
}

/// A change that no refund caused; none where nothing changed.
fn changed(story: &Story, change: &Change) -> Option<Step> {
    let mut said = Vec::new();
    if change.amount_before != change.amount_after {
        said.push(format!(
            "its amount was changed from {} to {}",
            money(story.currency, change.amount_before),
            money(story.currency, change.amount_after)
        ));
    } else if change.what == ChangeKind::Edited {
        said.push(format!("its amount was set to {}, as it was", money(story.currency, change.amount_after)));
    }
    said.extend(review_words(change).map(str::to_owned));
    let comment = change.comment.as_ref().map_or_else(String::new, |text| format!(" ({text})"));
    (!said.is_empty()).then(|| Step {
        step: StepKind::Change,
        text: format!("At {} {}{comment}.", change.at, said.join(" and ")),
        data: figures(story, change),
    })
}

fn figures(story: &Story, change: &Change) -> serde_json::Value {
    let paid_in = story.pricing.as_ref().map_or(story.currency, |pricing| pricing.conversion_currency);
    // What is left of the conversion matters where a refund takes its part from then on.
    let left = change.left_after.map(|left| paid_in.format(left));
    let sub_amount = change.sub_amount_after.filter(|_| left.is_some()).map(|minor| paid_in.format(minor));
    json!({
        "at": change.at.to_string(), "amount_before": story.currency.format(change.amount_before),
        "amount_after": story.currency.format(change.amount_after), "currency": story.currency,
        "status_before": change.status_before, "status_after": change.status_after,
        "reason": change.reason_after, "left": left, "sub_amount": sub_amount, "conversion_currency": paid_in,
        "comment": change.comment,
    })
}
