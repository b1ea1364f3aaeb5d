//! The model itself against figures worked out by hand.

use serde_json::json;
use uuid::Uuid;
use waypost::{
    domain::{
        ids::AccountId,
        program::ProgramSettings,
        reason::{ConversionKind, LineStatus, Standing, Stop, Waits},
        time::Timestamp,
    },
    events::{Authority, Body, Channel, Conversion, Event, Origin, Refund, VERSION},
};

use crate::model::{Act, DAY, Link, Model, Ms, Outcome, Rate};

/// 2026-03-02T12:00:00Z, a Monday.
const NOW: Ms = 1_772_452_800_000;

struct Books {
    model: Model,
    made: u128,
}

fn settings(change: serde_json::Value) -> ProgramSettings {
    let mut value = json!({
        "name": "Shop", "destination": "https://shop.example/", "deep_link_hosts": [], "allow_http": false,
        "referral_parameter": "ref", "click_parameter": "click_id", "cookie_time": 30,
        "override_max_cookie_time": false, "cookie_same_site": "lax", "attribution_model": "last_click",
        "referrer_policy": "no-referrer", "pixel": "held", "duplicate_window_ms": 0,
        "commission_types": [
            {"identifier": "standard", "title": "10 %", "form": "percentage", "value": 1_000_000_000},
        ],
        "default_commission_type": "standard", "auto_approve_commissions": false, "payout_delay": 14,
        "refund_policy": "reverse", "program_group": null,
    });
    for (name, changed) in change.as_object().unwrap() {
        value[name] = changed.clone();
    }
    serde_json::from_value(value).unwrap()
}

fn typed(price: serde_json::Value) -> serde_json::Value {
    let mut standard = json!({"identifier": "standard", "title": "standard"});
    for (name, value) in price.as_object().unwrap() {
        standard[name] = value.clone();
    }
    json!([standard])
}

impl Books {
    fn open(change: serde_json::Value) -> Self {
        let mut books = Self { model: Model::new("Europe/Berlin", 3_600_000), made: 0 };
        books.program("USD", change);
        for affiliate in [1, 2] {
            books.take(Act::PutAffiliate { affiliate, suspended: false });
            books.take(Act::SetStanding { program: 1, affiliate, standing: Standing::Approved });
            books.take(Act::PutLink(Link {
                id: affiliate,
                program: 1,
                affiliate,
                code: format!("code-{affiliate}"),
                asset: String::new(),
                source: String::new(),
            }));
        }
        books
    }

    fn program(&mut self, currency: &str, change: serde_json::Value) {
        self.take(Act::PutProgram {
            program: 1,
            slug: "shop".to_owned(),
            currency: currency.parse().unwrap(),
            settings: Box::new(settings(change)),
            from: None,
        });
    }

    fn take(&mut self, act: Act) -> Outcome {
        self.model.apply(NOW, &act)
    }

    fn receive(&mut self, body: Body) -> Outcome {
        self.made += 1;
        let origin = Origin { edge: "".into(), boot: Uuid::nil(), stream: "".into(), n: 0 };
        let id = Uuid::from_u128(self.made);
        self.take(Act::Receive(Box::new(Event { v: VERSION, id, origin, received_at: Timestamp(NOW), body })))
    }

    fn sale(&mut self, amount: &str, change: impl FnOnce(&mut Conversion)) -> Outcome {
        let mut sale = Conversion {
            account: AccountId(1),
            kind: ConversionKind::Conversion,
            channel: Channel::Rest,
            authority: Authority::Secret,
            fingerprint: String::new(),
            program: None,
            program_group: None,
            external_id: None,
            amount: Some(amount.parse().unwrap()),
            currency: None,
            customer_id: None,
            coupon: None,
            referral_code: Some("code-1".to_owned()),
            click_id: None,
            asset_id: None,
            source_id: None,
            tracking_id: None,
            commission_type: None,
            commissions: Vec::new(),
            occurred_at: None,
            sub_ids: Default::default(),
            meta_data: serde_json::Map::new(),
        };
        change(&mut sale);
        self.receive(Body::Conversion(Box::new(sale)))
    }

    fn refund(&mut self, ix: usize, amount: Option<&str>) -> Outcome {
        self.receive(Body::Refund(Box::new(Refund {
            account: AccountId(1),
            fingerprint: String::new(),
            external_id: None,
            conversion_id: Some(format!("ix_{ix}")),
            program: None,
            kind: None,
            conversion_external_id: None,
            amount: amount.map(|text| text.parse().unwrap()),
            currency: None,
            reason: None,
            meta_data: serde_json::Map::new(),
        })))
    }

    fn amounts(&self, ix: usize) -> Vec<i64> {
        self.model.conversions[ix].lines.iter().map(|line| line.amount).collect()
    }
}

#[test]
fn halves_go_to_the_even_neighbour() {
    let mut books = Books::open(json!({}));
    for (amount, expected) in [("0.05", 0), ("0.15", 2), ("0.25", 2), ("0.26", 3), ("49.90", 499)] {
        assert_eq!(books.sale(amount, |_| {}), Outcome::Settled);
        assert_eq!(books.amounts(books.model.conversions.len() - 1), [expected], "{amount}");
    }
}

#[test]
fn tiers_by_bracket_and_by_parts() {
    // 10 % to 100.00, 20 % from there.
    let tiers = |mode: &str| {
        typed(json!({"form": "tiered", "measure": "revenue", "period": "month", "mode": mode, "brackets": [
            {"from": 0, "form": "percentage", "value": 1_000_000_000},
            {"from": 10_000, "form": "percentage", "value": 2_000_000_000_i64},
        ]}))
    };
    for (mode, second) in [("whole", 1_600), ("marginal", 1_200)] {
        let mut books = Books::open(json!({"commission_types": tiers(mode)}));
        books.sale("60", |_| {});
        // 60 and 80 are 140: all at 20 %; or 40 at 10 % and 40 at 20 %.
        books.sale("80", |_| {});
        assert_eq!((books.amounts(0), books.amounts(1)), (vec![600], vec![second]), "{mode}");
        // Of the second 60 are left: all at its 20 %; or 40 at 10 % and 20 at 20 %.
        books.refund(1, Some("20"));
        assert_eq!(books.amounts(1), [if mode == "whole" { 1_200 } else { 800 }], "{mode}");
        // The first counts less from then on: 30 and 60 and 9.
        books.refund(0, Some("30"));
        books.sale("9", |_| {});
        assert_eq!(books.amounts(2), [90], "{mode}");
    }
}

#[test]
fn a_cap_cuts_and_then_stops_and_levels_are_priced_in_full() {
    let mut books = Books::open(json!({
        "levels": [{"form": "percentage", "value": 500_000_000}],
        "caps": [{"scope": "affiliate", "period": "day", "measure": "amount", "limit": 700}],
    }));
    books.take(Act::SetParent { affiliate: 1, parent: Some(2) });
    for _ in 0..3 {
        books.sale("50", |_| {});
    }
    assert_eq!(
        (books.amounts(0), books.amounts(1), books.amounts(2)),
        (vec![500, 250], vec![200, 250], vec![0])
    );
    assert_eq!(books.model.conversions[2].lines[0].reason, Some(Stop::Capped));
    // Half of it back: 10 % of 25.00 is more than the 2.00 that the cap had left.
    books.refund(1, Some("25"));
    assert_eq!(books.amounts(1), [200, 125]);
    books.refund(1, Some("10"));
    assert_eq!(books.amounts(1), [150, 75]);
}

#[test]
fn another_currency_waits_for_its_rate_and_crosses_over_the_euro() {
    let mut books = Books::open(json!({"settle_in_program_currency": true}));
    let yen = |sale: &mut Conversion| sale.currency = Some("JPY".to_owned());
    assert_eq!(books.sale("10000", yen), Outcome::Pending(Waits::RateMissing));
    let day = i32::try_from(NOW / DAY).unwrap();
    let rate = |base: &str, quote: &str, day: i32, rate: i64| Rate {
        base: base.parse().unwrap(),
        quote: quote.parse().unwrap(),
        day,
        rate,
    };
    // A euro is 160 yen and 1.08 dollars: 10000 yen are 67.50 dollars. Eight days are too long ago.
    books.take(Act::LoadRates(vec![
        rate("EUR", "JPY", day - 7, 16_000_000_000),
        rate("EUR", "USD", day - 8, 200_000_000),
    ]));
    assert_eq!(books.amounts(0), Vec::<i64>::new());
    books.take(Act::LoadRates(vec![rate("EUR", "USD", day, 108_000_000)]));
    assert_eq!(books.amounts(0), [675]);
}

#[test]
fn an_edit_is_a_line_set_by_hand_until_it_is_recalculated() {
    let mut books = Books::open(json!({}));
    books.sale("30", |_| {});
    books.refund(0, Some("10"));
    assert_eq!(books.take(Act::EditConversion(0, 1_000)), Outcome::Refused);
    books.take(Act::EditConversion(0, 5_000));
    // 2.00 for the 40.00 that are left.
    books.refund(0, Some("10"));
    assert_eq!(books.amounts(0), [150]);
    books.take(Act::Recalculate(0, false));
    assert_eq!(books.amounts(0), [300]);
    books.refund(0, None);
    assert_eq!(books.amounts(0), [0]);
    assert_eq!(books.model.conversions[0].lines[0].status, LineStatus::Pending);
    assert!(books.model.balances().is_empty());
}
