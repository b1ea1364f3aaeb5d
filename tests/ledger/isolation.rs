//! Nothing crosses accounts: what is another's is not there.

use serde_json::json;
use uuid::Uuid;
use waypost::{
    domain::{
        ids::{AffiliateId, LinkId, ProgramId},
        price::Target,
        reason::{Rejection, Standing, Warning},
        time::{MS_PER_DAY, Timestamp},
    },
    events::{Authority, Conversion, Refund},
    ledger::{self, ClickProof, Command, Evidence, LedgerError, PutGroup, Whose},
};

use crate::fixtures::*;

#[tokio::test]
async fn every_command_on_anothers_id_answers_as_if_it_were_not_there() {
    let shop = Shop::open().await;
    let other = shop.neighbour().await;
    let id = settled(shop.send(shop.order("o-1", "10")).await);
    let line = shop.lines(id).await[0].id;
    let waiting =
        held(shop.send(Conversion { authority: Authority::HeldPixel, ..shop.order("o-2", "1") }).await);
    let click = click_id(Timestamp(NOW.0 - MS_PER_DAY));
    let bare = Conversion { click_id: Some(click.to_string()), ..shop.sale("1") };
    let unproven = pending(shop.send(bare).await);
    let refund = pending(shop.refund(shop.refund_of("o-9", "1")).await);
    let evidence = || Box::new(Evidence::default());
    assert_eq!(evidence().click, ClickProof::Absent);
    let coupon = Uuid::from_u128(1);
    let group = Uuid::from_u128(7);
    let put_group =
        || Command::PutGroup(PutGroup { id: group, slug: "vip".parse().unwrap(), title: "VIP".to_owned() });
    shop.must(NOW, put_group()).await;
    let price = |id: u128, whose: Whose| {
        put_override(id, whose, Target::Level(2), json!({"form": "fixed", "value": 1}), None)
    };
    shop.must(NOW, price(8, Whose::Affiliate(JANE))).await;
    let commands = [
        put_group(),
        Command::DeleteGroup { group },
        Command::SetGroup { affiliate: JANE, group: None },
        Command::SetParent { affiliate: JANE, parent: None },
        price(8, Whose::Affiliate(JANE)),
        price(9, Whose::Group(group)),
        put_program(SHOP, "shop", "USD", settings()),
        Command::DeleteProgram { program: SHOP },
        put_affiliate(JANE, "jane", true),
        Command::DeleteAffiliate { affiliate: JANE },
        standing(SHOP, JANE, Standing::Suspended),
        put_link(JANES_LINK, SHOP, JANE, "jane"),
        put_link(LinkId(2), SHOP, JANE, "jane"),
        Command::DeleteLink { link: JANES_LINK },
        put_coupon(1, SHOP, JANE, "JANE10"),
        put_coupon(2, SHOP, JANE, "JANE10"),
        Command::DeleteCoupon { coupon },
        Command::RetryConversion { conversion: unproven, evidence: evidence(), waited_out: true },
        Command::GiveUpRefund { refund },
        Command::AcceptHeld { conversion: waiting, evidence: evidence(), terms: TERMS },
        Command::DeclineHeld { conversion: waiting },
        Command::ApproveLine { line },
        Command::DisapproveLine { line },
    ];
    // Nor may an affiliate of one's own belong to another's.
    let own = AffiliateId(50);
    shop.apply_for(other, NOW, put_affiliate(own, "own", false)).await.unwrap();
    let strange = [
        Command::SetGroup { affiliate: own, group: Some(group) },
        Command::SetParent { affiliate: own, parent: Some(JANE) },
    ];
    for command in commands.into_iter().chain(strange) {
        let text = format!("{command:?}");
        let error = shop.apply_for(other, NOW, command).await.unwrap_err();
        assert!(matches!(error, LedgerError::NotFound(_)), "{text}: {error:?}");
    }
    let explained = ledger::explain(shop.store.reader(), other, line).await;
    assert!(matches!(explained, Err(LedgerError::NotFound(_))));
    let nobody =
        shop.apply_for(waypost::domain::ids::AccountId(99), NOW, put_affiliate(JANE, "jane", true)).await;
    assert!(matches!(nobody, Err(LedgerError::NotFound("account"))));
    shop.assert_sound().await;
}

#[tokio::test]
async fn no_input_of_one_account_attributes_in_another() {
    let shop = Shop::open().await;
    let other = shop.neighbour().await;
    shop.apply_for(other, OPENED, put_program(ProgramId(2), "shop", "USD", settings())).await.unwrap();
    shop.apply_for(other, OPENED, put_affiliate(AffiliateId(2), "jane", false)).await.unwrap();
    let day = Timestamp(NOW.0 - MS_PER_DAY);
    let stored = click_id(day);
    shop.store_click(stored, true, Some("t-1")).await;
    settled(shop.send(Conversion { customer_id: Some("c-1".to_owned()), ..shop.order("o-1", "10") }).await);
    let text = |text: &str| Some(text.to_owned());
    let theirs = Conversion { account: other, ..shop.sale("1") };
    let cases = [
        (Conversion { customer_id: text("c-1"), ..theirs.clone() }, vec![]),
        (Conversion { coupon: text("JANE10"), ..theirs.clone() }, vec![Warning::UnknownCoupon]),
        (Conversion { referral_code: text("jane"), ..theirs.clone() }, vec![Warning::UnknownReferralCode]),
        (
            Conversion { click_id: Some(shop.token(day, JANES_LINK)), ..theirs.clone() },
            vec![Warning::UnknownClick],
        ),
        (
            Conversion { asset_id: text("banner-jane"), source_id: text("newsletter"), ..theirs.clone() },
            vec![Warning::UnknownAssetSource],
        ),
        (Conversion { tracking_id: text("t-1"), ..theirs.clone() }, vec![Warning::UnknownTrackingId]),
    ];
    for (sale, warnings) in cases {
        assert_eq!(rejection(shop.send(sale).await), (Rejection::Unattributed, warnings));
    }
    // A bare click id of another account is one that is not stored, and a refund finds nothing.
    pending(shop.send(Conversion { click_id: Some(stored.to_string()), ..theirs }).await);
    pending(shop.refund(Refund { account: other, ..shop.refund_of("o-1", "1") }).await);
    assert_eq!(shop.balances().await[&(1, "accrued".to_owned())], -100);
    shop.assert_sound().await;
}
