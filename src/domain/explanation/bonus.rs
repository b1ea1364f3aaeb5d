//! The rule of a bonus, what was counted for it, and how its amount follows.

use serde_json::json;

use super::{
    Step, StepKind, Story,
    words::{decimal, money, rounding},
};
use crate::domain::{
    bonuses::{BonusInterval, BonusMeasure, BonusPricing},
    calendar::Span,
    price::FlatPrice,
};

/// The steps from the rule to the amount.
pub(super) fn steps(story: &Story, pricing: &BonusPricing) -> Vec<Step> {
    vec![rule(story, pricing), measure(story, pricing), calculation(story, pricing)]
}

fn rule(story: &Story, pricing: &BonusPricing) -> Step {
    let Story { program, bonus: identifier, .. } = story;
    let identifier = identifier.as_ref().map_or("", |(identifier, _)| identifier);
    let when = match pricing.interval {
        BonusInterval::AllTime => "was in force when it was awarded",
        BonusInterval::Day
        | BonusInterval::Week
        | BonusInterval::Month
        | BonusInterval::Quarter
        | BonusInterval::Year => "was in force at the end of the interval",
    };
    Step {
        step: StepKind::Rule,
        text: format!(
            "Bonus {identifier} of program {program}: version {} {when}. It counts {} {}; only the highest target that \
             was reached pays.",
            pricing.version,
            measure_words(pricing.measure),
            interval_words(pricing.interval),
        ),
        data: json!({
            "bonus": identifier, "version": pricing.version, "interval": pricing.interval,
            "target_type": pricing.measure, "target": pricing.target.target,
        }),
    }
}

fn measure(story: &Story, pricing: &BonusPricing) -> Step {
    let currency = story.currency;
    let amount = format!("{} {currency}", decimal(currency, &pricing.amount.0));
    let counted = match pricing.measure {
        BonusMeasure::ConversionCount => format!("{} conversions that count, worth {amount}", pricing.number),
        BonusMeasure::ConversionAmount => format!("conversions that count, worth {amount}"),
        BonusMeasure::CustomerCount => {
            format!("{} new customers, and conversions that count, worth {amount}", pricing.number)
        }
    };
    let target = match pricing.measure {
        BonusMeasure::ConversionAmount => money(currency, pricing.target.target),
        BonusMeasure::ConversionCount | BonusMeasure::CustomerCount => pricing.target.target.to_string(),
    };
    let cut = if pricing.counted_span == pricing.span {
        String::new()
    } else {
        format!(" Its start and end days leave what happened {}.", span_words(pricing.counted_span))
    };
    Step {
        step: StepKind::Measure,
        text: format!(
            "Affiliate {} had {counted} {}: the target of {target} was reached.{cut}",
            story.affiliate,
            span_words(pricing.span)
        ),
        data: json!({
            "from": pricing.span.start.to_string(), "to": pricing.span.end.to_string(),
            "counted_from": pricing.counted_span.start.to_string(),
            "counted_to": pricing.counted_span.end.to_string(),
            "number": pricing.number, "amount": decimal(currency, &pricing.amount.0),
            "exact_minor_units": pricing.amount, "currency": currency,
        }),
    }
}

fn calculation(story: &Story, pricing: &BonusPricing) -> Step {
    let currency = story.currency;
    let worth = match pricing.target.pays {
        FlatPrice::Fixed { value } => format!("The target pays {}", money(currency, value)),
        FlatPrice::Percentage { value } => format!(
            "The target pays {value} % of {} {currency}: {}",
            decimal(currency, &pricing.amount.0),
            rounding(currency, &pricing.exact.0)
        ),
    };
    let text = if pricing.before == 0 {
        format!("{worth}.")
    } else {
        format!(
            "{worth}. {} were paid for lower targets: the difference is {}.",
            money(currency, pricing.before),
            money(currency, story.made_amount)
        )
    };
    Step {
        step: StepKind::Calculation,
        text,
        data: json!({
            "pays": pricing.target.pays, "exact_minor_units": pricing.exact,
            "paid_before": currency.format(pricing.before), "amount": currency.format(story.made_amount),
            "currency": currency,
        }),
    }
}

const fn measure_words(measure: BonusMeasure) -> &'static str {
    match measure {
        BonusMeasure::ConversionCount => "conversions",
        BonusMeasure::ConversionAmount => "the amounts of conversions",
        BonusMeasure::CustomerCount => "new customers",
    }
}

const fn interval_words(interval: BonusInterval) -> &'static str {
    match interval {
        BonusInterval::Day => "of a day",
        BonusInterval::Week => "of a week",
        BonusInterval::Month => "of a month",
        BonusInterval::Quarter => "of a quarter",
        BonusInterval::Year => "of a year",
        BonusInterval::AllTime => "from ever",
    }
}

fn span_words(span: Span) -> String {
    if span == Span::ALWAYS {
        return "from ever".to_owned();
    }
    format!("from {} until {}", span.start, span.end)
}
