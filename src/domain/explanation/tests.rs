use super::*;
use uuid::Uuid;

use crate::domain::{
    amount::Percent,
    attribution::Candidate,
    calendar::{Period, Span},
    ids::{AffiliateId, LinkId, ProgramId},
    lines::CapBefore,
    price::{Cap, CapMeasure, CapScope, Price},
    pricing::{Rule, RuleSource, Terms, price, whole},
    rates::Fraction,
    time::MS_PER_DAY,
};

const CLICK: &str = "clk_018f0000000070008000000000000001";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn percent(text: &str) -> Price {
    Price::Percentage { value: Percent::from_decimal(&text.parse().unwrap()).unwrap() }
}

fn by_click() -> Resolved {
    Resolved {
        input: Input::Click,
        named_by: None,
        candidate: Candidate { program: ProgramId(1), affiliate: AffiliateId(2), link: Some(LinkId(3)) },
        click_id: Prefix::Click.parse(CLICK),
        clicked_at: Some(at("2026-03-01T10:00:00Z")),
        review: false,
        window_days: Some(30),
        known_customer: false,
        passed_over: vec![PassedOver { input: Input::Coupon, warning: Warning::CouponExpired }],
    }
}

/// A sale two days and an hour after its click, of one line.
fn story(rule: Price, amount: i64, code: &str) -> Story {
    let currency: Currency = code.parse().unwrap();
    let terms = Terms {
        program_version: 3,
        program_currency: currency,
        conversion_amount: amount,
        conversion_currency: currency,
        factor: None,
        in_program_currency: false,
    };
    let rule = Rule { source: RuleSource::CommissionType, price: rule, first_payment: None };
    let line = price(&terms, &rule, "standard", 1, amount, None, false);
    Story {
        kind: LineKind::Regular,
        program: "demo-shop".to_owned(),
        affiliate: "jane".to_owned(),
        referrer: "jane".to_owned(),
        occurred_at: at("2026-03-03T11:00:00Z"),
        attribution: Some(by_click()),
        warnings: vec![],
        rate: None,
        number: 1,
        lines: 1,
        made_amount: line.amount,
        made_sub_amount: Some(amount),
        amount: line.amount,
        pricing: Some(line.pricing),
        refunded_before: None,
        bonus: None,
        refund_policy: RefundPolicy::Reverse,
        currency,
        status: LineStatus::Pending,
        made_reason: None,
        comment: None,
        created_at: at("2026-03-03T11:00:01Z"),
        started_as: LineStatus::Pending,
        changes: vec![],
        payout_delay_days: 30,
        approved_at: None,
        final_at: None,
        paid: false,
    }
}

/// A refund of a conversion of one line.
fn refund(amounts: (i64, i64), refunded: i64, refunded_in_all: i64, left: i64) -> Change {
    Change {
        at: at("2026-03-05T00:00:00Z"),
        what: ChangeKind::Refunded,
        amount_before: amounts.0,
        amount_after: amounts.1,
        status_before: LineStatus::Pending,
        status_after: LineStatus::Pending,
        reason_before: None,
        reason_after: None,
        sub_amount_before: None,
        sub_amount_after: Some(left),
        left_after: Some(left),
        refund: Some(RefundFact { amount: refunded, refunded_in_all, external_id: None, reason: None }),
        refund_policy: RefundPolicy::Reverse,
        pricing: None,
        comment: None,
    }
}

fn texts(story: &Story) -> Vec<String> {
    explain(story).into_iter().map(|step| step.text).collect()
}

fn text(story: &Story, kind: StepKind) -> String {
    let mut steps: Vec<_> = explain(story).into_iter().filter(|step| step.step == kind).collect();
    assert_eq!(steps.len(), 1, "{steps:?}");
    steps.remove(0).text
}

#[test]
fn a_sale_is_told_from_its_click_to_the_day_of_payment() {
    let mut sale = story(percent("10"), 4990, "USD");
    sale.changes = vec![
        Change {
            refund: Some(RefundFact {
                amount: 1000,
                refunded_in_all: 1000,
                external_id: Some("r-1".to_owned()),
                reason: Some("chargeback".to_owned()),
            }),
            ..refund((499, 399), 1000, 1000, 3990)
        },
        Change {
            at: at("2026-03-06T00:00:00Z"),
            what: ChangeKind::Review,
            status_after: LineStatus::Approved,
            refund: None,
            ..refund((399, 399), 0, 0, 0)
        },
    ];
    sale.amount = 399;
    sale.status = LineStatus::Approved;
    sale.approved_at = Some(at("2026-03-06T00:00:00Z"));
    sale.final_at = Some(sale.occurred_at + 30 * MS_PER_DAY);
    assert_eq!(
        texts(&sale),
        [
            "The coupon was passed over: it was not valid when the conversion happened.",
            "The click clk_018f0000000070008000000000000001 followed a link of affiliate jane in program demo-shop.",
            "The conversion happened 2 days 1 h after the click, within the window of 30 days.",
            "Version 3 of program demo-shop was in force. Its commission type standard pays 10 % of the amount.",
            "10 % of 49.90 USD is 4.99 USD exactly, without rounding.",
            "The program does not approve commissions by itself: it started pending.",
            "At 2026-03-05T00:00:00.000Z 10.00 USD of 49.90 USD were refunded, id r-1, reason chargeback; 39.90 USD \
             are left. 10 % of 39.90 USD is 3.99 USD exactly, without rounding. The commission goes from 4.99 USD to \
             3.99 USD.",
            "At 2026-03-06T00:00:00.000Z it was approved.",
            "It is worth 3.99 USD, approved at 2026-03-06T00:00:00.000Z. It may be withdrawn from \
             2026-04-02T11:00:00.000Z on, the later of its approval and 30 days after the conversion.",
        ]
    );
}

#[test]
fn the_figures_stand_beside_the_sentences() {
    let mut sale = story(percent("12.5"), 10_005, "BHD");
    sale.changes = vec![refund((1251, 626), 4999, 4999, 5006)];
    let steps = explain(&sale);
    let data = |kind| steps.iter().find(|step| step.step == kind).unwrap().data.clone();
    assert_eq!(
        data(StepKind::Calculation),
        json!({
            "line": 1, "conversion_amount": "10.005", "sub_amount": "10.005", "conversion_currency": "BHD",
            "exact_minor_units": "10005/8", "amount": "1.251", "currency": "BHD", "rest": null,
            "rest_taken": null,
        })
    );
    assert_eq!(
        data(StepKind::Rule),
        json!({
            "form": "percentage", "value": "12.5", "commission_type": "standard", "program_version": 3, "level": 1,
            "source": {"program_version": 3}, "first_payment": false,
        })
    );
    let refunded = data(StepKind::Refund);
    assert_eq!(refunded["left"], "5.006");
    assert_eq!(refunded["exact_minor_units"], "2503/4");
    assert_eq!(refunded["sub_amount"], "5.006");
    assert_eq!(refunded["amount_after"], "0.626");
    assert_eq!(data(StepKind::Attribution)["click_id"], CLICK);
    let json = serde_json::to_value(&steps).unwrap();
    assert_eq!(json[0]["step"], "passed_over");
}

#[test]
fn rounding_is_shown() {
    assert_eq!(
        text(&story(percent("7.5"), 1234, "JPY"), StepKind::Calculation),
        "7.5 % of 1234 JPY is 92.55 JPY, rounded to 93 JPY."
    );
    assert_eq!(
        text(&story(percent("10"), 4995, "USD"), StepKind::Calculation),
        "10 % of 49.95 USD is 4.995 USD, rounded to 5.00 USD (a half goes to the even neighbour)."
    );
    let mut rounded = story(percent("10"), 4995, "USD");
    rounded.warnings = vec![Warning::AmountRounded];
    assert_eq!(
        text(&rounded, StepKind::Warning),
        "An amount was sent with more digits after the point than the 2 of USD; it was rounded, a half to the even \
         neighbour."
    );
}

#[test]
fn a_fixed_value_shrinks_with_the_amount_and_ends_at_nothing() {
    let mut sale = story(Price::Fixed { value: 500 }, 3000, "USD");
    assert_eq!(
        text(&sale, StepKind::Rule),
        "Version 3 of program demo-shop was in force. Its commission type standard pays a fixed 5.00 USD."
    );
    assert_eq!(text(&sale, StepKind::Calculation), "The commission is 5.00 USD, whatever the amount.");
    sale.changes = vec![refund((500, 333), 1000, 1000, 2000)];
    assert_eq!(
        text(&sale, StepKind::Refund),
        "At 2026-03-05T00:00:00.000Z 10.00 USD of 30.00 USD were refunded; 20.00 USD are left. 5.00 USD times 20.00 \
         / 30.00 is 3.33333333333333… USD, rounded to 3.33 USD. The commission goes from 5.00 USD to 3.33 USD."
    );
    sale.changes = vec![refund((333, 0), 2000, 3000, 0)];
    assert_eq!(
        text(&sale, StepKind::Refund),
        "At 2026-03-05T00:00:00.000Z 20.00 USD of 30.00 USD were refunded; 0.00 USD are left. Nothing is left to pay \
         a commission for. The commission goes from 3.33 USD to 0.00 USD."
    );
    let mut lead = story(Price::Fixed { value: 500 }, 0, "USD");
    lead.changes = vec![refund((500, 0), 0, 0, 0)];
    assert_eq!(
        text(&lead, StepKind::Refund),
        "At 2026-03-05T00:00:00.000Z the conversion was refunded whole. Nothing is left to pay a commission for. The \
         commission goes from 5.00 USD to 0.00 USD."
    );
}

#[test]
fn what_the_caps_left_is_told_with_what_earlier_lines_took() {
    let mut sale = story(percent("10"), 5000, "USD");
    let pricing = sale.pricing.as_mut().unwrap();
    let cap = |limit| {
        let (scope, period, measure) = (CapScope::Affiliate, Period::Lifetime, CapMeasure::Amount);
        let cap = Cap { scope, period, measure, limit };
        CapBefore { cap, span: Span::ALWAYS, before: Fraction(whole(1500)) }
    };
    pricing.limits.caps = vec![cap(9000), cap(2000)];
    pricing.rest = Some(500);
    assert!(
        text(&sale, StepKind::Calculation).ends_with(" The caps had left 5.00 USD: 5.00 USD for this one."),
        "{}",
        text(&sale, StepKind::Calculation)
    );
    let pricing = sale.pricing.as_mut().unwrap();
    (pricing.rest, pricing.rest_taken) = (Some(232), Some(Fraction(whole(268))));
    assert!(
        text(&sale, StepKind::Calculation).ends_with(
            " The caps had left 5.00 USD, of which the lines before it took 2.68 USD: 2.32 USD for this one."
        ),
        "{}",
        text(&sale, StepKind::Calculation)
    );
}

#[test]
fn a_refund_may_leave_the_commission_as_it_is() {
    let mut kept = story(percent("10"), 4990, "USD");
    kept.changes = vec![Change { refund_policy: RefundPolicy::Keep, ..refund((499, 499), 1000, 1000, 3990) }];
    assert_eq!(
        text(&kept, StepKind::Refund),
        "At 2026-03-05T00:00:00.000Z 10.00 USD of 49.90 USD were refunded; 39.90 USD are left. The program keeps \
         commissions when a sale is refunded. The commission stays 4.99 USD."
    );
    let mut lowered = story(percent("10"), 1000, "USD");
    lowered.changes = vec![refund((20, 20), 100, 100, 900)];
    assert_eq!(
        text(&lowered, StepKind::Refund),
        "At 2026-03-05T00:00:00.000Z 1.00 USD of 10.00 USD were refunded; 9.00 USD are left. 10 % of 9.00 USD is 0.90 \
         USD exactly, without rounding. A refund never raises a commission. The commission stays 0.20 USD."
    );
}

#[test]
fn each_line_tells_its_part() {
    let mut sale = story(percent("10"), 500, "USD");
    sale.pricing.as_mut().unwrap().conversion_amount = 3000;
    sale.number = 2;
    sale.lines = 2;
    assert_eq!(
        text(&sale, StepKind::Calculation),
        "This is line 2 of 2, for 5.00 USD. 10 % of 5.00 USD is 0.50 USD exactly, without rounding."
    );
    sale.changes = vec![Change { sub_amount_after: Some(250), ..refund((50, 25), 1500, 1500, 1500) }];
    assert_eq!(
        text(&sale, StepKind::Refund),
        "At 2026-03-05T00:00:00.000Z 15.00 USD of 30.00 USD were refunded; 15.00 USD are left. This line's part of \
         that is 2.50 USD. 10 % of 2.50 USD is 0.25 USD exactly, without rounding. The commission goes from 0.50 USD \
         to 0.25 USD."
    );
}

#[test]
fn every_input_says_why_it_decided() {
    let told = |input, named_by, click_id| {
        let mut sale = story(percent("10"), 4990, "USD");
        sale.attribution = Some(Resolved { input, named_by, click_id, ..by_click() });
        text(&sale, StepKind::Attribution)
    };
    let table = [
        (
            Input::CustomerId,
            None,
            "The customer is known in program demo-shop and belongs to affiliate jane.",
        ),
        (
            Input::CustomerId,
            Some(Input::Click),
            "The click named program demo-shop. The customer is known there and belongs to affiliate jane, which goes \
             first.",
        ),
        (Input::Coupon, None, "The coupon belongs to affiliate jane in program demo-shop."),
        (
            Input::ReferralCode,
            None,
            "The referral code is that of a link of affiliate jane in program demo-shop.",
        ),
        (
            Input::AssetSource,
            None,
            "The asset and source are those of a link of affiliate jane in program demo-shop.",
        ),
    ];
    for (input, named_by, sentence) in table {
        assert_eq!(told(input, named_by, None), sentence);
    }
    assert_eq!(
        told(Input::TrackingId, None, Some(Uuid::nil())),
        "The latest click with the tracking id, clk_00000000000000000000000000000000, followed a link of affiliate \
         jane in program demo-shop."
    );
}

#[test]
fn the_window_is_told_as_it_was_kept() {
    let told = |resolved| {
        let mut sale = story(percent("10"), 4990, "USD");
        sale.attribution = Some(resolved);
        text(&sale, StepKind::Window)
    };
    assert_eq!(
        told(Resolved { window_days: None, ..by_click() }),
        "The conversion happened 2 days 1 h after the click; the program accepts a click of any age."
    );
    assert_eq!(
        told(Resolved { clicked_at: Some(at("2026-03-03T11:00:42Z")), window_days: Some(1), ..by_click() }),
        "The conversion happened 42 s before the click; up to 5 minutes count as at its time, within the window of 1 \
         day."
    );
    let without = |input| Resolved { input, clicked_at: None, window_days: None, ..by_click() };
    assert_eq!(
        told(without(Input::Coupon)),
        "The coupon was valid at 2026-03-03T11:00:00.000Z, when the conversion happened."
    );
    assert_eq!(told(without(Input::CustomerId)), "No attribution window applies to the customer.");
}

#[test]
fn review_and_changes_are_told() {
    let mut sale = story(percent("10"), 4990, "USD");
    sale.attribution = Some(Resolved { review: true, ..by_click() });
    assert_eq!(text(&sale, StepKind::Review), "Its click sends conversions to review: it started pending.");
    assert_eq!(text(&sale, StepKind::Result), "It is worth 4.99 USD and waits for approval.");
    sale.started_as = LineStatus::Approved;
    assert_eq!(
        text(&sale, StepKind::Review),
        "The program approves commissions by itself: it started approved."
    );
    sale.started_as = LineStatus::Disapproved;
    sale.status = LineStatus::Disapproved;
    sale.made_reason = Some("capped".to_owned());
    assert_eq!(
        text(&sale, StepKind::Review),
        "A cap of the program was reached (capped): it started disapproved."
    );
    assert_eq!(text(&sale, StepKind::Result), "It is disapproved and counts nothing.");

    use LineStatus::{Approved, Disapproved, Pending};
    let table = [
        (Pending, Disapproved, 499, "it was disapproved."),
        (Disapproved, Pending, 499, "it was reopened."),
        (Disapproved, Approved, 499, "it was reopened and approved."),
        (Approved, Pending, 499, "its approval was taken back."),
        (Pending, Pending, 600, "its amount was changed from 4.99 USD to 6.00 USD."),
        (Pending, Approved, 600, "its amount was changed from 4.99 USD to 6.00 USD and it was approved."),
    ];
    for (status_before, status_after, amount_after, told) in table {
        let plain = Change { what: ChangeKind::Review, refund: None, ..refund((499, amount_after), 0, 0, 0) };
        sale.changes = vec![Change { status_before, status_after, ..plain }];
        assert_eq!(text(&sale, StepKind::Change), format!("At 2026-03-05T00:00:00.000Z {told}"));
    }
    sale.changes = vec![Change { what: ChangeKind::Review, refund: None, ..refund((499, 499), 0, 0, 0) }];
    assert!(explain(&sale).iter().all(|step| step.step != StepKind::Change));
}

#[test]
fn a_new_price_is_told_whatever_it_did_to_the_status() {
    let mut sale = story(percent("10"), 4990, "USD");
    let pricing = sale.pricing.clone();
    let plain = Change { what: ChangeKind::Review, refund: None, ..refund((499, 499), 0, 0, 4990) };
    sale.changes = vec![Change { pricing, status_before: LineStatus::Disapproved, ..plain.clone() }];
    let rules = explain(&sale).into_iter().filter(|step| step.step == StepKind::Rule).count();
    assert_eq!(rules, 2);
    assert_eq!(
        text(&sale, StepKind::Change),
        "At 2026-03-05T00:00:00.000Z the conversion was priced anew: it stays 4.99 USD; it was reopened."
    );
    // An amount that was set is the basis of later refunds even where it is the same.
    sale.changes = vec![Change { what: ChangeKind::Edited, ..plain }];
    assert_eq!(
        text(&sale, StepKind::Change),
        "At 2026-03-05T00:00:00.000Z its amount was set to 4.99 USD, as it was."
    );
}

/// The refund step after a sale was priced anew as `priced`, with this much left of it, and its `exact_minor_units`.
fn taken_off(priced: &Story, amounts: (i64, i64), left: i64) -> (String, serde_json::Value) {
    let mut sale = priced.clone();
    let pricing = sale.pricing.clone();
    let plain = Change { what: ChangeKind::Recalculated, refund: None, ..refund(amounts, 0, 0, left) };
    sale.changes = vec![Change { pricing, ..plain }];
    let steps = explain(&sale);
    let calculated = steps.iter().rposition(|step| step.step == StepKind::Calculation).unwrap();
    let step = &steps[calculated + 1];
    assert_eq!(step.step, StepKind::Refund, "{steps:?}");
    assert_eq!(step.data["amount_after"], sale.currency.format(amounts.1));
    assert_eq!(step.data["left"], sale.currency.format(left));
    (step.text.clone(), step.data["exact_minor_units"].clone())
}

#[test]
fn what_was_refunded_comes_off_a_new_price() {
    let sale = story(percent("20"), 10_000, "USD");
    assert_eq!(
        taken_off(&sale, (600, 1200), 6000),
        (
            "40.00 USD of 100.00 USD had been refunded by then; 60.00 USD are left. 20 % of 60.00 USD is 12.00 USD \
             exactly, without rounding. The commission is 12.00 USD."
                .to_owned(),
            json!("1200")
        )
    );
    let nothing = (
        "100.00 USD of 100.00 USD had been refunded by then; 0.00 USD are left. Nothing is left to pay a commission \
         for. The commission is 0.00 USD."
            .to_owned(),
        json!(null),
    );
    assert_eq!(taken_off(&sale, (0, 0), 0), nothing);
    assert_eq!(
        taken_off(&story(Price::Fixed { value: 500 }, 3000, "USD"), (200, 333), 2000),
        (
            "10.00 USD of 30.00 USD had been refunded by then; 20.00 USD are left. 5.00 USD times 20.00 / 30.00 is \
             3.33333333333333… USD, rounded to 3.33 USD. The commission is 3.33 USD."
                .to_owned(),
            json!("1000/3")
        )
    );
    let mut capped = sale.clone();
    capped.pricing.as_mut().unwrap().rest = Some(700);
    assert_eq!(
        taken_off(&capped, (600, 700), 6000).0,
        "40.00 USD of 100.00 USD had been refunded by then; 60.00 USD are left. 20 % of 60.00 USD is 12.00 USD \
         exactly, without rounding. The caps had left 7.00 USD for it. The commission is 7.00 USD."
    );
    assert_eq!(
        taken_off(&sale, (600, 0), 6000).0,
        "40.00 USD of 100.00 USD had been refunded by then; 60.00 USD are left. 20 % of 60.00 USD is 12.00 USD \
         exactly, without rounding. A rule stops it. The commission is 0.00 USD."
    );
    let mut lead = story(Price::Fixed { value: 500 }, 0, "USD");
    (lead.refunded_before, lead.made_amount) = (Some(0), 0);
    assert_eq!(
        taken_off(&lead, (0, 0), 0).0,
        "The conversion had been refunded whole by then. Nothing is left to pay a commission for. The commission is \
         0.00 USD."
    );
}

#[test]
fn nothing_comes_off_a_new_price_where_no_refund_takes_its_part() {
    let refunds = |amount, left, policy| {
        let mut sale = story(percent("20"), amount, "USD");
        let (pricing, worth) = (sale.pricing.clone(), sale.amount);
        let plain =
            Change { what: ChangeKind::Recalculated, refund: None, ..refund((600, worth), 0, 0, left) };
        sale.changes = vec![Change { pricing, refund_policy: policy, ..plain }];
        explain(&sale).into_iter().filter(|step| step.step == StepKind::Refund).count()
    };
    assert_eq!(refunds(10_000, 6000, RefundPolicy::Reverse), 1);
    assert_eq!(refunds(10_000, 6000, RefundPolicy::Keep), 0);
    assert_eq!(refunds(10_000, 10_000, RefundPolicy::Reverse), 0);
    assert_eq!(refunds(0, 0, RefundPolicy::Reverse), 0);
}

#[test]
fn a_line_of_a_recalculation_tells_what_had_been_refunded() {
    let mut sale = story(percent("10"), 4990, "USD");
    (sale.refunded_before, sale.made_amount, sale.amount) = (Some(1000), 399, 399);
    sale.made_sub_amount = Some(3990);
    assert_eq!(
        text(&sale, StepKind::Refund),
        "It was made at 2026-03-03T11:00:01.000Z by a recalculation. 10.00 USD of 49.90 USD had been refunded by \
         then; 39.90 USD are left. 10 % of 39.90 USD is 3.99 USD exactly, without rounding. The commission is 3.99 \
         USD."
    );
    let mut stopped = sale.clone();
    (stopped.made_amount, stopped.amount, stopped.started_as) = (0, 0, LineStatus::Disapproved);
    assert!(text(&stopped, StepKind::Refund).ends_with(" A rule stops it. The commission is 0.00 USD."));
    sale.refund_policy = RefundPolicy::Keep;
    assert!(explain(&sale).iter().all(|step| step.step != StepKind::Refund));
}

#[test]
fn a_line_that_a_recalculation_ended_gets_nothing_of_a_later_refund() {
    let mut sale = story(percent("10"), 4990, "USD");
    let ended = Change {
        what: ChangeKind::Review,
        status_after: LineStatus::Disapproved,
        reason_after: Some("recalculated".to_owned()),
        refund: None,
        ..refund((499, 0), 0, 0, 4990)
    };
    let stays = Some("recalculated".to_owned());
    let refunded = Change {
        status_before: LineStatus::Disapproved,
        status_after: LineStatus::Disapproved,
        reason_before: stays.clone(),
        reason_after: stays,
        ..refund((0, 0), 1000, 1000, 3990)
    };
    sale.changes = vec![ended, refunded];
    (sale.amount, sale.status) = (0, LineStatus::Disapproved);
    assert_eq!(
        text(&sale, StepKind::Change),
        "At 2026-03-05T00:00:00.000Z the conversion was priced anew: it goes from 4.99 USD to 0.00 USD; it was \
         disapproved; there is no such line any more."
    );
    let steps = explain(&sale);
    let refund = steps.iter().find(|step| step.step == StepKind::Refund).unwrap();
    assert_eq!(
        refund.text,
        "At 2026-03-05T00:00:00.000Z 10.00 USD of 49.90 USD were refunded; 39.90 USD are left. There is no such line \
         since the conversion was recalculated. The commission stays 0.00 USD."
    );
    assert_eq!(refund.data["exact_minor_units"], "0");
}

#[test]
fn a_line_without_a_conversion_tells_nothing_of_attribution() {
    let mut line = story(percent("10"), 4990, "USD");
    line.attribution = None;
    let kinds: Vec<_> = explain(&line).into_iter().map(|step| step.step).collect();
    assert_eq!(kinds, [StepKind::Rule, StepKind::Calculation, StepKind::Review, StepKind::Result]);
}
