//! What one conversion costs to price, without a store.

#![allow(clippy::unwrap_used, missing_debug_implementations)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use num_bigint::BigInt;
use num_rational::BigRational;
use serde_json::json;
use waypost::domain::{
    calendar::Span,
    entries::Entry,
    ids::AffiliateId,
    lines::{CustomerBefore, EntryPlan, Plan, Upline, make},
    price::{Price, Recurrence},
    pricing::{Rule, RuleSource, Terms},
    rates::Fraction,
    refunds::{Refundable, RefundableLine, refund},
    time::Timestamp,
};

fn price(json: serde_json::Value) -> Price {
    serde_json::from_value(json).unwrap()
}

fn rule(source: RuleSource, price: Price) -> Rule {
    Rule { source, price, first_payment: None }
}

fn percent(whole: i64) -> Price {
    price(json!({"form": "percentage", "value": whole * 100_000_000}))
}

fn pricing(criterion: &mut Criterion) {
    let marginal = price(json!({
        "form": "tiered", "measure": "revenue", "period": "month", "mode": "marginal", "brackets": [
            {"from": 0, "form": "percentage", "value": 500_000_000},
            {"from": 100_000, "form": "percentage", "value": 1_000_000_000},
            {"from": 500_000, "form": "percentage", "value": 1_500_000_000},
        ],
    }));
    let rate: Fraction = "11023/10000".parse().unwrap();
    let uplines: Vec<Upline> = (2..4)
        .map(|level| Upline {
            level,
            affiliate: AffiliateId(level.into()),
            rule: rule(RuleSource::Level, percent(5)),
            stopped: None,
        })
        .collect();
    let entry = Entry { sub_amount: 4_990, commission_type: "standard".to_owned(), comment: None };
    let customer = CustomerBefore { canceled: false, first_at: None, moved_on: false, counted: 0 };
    for (name, of, factor, levels) in [
        ("one percentage line with two levels", percent(10), None, 2),
        ("one percentage line", percent(10), None, 0),
        ("one marginal tier in another currency with two levels", marginal, Some(&rate), 2),
    ] {
        let tier =
            matches!(of, Price::Tiered(_)).then(|| (Span::ALWAYS, BigRational::from(BigInt::from(98_000))));
        let entries = [EntryPlan {
            entry: &entry,
            rule: rule(RuleSource::CommissionType, of),
            recurrence: Recurrence::Forever,
            count_towards_cap: true,
            earned_before: 0,
            tier,
        }];
        let plan = Plan {
            terms: Terms {
                program_version: 1,
                program_currency: "USD".parse().unwrap(),
                conversion_amount: 4_990,
                conversion_currency: if factor.is_some() { "EUR" } else { "USD" }.parse().unwrap(),
                factor,
                in_program_currency: false,
            },
            occurred_at: Timestamp(1_772_366_400_000),
            affiliate: AffiliateId(1),
            customer: Some(customer),
            recurring: true,
            recurring_cap: None,
            recurring_period_days: None,
            caps: &[],
            entries: &entries,
            uplines: &uplines[..levels],
        };
        criterion.bench_function(name, |bench| bench.iter(|| make(black_box(&plan))));
        let lines: Vec<RefundableLine> = make(&plan)
            .into_iter()
            .map(|made| RefundableLine {
                entry: 0,
                sub_amount: made.sub_amount,
                amount: made.line.amount,
                pricing: made.line.pricing,
                set: None,
            })
            .collect();
        let conversion = Refundable {
            amount: 4_990,
            refunded: 0,
            refunded_whole: false,
            entries: &[4_990],
            policy: Default::default(),
            lines: &lines,
        };
        criterion.bench_function(&format!("{name}: a refund"), |bench| {
            bench.iter(|| refund(black_box(&conversion), Some(1_000)));
        });
    }
}

criterion_group!(benches, pricing);
criterion_main!(benches);
