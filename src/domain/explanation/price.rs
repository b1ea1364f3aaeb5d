//! The rule of a line and how its amount follows from it, with every figure that it takes to check it by hand.

use num_rational::BigRational;
use serde_json::{Value, json};

use super::{
    Step, StepKind, Story,
    words::{count_days, decimal, money, rounding},
};
use crate::domain::{
    calendar::{Period, Span, date_of},
    lines::{CapBefore, RecurrenceBefore},
    price::{CapMeasure, CapScope, FlatPrice, Price, Recurrence, TierMeasure, TierMode, Tiers},
    pricing::{Pricing, RuleSource, Tier, in_program_currency, whole},
    rates::{Fraction, StoredRate},
};

/// The steps from the rate to the amount.
pub(super) fn steps(story: &Story, pricing: &Pricing) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(rate) = &story.rate {
        steps.push(exchange(pricing, rate));
    }
    if pricing.level > 1 {
        steps.push(level(story, pricing));
    }
    steps.push(rule(story, pricing));
    if let (Price::Tiered(tiers), Some(tier)) = (&pricing.price, &pricing.tier) {
        steps.push(measure(pricing, tiers, tier));
    }
    if let Some(before) = &pricing.limits.recurrence {
        steps.push(recurrence(before));
    }
    steps.extend(pricing.limits.caps.iter().map(|before| cap(pricing, before)));
    steps.push(calculation(story, pricing));
    steps
}

fn exchange(pricing: &Pricing, rate: &StoredRate) -> Step {
    let rows: Vec<Value> = rate
        .rows
        .iter()
        .map(|row| {
            json!({
                "base": row.base, "quote": row.quote, "day": date_of(row.day).to_string(),
                "rate": rate_text(row.rate),
            })
        })
        .collect();
    let told: Vec<String> = rate
        .rows
        .iter()
        .map(|row| {
            let day = date_of(row.day);
            format!("1 {} was {} {} on {day}", row.base, rate_text(row.rate), row.quote)
        })
        .collect();
    let how = match rate.rows.as_slice() {
        [one] if one.base == pricing.conversion_currency => "the rate is that of the table",
        [_] => "the rate is the inverse of that",
        _ => "the rate is the cross over EUR",
    };
    Step {
        step: StepKind::Rate,
        text: format!(
            "The program counts in {}, the conversion in {}. {}; {how}.",
            pricing.program_currency,
            pricing.conversion_currency,
            told.join(", and ")
        ),
        data: json!({
            "from": pricing.conversion_currency, "to": pricing.program_currency,
            "minor_units": rate.factor, "rows": rows,
        }),
    }
}

/// A rate times 10^8 as a decimal number.
fn rate_text(rate: i64) -> String {
    let text = format!("{rate:09}");
    let (whole, part) = text.split_at(text.len() - 8);
    let part = part.trim_end_matches('0');
    if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
}

fn level(story: &Story, pricing: &Pricing) -> Step {
    let Story { affiliate, referrer, .. } = story;
    let up = pricing.level - 1;
    let steps = if up == 1 { "the parent".to_owned() } else { format!("{up} steps above") };
    let text = if up == 1 {
        format!("When it happened, {affiliate} was {steps} of {referrer}: level {}.", pricing.level)
    } else {
        format!("When it happened, {affiliate} was {steps} {referrer}: level {}.", pricing.level)
    };
    Step {
        step: StepKind::Level,
        text,
        data: json!({ "level": pricing.level, "affiliate": affiliate, "of": referrer }),
    }
}

fn rule(story: &Story, pricing: &Pricing) -> Step {
    let Pricing { program_version: version, commission_type, level, .. } = pricing;
    let target = match level {
        1 => format!("commission type {commission_type}"),
        level => format!("level {level}"),
    };
    let pays = pays(pricing);
    let program = &story.program;
    let (source, text) = match pricing.rule {
        RuleSource::CommissionType | RuleSource::Level => {
            let text =
                format!("Version {version} of program {program} was in force. Its {target} pays {pays}.");
            (json!({ "program_version": version }), text)
        }
        RuleSource::AffiliateOverride { version: own, .. } => {
            let text = format!(
                "Version {own} of the override of affiliate {} for {target} goes before program {program}: it pays \
                 {pays}.",
                story.affiliate
            );
            (json!({ "affiliate_override_version": own, "program_version": version }), text)
        }
        RuleSource::GroupOverride { version: own, .. } => {
            let text = format!(
                "Affiliate {} has no override of its own. Version {own} of that of its group for {target} goes \
                 before program {program}: it pays {pays}.",
                story.affiliate
            );
            (json!({ "group_override_version": own, "program_version": version }), text)
        }
    };
    let first = match pricing.first_payment {
        true => " This is the price of a customer's first conversion above 0.",
        false => "",
    };
    let mut data = json!({
        "commission_type": commission_type, "level": level, "program_version": version, "source": source,
        "first_payment": pricing.first_payment,
    });
    let (form, value) = match &pricing.price {
        Price::Fixed { value } => ("fixed", json!(pricing.program_currency.format(*value))),
        Price::Percentage { value } => ("percentage", json!(value.to_string())),
        Price::Tiered(tiers) => ("tiered", brackets(pricing, tiers)),
    };
    data["form"] = json!(form);
    data[if form == "tiered" { "brackets" } else { "value" }] = value;
    Step { step: StepKind::Rule, text: format!("{text}{first}"), data }
}

fn pays(pricing: &Pricing) -> String {
    match &pricing.price {
        Price::Fixed { value } => format!("a fixed {}", money(pricing.program_currency, *value)),
        Price::Percentage { value } => format!("{value} % of the amount"),
        Price::Tiered(tiers) => {
            let mode = match tiers.mode {
                TierMode::Whole => "by the bracket that is reached",
                TierMode::Marginal => "each part of the amount by its bracket",
            };
            let told: Vec<String> = tiers
                .brackets
                .iter()
                .map(|bracket| {
                    let from = reached(pricing, tiers, &whole(bracket.from));
                    format!("{} from {from}", flat(pricing, bracket.price))
                })
                .collect();
            format!("{mode}: {}", told.join(", "))
        }
    }
}

fn flat(pricing: &Pricing, price: FlatPrice) -> String {
    match price {
        FlatPrice::Fixed { value } => money(pricing.program_currency, value),
        FlatPrice::Percentage { value } => format!("{value} %"),
    }
}

fn brackets(pricing: &Pricing, tiers: &Tiers) -> Value {
    let all = tiers.brackets.iter().map(|bracket| {
        json!({
            "from": reached(pricing, tiers, &whole(bracket.from)), "pays": flat(pricing, bracket.price),
        })
    });
    json!(all.collect::<Vec<_>>())
}

/// A measure in the words of its tiers.
fn reached(pricing: &Pricing, tiers: &Tiers, measure: &BigRational) -> String {
    match tiers.measure {
        TierMeasure::Count => measure.to_string(),
        TierMeasure::Revenue => exact_money(pricing, measure),
    }
}

fn exact_money(pricing: &Pricing, exact: &BigRational) -> String {
    format!("{} {}", decimal(pricing.program_currency, exact), pricing.program_currency)
}

fn measure(pricing: &Pricing, tiers: &Tiers, tier: &Tier) -> Step {
    let when = time_of(tiers.period, tier.span);
    let before = &tier.before.0;
    let sub_amount = pricing.original_sub_amount;
    let text = match (tiers.measure, tier.bracket) {
        (TierMeasure::Count, _) => format!(
            "The affiliate had earned {before} commissions of this type {when} before; this is number {}.",
            before + whole(1)
        ),
        (TierMeasure::Revenue, _) => {
            let after = before + in_program_currency(sub_amount, pricing.factor.as_ref());
            format!(
                "The affiliate had brought {} of this type {when} before, and {} with this one.",
                exact_money(pricing, before),
                exact_money(pricing, &after)
            )
        }
    };
    let bracket = match tier.bracket.and_then(|place| tiers.brackets.get(place)) {
        Some(bracket) => format!(
            " That is in the bracket from {}: {}.",
            reached(pricing, tiers, &whole(bracket.from)),
            flat(pricing, bracket.price)
        ),
        None => String::new(),
    };
    Step {
        step: StepKind::Measure,
        text: format!("{text}{bracket}"),
        data: json!({
            "measure": tiers.measure, "period": tiers.period, "from": tier.span.start.to_string(),
            "before": tier.before, "bracket": tier.bracket,
        }),
    }
}

fn time_of(period: Period, span: Span) -> String {
    match period {
        Period::Lifetime => "in all the time".to_owned(),
        Period::Day | Period::Week | Period::Month | Period::Quarter | Period::Year => {
            format!("in the {} that began at {}", period.as_str(), span.start)
        }
    }
}

fn recurrence(before: &RecurrenceBefore) -> Step {
    let often = match before.recurrence {
        Recurrence::Once => "This type pays once for a customer".to_owned(),
        Recurrence::Repeating(times) => format!("This type pays {times} times for a customer"),
        Recurrence::Forever => "This type pays for every conversion of a customer".to_owned(),
    };
    let mut text = format!("{often}; earlier conversions that earned it: {}.", before.earned_before);
    if let Some(days) = before.recurring_period_days {
        text.push_str(&match before.customer.first_at {
            Some(first) => format!(
                " Conversions pay for {} after the customer's first, which was at {first}.",
                count_days(days)
            ),
            None => format!(" Conversions pay for {} after this first one.", count_days(days)),
        });
    }
    if let Some(cap) = before.recurring_cap {
        text.push_str(&format!(
            " The program pays {cap} conversions of a customer; {} have counted.",
            before.customer.counted
        ));
    }
    if before.customer.canceled {
        text.push_str(" The customer was canceled.");
    }
    Step { step: StepKind::Limits, text, data: json!({ "recurrence": before }) }
}

fn cap(pricing: &Pricing, before: &CapBefore) -> Step {
    let CapBefore { cap, span, before: reached } = before;
    let who = match cap.scope {
        CapScope::Affiliate => "The affiliate",
        CapScope::Program => "The program",
    };
    let when = time_of(cap.period, *span);
    let text = match cap.measure {
        CapMeasure::Conversions => format!(
            "{who} may have {} conversions with a commission {when}; there were {reached} before.",
            cap.limit
        ),
        CapMeasure::Amount => format!(
            "{who} may earn {} {when}; it was {} before.",
            money(pricing.program_currency, cap.limit),
            exact_money(pricing, &reached.0)
        ),
    };
    Step {
        step: StepKind::Limits,
        text,
        data: json!({ "cap": cap, "from": span.start.to_string(), "before": reached }),
    }
}

fn calculation(story: &Story, pricing: &Pricing) -> Step {
    let sub_amount = pricing.conversion_currency.format(pricing.original_sub_amount);
    let place = match story.lines {
        0 | 1 => String::new(),
        lines => format!(
            "This is line {} of {lines}, for {sub_amount} {}. ",
            story.number, pricing.conversion_currency
        ),
    };
    let cut = pricing.rest.map_or_else(String::new, |rest| cut(story, pricing, rest));
    Step {
        step: StepKind::Calculation,
        text: format!("{place}{}{cut}", worth(story, pricing, pricing.original_sub_amount, &pricing.exact)),
        data: json!({
            "line": story.number,
            "conversion_amount": pricing.conversion_currency.format(pricing.conversion_amount),
            "sub_amount": sub_amount, "conversion_currency": pricing.conversion_currency,
            "exact_minor_units": pricing.exact, "amount": story.currency.format(pricing.priced_amount),
            "currency": story.currency, "rest": pricing.rest.map(|rest| story.currency.format(rest)),
            "rest_taken": pricing.rest_taken,
        }),
    }
}

/// What the caps left for a line, less what the lines before it in its conversion took of that.
fn cut(story: &Story, pricing: &Pricing, rest: i64) -> String {
    let left = CapBefore::least_left(&pricing.limits.caps).unwrap_or_default();
    let taken = match &pricing.rest_taken {
        Some(taken) => {
            format!(", of which the lines before it took {}", exact_money(pricing, &taken.0))
        }
        None => String::new(),
    };
    let at_rate = match &pricing.factor {
        Some(factor) if story.currency != pricing.program_currency => {
            format!(", at {factor} minor units for one and rounded down")
        }
        Some(_) | None => String::new(),
    };
    let (left, rest) = (exact_money(pricing, &left), money(story.currency, rest));
    format!(" The caps had left {left}{taken}: {rest} for this one{at_rate}.")
}

/// What a sub amount is worth by the price of a line, as it can be worked out by hand.
pub(super) fn worth(story: &Story, pricing: &Pricing, sub_amount: i64, exact: &Fraction) -> String {
    let outcome = rounding(story.currency, &exact.0);
    let paid_in = money(pricing.conversion_currency, sub_amount);
    let at_rate = match &pricing.factor {
        Some(factor) if pricing.in_program_currency => format!(" at {factor} minor units for one"),
        Some(_) | None => String::new(),
    };
    match pricing.flat() {
        Some(FlatPrice::Fixed { value }) => {
            format!("The commission is {}, whatever the amount.", money(pricing.program_currency, value))
        }
        Some(FlatPrice::Percentage { value }) => format!("{value} % of {paid_in}{at_rate} is {outcome}."),
        None => {
            let parts = pricing.parts(sub_amount);
            let told: Vec<String> = parts
                .iter()
                .map(|part| format!("{} % of {}", part.percent, exact_money(pricing, &part.amount.0)))
                .collect();
            let sum = if told.is_empty() { "Nothing".to_owned() } else { told.join(" and ") };
            let back = match &pricing.factor {
                Some(factor) if !pricing.in_program_currency => {
                    format!(", at {factor} minor units for one of {},", pricing.conversion_currency)
                }
                Some(_) | None => String::new(),
            };
            format!("{sum}{back} is {outcome}.")
        }
    }
}
