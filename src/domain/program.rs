//! A program's settings: what one version of its rules says.

use serde::{Deserialize, Serialize};

use super::{
    amount::{Percent, RATE_SCALE},
    price::{Cap, FlatPrice, OverrideRule, Price, Recurrence, Target},
};

/// Which click the browser keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributionModel {
    /// A new click replaces the cookie.
    #[default]
    LastClick,
    /// A valid cookie stays.
    FirstClick,
}

/// How far an unsigned pixel is believed (DESIGN section 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelTrust {
    /// Only with a right signature.
    Signed,
    /// Unsigned ones wait for review.
    #[default]
    Held,
    /// Taken as they come; the merchant's choice.
    Open,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    #[default]
    Lax,
    None,
}

/// The `Referrer-Policy` of the redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferrerPolicy {
    NoReferrer,
    Origin,
    #[default]
    StrictOriginWhenCrossOrigin,
    UnsafeUrl,
}

impl ReferrerPolicy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoReferrer => "no-referrer",
            Self::Origin => "origin",
            Self::StrictOriginWhenCrossOrigin => "strict-origin-when-cross-origin",
            Self::UnsafeUrl => "unsafe-url",
        }
    }
}

/// What becomes of lines when a conversion is refunded (MONEY 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundPolicy {
    #[default]
    Reverse,
    Keep,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionType {
    /// The name that conversions give: `standard`.
    pub identifier: String,
    pub title: String,
    #[serde(flatten)]
    pub price: Price,
    /// Goes before `price` for the first conversion of a customer with an amount above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_payment: Option<FlatPrice>,
    #[serde(default)]
    pub recurrence: Recurrence,
    /// Whether its lines count for the program's `recurring_cap`.
    #[serde(default = "yes")]
    pub count_towards_cap: bool,
}

/// One version of a program's rules. A change writes a new version from that moment on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSettings {
    pub name: String,
    /// Where a link leads that has no destination of its own; an absolute URL, macros allowed.
    pub destination: String,
    /// Hosts that `?to=` may name: `shop.example`, or `*.shop.example` for every host below it.
    pub deep_link_hosts: Vec<String>,
    /// Whether destinations and deep links may be http.
    pub allow_http: bool,
    /// Query parameter that carries the referral code.
    pub referral_parameter: String,
    /// Query parameter that carries the click token.
    pub click_parameter: String,
    /// Days, the attribution window and the cookie's lifetime.
    pub cookie_time: u32,
    /// Whether a click counts however old it is.
    pub override_max_cookie_time: bool,
    pub cookie_same_site: SameSite,
    pub attribution_model: AttributionModel,
    pub referrer_policy: ReferrerPolicy,
    pub pixel: PixelTrust,
    /// Milliseconds in which a second click of the same visitor on the same link does not count.
    pub duplicate_window_ms: u32,
    pub commission_types: Vec<CommissionType>,
    /// The type of a conversion that names none.
    pub default_commission_type: String,
    pub auto_approve_commissions: bool,
    /// Days from the conversion until an approved line is final.
    pub payout_delay: u32,
    pub refund_policy: RefundPolicy,
    /// Programs of one group are named together by `program_group`.
    pub program_group: Option<String>,
    /// Else every commission type is earned once by a customer.
    #[serde(default = "yes")]
    pub recurring: bool,
    /// Conversions of one customer that earn at the most.
    #[serde(default)]
    pub recurring_cap: Option<u32>,
    /// Days from a customer's first conversion in which others earn.
    #[serde(default)]
    pub recurring_period_days: Option<u32>,
    /// Every line is converted to the program's currency.
    #[serde(default)]
    pub settle_in_program_currency: bool,
    /// What the parent, the grandparent, … earn: the first is level 2.
    #[serde(default)]
    pub levels: Vec<FlatPrice>,
    #[serde(default)]
    pub caps: Vec<Cap>,
}

const fn yes() -> bool {
    true
}

impl CommissionType {
    /// Whether it says something in amounts of the program's currency.
    pub fn holds_amounts(&self) -> bool {
        self.price.holds_amounts() || self.first_payment.is_some_and(FlatPrice::is_amount)
    }

    /// The largest part of a sale that it may be.
    fn highest_percent(&self) -> Option<Percent> {
        self.price.highest_percent(self.first_payment)
    }
}

impl ProgramSettings {
    /// Whether the percentages of the type that pays most and of all levels are more than the whole sale (MONEY 1).
    /// Amounts are left out: what part of a sale they are depends on the sale.
    pub fn can_exceed_sale(&self) -> bool {
        exceeds_sale(self.highest_type(), self.level_percents())
    }

    /// The same where `rule` stands for one of the program's own. Other overrides are left out: they may be anybody's.
    pub fn can_exceed_sale_with(&self, target: &Target, rule: &OverrideRule) -> bool {
        match target {
            Target::CommissionType(_) => exceeds_sale(rule.highest_percent(), self.level_percents()),
            Target::Level(level) => {
                let own = rule.highest_percent();
                let levels = (2..).zip(self.level_percents());
                let levels = levels.map(|(of, percent)| if of == *level { own } else { percent });
                exceeds_sale(self.highest_type(), levels)
            }
        }
    }

    fn highest_type(&self) -> Option<Percent> {
        self.commission_types.iter().filter_map(CommissionType::highest_percent).max()
    }

    fn level_percents(&self) -> impl Iterator<Item = Option<Percent>> {
        self.levels.iter().map(|level| level.percent())
    }

    pub fn commission_type(&self, identifier: &str) -> Option<&CommissionType> {
        self.commission_types.iter().find(|kind| kind.identifier == identifier)
    }
}

fn exceeds_sale(of_type: Option<Percent>, levels: impl Iterator<Item = Option<Percent>>) -> bool {
    let sum: i64 = levels.chain([of_type]).flatten().map(Percent::scaled).sum();
    sum > 100 * RATE_SCALE
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(types: Value, levels: Value) -> ProgramSettings {
        serde_json::from_value(json!({
            "name": "Shop", "destination": "https://shop.example/", "deep_link_hosts": [], "allow_http": false,
            "referral_parameter": "ref", "click_parameter": "click_id", "cookie_time": 30,
            "override_max_cookie_time": false, "cookie_same_site": "lax", "attribution_model": "last_click",
            "referrer_policy": "no-referrer", "pixel": "held", "duplicate_window_ms": 0,
            "commission_types": types, "default_commission_type": "standard",
            "auto_approve_commissions": false, "payout_delay": 0, "refund_policy": "reverse",
            "program_group": null, "levels": levels,
        }))
        .unwrap()
    }

    fn percent(percent: i64) -> Value {
        json!({"form": "percentage", "value": percent * RATE_SCALE})
    }

    fn kind(price: &Value, first_payment: &Value) -> Value {
        let mut kind = json!({"identifier": "standard", "title": "Standard", "first_payment": first_payment});
        kind.as_object_mut().unwrap().extend(price.as_object().unwrap().clone());
        kind
    }

    #[test]
    fn the_highest_type_and_all_levels_may_exceed_a_sale() {
        let fixed = json!({"form": "fixed", "value": 1_000_000});
        let tiered = json!({
            "form": "tiered", "measure": "count", "period": "month", "mode": "whole",
            "brackets": [
                {"from": 0, "form": "percentage", "value": RATE_SCALE},
                {"from": 5, "form": "percentage", "value": 81 * RATE_SCALE},
            ],
        });
        let none = Value::Null;
        let levels = json!([percent(15), percent(5)]);
        let table = [
            (json!([kind(&percent(80), &none)]), &levels, false),
            (json!([kind(&percent(81), &none)]), &levels, true),
            // One line is of one type: they do not add up.
            (json!([kind(&percent(60), &none), kind(&percent(50), &none)]), &levels, false),
            (json!([kind(&percent(60), &percent(81))]), &levels, true),
            (json!([kind(&tiered, &none)]), &levels, true),
            (json!([kind(&tiered, &none)]), &none, false),
            (json!([kind(&fixed, &fixed)]), &levels, false),
            (json!([kind(&percent(100), &none)]), &json!([fixed]), false),
        ];
        for (types, levels, expected) in table {
            let levels = if levels.is_null() { json!([]) } else { levels.clone() };
            assert_eq!(settings(types.clone(), levels).can_exceed_sale(), expected, "{types}");
        }
    }

    #[test]
    fn an_override_may_exceed_a_sale_that_the_program_does_not() {
        let own = settings(json!([kind(&percent(60), &Value::Null)]), json!([percent(15), percent(5)]));
        let standard = Target::CommissionType("standard".to_owned());
        let table = [
            (&standard, json!(percent(80)), false),
            (&standard, json!(percent(81)), true),
            (&standard, json!({"form": "fixed", "value": 1, "first_payment": percent(81)}), true),
            (&Target::Level(2), percent(35), false),
            (&Target::Level(2), percent(36), true),
            (&Target::Level(3), percent(26), true),
            // The program has no such level.
            (&Target::Level(4), percent(100), false),
        ];
        for (target, rule, expected) in table {
            let rule: OverrideRule = serde_json::from_value(rule).unwrap();
            assert_eq!(own.can_exceed_sale_with(target, &rule), expected, "{target:?} {rule:?}");
        }
    }
}
