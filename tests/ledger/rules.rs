//! Versions of the rules, and what may not change.

use waypost::{
    domain::{
        price::{Price, Recurrence},
        program::{CommissionType, ProgramSettings},
        time::{MS_PER_DAY, Timestamp},
    },
    events::{Authority, Conversion},
    ledger::{Command, LedgerError},
};

use crate::fixtures::*;

fn paying(value: i64) -> ProgramSettings {
    let standard = CommissionType {
        identifier: "standard".to_owned(),
        title: "fixed".to_owned(),
        price: Price::Fixed { value },
        first_payment: None,
        recurrence: Recurrence::Forever,
        count_towards_cap: true,
    };
    ProgramSettings { commission_types: vec![standard], ..settings() }
}

#[tokio::test]
async fn the_version_in_force_when_it_happened_prices_and_a_change_reprices_nothing() {
    let shop = Shop::open().await;
    let old = settled(shop.send(shop.janes("10")).await);
    let at = |days: i64| Timestamp(NOW.0 - days * MS_PER_DAY);
    shop.must(at(20), put_program(SHOP, "shop", "USD", paying(300))).await;
    shop.must(at(10), put_program(SHOP, "shop", "USD", paying(700))).await;
    // On a tie the later written.
    shop.must(at(10), put_program(SHOP, "shop", "USD", paying(800))).await;
    assert_eq!(shop.amounts(old).await, [100]);
    let happened = |at: Timestamp| Conversion {
        occurred_at: Some(at),
        authority: Authority::Import,
        ..shop.janes("10")
    };
    for (at, amount, version) in [
        (Timestamp(at(20).0 - 1), 100, 1),
        (at(20), 300, 2),
        (Timestamp(at(10).0 - 1), 300, 2),
        (at(10), 800, 4),
        (NOW, 800, 4),
    ] {
        let id = settled(shop.send(happened(at)).await);
        let line = shop.lines(id).await[0].clone();
        assert_eq!((line.amount, line.pricing["program_version"].as_i64()), (amount, Some(version)), "{at}");
    }
    settled(shop.send(shop.janes("10")).await);
    shop.assert_sound().await;
}

#[tokio::test]
async fn the_currency_changes_only_before_the_first_conversion() {
    let shop = Shop::open().await;
    let euros = || put_program(SHOP, "shop", "EUR", settings());
    // What anybody may send does not freeze it.
    let unsigned = Conversion { authority: Authority::HeldPixel, ..shop.order("o-1", "10") };
    held(shop.send(unsigned).await);
    shop.must(NOW, euros()).await;
    shop.must(NOW, put_program(SHOP, "shop", "USD", settings())).await;
    settled(shop.send(shop.janes("10")).await);
    let error = shop.apply(NOW, euros()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Conflict { field: "currency", .. }), "{error:?}");
    shop.assert_sound().await;
}

#[tokio::test]
async fn names_and_codes_are_given_once() {
    let shop = Shop::open().await;
    let taken = [
        put_program(waypost::domain::ids::ProgramId(2), "shop", "USD", settings()),
        put_affiliate(waypost::domain::ids::AffiliateId(2), "jane", false),
        put_link(waypost::domain::ids::LinkId(2), SHOP, JANE, "jane"),
        put_coupon(2, SHOP, JANE, "jane10"),
    ];
    for command in taken {
        let error = shop.apply(NOW, command).await.unwrap_err();
        assert!(matches!(error, LedgerError::Conflict { .. }), "{error:?}");
    }
    // A deleted coupon frees its code, a deleted link does not.
    shop.must(NOW, Command::DeleteCoupon { coupon: uuid::Uuid::from_u128(1) }).await;
    shop.must(NOW, put_coupon(2, SHOP, JANE, "jane10")).await;
    shop.must(NOW, Command::DeleteLink { link: JANES_LINK }).await;
    let again = shop.apply(NOW, put_link(waypost::domain::ids::LinkId(2), SHOP, JANE, "jane")).await;
    assert!(matches!(again, Err(LedgerError::Conflict { .. })), "{again:?}");
    for gone in [put_link(JANES_LINK, SHOP, JANE, "jane"), Command::DeleteLink { link: JANES_LINK }] {
        assert!(matches!(shop.apply(NOW, gone).await, Err(LedgerError::NotFound("link"))));
    }
    shop.assert_sound().await;
}
