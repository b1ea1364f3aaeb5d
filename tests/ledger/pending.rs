//! Conversions that wait for their click, their key or the end of their time.

use uuid::Uuid;
use waypost::{
    domain::{
        reason::{Rejection, Waits, Warning},
        time::{MS_PER_DAY, Timestamp},
        token::{ClickToken, KeyState},
    },
    events::Conversion,
    ledger::{Effect, Intake},
};

use crate::fixtures::*;

fn yesterday() -> Timestamp {
    Timestamp(NOW.0 - MS_PER_DAY)
}

fn by_click(shop: &Shop, click: Uuid) -> Conversion {
    Conversion { click_id: Some(click.to_string()), referral_code: None, ..shop.order("o-1", "10") }
}

#[tokio::test]
async fn a_bare_click_id_waits_for_its_click() {
    let shop = Shop::open().await;
    let click = click_id(yesterday());
    let sale = by_click(&shop, click);
    let effect = shop.send(sale.clone()).await;
    assert!(matches!(effect, Effect::Pending { waits: Waits::ClickNotStored, .. }), "{effect:?}");
    let id = pending(effect);
    assert_eq!(shop.conversion(id).await.waits_until, Some(NOW.0 + TERMS.pending_time_ms));
    // It claims both ids while it waits.
    assert!(matches!(shop.send(sale).await, Effect::Duplicate { of } if of == id));
    assert_eq!(reason(shop.send(shop.order("o-1", "99")).await), Rejection::IdempotencyConflict);
    assert_eq!(shop.retry(id, false, NOW).await, None);
    shop.store_click(click, true, None).await;
    assert_eq!(settled(shop.retry(id, false, NOW).await.unwrap()), id);
    let row = shop.conversion(id).await;
    assert_eq!((row.click_id, row.waits_until), (Some(click), None));
    assert_eq!(shop.amounts(id).await, [100]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn an_earlier_input_that_resolves_needs_no_click() {
    let shop = Shop::open().await;
    let sale = Conversion { click_id: Some(click_id(yesterday()).to_string()), ..shop.janes("10") };
    settled(shop.send(sale).await);
}

#[tokio::test]
async fn at_the_end_of_its_time_the_next_input_is_tried() {
    let shop = Shop::open().await;
    let sale = Conversion {
        asset_id: Some("banner-jane".to_owned()),
        source_id: Some("newsletter".to_owned()),
        ..by_click(&shop, click_id(yesterday()))
    };
    let id = pending(shop.send(sale).await);
    settled(shop.retry(id, true, NOW).await.unwrap());
    let row = shop.conversion(id).await;
    assert_eq!(row.resolved_by.as_deref(), Some("asset_source"));
    assert_eq!(row.warnings, serde_json::json!(["unknown_click"]));
    shop.assert_sound().await;
}

#[tokio::test]
async fn one_that_waited_in_vain_is_rejected_and_releases_its_claims() {
    let shop = Shop::open().await;
    let id = pending(shop.send(by_click(&shop, click_id(yesterday()))).await);
    let effect = shop.retry(id, true, NOW).await.unwrap();
    assert_eq!(rejection(effect), (Rejection::Unattributed, vec![Warning::UnknownClick]));
    let [row] = &shop.rejected().await[..] else { panic!() };
    assert_eq!(row.reason, "unattributed");
    shop.assert_sound().await;
    settled(shop.send(shop.order("o-1", "10")).await);
    // Sent again by hand it meets the one that was corrected.
    let tx = shop.store.begin().await.unwrap();
    let again = shop.intake.retry_rejected(&tx, shop.account, row.id, NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(reason(again), Rejection::IdempotencyConflict);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_token_of_an_unknown_key_waits_for_the_key() {
    let shop = Shop::open().await;
    let token =
        ClickToken { click_id: click_id(yesterday()), link: JANES_LINK, attributable: true, review: false };
    let text = ring(2, &[]).sign(&token);
    let sale = Conversion { click_id: Some(text), ..shop.sale("10") };
    let effect = shop.send(sale).await;
    assert!(matches!(effect, Effect::Pending { waits: Waits::TokenKeyUnknown, .. }), "{effect:?}");
    let id = pending(effect);
    assert_eq!(shop.retry(id, false, NOW).await, None);
    let newer = Intake::new(ring(1, &[(2, KeyState::Verify)]), TERMS);
    let tx = shop.store.begin().await.unwrap();
    let effect = newer.retry_pending(&tx, shop.account, id, false, NOW).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    settled(effect);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_token_of_a_revoked_key_needs_the_stored_click() {
    let mut shop = Shop::open().await;
    let click = click_id(yesterday());
    let token = ClickToken { click_id: click, link: JANES_LINK, attributable: true, review: true };
    let text = shop.sign(token);
    shop.intake = Intake::new(ring(2, &[(1, KeyState::Revoked)]), TERMS);
    let id = pending(shop.send(Conversion { click_id: Some(text), ..shop.sale("10") }).await);
    shop.store_click(click, true, None).await;
    settled(shop.retry(id, false, NOW).await.unwrap());
    // The stored click decides, not what the token says.
    assert!(!shop.conversion(id).await.review);
}

#[tokio::test]
async fn what_waited_takes_its_place_when_it_settles() {
    let shop = Shop::open().await;
    let click = click_id(yesterday());
    let unnamed = Conversion { program: None, ..by_click(&shop, click) };
    let id = pending(shop.send(unnamed).await);
    // Another takes the external id first: unnamed, the one that waits had not claimed it.
    let first = settled(shop.send(shop.order("o-1", "20")).await);
    shop.store_click(click, true, None).await;
    let effect = shop.retry(id, false, NOW).await.unwrap();
    assert_eq!(effect, Effect::Duplicate { of: first });
    assert_eq!(shop.conversion(id).await.status, "replaced");
    assert_eq!(shop.balances().await[&(1, "accrued".to_owned())], -200);
    shop.assert_sound().await;
}
