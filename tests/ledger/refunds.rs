//! Refunds: whole, in parts, early, too much, of what waits.

use uuid::Uuid;
use waypost::{
    domain::{
        explanation::StepKind,
        ids::{AffiliateId, LinkId, Prefix, ProgramId},
        program::{ProgramSettings, RefundPolicy},
        reason::{Rejection, Waits},
        time::{MS_PER_DAY, Timestamp},
    },
    events::{Authority, CommissionEntry, Conversion, Refund},
    ledger::{Command, Effect, Woken, explain},
};

use crate::fixtures::*;

fn accrued(amount: i64) -> Vec<((i64, String), i64)> {
    if amount == 0 {
        return Vec::new();
    }
    vec![((0, "expense".to_owned()), amount), ((1, "accrued".to_owned()), -amount)]
}

async fn balances(shop: &Shop) -> Vec<((i64, String), i64)> {
    shop.balances().await.into_iter().collect()
}

#[tokio::test]
async fn refunds_take_their_part_and_together_everything() {
    let shop = Shop::open().await;
    let part = |sub: &str, kind: &str| CommissionEntry {
        sub_amount: sub.parse().unwrap(),
        commission_type: Some(kind.to_owned()),
        comment: None,
    };
    let commissions = vec![part("19.99", "standard"), part("10.01", "lead")];
    let sale = Conversion { commissions, ..shop.order("o-1", "30") };
    let id = settled(shop.send(sale).await);
    assert_eq!(shop.amounts(id).await, [200, 500]);
    // 10.00 back: 20.00 of 30.00 left; subs 19.99 * 2/3 = 13.3267, 10.01 * 2/3 = 6.6733: 13.33 and 6.67.
    // 10 % of 13.33 = 1.333; 5.00 * 2/3 = 3.3333.
    settled(shop.refund(shop.refund_of("o-1", "10")).await);
    assert_eq!(shop.amounts(id).await, [133, 333]);
    let subs: Vec<_> = shop.lines(id).await.into_iter().map(|line| line.sub_amount).collect();
    assert_eq!(subs, [1333, 667]);
    assert_eq!(balances(&shop).await, accrued(466));
    // By its id, the rest; then there is nothing left.
    settled(shop.refund(shop.refund_by_id(id, "")).await);
    assert_eq!(shop.amounts(id).await, [0, 0]);
    assert_eq!(balances(&shop).await, accrued(0));
    assert_eq!(reason(shop.refund(shop.refund_by_id(id, "")).await), Rejection::RefundExceedsConversion);
    assert_eq!(reason(shop.refund(shop.refund_of("o-1", "0.01")).await), Rejection::RefundExceedsConversion);
    assert_eq!(shop.conversion(id).await.refunded, 3000);
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_a_deleted_program_sold_can_be_refunded_by_either_name() {
    let shop = Shop::open().await;
    let id = settled(shop.send(shop.order("o-1", "10")).await);
    let program = ProgramId(shop.conversion(id).await.program_id.unwrap());
    shop.must(Timestamp::now(), Command::DeleteProgram { program }).await;
    settled(shop.refund(shop.refund_of("o-1", "4")).await);
    settled(shop.refund(shop.refund_by_id(id, "")).await);
    assert_eq!(shop.amounts(id).await, [0]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_cannot_be_refunded_is_rejected_and_claims_nothing() {
    let shop = Shop::open().await;
    let id = settled(shop.send(shop.order("o-1", "10")).await);
    let named = |refund: Refund| Refund { external_id: Some("r-1".to_owned()), ..refund };
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (shop.refund_of("o-1", "10.01"), Rejection::RefundExceedsConversion),
        (shop.refund_of("o-1", "0"), Rejection::RefundOfNothing),
        (shop.refund_of("o-1", "0.004"), Rejection::RefundOfNothing),
        (shop.refund_of("o-1", "-1"), Rejection::AmountNegative),
        (shop.refund_of("o-1", "1e14"), Rejection::AmountTooLarge),
        (Refund { currency: text("EUR"), ..shop.refund_of("o-1", "1") }, Rejection::RefundCurrencyMismatch),
        (Refund { currency: text("gold"), ..shop.refund_of("o-1", "1") }, Rejection::RefundCurrencyMismatch),
        (Refund { program: text("nowhere"), ..shop.refund_of("o-1", "1") }, Rejection::UnknownProgram),
        (Refund { program: None, ..shop.refund_of("o-1", "1") }, Rejection::ConversionMissing),
        (Refund { conversion_id: text("com_1"), ..shop.refund_of("o-1", "1") }, Rejection::ConversionMissing),
    ];
    for (refund, expected) in cases {
        assert_eq!(reason(shop.refund(named(refund)).await), expected);
    }
    let right = Refund { currency: text("usd"), reason: text("chargeback"), ..shop.refund_of("o-1", "1") };
    settled(shop.refund(named(right)).await);
    assert_eq!(shop.amounts(id).await, [90]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_conversion_of_nothing_can_be_refunded_whole_once() {
    let shop = Shop::open().await;
    let lead = Conversion { commission_type: Some("lead".to_owned()), ..shop.order("o-1", "0") };
    let id = settled(shop.send(lead).await);
    assert_eq!(reason(shop.refund(shop.refund_of("o-1", "1")).await), Rejection::RefundExceedsConversion);
    settled(shop.refund(shop.refund_of("o-1", "")).await);
    assert_eq!(shop.amounts(id).await, [0]);
    assert_eq!(reason(shop.refund(shop.refund_of("o-1", "")).await), Rejection::RefundExceedsConversion);
    shop.assert_sound().await;
}

#[tokio::test]
async fn refunds_that_came_first_are_applied_in_the_order_of_their_arrival() {
    // Twenty times: ids of one millisecond are in no order.
    for round in 0..20 {
        let shop = Shop::open().await;
        let first = pending(shop.refund(shop.refund_of("o-1", "4")).await);
        let rest = pending(shop.refund(shop.refund_of("o-1", "")).await);
        let late = pending(shop.refund(shop.refund_of("o-1", "1")).await);
        let Effect::Settled { id, woken, .. } = shop.send(shop.order("o-1", "10")).await else { panic!() };
        let expected = [
            Woken { refund: first, rejected: None },
            Woken { refund: rest, rejected: None },
            Woken { refund: late, rejected: Some(Rejection::RefundExceedsConversion) },
        ];
        assert_eq!(woken, expected, "round {round}");
        assert_eq!((shop.refund_row(first).await.amount, shop.refund_row(rest).await.amount), (400, 600));
        assert_eq!(shop.amounts(id).await, [0]);
        if round == 0 {
            shop.assert_sound().await;
        }
    }
}

#[tokio::test]
async fn an_early_refund_waits_for_its_time_and_is_given_up() {
    let shop = Shop::open().await;
    let by_name = pending(shop.refund(shop.refund_of("o-1", "4")).await);
    let by_id = pending(shop.refund(shop.refund_by_id(Uuid::now_v7(), "4")).await);
    for id in [by_name, by_id] {
        assert_eq!(shop.refund_row(id).await.waits_until, Some(NOW.0 + TERMS.pending_time_ms));
        shop.give_up(id, NOW).await;
        assert_eq!(shop.refund_row(id).await.status, "rejected");
    }
    let reasons: Vec<_> = shop.rejected().await.into_iter().map(|row| row.reason).collect();
    assert_eq!(reasons, ["conversion_missing", "conversion_missing"]);
    let id = settled(shop.send(shop.order("o-1", "10")).await);
    assert_eq!(shop.amounts(id).await, [100]);
    shop.assert_sound().await;
    // Sent again it finds its conversion.
    let row = shop.rejected().await.into_iter().next().unwrap();
    let tx = shop.store.begin().await.unwrap();
    settled(shop.intake.retry_rejected(&tx, shop.account, row.id, NOW).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(shop.amounts(id).await, [60]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_refund_waits_as_long_as_its_conversion_does() {
    let shop = Shop::open().await;
    let unsigned =
        |external: &str| Conversion { authority: Authority::HeldPixel, ..shop.order(external, "10") };
    // Before the held one and after it, by name and by id.
    let early = pending(shop.refund(shop.refund_of("o-1", "1")).await);
    let conversion = held(shop.send(unsigned("o-1")).await);
    let by_name = pending(shop.refund(shop.refund_of("o-1", "2")).await);
    let by_id = pending(shop.refund(shop.refund_by_id(conversion, "3")).await);
    for id in [by_name, by_id] {
        assert_eq!(shop.refund_row(id).await.waits_until, None);
    }
    // Its time is over, and its conversion is found to wait itself.
    shop.give_up(early, NOW).await;
    assert_eq!(shop.refund_row(early).await.waits_until, None);
    let Effect::Settled { woken, .. } = shop.accept(conversion).await.unwrap() else { panic!() };
    assert_eq!(woken, [early, by_name, by_id].map(|refund| Woken { refund, rejected: None }));
    assert_eq!(shop.amounts(conversion).await, [40]);
    // Declined: they have nothing left to wait for.
    let conversion = held(shop.send(unsigned("o-2")).await);
    let orphan = pending(shop.refund(shop.refund_of("o-2", "2")).await);
    shop.decline(conversion).await.unwrap();
    assert_eq!(shop.refund_row(orphan).await.waits_until, Some(NOW.0));
    shop.give_up(orphan, NOW).await;
    assert_eq!(shop.rejected().await.last().unwrap().reason, "conversion_missing");
    assert_eq!(reason(shop.refund(shop.refund_by_id(conversion, "3")).await), Rejection::ConversionMissing);
    shop.assert_sound().await;
}

#[tokio::test]
async fn refunds_follow_what_replaced_their_conversion() {
    let shop = Shop::open().await;
    let unsigned = Conversion { authority: Authority::HeldPixel, ..shop.order("o-1", "99") };
    let replaced = held(shop.send(unsigned).await);
    let by_id = pending(shop.refund(shop.refund_by_id(replaced, "3")).await);
    let by_name = pending(shop.refund(shop.refund_of("o-1", "2")).await);
    let Effect::Settled { id, woken, .. } = shop.send(shop.order("o-1", "10")).await else { panic!() };
    assert_eq!(woken, [by_id, by_name].map(|refund| Woken { refund, rejected: None }));
    assert_eq!(shop.amounts(id).await, [50]);
    // One that waits for its click turns out to be taken under another id.
    let click = click_id(Timestamp(NOW.0 - MS_PER_DAY));
    let unnamed = Conversion {
        program: None,
        referral_code: None,
        click_id: Some(click.to_string()),
        ..shop.order("o-2", "10")
    };
    let waiting = pending(shop.send(unnamed).await);
    let refund = pending(shop.refund(shop.refund_by_id(waiting, "4")).await);
    let taken = settled(shop.send(shop.order("o-2", "10")).await);
    shop.store_click(click, true, None).await;
    assert_eq!(shop.retry(waiting, false, NOW).await, Some(Effect::Duplicate { of: taken }));
    assert_eq!(shop.refund_row(refund).await.waits_until, Some(NOW.0));
    shop.give_up(refund, NOW).await;
    assert_eq!(shop.refund_row(refund).await.status, "settled");
    assert_eq!(shop.amounts(taken).await, [60]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_refund_of_one_program_never_touches_another() {
    let shop = Shop::open().await;
    shop.furnish(ProgramId(2), "second", AffiliateId(2), "joe", LinkId(2)).await;
    let unnamed = Conversion {
        authority: Authority::HeldPixel,
        program: None,
        referral_code: Some("joe".to_owned()),
        ..shop.order("o-1", "10")
    };
    // Held without a program it may be the one; it turns out to be of the second.
    let joes = held(shop.send(unnamed).await);
    let refund = pending(shop.refund(shop.refund_of("o-1", "4")).await);
    let Effect::Settled { woken, .. } = shop.accept(joes).await.unwrap() else { panic!() };
    assert_eq!(woken, []);
    assert_eq!(shop.amounts(joes).await, [100]);
    assert_eq!(shop.refund_row(refund).await.conversion_id, None);
    let janes = settled(shop.send(shop.order("o-1", "10")).await);
    assert_eq!(shop.amounts(janes).await, [60]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_refund_of_one_that_waits_in_vain_is_given_up_with_it() {
    let shop = Shop::open().await;
    let click = click_id(Timestamp(NOW.0 - MS_PER_DAY));
    let sale =
        Conversion { referral_code: None, click_id: Some(click.to_string()), ..shop.order("o-1", "10") };
    let conversion = pending(shop.send(sale).await);
    let effect = shop.refund(shop.refund_of("o-1", "4")).await;
    assert!(matches!(effect, Effect::Pending { waits: Waits::ConversionMissing, .. }), "{effect:?}");
    let refund = pending(effect);
    assert_eq!(shop.refund_row(refund).await.waits_until, None);
    assert_eq!(reason(shop.retry(conversion, true, NOW).await.unwrap()), Rejection::Unattributed);
    shop.give_up(refund, NOW).await;
    assert_eq!(shop.refund_row(refund).await.status, "rejected");
    shop.assert_sound().await;
}

#[tokio::test]
async fn the_policy_of_the_conversions_time_decides() {
    let shop = Shop::open().await;
    let keep = ProgramSettings { refund_policy: RefundPolicy::Keep, ..settings() };
    shop.must(Timestamp(NOW.0 - MS_PER_DAY), put_program(SHOP, "shop", "USD", keep)).await;
    let before = Timestamp(NOW.0 - 2 * MS_PER_DAY);
    let reversed = Conversion { occurred_at: Some(before), ..shop.order("o-1", "10") };
    let reversed = settled(shop.send(reversed).await);
    let kept = settled(shop.send(shop.order("o-2", "10")).await);
    settled(shop.refund(shop.refund_of("o-1", "4")).await);
    settled(shop.refund(shop.refund_of("o-2", "4")).await);
    settled(shop.refund(shop.refund_of("o-2", "")).await);
    assert_eq!((shop.amounts(reversed).await, shop.amounts(kept).await), (vec![60], vec![100]));
    assert_eq!(shop.lines(kept).await[0].sub_amount, 1000);
    assert_eq!(shop.conversion(kept).await.refunded, 1000);
    assert_eq!(reason(shop.refund(shop.refund_of("o-2", "1")).await), Rejection::RefundExceedsConversion);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_policy_that_is_written_later_gives_nothing_back() {
    let shop = Shop::open().await;
    let id = settled(shop.send(shop.order("o-1", "10")).await);
    settled(shop.refund(shop.refund_of("o-1", "4")).await);
    let keep = ProgramSettings { refund_policy: RefundPolicy::Keep, ..settings() };
    let mut command = put_program(SHOP, "shop", "USD", keep);
    if let Command::PutProgram(program) = &mut command {
        program.from = Some(Timestamp(NOW.0 - MS_PER_DAY));
    }
    shop.must(NOW, command).await;
    settled(shop.refund(shop.refund_of("o-1", "1")).await);
    let line = shop.lines(id).await.remove(0);
    assert_eq!((line.amount, line.sub_amount), (60, 600));
    let steps = explain(shop.store.reader(), shop.account, line.id).await.unwrap();
    let refunds: Vec<_> = steps.iter().filter(|step| step.step == StepKind::Refund).collect();
    let policies: Vec<_> = refunds.iter().map(|step| step.data["policy"].as_str().unwrap()).collect();
    assert_eq!(policies, ["reverse", "keep"]);
    assert!(
        refunds[0].text.ends_with("The commission goes from 1.00 USD to 0.60 USD."),
        "{}",
        refunds[0].text
    );
    assert!(refunds[1].text.ends_with("The commission stays 0.60 USD."), "{}", refunds[1].text);
    shop.assert_sound().await;
}

#[tokio::test]
async fn refunds_find_approved_and_disapproved_lines_where_they_stand() {
    let shop = Shop::open().await;
    let id = settled(shop.send(shop.order("o-1", "10")).await);
    let line = shop.lines(id).await[0].id;
    shop.must(NOW, Command::ApproveLine { line }).await;
    settled(shop.refund(shop.refund_of("o-1", "4")).await);
    let payable =
        |amount: i64| vec![((0, "expense".to_owned()), amount), ((1, "payable".to_owned()), -amount)];
    assert_eq!(balances(&shop).await, payable(60));
    shop.must(NOW, Command::DisapproveLine { line }).await;
    settled(shop.refund(shop.refund_of("o-1", "1")).await);
    assert_eq!(balances(&shop).await, []);
    shop.must(NOW, Command::ApproveLine { line }).await;
    assert_eq!(balances(&shop).await, payable(50));
    assert_eq!(Prefix::Commission.format(line).len(), 36);
    shop.assert_sound().await;
}
