//! Groups and parents with their histories.

use std::sync::Arc;

use tokio::{sync::Barrier, task::JoinSet};
use uuid::Uuid;
use waypost::{
    domain::{
        ids::AffiliateId,
        price::FlatPrice,
        reason::Standing,
        time::{MS_PER_DAY, Timestamp},
    },
    events::{Authority, Conversion},
    ledger::{Command, LedgerError, PutGroup},
};

use crate::fixtures::*;

const ANNA: AffiliateId = AffiliateId(2);
const BERT: AffiliateId = AffiliateId(3);
const CARL: AffiliateId = AffiliateId(4);

fn days_ago(days: i64) -> Timestamp {
    Timestamp(NOW.0 - days * MS_PER_DAY)
}

/// A shop with three levels of 1.00, 0.50 and 0.25, and four affiliates.
async fn family() -> Shop {
    let shop = Shop::open().await;
    let mut settings = settings();
    settings.levels = [100, 50, 25].map(|value| FlatPrice::Fixed { value }).into();
    shop.must(OPENED, put_program(SHOP, "shop", "USD", settings)).await;
    for (id, slug) in [(ANNA, "anna"), (BERT, "bert"), (CARL, "carl")] {
        shop.must(OPENED, put_affiliate(id, slug, false)).await;
        shop.must(OPENED, standing(SHOP, id, Standing::Approved)).await;
    }
    shop
}

fn parent(affiliate: AffiliateId, parent: Option<AffiliateId>) -> Command {
    Command::SetParent { affiliate, parent }
}

/// Affiliates and amounts of the lines of one of jane's at a time.
async fn lines_at(shop: &Shop, at: Timestamp) -> Vec<(i64, i64)> {
    let sale = Conversion { occurred_at: Some(at), authority: Authority::Import, ..shop.janes("10") };
    let id = settled(shop.send(sale).await);
    shop.lines(id).await.into_iter().map(|line| (line.affiliate_id, line.amount)).collect()
}

#[tokio::test]
async fn a_conversion_finds_the_parents_of_its_time() {
    let shop = family().await;
    shop.must(days_ago(25), parent(JANE, Some(ANNA))).await;
    shop.must(days_ago(20), parent(ANNA, Some(BERT))).await;
    shop.must(days_ago(15), parent(BERT, Some(CARL))).await;
    shop.must(days_ago(10), parent(JANE, Some(CARL))).await;
    shop.must(days_ago(5), parent(JANE, None)).await;
    for (days, expected) in [
        (26, vec![(1, 100)]),
        (25, vec![(1, 100), (2, 100)]),
        (20, vec![(1, 100), (2, 100), (3, 50)]),
        (15, vec![(1, 100), (2, 100), (3, 50), (4, 25)]),
        (10, vec![(1, 100), (4, 100)]),
        (5, vec![(1, 100)]),
        (0, vec![(1, 100)]),
    ] {
        assert_eq!(lines_at(&shop, days_ago(days)).await, expected, "{days}");
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_deleted_parent_earns_nothing_and_nobody_moves_up() {
    let shop = family().await;
    shop.must(days_ago(20), parent(JANE, Some(ANNA))).await;
    shop.must(days_ago(20), parent(ANNA, Some(BERT))).await;
    shop.must(days_ago(10), Command::DeleteAffiliate { affiliate: ANNA }).await;
    assert_eq!(lines_at(&shop, days_ago(15)).await, [(1, 100), (2, 100), (3, 50)]);
    assert_eq!(lines_at(&shop, NOW).await, [(1, 100), (2, 0), (3, 50)]);
    // Neither may a deleted one get a parent, nor become one; its child may move.
    let gone = shop.apply(NOW, parent(ANNA, None)).await;
    assert!(matches!(gone, Err(LedgerError::NotFound("affiliate"))), "{gone:?}");
    let gone = shop.apply(NOW, parent(CARL, Some(ANNA))).await;
    assert!(matches!(gone, Err(LedgerError::NotFound("parent"))), "{gone:?}");
    // The deleted one still stands between them: a circle through it is one.
    let circle = shop.apply(NOW, parent(BERT, Some(JANE))).await;
    assert!(matches!(circle, Err(LedgerError::Conflict { field: "parent", .. })), "{circle:?}");
    shop.must(NOW, parent(JANE, Some(BERT))).await;
    assert_eq!(lines_at(&shop, NOW).await, [(1, 100), (3, 100)]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn parents_never_close_a_circle() {
    let shop = family().await;
    shop.must(OPENED, parent(JANE, Some(ANNA))).await;
    shop.must(OPENED, parent(ANNA, Some(BERT))).await;
    shop.must(OPENED, parent(BERT, Some(CARL))).await;
    for (child, above) in [(JANE, JANE), (CARL, CARL), (ANNA, JANE), (BERT, JANE), (CARL, JANE), (CARL, BERT)]
    {
        let refused = shop.apply(NOW, parent(child, Some(above))).await;
        let is_circle = matches!(refused, Err(LedgerError::Conflict { field: "parent", .. }));
        assert!(is_circle, "{child} under {above}: {refused:?}");
    }
    // Once the chain is cut there is none to close.
    shop.must(NOW, parent(ANNA, None)).await;
    shop.must(NOW, parent(CARL, Some(JANE))).await;
    shop.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_parents_at_once_that_would_close_a_circle_one_is_refused() {
    for _ in 0..10 {
        let shop = Arc::new(family().await);
        let barrier = Arc::new(Barrier::new(3));
        let mut tasks = JoinSet::new();
        for (child, above) in [(JANE, ANNA), (ANNA, BERT), (BERT, JANE)] {
            let (shop, barrier) = (shop.clone(), barrier.clone());
            tasks.spawn(async move {
                barrier.wait().await;
                shop.apply(NOW, parent(child, Some(above))).await
            });
        }
        let results = tasks.join_all().await;
        let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(
            matches!(&refused[..], [LedgerError::Conflict { field: "parent", .. }]),
            "one of three closes the circle: {refused:?}"
        );
        shop.assert_sound().await;
    }
}

/// Clocks of two processes differ: the second change comes with the earlier time.
#[tokio::test]
async fn a_change_is_in_force_though_its_clock_is_behind() {
    let shop = family().await;
    shop.must(NOW, parent(JANE, Some(ANNA))).await;
    shop.must(Timestamp(NOW.0 - 50), parent(JANE, None)).await;
    shop.must(Timestamp(NOW.0 - 40), parent(ANNA, Some(JANE))).await;
    assert_eq!(lines_at(&shop, NOW).await, [(1, 100)]);
    shop.assert_sound().await;
}

fn group(id: u128, slug: &str) -> Command {
    let title = format!("Group {slug}");
    Command::PutGroup(PutGroup { id: Uuid::from_u128(id), slug: slug.parse().unwrap(), title })
}

#[tokio::test]
async fn groups_have_names_of_their_own() {
    let shop = Shop::open().await;
    shop.must(NOW, group(1, "vip")).await;
    // Again: a new title.
    shop.must(NOW, group(1, "vip")).await;
    let taken = shop.apply(NOW, group(2, "vip")).await;
    assert!(matches!(taken, Err(LedgerError::Conflict { field: "slug", .. })), "{taken:?}");
    let into = |group: u128| Command::SetGroup { affiliate: JANE, group: Some(Uuid::from_u128(group)) };
    shop.must(NOW, into(1)).await;
    let delete = || Command::DeleteGroup { group: Uuid::from_u128(1) };
    shop.must(NOW, delete()).await;
    for gone in [delete(), into(1), into(3), group(1, "vip")] {
        let refused = shop.apply(NOW, gone).await;
        assert!(matches!(refused, Err(LedgerError::NotFound("group"))), "{refused:?}");
    }
    // A deleted one frees its name.
    shop.must(NOW, group(2, "vip")).await;
    shop.assert_sound().await;
}
