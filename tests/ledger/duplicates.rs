//! What is taken once: event ids, external ids; what claims nothing.

use uuid::Uuid;
use waypost::{
    domain::{
        ids::{AffiliateId, LinkId, ProgramId},
        reason::{ConversionKind, Rejection, Standing},
        time::{MS_PER_DAY, Timestamp},
    },
    events::{Authority, Body, Conversion, Refund},
    ledger::Effect,
};

use crate::fixtures::*;

fn duplicate_of(effect: Effect) -> Uuid {
    match effect {
        Effect::Duplicate { of } => of,
        other => panic!("no duplicate: {other:?}"),
    }
}

#[tokio::test]
async fn an_event_id_is_taken_once() {
    let shop = Shop::open().await;
    let event = shop.event(shop.janes("10"), NOW);
    let id = settled(shop.receive(&event).await);
    let again = shop.wrap(event.id, event.body.clone(), NOW);
    assert_eq!(duplicate_of(shop.receive(&again).await), id);
    let Body::Conversion(mut other) = event.body else { panic!() };
    other.fingerprint = "f".repeat(32);
    let other = shop.wrap(event.id, Body::Conversion(other), NOW);
    assert_eq!(reason(shop.receive(&other).await), Rejection::IdempotencyConflict);
    assert_eq!(shop.balances().await[&(1, "accrued".to_owned())], -100);
    shop.assert_sound().await;
}

#[tokio::test]
async fn an_external_id_is_taken_once_in_its_program_and_kind() {
    let shop = Shop::open().await;
    shop.furnish(ProgramId(2), "second", AffiliateId(2), "joe", LinkId(2)).await;
    let unnamed = |external: &str, amount: &str| Conversion { program: None, ..shop.order(external, amount) };
    let id = settled(shop.send(unnamed("o-1", "10")).await);
    // Found after attribution, and with the program named before anything else, whatever else it says.
    assert_eq!(duplicate_of(shop.send(unnamed("o-1", "20")).await), id);
    let named = Conversion { referral_code: None, ..shop.order("o-1", "20") };
    assert_eq!(duplicate_of(shop.send(named).await), id);
    // Another kind, another program.
    settled(shop.send(Conversion { kind: ConversionKind::Lead, ..unnamed("o-1", "10") }).await);
    settled(shop.send(Conversion { referral_code: Some("joe".to_owned()), ..unnamed("o-1", "10") }).await);
    // Found before approval.
    shop.must(NOW, standing(SHOP, JANE, Standing::Suspended)).await;
    assert_eq!(duplicate_of(shop.send(unnamed("o-1", "20")).await), id);
    assert_eq!(reason(shop.send(unnamed("o-2", "20")).await), Rejection::AffiliateSuspended);
    shop.assert_sound().await;
}

#[tokio::test]
async fn without_an_external_id_every_post_is_its_own() {
    let shop = Shop::open().await;
    let first = settled(shop.send(shop.janes("10")).await);
    let second = settled(shop.send(shop.janes("10")).await);
    assert_ne!(first, second);
    assert_eq!(shop.balances().await[&(1, "accrued".to_owned())], -200);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_rejected_event_claims_nothing_and_may_be_sent_again() {
    let shop = Shop::open().await;
    let wrong = Conversion { referral_code: Some("jnae".to_owned()), ..shop.order("o-1", "10") };
    assert_eq!(reason(shop.send(wrong).await), Rejection::Unattributed);
    // Corrected: the same event id, another body.
    let id = settled(shop.send(shop.order("o-1", "10")).await);
    // The rejected one is tried again by hand: it is still wrong, and now in the way of another.
    let [row] = &shop.rejected().await[..] else { panic!() };
    let tx = shop.store.begin().await.unwrap();
    let effect = shop.intake.retry_rejected(&tx, shop.account, row.id, NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(reason(effect), Rejection::IdempotencyConflict);
    let [row] = &shop.rejected().await[..] else { panic!() };
    assert_eq!((row.reason.as_str(), row.retried_at), ("idempotency_conflict", None));
    assert_eq!(shop.amounts(id).await, [100]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_rejected_event_is_taken_once_its_reason_is_gone() {
    let shop = Shop::open().await;
    shop.must(OPENED, standing(SHOP, JANE, Standing::Suspended)).await;
    assert_eq!(reason(shop.send(shop.order("o-1", "10")).await), Rejection::AffiliateSuspended);
    shop.must(OPENED, standing(SHOP, JANE, Standing::Approved)).await;
    let [row] = &shop.rejected().await[..] else { panic!() };
    let retry = || async {
        let tx = shop.store.begin().await.unwrap();
        let effect = shop.intake.retry_rejected(&tx, shop.account, row.id, NOW).await;
        tx.commit().await.unwrap();
        effect
    };
    let id = settled(retry().await.unwrap());
    assert_eq!(shop.amounts(id).await, [100]);
    assert_eq!(retry().await.unwrap_err().to_string(), "the event was taken by an earlier retry");
    shop.assert_sound().await;
}

#[tokio::test]
async fn refunds_are_unique_by_their_own_external_id() {
    let shop = Shop::open().await;
    settled(shop.send(shop.order("o-1", "10")).await);
    let refund =
        |amount: &str| Refund { external_id: Some("r-1".to_owned()), ..shop.refund_of("o-1", amount) };
    let id = settled(shop.refund(refund("1")).await);
    assert_eq!(duplicate_of(shop.refund(refund("1")).await), id);
    assert_eq!(reason(shop.refund(refund("2")).await), Rejection::IdempotencyConflict);
    // Under another event id.
    let event = shop.refund_event(refund("1"), NOW);
    let other = shop.wrap(Uuid::now_v7(), event.body, NOW);
    assert_eq!(duplicate_of(shop.receive(&other).await), id);
    assert_eq!(shop.balances().await[&(1, "accrued".to_owned())], -90);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_repeat_is_one_whenever_it_says_that_it_happened() {
    let shop = Shop::open().await;
    // The program is not named, so the event has an id of its own.
    let unnamed = Conversion { program: None, ..shop.order("o-1", "10") };
    let first = settled(shop.send(unnamed).await);
    for authority in [Authority::Secret, Authority::HeldPixel] {
        let long_ago = Some(Timestamp(NOW.0 - 31 * MS_PER_DAY));
        let late = |order: &str| Conversion { authority, occurred_at: long_ago, ..shop.order(order, "10") };
        assert_eq!(duplicate_of(shop.send(late("o-1")).await), first);
        assert_eq!(reason(shop.send(late("o-2")).await), Rejection::OccurredTooLongAgo);
    }
    shop.assert_sound().await;
}
