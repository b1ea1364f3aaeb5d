//! Random rules: what programs, overrides and bonuses may say.

use proptest::{option, prelude::*, sample::select};
use serde_json::json;
use waypost::domain::{
    amount::Percent,
    bonuses::{BonusInterval, BonusMeasure, BonusSettings, BonusTarget},
    calendar::Period,
    price::{
        Bracket, Cap, CapMeasure, CapScope, FlatPrice, OverrideRule, Price, Recurrence, TierMeasure,
        TierMode, Tiers,
    },
    program::{CommissionType, ProgramSettings, RefundPolicy},
};

pub const TYPES: [&str; 3] = ["standard", "lead", "plus"];
pub const GROUP: &str = "europe";

fn percent() -> impl Strategy<Value = Percent> {
    // Whole, with two digits, with eight; of 10^8.
    prop_oneof![
        4 => (0..=30_i64).prop_map(|value| value * 100_000_000),
        3 => (0..=4_000_i64).prop_map(|value| value * 1_000_000),
        1 => 0..=10_000_000_000_i64,
    ]
    .prop_map(|scaled| serde_json::from_value(json!(scaled)).unwrap())
}

fn fixed() -> impl Strategy<Value = i64> {
    prop_oneof![0..=20_i64, 0..=1_500_i64]
}

pub fn flat() -> impl Strategy<Value = FlatPrice> {
    prop_oneof![
        1 => fixed().prop_map(|value| FlatPrice::Fixed { value }),
        2 => percent().prop_map(|value| FlatPrice::Percentage { value }),
    ]
}

fn period() -> impl Strategy<Value = Period> {
    select(Period::ALL.to_vec())
}

fn tiers() -> impl Strategy<Value = Tiers> {
    let steps = prop::collection::vec((1..=6_i64, percent(), fixed()), 1..5);
    (any::<bool>(), period(), any::<bool>(), any::<bool>(), steps).prop_map(
        |(by_count, period, marginal, fixed, steps)| {
            let measure = if by_count { TierMeasure::Count } else { TierMeasure::Revenue };
            let mode = if marginal && !by_count && !fixed { TierMode::Marginal } else { TierMode::Whole };
            let mut from = 0;
            let brackets = steps.into_iter().map(|(width, value, amount)| {
                let price =
                    if fixed { FlatPrice::Fixed { value: amount } } else { FlatPrice::Percentage { value } };
                let bracket = Bracket { from, price };
                from += if by_count { width.div_euclid(2) + 1 } else { width * 1_701 };
                bracket
            });
            Tiers { measure, period, mode, brackets: brackets.collect() }
        },
    )
}

fn price() -> impl Strategy<Value = Price> {
    prop_oneof![3 => flat().prop_map(Price::from), 2 => tiers().prop_map(Price::Tiered)]
}

pub fn override_rule(level: bool) -> impl Strategy<Value = OverrideRule> {
    let price = if level { flat().prop_map(Price::from).boxed() } else { price().boxed() };
    (price, option::weighted(0.3, flat()))
        .prop_map(|(price, first_payment)| OverrideRule { price, first_payment })
}

fn commission_type(identifier: &'static str) -> impl Strategy<Value = CommissionType> {
    let recurrence = prop_oneof![
        4 => Just(Recurrence::Forever),
        1 => Just(Recurrence::Once),
        1 => (1..=3_u32).prop_map(Recurrence::Repeating),
    ];
    (price(), option::weighted(0.25, flat()), recurrence, prop::bool::weighted(0.75)).prop_map(
        move |(price, first_payment, recurrence, count_towards_cap)| CommissionType {
            identifier: identifier.to_owned(),
            title: identifier.to_owned(),
            price,
            first_payment,
            recurrence,
            count_towards_cap,
        },
    )
}

fn cap() -> impl Strategy<Value = Cap> {
    (any::<bool>(), period(), any::<bool>(), 1..=5_i64, 1..=2_500_i64).prop_map(
        |(own, period, by_count, conversions, amount)| Cap {
            scope: if own { CapScope::Affiliate } else { CapScope::Program },
            period,
            measure: if by_count { CapMeasure::Conversions } else { CapMeasure::Amount },
            limit: if by_count { conversions } else { amount },
        },
    )
}

/// Of a program in the group or not: that stays, as it decides whose conversions are.
pub fn settings() -> impl Strategy<Value = ProgramSettings> {
    let types = (
        commission_type(TYPES[0]),
        commission_type(TYPES[1]),
        option::weighted(0.9, commission_type(TYPES[2])),
    );
    let limits = (
        prop::bool::weighted(0.85),
        option::weighted(0.15, 1..=4_u32),
        option::weighted(0.15, select(vec![0_u32, 1, 10, 30])),
        prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(cap(), 1..=2)],
    );
    let rest = (
        prop::bool::weighted(0.4),
        select(vec![0_u32, 1, 14, 30]),
        prop::bool::weighted(0.12),
        prop::bool::weighted(0.3),
        prop::collection::vec(flat(), 0..=3),
        select(vec![30_u32, 1, 90]),
        prop::bool::weighted(0.1),
    );
    (types, 0..2_usize, limits, rest).prop_map(|(types, default, limits, rest)| {
        let (recurring, recurring_cap, recurring_period_days, caps) = limits;
        let (auto_approve_commissions, payout_delay, keep, in_currency, levels, cookie_time, no_window) = rest;
        let mut commission_types = vec![types.0, types.1];
        commission_types.extend(types.2);
        let base: ProgramSettings = serde_json::from_value(json!({
            "name": "Shop", "destination": "https://shop.example/", "deep_link_hosts": [], "allow_http": false,
            "referral_parameter": "ref", "click_parameter": "click_id", "cookie_time": cookie_time,
            "override_max_cookie_time": no_window, "cookie_same_site": "lax", "attribution_model": "last_click",
            "referrer_policy": "no-referrer", "pixel": "held", "duplicate_window_ms": 0, "commission_types": [],
            "default_commission_type": TYPES[default], "auto_approve_commissions": auto_approve_commissions,
            "payout_delay": payout_delay, "refund_policy": "reverse", "program_group": null,
        }))
        .unwrap();
        ProgramSettings {
            commission_types,
            refund_policy: if keep { RefundPolicy::Keep } else { RefundPolicy::Reverse },
            recurring,
            recurring_cap,
            recurring_period_days,
            settle_in_program_currency: in_currency,
            levels,
            caps,
            ..base
        }
    })
}

/// `start_date` and `end_date` count from the day on which the history begins.
pub fn bonus(interval: BonusInterval) -> impl Strategy<Value = BonusSettings> {
    let measure = select(vec![
        BonusMeasure::ConversionCount,
        BonusMeasure::ConversionAmount,
        BonusMeasure::CustomerCount,
    ]);
    let targets = prop::collection::vec((1..=3_i64, fixed(), percent()), 1..=3);
    let days = (option::weighted(0.2, -2..20_i32), option::weighted(0.2, 0..40_i32));
    (measure, targets, any::<bool>(), days, prop::bool::weighted(0.9)).prop_map(
        move |(measure, targets, by_percent, (start_date, end_date), active)| {
            let unit = if measure == BonusMeasure::ConversionAmount { 1_999 } else { 1 };
            let mut target = 0;
            let targets = targets.into_iter().map(|(more, value, percent)| {
                target += more * unit;
                let pays = if by_percent {
                    FlatPrice::Percentage { value: percent }
                } else {
                    FlatPrice::Fixed { value: value + target }
                };
                BonusTarget { target, pays }
            });
            BonusSettings {
                identifier: String::new(),
                title: String::new(),
                interval,
                measure,
                targets: targets.collect(),
                start_date,
                end_date,
                active,
            }
        },
    )
}
