//! Overrides: which goes before which, when each is in force, and what is refused.

use sea_orm::EntityTrait;
use serde_json::{Value, json};
use uuid::Uuid;
use waypost::{
    domain::{
        ids::AffiliateId,
        price::{FlatPrice, Target},
        reason::Standing,
        time::{MS_PER_DAY, Timestamp},
    },
    events::{Authority, Conversion},
    ledger::{Command, LedgerError, PutGroup, PutOverride, Whose},
    store::entities::override_rule,
};

use crate::fixtures::*;

const ANNA: AffiliateId = AffiliateId(2);
const VIP: Uuid = Uuid::from_u128(100);
const PRO: Uuid = Uuid::from_u128(200);

fn days_ago(days: i64) -> Timestamp {
    Timestamp(NOW.0 - days * MS_PER_DAY)
}

fn standard() -> Target {
    Target::CommissionType("standard".to_owned())
}

fn fixed(value: i64) -> Value {
    json!({"form": "fixed", "value": value})
}

/// Jane with her parent anna and one level of 1.00; two groups.
async fn shop() -> Shop {
    let shop = Shop::open().await;
    let mut settings = settings();
    settings.levels = vec![FlatPrice::Fixed { value: 100 }];
    shop.must(OPENED, put_program(SHOP, "shop", "USD", settings)).await;
    shop.must(OPENED, put_affiliate(ANNA, "anna", false)).await;
    shop.must(OPENED, standing(SHOP, ANNA, Standing::Approved)).await;
    shop.must(OPENED, Command::SetParent { affiliate: JANE, parent: Some(ANNA) }).await;
    for (id, slug) in [(VIP, "vip"), (PRO, "pro")] {
        let put = PutGroup { id, slug: slug.parse().unwrap(), title: slug.to_owned() };
        shop.must(OPENED, Command::PutGroup(put)).await;
    }
    shop
}

fn into(affiliate: AffiliateId, group: Option<Uuid>) -> Command {
    Command::SetGroup { affiliate, group }
}

fn removed(id: u128, whose: Whose, target: Target, from: Option<Timestamp>) -> Command {
    let id = Uuid::from_u128(id);
    Command::PutOverride(Box::new(PutOverride { id, program: SHOP, whose, target, rule: None, from }))
}

async fn amounts_at(shop: &Shop, at: Timestamp) -> Vec<i64> {
    let sale = Conversion { occurred_at: Some(at), authority: Authority::Import, ..shop.janes("10") };
    let id = settled(shop.send(sale).await);
    shop.amounts(id).await
}

#[tokio::test]
async fn the_most_specific_goes_first() {
    let shop = shop().await;
    assert_eq!(amounts_at(&shop, NOW).await, [100, 100]);
    shop.must(OPENED, put_override(1, Whose::Group(VIP), standard(), fixed(300), None)).await;
    shop.must(OPENED, put_override(2, Whose::Group(VIP), Target::Level(2), fixed(30), None)).await;
    // Of a group that nobody is in.
    assert_eq!(amounts_at(&shop, NOW).await, [100, 100]);
    shop.must(OPENED, into(JANE, Some(VIP))).await;
    assert_eq!(amounts_at(&shop, NOW).await, [300, 100]);
    // The level follows the upline's group, not the affiliate's.
    shop.must(OPENED, into(ANNA, Some(VIP))).await;
    assert_eq!(amounts_at(&shop, NOW).await, [300, 30]);
    shop.must(OPENED, put_override(3, Whose::Affiliate(JANE), standard(), fixed(400), None)).await;
    shop.must(OPENED, put_override(4, Whose::Affiliate(ANNA), Target::Level(2), fixed(40), None)).await;
    // It is for the upline: the affiliate's own override of a level is for those below it.
    shop.must(OPENED, put_override(5, Whose::Affiliate(JANE), Target::Level(2), fixed(1), None)).await;
    // Of another type.
    let lead = Target::CommissionType("lead".to_owned());
    shop.must(OPENED, put_override(6, Whose::Affiliate(JANE), lead, fixed(2), None)).await;
    assert_eq!(amounts_at(&shop, NOW).await, [400, 40]);
    let id = settled(shop.send(shop.janes("10")).await);
    let lines = shop.lines(id).await;
    let own = json!({"affiliate_override": {"id": Uuid::from_u128(3), "version": 1}});
    assert_eq!(lines[0].pricing["rule"], own);
    shop.must(NOW, removed(3, Whose::Affiliate(JANE), standard(), None)).await;
    let id = settled(shop.send(shop.janes("10")).await);
    let lines = shop.lines(id).await;
    let shared = json!({"group_override": {"group": VIP, "id": Uuid::from_u128(1), "version": 1}});
    assert_eq!((lines[0].amount, &lines[0].pricing["rule"]), (300, &shared));
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_conversion_finds_the_override_and_the_group_of_its_time() {
    let shop = shop().await;
    shop.must(days_ago(20), put_override(1, Whose::Group(VIP), standard(), fixed(300), None)).await;
    shop.must(days_ago(20), put_override(2, Whose::Group(PRO), standard(), fixed(500), None)).await;
    shop.must(days_ago(18), into(JANE, Some(VIP))).await;
    shop.must(days_ago(15), put_override(1, Whose::Group(VIP), standard(), fixed(310), None)).await;
    shop.must(days_ago(10), into(JANE, Some(PRO))).await;
    shop.must(days_ago(5), into(JANE, None)).await;
    for (days, amount) in
        [(21, 100), (19, 100), (18, 300), (15, 310), (11, 310), (10, 500), (5, 100), (0, 100)]
    {
        assert_eq!(amounts_at(&shop, days_ago(days)).await[0], amount, "{days}");
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn versions_may_begin_in_the_past() {
    let shop = shop().await;
    let own = Whose::Affiliate(JANE);
    shop.must(NOW, put_override(1, own, standard(), fixed(400), Some(days_ago(10)))).await;
    shop.must(NOW, put_override(1, own, standard(), fixed(300), Some(days_ago(20)))).await;
    shop.must(NOW, removed(1, own, standard(), Some(days_ago(15)))).await;
    for (days, amount) in [(21, 100), (20, 300), (16, 300), (15, 100), (11, 100), (10, 400), (0, 400)] {
        assert_eq!(amounts_at(&shop, days_ago(days)).await[0], amount, "{days}");
    }
    let row = async || {
        let id = Uuid::from_u128(1);
        override_rule::Entity::find_by_id(id).one(shop.store.reader()).await.unwrap().unwrap()
    };
    assert_eq!((row().await.version, row().await.rule), (1, fixed(400)));
    shop.must(NOW, removed(1, own, standard(), None)).await;
    assert_eq!((row().await.version, row().await.rule), (4, Value::Null));
    // It comes back under its number.
    shop.must(NOW, put_override(1, own, standard(), fixed(7), None)).await;
    assert_eq!(row().await.version, 5);
    assert_eq!(amounts_at(&shop, NOW).await[0], 7);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_first_payment_is_the_overrides_own() {
    let shop = shop().await;
    let mut settings = settings();
    settings.commission_types[0].first_payment = Some(FlatPrice::Fixed { value: 900 });
    shop.must(OPENED, put_program(SHOP, "shop", "USD", settings)).await;
    assert_eq!(amounts_at(&shop, NOW).await, [900]);
    shop.must(NOW, put_override(1, Whose::Affiliate(JANE), standard(), fixed(300), None)).await;
    assert_eq!(amounts_at(&shop, NOW).await, [300]);
    let rule = json!({"form": "fixed", "value": 300, "first_payment": {"form": "fixed", "value": 50}});
    shop.must(NOW, put_override(1, Whose::Affiliate(JANE), standard(), rule, None)).await;
    assert_eq!(amounts_at(&shop, NOW).await, [50]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn tiers_of_an_override_count_what_came_before_it() {
    let shop = shop().await;
    for _ in 0..2 {
        assert_eq!(amounts_at(&shop, NOW).await[0], 100);
    }
    let tiers = json!({
        "form": "tiered", "measure": "count", "period": "lifetime", "mode": "whole",
        "brackets": [{"from": 0, "form": "fixed", "value": 1}, {"from": 4, "form": "fixed", "value": 2}],
    });
    shop.must(NOW, put_override(1, Whose::Affiliate(JANE), standard(), tiers, None)).await;
    // The third and the fourth line of the type.
    assert_eq!(amounts_at(&shop, NOW).await[0], 1);
    assert_eq!(amounts_at(&shop, NOW).await[0], 2);
    shop.assert_sound().await;
}

#[tokio::test]
async fn the_overrides_of_a_deleted_group_end_with_it() {
    let shop = shop().await;
    shop.must(days_ago(20), into(JANE, Some(VIP))).await;
    shop.must(days_ago(20), put_override(1, Whose::Group(VIP), standard(), fixed(300), None)).await;
    shop.must(days_ago(20), put_override(2, Whose::Group(PRO), standard(), fixed(500), None)).await;
    shop.must(days_ago(10), Command::DeleteGroup { group: VIP }).await;
    assert_eq!(amounts_at(&shop, days_ago(11)).await[0], 300);
    assert_eq!(amounts_at(&shop, days_ago(10)).await[0], 100);
    let again = shop.apply(NOW, put_override(1, Whose::Group(VIP), standard(), fixed(300), None)).await;
    assert!(matches!(again, Err(LedgerError::NotFound("group"))), "{again:?}");
    shop.must(NOW, into(JANE, Some(PRO))).await;
    assert_eq!(amounts_at(&shop, NOW).await[0], 500);
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let shop = shop().await;
    let own = Whose::Affiliate(JANE);
    let tiered = json!({
        "form": "tiered", "measure": "count", "period": "month", "mode": "whole",
        "brackets": [{"from": 0, "form": "fixed", "value": 1}],
    });
    let unknown = Target::CommissionType("unknown".to_owned());
    let conflicts = [
        (put_override(1, own, unknown, fixed(1), None), "commission_type"),
        (put_override(1, own, Target::Level(1), fixed(1), None), "level"),
        (put_override(1, own, Target::Level(0), fixed(1), None), "level"),
        (put_override(1, own, Target::Level(2), tiered, None), "form"),
    ];
    for (command, named) in conflicts {
        let refused = shop.apply(NOW, command).await;
        assert!(matches!(refused, Err(LedgerError::Conflict { field, .. }) if field == named), "{refused:?}");
    }
    shop.must(NOW, put_override(1, own, standard(), fixed(1), None)).await;
    // One for each owner and target.
    let twice = shop.apply(NOW, put_override(2, own, standard(), fixed(1), None)).await;
    assert!(matches!(twice, Err(LedgerError::Conflict { field: "commission_type", .. })), "{twice:?}");
    // An override is of one owner and one target for life.
    let nobody = AffiliateId(99);
    for command in [
        put_override(1, Whose::Affiliate(ANNA), standard(), fixed(1), None),
        put_override(1, own, Target::Level(2), fixed(1), None),
        put_override(3, Whose::Affiliate(nobody), standard(), fixed(1), None),
        put_override(3, Whose::Group(Uuid::from_u128(9)), standard(), fixed(1), None),
        removed(3, own, Target::Level(2), None),
    ] {
        let refused = shop.apply(NOW, command).await;
        assert!(matches!(refused, Err(LedgerError::NotFound(_))), "{refused:?}");
    }
    // A type that is gone can be overridden for the time when it was there, and an override of it be removed.
    let mut settings = settings();
    settings.commission_types.remove(0);
    settings.default_commission_type = "lead".to_owned();
    shop.must(NOW, put_program(SHOP, "shop", "USD", settings)).await;
    let late = shop.apply(NOW, put_override(1, own, standard(), fixed(2), None)).await;
    assert!(matches!(late, Err(LedgerError::Conflict { field: "commission_type", .. })), "{late:?}");
    shop.must(NOW, put_override(1, own, standard(), fixed(2), Some(days_ago(5)))).await;
    shop.must(NOW, removed(1, own, standard(), None)).await;
    shop.must(NOW, Command::DeleteProgram { program: SHOP }).await;
    let gone = shop.apply(NOW, put_override(4, own, Target::Level(2), fixed(1), None)).await;
    assert!(matches!(gone, Err(LedgerError::NotFound("program"))), "{gone:?}");
    shop.assert_sound().await;
}
