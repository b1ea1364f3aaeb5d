//! Whose conversion it is: every input, every warning, every reason to reject.

use waypost::{
    domain::{
        ids::{AffiliateId, LinkId, Prefix, ProgramId},
        reason::{Rejection, Standing, Warning},
        time::{MS_PER_DAY, Timestamp},
        token::ClickToken,
    },
    events::{Authority, Conversion},
    ledger::{Command, Effect},
};

use crate::fixtures::*;

const DAY: i64 = MS_PER_DAY;

fn before(ms: i64) -> Timestamp {
    Timestamp(NOW.0 - ms)
}

/// What decided, and for whom.
async fn decided(shop: &Shop, effect: Effect) -> (String, i64) {
    let row = shop.conversion(settled(effect)).await;
    (row.resolved_by.unwrap(), row.affiliate_id.unwrap())
}

#[tokio::test]
async fn each_input_attributes() {
    let shop = Shop::open().await;
    let token = shop.token(before(DAY), JANES_LINK);
    let bare = click_id(before(DAY));
    shop.store_click(bare, true, None).await;
    shop.store_click(click_id(before(2 * DAY)), true, Some("visitor-9")).await;
    let with = |change: fn(&mut Conversion, &str), value: &str| {
        let mut sale = shop.sale("49.90");
        change(&mut sale, value);
        sale
    };
    let click = |sale: &mut Conversion, value: &str| sale.click_id = Some(value.to_owned());
    let coupon = |sale: &mut Conversion, value: &str| sale.coupon = Some(value.to_owned());
    let cases = [
        (with(click, &token), "click_id"),
        (with(click, &bare.to_string()), "click_id"),
        (with(click, &Prefix::Click.format(bare)), "click_id"),
        (with(coupon, "JANE10"), "coupon"),
        (with(coupon, "jAnE10"), "coupon"),
        (with(|sale, value| sale.referral_code = Some(value.to_owned()), "jane"), "referral_code"),
        (
            with(
                |sale, value| {
                    sale.source_id = Some("newsletter".to_owned());
                    sale.asset_id = Some(value.to_owned());
                },
                "banner-jane",
            ),
            "asset_source",
        ),
        (with(|sale, value| sale.tracking_id = Some(value.to_owned()), "visitor-9"), "tracking_id"),
    ];
    for (sale, input) in cases {
        let effect = shop.send(sale).await;
        let row = shop.conversion(settled(effect)).await;
        assert_eq!((row.resolved_by.as_deref(), row.affiliate_id), (Some(input), Some(JANE.0)), "{input}");
        assert_eq!(shop.amounts(row.id).await, [499], "{input}");
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_customer_is_born_once_and_decides_from_then_on() {
    let shop = Shop::open().await;
    shop.furnish(ProgramId(2), "second", AffiliateId(2), "joe", LinkId(2)).await;
    shop.must(OPENED, standing(SHOP, AffiliateId(2), Standing::Approved)).await;
    shop.must(OPENED, put_link(LinkId(3), SHOP, AffiliateId(2), "joe-in-shop")).await;
    let buyer = |code: Option<&str>| Conversion {
        customer_id: Some("c-1".to_owned()),
        referral_code: code.map(str::to_owned),
        ..shop.sale("10")
    };
    // Nobody knows the customer yet, and nothing else says whose they are.
    assert_eq!(rejection(shop.send(buyer(None)).await), (Rejection::Unattributed, vec![]));
    assert_eq!(shop.customers().await.len(), 0);
    assert_eq!(decided(&shop, shop.send(buyer(Some("jane"))).await).await, ("referral_code".to_owned(), 1));
    assert_eq!(decided(&shop, shop.send(buyer(None)).await).await, ("customer_id".to_owned(), 1));
    // A later click does not move the binding.
    let rival = Conversion { click_id: Some(shop.token(before(DAY), LinkId(3))), ..buyer(None) };
    assert_eq!(decided(&shop, shop.send(rival).await).await, ("customer_id".to_owned(), 1));
    // Known in two programs: only with the program named is it clear who is meant.
    let other = Conversion { program: Some("second".to_owned()), ..buyer(Some("joe")) };
    assert_eq!(decided(&shop, shop.send(other).await).await, ("referral_code".to_owned(), 2));
    assert_eq!(reason(shop.send(buyer(None)).await), Rejection::Unattributed);
    let named = Conversion { program: Some("second".to_owned()), ..buyer(None) };
    assert_eq!(decided(&shop, shop.send(named).await).await, ("customer_id".to_owned(), 2));
    // joe's code in the shop names the program; jane's customer decides there.
    let code = buyer(Some("joe-in-shop"));
    assert_eq!(decided(&shop, shop.send(code).await).await, ("customer_id".to_owned(), 1));
    let bound: Vec<_> =
        shop.customers().await.into_iter().map(|row| (row.program_id, row.affiliate_id)).collect();
    assert_eq!(bound, [(1, 1), (2, 2)]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_does_not_resolve_is_passed_over_with_its_warning() {
    let shop = Shop::open().await;
    let click = |text: String| Conversion { click_id: Some(text), ..shop.sale("1") };
    let token = shop.token(before(DAY), JANES_LINK);
    let forged = {
        // A token of the same key id and another secret.
        let stranger = waypost::domain::token::TokenKey {
            id: 1,
            state: waypost::domain::token::KeyState::Active,
            secret: [99; 32],
        };
        let ring = waypost::domain::token::KeyRing::new(vec![stranger]).unwrap();
        let click_id = click_id(before(DAY));
        ring.sign(&ClickToken { click_id, link: JANES_LINK, attributable: true, review: false })
    };
    let altered = {
        let last = if token.ends_with('A') { 'B' } else { 'A' };
        let mut text = token.clone();
        text.replace_range(20..21, if &token[20..21] == "A" { "B" } else { "A" });
        assert_ne!(text, token);
        assert!(last.is_ascii());
        text
    };
    let crawler =
        ClickToken { click_id: click_id(before(DAY)), link: JANES_LINK, attributable: false, review: false };
    let stored_crawler = click_id(before(DAY));
    shop.store_click(stored_crawler, false, Some("crawler")).await;
    shop.store_click(click_id(before(31 * DAY)), true, Some("long-ago")).await;
    let edge_of_window = shop.token(before(30 * DAY), JANES_LINK);
    assert!(matches!(shop.send(click(edge_of_window)).await, Effect::Settled { .. }));
    let a_little_before = shop.token(Timestamp(NOW.0 + 5 * MINUTE), JANES_LINK);
    assert!(matches!(shop.send(click(a_little_before)).await, Effect::Settled { .. }));

    let cases = [
        (Conversion { coupon: Some("NOBODY".to_owned()), ..shop.sale("1") }, Warning::UnknownCoupon),
        (
            Conversion { referral_code: Some("JANE".to_owned()), ..shop.sale("1") },
            Warning::UnknownReferralCode,
        ),
        (click("not a click".to_owned()), Warning::UnknownClick),
        (click(uuid::Uuid::from_u128(5).to_string()), Warning::UnknownClick),
        (click(shop.token(before(DAY), LinkId(404))), Warning::UnknownClick),
        (click(forged), Warning::ClickForged),
        (click(altered), Warning::ClickForged),
        (click(shop.token(before(30 * DAY + 1), JANES_LINK)), Warning::ClickExpired),
        (click(shop.sign(crawler)), Warning::ClickInvalidTraffic),
        (click(stored_crawler.to_string()), Warning::ClickInvalidTraffic),
        (click(shop.token(Timestamp(NOW.0 + 5 * MINUTE + 1), JANES_LINK)), Warning::ConversionBeforeClick),
        (
            Conversion {
                asset_id: Some("banner-jane".to_owned()),
                source_id: Some("elsewhere".to_owned()),
                ..shop.sale("1")
            },
            Warning::UnknownAssetSource,
        ),
        (
            Conversion { tracking_id: Some("crawler".to_owned()), ..shop.sale("1") },
            Warning::UnknownTrackingId,
        ),
        (Conversion { tracking_id: Some("long-ago".to_owned()), ..shop.sale("1") }, Warning::ClickExpired),
    ];
    let count = cases.len();
    for (sale, warning) in cases {
        assert_eq!(rejection(shop.send(sale).await), (Rejection::Unattributed, vec![warning]), "{warning}");
    }
    let late = Conversion { coupon: Some("jane10".to_owned()), ..shop.sale("1") };
    for (at, expected) in [
        (Timestamp(NOW.0 - 10 * DAY - 1), Some(Warning::CouponExpired)),
        (Timestamp(NOW.0 - 10 * DAY), None),
        (Timestamp(NOW.0 + 10 * DAY - 1), None),
        (Timestamp(NOW.0 + 10 * DAY), Some(Warning::CouponExpired)),
    ] {
        match (shop.send_at(late.clone(), at).await, expected) {
            (Effect::Settled { .. }, None) => {}
            (effect, Some(warning)) => {
                assert_eq!(rejection(effect), (Rejection::Unattributed, vec![warning]));
            }
            (effect, None) => panic!("{effect:?}"),
        }
    }
    // The next input decides, and the warnings stay with the conversion.
    let both = Conversion { coupon: Some("NOBODY".to_owned()), ..shop.janes("1") };
    let row = shop.conversion(settled(shop.send(both).await)).await;
    assert_eq!(row.warnings, serde_json::json!(["unknown_coupon"]));
    assert_eq!(shop.rejected().await.len(), count + 2);
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_resolved_must_be_in_the_program_and_group_asked_for() {
    let shop = Shop::open().await;
    let grouped =
        waypost::domain::program::ProgramSettings { program_group: Some("europe".to_owned()), ..settings() };
    shop.must(OPENED, put_program(ProgramId(2), "second", "USD", grouped)).await;
    let janes_token = shop.token(before(DAY), JANES_LINK);
    let by_token = Conversion { click_id: Some(janes_token), ..shop.sale("1") };
    let named = Conversion { program: Some("second".to_owned()), ..by_token.clone() };
    // No further input is tried.
    let named =
        Conversion { asset_id: Some("banner-jane".into()), source_id: Some("newsletter".into()), ..named };
    assert_eq!(reason(shop.send(named).await), Rejection::ProgramMismatch);
    let group = |name: &str| Conversion { program_group: Some(name.to_owned()), ..by_token.clone() };
    assert_eq!(reason(shop.send(group("europe")).await), Rejection::ProgramMismatch);
    assert_eq!(reason(shop.send(group("asia")).await), Rejection::ProgramMismatch);
    let unknown = Conversion { program: Some("nowhere".to_owned()), ..by_token.clone() };
    assert_eq!(reason(shop.send(unknown).await), Rejection::UnknownProgram);
    settled(shop.send(by_token).await);
    shop.assert_sound().await;
}

#[tokio::test]
async fn an_affiliate_earns_by_their_standing_when_it_happened() {
    let shop = Shop::open().await;
    let at = |days: i64| Timestamp(NOW.0 - days * DAY);
    shop.must(at(20), standing(SHOP, JANE, Standing::Suspended)).await;
    shop.must(at(15), standing(SHOP, JANE, Standing::Approved)).await;
    shop.must(at(10), put_affiliate(JANE, "jane", true)).await;
    shop.must(at(5), put_affiliate(JANE, "jane", false)).await;
    shop.must(at(3), standing(SHOP, JANE, Standing::Disapproved)).await;
    shop.must(at(2), standing(SHOP, JANE, Standing::Pending)).await;
    shop.must(at(1), standing(SHOP, JANE, Standing::Approved)).await;
    let sale =
        |at: Timestamp| Conversion { occurred_at: Some(at), authority: Authority::Import, ..shop.janes("1") };
    let cases = [
        (Timestamp(OPENED.0 - 1), Some(Rejection::AffiliateNotApproved)),
        (OPENED, None),
        (Timestamp(at(20).0 - 1), None),
        (at(20), Some(Rejection::AffiliateSuspended)),
        (at(15), None),
        (at(10), Some(Rejection::AffiliateSuspended)),
        (at(5), None),
        (at(3), Some(Rejection::AffiliateNotApproved)),
        (at(2), Some(Rejection::AffiliateNotApproved)),
        (at(1), None),
    ];
    for (at, expected) in cases {
        let effect = shop.send(sale(at)).await;
        match expected {
            None => drop(settled(effect)),
            Some(reason_expected) => assert_eq!(reason(effect), reason_expected, "{at}"),
        }
    }
    // Never enrolled in a program.
    shop.must(OPENED, put_affiliate(AffiliateId(9), "nine", false)).await;
    shop.must(OPENED, put_link(LinkId(9), SHOP, AffiliateId(9), "nine")).await;
    let nine = Conversion { referral_code: Some("nine".to_owned()), ..shop.sale("1") };
    assert_eq!(reason(shop.send(nine).await), Rejection::AffiliateNotApproved);
    shop.assert_sound().await;
}

#[tokio::test]
async fn occurred_at_has_limits() {
    let shop = Shop::open().await;
    let sale = |ms: i64, authority| Conversion {
        occurred_at: Some(Timestamp(NOW.0 + ms)),
        authority,
        ..shop.janes("1")
    };
    let cases = [
        (5 * MINUTE, Authority::Secret, None),
        (5 * MINUTE + 1, Authority::Secret, Some(Rejection::OccurredInFuture)),
        (5 * MINUTE + 1, Authority::Import, Some(Rejection::OccurredInFuture)),
        (-30 * DAY, Authority::Secret, None),
        (-30 * DAY - 1, Authority::Secret, Some(Rejection::OccurredTooLongAgo)),
        (-30 * DAY - 1, Authority::SignedPixel, Some(Rejection::OccurredTooLongAgo)),
        (-30 * DAY - 1, Authority::HeldPixel, Some(Rejection::OccurredTooLongAgo)),
        (-30 * DAY - 1, Authority::Import, None),
    ];
    for (ms, authority, expected) in cases {
        let effect = shop.send(sale(ms, authority)).await;
        match expected {
            None => drop(settled(effect)),
            Some(expected) => assert_eq!(reason(effect), expected, "{ms} {authority:?}"),
        }
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn nothing_of_a_deleted_program_resolves_and_a_deleted_link_keeps_its_clicks() {
    let shop = Shop::open().await;
    let token = Conversion { click_id: Some(shop.token(before(DAY), JANES_LINK)), ..shop.sale("1") };
    shop.must(NOW, Command::DeleteLink { link: JANES_LINK }).await;
    assert_eq!(
        rejection(shop.send(shop.janes("1")).await),
        (Rejection::Unattributed, vec![Warning::UnknownReferralCode])
    );
    settled(shop.send(Conversion { customer_id: Some("c-1".to_owned()), ..token.clone() }).await);
    let coupon = Conversion { coupon: Some("JANE10".to_owned()), ..shop.sale("1") };
    settled(shop.send(coupon.clone()).await);
    shop.must(NOW, Command::DeleteProgram { program: SHOP }).await;
    assert_eq!(rejection(shop.send(token).await), (Rejection::Unattributed, vec![Warning::UnknownClick]));
    assert_eq!(rejection(shop.send(coupon).await), (Rejection::Unattributed, vec![Warning::UnknownCoupon]));
    let customer = Conversion { customer_id: Some("c-1".to_owned()), ..shop.sale("1") };
    assert_eq!(rejection(shop.send(customer).await), (Rejection::Unattributed, vec![]));
    assert_eq!(reason(shop.send(shop.order("o-1", "1")).await), Rejection::UnknownProgram);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_deleted_affiliate_earns_nothing_more_and_keeps_the_balance() {
    let shop = Shop::open().await;
    settled(shop.send(shop.janes("10")).await);
    let balances = shop.balances().await;
    shop.must(NOW, Command::DeleteAffiliate { affiliate: JANE }).await;
    assert_eq!(reason(shop.send(shop.janes("10")).await), Rejection::AffiliateSuspended);
    assert_eq!(shop.balances().await, balances);
    shop.must(NOW, Command::DeleteCoupon { coupon: uuid::Uuid::from_u128(1) }).await;
    let coupon = Conversion { coupon: Some("JANE10".to_owned()), ..shop.sale("1") };
    assert_eq!(rejection(shop.send(coupon).await), (Rejection::Unattributed, vec![Warning::UnknownCoupon]));
    shop.assert_sound().await;
}
