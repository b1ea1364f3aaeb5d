//! Conversions that wait for somebody to believe them.

use waypost::{
    domain::{
        ids::{AffiliateId, LinkId, ProgramId},
        reason::{ConversionKind, Rejection, Waits},
        time::MS_PER_DAY,
        time::Timestamp,
    },
    events::{Authority, CommissionEntry, Conversion},
    ledger::{Command, Effect, LedgerError, RulesOf},
};

use crate::fixtures::*;

fn unsigned(sale: Conversion) -> Conversion {
    Conversion { authority: Authority::HeldPixel, ..sale }
}

#[tokio::test]
async fn a_held_one_does_nothing_until_it_is_accepted() {
    let shop = Shop::open().await;
    let sale = Conversion { customer_id: Some("c-1".to_owned()), ..shop.order("o-1", "10") };
    let id = held(shop.send(unsigned(sale.clone())).await);
    assert!(shop.customers().await.is_empty());
    assert!(shop.postings().await.is_empty());
    assert!(matches!(shop.send(unsigned(sale)).await, Effect::Duplicate { of } if of == id));
    assert_eq!(settled(shop.accept(id).await.unwrap()), id);
    assert_eq!(shop.amounts(id).await, [100]);
    assert_eq!(shop.customers().await.len(), 1);
    for error in [shop.accept(id).await, shop.decline(id).await] {
        assert!(matches!(error, Err(LedgerError::NotPossible { code: "not_waiting", .. })), "{error:?}");
    }
    assert!(
        matches!(shop.send(unsigned(shop.order("o-1", "99"))).await, Effect::Duplicate { of } if of == id)
    );
    shop.assert_sound().await;
}

#[tokio::test]
async fn one_that_is_declined_claims_nothing() {
    let shop = Shop::open().await;
    let id = held(shop.send(unsigned(shop.order("o-1", "10"))).await);
    assert_eq!(shop.decline(id).await.unwrap(), Effect::Declined { id });
    assert!(matches!(shop.accept(id).await, Err(LedgerError::NotPossible { .. })));
    settled(shop.send(shop.order("o-1", "10")).await);
    shop.assert_sound().await;
}

#[tokio::test]
async fn the_authenticated_one_replaces_those_of_its_program_and_kind() {
    let shop = Shop::open().await;
    shop.furnish(ProgramId(2), "second", AffiliateId(2), "joe", LinkId(2)).await;
    let same = held(shop.send(unsigned(shop.order("o-1", "99"))).await);
    let unnamed = held(shop.send(unsigned(Conversion { program: None, ..shop.order("o-1", "98") })).await);
    let lead = Conversion { kind: ConversionKind::Lead, ..shop.order("o-1", "97") };
    let lead = held(shop.send(unsigned(lead)).await);
    let elsewhere = Conversion {
        program: Some("second".to_owned()),
        referral_code: Some("joe".to_owned()),
        ..shop.order("o-1", "96")
    };
    let elsewhere = held(shop.send(unsigned(elsewhere)).await);
    match shop.send(shop.order("o-1", "10")).await {
        Effect::Settled { replaced, .. } => assert_eq!(replaced, [same, unnamed]),
        other => panic!("{other:?}"),
    }
    for (id, status) in [(same, "replaced"), (unnamed, "replaced"), (lead, "held"), (elsewhere, "held")] {
        assert_eq!(shop.conversion(id).await.status, status);
    }
    settled(shop.accept(lead).await.unwrap());
    settled(shop.accept(elsewhere).await.unwrap());
    // One that comes after is a duplicate at once.
    assert!(matches!(shop.send(unsigned(shop.order("o-1", "95"))).await, Effect::Duplicate { .. }));
    shop.assert_sound().await;
}

#[tokio::test]
async fn nobody_keeps_another_out_by_guessing_an_id() {
    let shop = Shop::open().await;
    let guessed = held(shop.send(unsigned(shop.order("o-1", "1"))).await);
    let honest = held(shop.send(unsigned(shop.order("o-1", "50"))).await);
    assert_ne!(guessed, honest);
    // Accepting the honest one makes the guess its duplicate.
    match shop.accept(honest).await.unwrap() {
        Effect::Settled { replaced, .. } => assert_eq!(replaced, [guessed]),
        other => panic!("{other:?}"),
    }
    assert_eq!(shop.balances().await[&(1, "accrued".to_owned())], -500);
    shop.assert_sound().await;
}

#[tokio::test]
async fn accepting_what_was_taken_meanwhile_makes_it_a_duplicate() {
    let shop = Shop::open().await;
    // Unnamed: only its attribution tells whose it is.
    let id = held(shop.send(unsigned(Conversion { program: None, ..shop.order("o-1", "9") })).await);
    let lead = Conversion { kind: ConversionKind::Lead, program: None, ..shop.order("o-1", "9") };
    let lead_held = held(shop.send(unsigned(lead.clone())).await);
    let taken = settled(shop.send(lead).await);
    assert_eq!(shop.conversion(lead_held).await.status, "replaced");
    assert_eq!(settled(shop.accept(id).await.unwrap()), id);
    assert_ne!(taken, id);
    shop.assert_sound().await;
}

#[tokio::test]
async fn one_that_the_rules_refuse_stays_held() {
    let shop = Shop::open().await;
    let wrong = Conversion { referral_code: Some("nobody".to_owned()), ..shop.order("o-1", "10") };
    let id = held(shop.send(unsigned(wrong)).await);
    let error = shop.accept(id).await.unwrap_err();
    assert!(matches!(error, LedgerError::Rejected(Rejection::Unattributed)), "{error:?}");
    assert_eq!(shop.conversion(id).await.status, "held");
    shop.assert_sound().await;
}

#[tokio::test]
async fn an_accepted_one_may_wait_for_its_click() {
    let shop = Shop::open().await;
    let click = click_id(Timestamp(NOW.0 - MS_PER_DAY));
    let sale = Conversion { click_id: Some(click.to_string()), ..shop.sale("10") };
    let id = held(shop.send(unsigned(sale)).await);
    let effect = shop.accept(id).await.unwrap();
    assert_eq!(effect, Effect::Pending { id, waits: Waits::ClickNotStored });
    shop.assert_sound().await;
    shop.store_click(click, true, None).await;
    assert_eq!(settled(shop.retry(id, false, NOW).await.unwrap()), id);
    assert_eq!(shop.amounts(id).await, [100]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_a_publishable_key_says_of_amounts_is_ignored() {
    let shop = Shop::open().await;
    let part = CommissionEntry {
        sub_amount: "1000".parse().unwrap(),
        commission_type: Some("standard".to_owned()),
        comment: None,
    };
    let lead = Conversion {
        kind: ConversionKind::Lead,
        authority: Authority::Publishable,
        currency: Some("EUR".to_owned()),
        commissions: vec![part],
        ..shop.janes("1000")
    };
    let id = held(shop.send(lead).await);
    settled(shop.accept(id).await.unwrap());
    let row = shop.conversion(id).await;
    assert_eq!((row.amount, row.currency.as_deref()), (0, Some("USD")));
    assert_eq!(shop.amounts(id).await, [0]);
    // Nor does it keep the amount that somebody gives it from its line.
    shop.must(NOW, Command::EditConversion { conversion: id, amount: 10_000 }).await;
    shop.must(NOW, Command::Recalculate { conversion: id, rules: RulesOf::Then }).await;
    assert_eq!((shop.amounts(id).await, shop.lines(id).await[0].sub_amount), (vec![1_000], 10_000));
    // What an unsigned pixel says counts once it is accepted.
    let id = held(shop.send(unsigned(shop.janes("10"))).await);
    settled(shop.accept(id).await.unwrap());
    assert_eq!(shop.amounts(id).await, [100]);
    shop.assert_sound().await;
}
