//! Customers: made before they buy, moved, canceled, and what that does to their conversions.

use sea_orm::{EntityTrait, QueryOrder};
use uuid::Uuid;
use waypost::{
    domain::{
        ids::{AffiliateId, LinkId, ProgramId},
        program::ProgramSettings,
        reason::{CustomerTrack, Rejection, Standing, Warning},
        time::{MS_PER_DAY, Timestamp},
    },
    events::Conversion,
    ledger::{self, Command, Effect, LedgerError},
    store::entities::{cancellation, customer, customer_count},
};

use crate::fixtures::*;

const JOE: AffiliateId = AffiliateId(2);
const JOES_LINK: LinkId = LinkId(2);

fn minutes(n: i64) -> Timestamp {
    Timestamp(NOW.0 + n * MINUTE)
}

async fn create_on(
    shop: &Shop,
    inputs: Conversion,
    track: CustomerTrack,
    at: Timestamp,
) -> Result<(Uuid, Effect), LedgerError> {
    let inputs = Conversion { customer_id: Some("c-1".to_owned()), ..inputs };
    let tx = shop.store.begin().await.unwrap();
    let evidence = Box::new(shop.intake.gather(&tx, &inputs, at).await.unwrap());
    let id = Uuid::now_v7();
    let command = Command::CreateCustomer { id, inputs: Box::new(inputs), track, evidence };
    let effect = ledger::apply(&tx, shop.account, at, &command).await?;
    tx.commit().await.unwrap();
    Ok((id, effect))
}

async fn create(shop: &Shop, inputs: Conversion) -> Effect {
    create_on(shop, inputs, CustomerTrack::New, NOW).await.unwrap().1
}

async fn made(shop: &Shop, inputs: Conversion) -> Uuid {
    let (id, effect) = create_on(shop, inputs, CustomerTrack::New, NOW).await.unwrap();
    assert_eq!(effect, Effect::Done);
    id
}

/// A conversion that nothing but the customer attributes.
fn bought(shop: &Shop, amount: &str) -> Conversion {
    Conversion { customer_id: Some("c-1".to_owned()), ..shop.sale(amount) }
}

async fn row(shop: &Shop, id: Uuid) -> customer::Model {
    customer::Entity::find_by_id(id).one(shop.store.reader()).await.unwrap().unwrap()
}

/// The shop, and joe enrolled in it with a link.
async fn shop_of_two() -> Shop {
    let shop = Shop::open().await;
    shop.must(OPENED, put_affiliate(JOE, "joe", false)).await;
    shop.must(OPENED, standing(SHOP, JOE, Standing::Approved)).await;
    shop.must(OPENED, put_link(JOES_LINK, SHOP, JOE, "joe")).await;
    shop
}

#[tokio::test]
async fn a_customer_is_attributed_before_it_buys() {
    let day = Timestamp(NOW.0 - MS_PER_DAY);
    for input in ["coupon", "referral_code", "token", "click", "asset_source", "tracking_id"] {
        let shop = Shop::open().await;
        let bare = click_id(day);
        shop.store_click(bare, true, Some("visitor-9")).await;
        let mut inputs = shop.sale("");
        match input {
            "coupon" => inputs.coupon = Some("jane10".to_owned()),
            "referral_code" => inputs.referral_code = Some("jane".to_owned()),
            "token" => inputs.click_id = Some(shop.token(day, JANES_LINK)),
            "click" => inputs.click_id = Some(bare.to_string()),
            "asset_source" => {
                inputs.asset_id = Some("banner-jane".to_owned());
                inputs.source_id = Some("newsletter".to_owned());
            }
            _ => inputs.tracking_id = Some("visitor-9".to_owned()),
        }
        let customer = made(&shop, inputs).await;
        let row = row(&shop, customer).await;
        assert_eq!((row.program_id, row.affiliate_id), (SHOP.0, JANE.0), "{input}");
        assert_eq!(row.link_id.is_some(), input != "coupon", "{input}");
        assert_eq!((row.moved_on, row.canceled, row.first_at), (false, false, None));
        let sold = shop.conversion(settled(shop.send(bought(&shop, "49.90")).await)).await;
        assert_eq!(
            (sold.resolved_by.as_deref(), sold.customer_id, sold.affiliate_id),
            (Some("customer_id"), Some(customer), Some(JANE.0))
        );
        shop.assert_sound().await;
    }
}

#[tokio::test]
async fn who_is_nobodys_is_refused_with_the_reasons() {
    let shop = shop_of_two().await;
    let refused = |effect: Effect| rejection(effect);
    assert_eq!(refused(create(&shop, shop.sale("")).await), (Rejection::Unattributed, vec![]));
    // Nothing waits: a click that may still come is passed over, and the next input decides.
    let click = Some(click_id(NOW).to_string());
    let inputs = Conversion { click_id: click.clone(), coupon: Some("NO".to_owned()), ..shop.sale("") };
    assert_eq!(
        refused(create(&shop, inputs).await),
        (Rejection::Unattributed, vec![Warning::UnknownCoupon, Warning::UnknownClick])
    );
    let program = |slug: &str| Conversion { program: Some(slug.to_owned()), ..shop.janes("") };
    assert_eq!(refused(create(&shop, program("nothing")).await).0, Rejection::UnknownProgram);
    shop.must(OPENED, put_program(ProgramId(2), "second", "USD", settings())).await;
    assert_eq!(refused(create(&shop, program("second")).await).0, Rejection::ProgramMismatch);
    for (stands, reason) in [
        (Standing::Suspended, Rejection::AffiliateSuspended),
        (Standing::Disapproved, Rejection::AffiliateNotApproved),
        (Standing::Pending, Rejection::AffiliateNotApproved),
    ] {
        shop.must(NOW, standing(SHOP, JOE, stands)).await;
        let inputs = Conversion { referral_code: Some("joe".to_owned()), ..shop.sale("") };
        assert_eq!(refused(create(&shop, inputs).await).0, reason, "{stands}");
    }
    assert!(shop.customers().await.is_empty());
    let inputs = Conversion { click_id: click, tracking_id: None, ..shop.janes("") };
    made(&shop, inputs).await;
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_program_knows_a_customer_once() {
    let shop = shop_of_two().await;
    made(&shop, shop.janes("")).await;
    for program in [None, Some("shop".to_owned())] {
        // Whoever would have it now: it is another's.
        let joes = Conversion { referral_code: Some("joe".to_owned()), program, ..shop.sale("") };
        let error = create_on(&shop, joes, CustomerTrack::New, NOW).await.unwrap_err();
        assert!(matches!(error, LedgerError::Conflict { field: "customer_id", .. }), "{error}");
    }
    // Another program has its own.
    shop.must(OPENED, put_program(ProgramId(2), "second", "USD", settings())).await;
    shop.must(OPENED, standing(ProgramId(2), JANE, Standing::Approved)).await;
    shop.must(OPENED, put_link(LinkId(3), ProgramId(2), JANE, "jane-too")).await;
    made(&shop, Conversion { referral_code: Some("jane-too".to_owned()), ..shop.sale("") }).await;
    assert_eq!(shop.customers().await.len(), 2);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_customer_moves_and_its_past_stays() {
    let shop = shop_of_two().await;
    let customer = made(&shop, shop.janes("")).await;
    let before = settled(shop.send(bought(&shop, "10")).await);
    let to = |affiliate, link| Command::MoveCustomer { customer, affiliate, link };
    shop.must(minutes(1), to(JOE, Some(JOES_LINK))).await;
    let after = settled(shop.send_at(bought(&shop, "10"), minutes(2)).await);
    let (old, new) = (shop.lines(before).await, shop.lines(after).await);
    assert_eq!((old[0].affiliate_id, new[0].affiliate_id), (JANE.0, JOE.0));
    assert_eq!(shop.conversion(after).await.link_id, Some(JOES_LINK.0));
    // Back, without a link.
    shop.must(minutes(3), to(JANE, None)).await;
    assert_eq!((row(&shop, customer).await.affiliate_id, row(&shop, customer).await.link_id), (JANE.0, None));
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_customer_moves_to_those_alone_who_may_have_it() {
    let shop = shop_of_two().await;
    let customer = made(&shop, shop.janes("")).await;
    let (stranger, gone) = (AffiliateId(3), AffiliateId(4));
    for (id, slug) in [(stranger, "stranger"), (gone, "gone")] {
        shop.must(OPENED, put_affiliate(id, slug, false)).await;
    }
    shop.must(OPENED, standing(SHOP, gone, Standing::Approved)).await;
    shop.must(OPENED, Command::DeleteAffiliate { affiliate: gone }).await;
    let refused = async |affiliate, link, customer| {
        shop.apply(NOW, Command::MoveCustomer { customer, affiliate, link }).await.unwrap_err()
    };
    let not_enrolled = |error| matches!(error, LedgerError::NotPossible { code: "not_enrolled", .. });
    assert!(not_enrolled(refused(stranger, None, customer).await));
    assert!(matches!(refused(gone, None, customer).await, LedgerError::NotFound("affiliate")));
    assert!(matches!(refused(AffiliateId(99), None, customer).await, LedgerError::NotFound("affiliate")));
    assert!(matches!(refused(JOE, Some(JANES_LINK), customer).await, LedgerError::NotFound("link")));
    assert!(matches!(refused(JOE, Some(LinkId(99)), customer).await, LedgerError::NotFound("link")));
    assert!(matches!(refused(JOE, None, Uuid::now_v7()).await, LedgerError::NotFound("customer")));
    shop.must(NOW, standing(SHOP, JOE, Standing::Suspended)).await;
    assert!(not_enrolled(refused(JOE, None, customer).await));
    assert_eq!(row(&shop, customer).await.affiliate_id, JANE.0);
    let neighbour = shop.neighbour().await;
    let command = Command::MoveCustomer { customer, affiliate: JANE, link: None };
    let error = shop.apply_for(neighbour, NOW, command).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotFound("customer")));
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_happens_while_canceled_earns_nothing() {
    let shop = Shop::open().await;
    let customer = made(&shop, shop.janes("")).await;
    let cancel = |canceled| Command::SetCanceled { customer, canceled };
    shop.must(minutes(10), cancel(true)).await;
    shop.must(minutes(20), cancel(false)).await;
    shop.must(minutes(30), cancel(true)).await;
    // Asked for once more, nothing changes.
    assert_eq!(shop.must(minutes(31), cancel(true)).await, Effect::Done);
    assert_eq!(cancellation::Entity::find().all(shop.store.reader()).await.unwrap().len(), 3);
    // They arrive later and are judged by when they happened.
    for (minute, reason) in [
        (0, None),
        (9, None),
        (10, Some("customer_canceled")),
        (19, Some("customer_canceled")),
        (20, None),
        (29, None),
        (30, Some("customer_canceled")),
        (40, Some("customer_canceled")),
    ] {
        let sold = Conversion { occurred_at: Some(minutes(minute)), ..bought(&shop, "10") };
        let lines = shop.lines(settled(shop.send_at(sold, minutes(40)).await)).await;
        assert_eq!(lines[0].reason.as_deref(), reason, "minute {minute}");
        let expected = if reason.is_some() { (0, "disapproved") } else { (100, "pending") };
        assert_eq!((lines[0].amount, lines[0].status.as_str()), expected, "minute {minute}");
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn the_first_amount_above_0_moves_a_customer_on() {
    let shop = Shop::open().await;
    let (customer, _) = create_on(&shop, shop.janes(""), CustomerTrack::Trial, NOW).await.unwrap();
    assert_eq!(row(&shop, customer).await.track, "trial");
    settled(shop.send_at(bought(&shop, "0"), minutes(1)).await);
    let after_nothing = row(&shop, customer).await;
    assert_eq!((after_nothing.moved_on, after_nothing.first_at), (false, Some(minutes(1).0)));
    shop.must(minutes(2), Command::SetCanceled { customer, canceled: true }).await;
    // Also while canceled.
    settled(shop.send_at(bought(&shop, "5"), minutes(3)).await);
    let bought = row(&shop, customer).await;
    assert_eq!((bought.moved_on, bought.canceled, bought.first_at), (true, true, Some(minutes(1).0)));
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_counts_towards_the_cap_is_kept() {
    let shop = Shop::open().await;
    let mut capped = ProgramSettings { recurring_cap: Some(2), ..settings() };
    capped.commission_types[1].count_towards_cap = false;
    shop.must(OPENED, put_program(SHOP, "shop", "USD", capped)).await;
    let customer = made(&shop, shop.janes("")).await;
    let lead = Conversion { commission_type: Some("lead".to_owned()), ..bought(&shop, "10") };
    let mut reasons = Vec::new();
    for (minute, sold) in [lead.clone(), bought(&shop, "10"), bought(&shop, "10"), bought(&shop, "10"), lead]
        .into_iter()
        .enumerate()
    {
        let at = minutes(i64::try_from(minute).unwrap());
        let lines = shop.lines(settled(shop.send_at(sold, at).await)).await;
        reasons.push(lines[0].reason.clone().unwrap_or_default());
    }
    assert_eq!(reasons, ["", "", "", "recurring_cap", "recurring_cap"]);
    let counts = customer_count::Entity::find()
        .order_by_asc(customer_count::Column::Subject)
        .all(shop.store.reader())
        .await
        .unwrap();
    let counts: Vec<_> = counts.into_iter().map(|row| (row.subject, row.conversions)).collect();
    let expected = [("cap", 2), ("type:lead", 1), ("type:standard", 2)];
    assert_eq!(counts, expected.map(|(subject, count)| (subject.to_owned(), count)));
    assert_eq!(row(&shop, customer).await.first_at, Some(NOW.0));
    shop.assert_sound().await;
}
