//! Versions that begin in the past: what they price, what they leave alone, and what edges are told.

use sea_orm::{EntityTrait, QueryOrder};
use serde_json::json;
use waypost::{
    catalog::CatalogRecord,
    domain::{
        calendar::Period,
        ids::{AffiliateId, LinkId, ProgramId},
        price::{Cap, CapMeasure, CapScope, FlatPrice, Target},
        program::ProgramSettings,
        reason::{Rejection, Standing},
        time::{MS_PER_DAY, Timestamp},
    },
    events::{Authority, Conversion},
    ledger::{Command, LedgerError, PutProgram, Whose},
    store::{
        catalog,
        entities::{program, program_version},
    },
};

use crate::fixtures::*;

fn days_ago(days: i64) -> Timestamp {
    Timestamp(NOW.0 - days * MS_PER_DAY)
}

/// Settings with one type for each identifier, all of a fixed value.
fn fixed(types: &[(&str, i64)]) -> ProgramSettings {
    let types: Vec<_> = types
        .iter()
        .map(|(identifier, value)| {
            json!({"identifier": identifier, "title": identifier, "form": "fixed", "value": value})
        })
        .collect();
    let mut settings = serde_json::to_value(settings()).unwrap();
    settings["default_commission_type"] = types[0]["identifier"].clone();
    settings["commission_types"] = json!(types);
    serde_json::from_value(settings).unwrap()
}

fn backdated(settings: ProgramSettings, from: Timestamp) -> Command {
    Command::PutProgram(Box::new(PutProgram {
        id: SHOP,
        slug: "shop".parse().unwrap(),
        currency: "USD".parse().unwrap(),
        settings,
        from: Some(from),
    }))
}

fn happened(shop: &Shop, at: Timestamp, commission_type: Option<&str>) -> Conversion {
    Conversion {
        occurred_at: Some(at),
        authority: Authority::Import,
        commission_type: commission_type.map(str::to_owned),
        ..shop.janes("10")
    }
}

async fn earned(shop: &Shop, at: Timestamp, commission_type: Option<&str>) -> i64 {
    let id = settled(shop.send(happened(shop, at, commission_type)).await);
    shop.amounts(id).await[0]
}

async fn row(shop: &Shop) -> program::Model {
    program::Entity::find_by_id(SHOP.0).one(shop.store.reader()).await.unwrap().unwrap()
}

async fn versions(shop: &Shop) -> Vec<(i32, Timestamp)> {
    let find = program_version::Entity::find().order_by_asc(program_version::Column::Version);
    let rows = find.all(shop.store.reader()).await.unwrap();
    rows.into_iter().map(|row| (row.version, Timestamp(row.starts_at))).collect()
}

/// The payout delay that edges were told last, and how often they were told of the program.
async fn told(shop: &Shop) -> u32 {
    let records = catalog::after(shop.store.reader(), 0, 100).await.unwrap();
    let programs = records.into_iter().filter_map(|versioned| match versioned.record {
        CatalogRecord::Program(program) => Some(program.settings.payout_delay),
        _ => None,
    });
    programs.last().unwrap()
}

#[tokio::test]
async fn a_backdated_version_is_in_force_until_the_next_begins() {
    let shop = Shop::open().await;
    let old = settled(shop.send(happened(&shop, days_ago(15), None)).await);
    shop.must(days_ago(10), put_program(SHOP, "shop", "USD", fixed(&[("standard", 700)]))).await;
    let before = row(&shop).await;
    let mut between = fixed(&[("standard", 300)]);
    between.payout_delay = 99;
    shop.must(NOW, backdated(between, days_ago(20))).await;
    // What is in force now stays so, for the API and for edges.
    let after = row(&shop).await;
    assert_eq!((after.version, &after.settings), (before.version, &before.settings));
    assert_eq!(told(&shop).await, 14);
    assert_eq!(versions(&shop).await, [(1, OPENED), (2, days_ago(10)), (3, days_ago(20))]);
    // It prices what is settled from now on, and nothing that was.
    assert_eq!(shop.amounts(old).await, [100]);
    for (at, amount) in [
        (Timestamp(days_ago(20).0 - 1), 100),
        (days_ago(20), 300),
        (Timestamp(days_ago(10).0 - 1), 300),
        (days_ago(10), 700),
        (NOW, 700),
    ] {
        assert_eq!(earned(&shop, at, None).await, amount, "{at}");
    }
    // The next number follows the last written, not the one in force.
    shop.must(NOW, put_program(SHOP, "shop", "USD", fixed(&[("standard", 900)]))).await;
    assert_eq!(row(&shop).await.version, 4);
    // With the same beginning the later written counts, and is in force now.
    let mut same = fixed(&[("standard", 1)]);
    same.payout_delay = 5;
    shop.must(NOW, backdated(same, NOW)).await;
    assert_eq!((row(&shop).await.version, told(&shop).await), (5, 5));
    assert_eq!(earned(&shop, NOW, None).await, 1);
    shop.assert_sound().await;
}

const LATE: ProgramId = ProgramId(2);
const ANNA: AffiliateId = AffiliateId(2);

/// A program whose rules begin 20 days ago, with jane and her parent anna in it since the opening.
async fn late(settings: ProgramSettings) -> Shop {
    let shop = Shop::open().await;
    shop.must(OPENED, put_affiliate(ANNA, "anna", false)).await;
    shop.must(OPENED, Command::SetParent { affiliate: JANE, parent: Some(ANNA) }).await;
    shop.must(days_ago(20), put_program(LATE, "late", "USD", settings)).await;
    for who in [JANE, ANNA] {
        shop.must(OPENED, standing(LATE, who, Standing::Approved)).await;
    }
    shop.must(OPENED, put_link(LinkId(2), LATE, JANE, "late")).await;
    shop
}

async fn late_amounts(shop: &Shop, at: Timestamp) -> Vec<i64> {
    let sale = Conversion { referral_code: Some("late".to_owned()), ..happened(shop, at, None) };
    let id = settled(shop.send(sale).await);
    shop.amounts(id).await
}

#[tokio::test]
async fn levels_and_caps_do_not_exist_before_the_first_version() {
    let mut settings = fixed(&[("standard", 300)]);
    settings.levels = vec![FlatPrice::Fixed { value: 50 }];
    settings.caps = vec![Cap {
        scope: CapScope::Affiliate,
        period: Period::Lifetime,
        measure: CapMeasure::Amount,
        limit: 700,
    }];
    let shop = late(settings).await;
    let before = Timestamp(days_ago(20).0 - 1);
    for (at, amounts) in [
        (before, vec![300]),
        (before, vec![300]),
        // The cap has counted both.
        (days_ago(20), vec![100, 50]),
        (NOW, vec![0]),
        (before, vec![300]),
    ] {
        assert_eq!(late_amounts(&shop, at).await, amounts, "{at}");
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn before_its_first_version_a_program_is_as_in_the_earliest() {
    let shop = late(fixed(&[("standard", 300)])).await;
    assert_eq!(late_amounts(&shop, days_ago(29)).await, [300]);
    // The earliest is the one that begins first, not the one that was written first.
    let Command::PutProgram(mut put) = backdated(fixed(&[("standard", 200)]), days_ago(25)) else {
        panic!("another command");
    };
    (put.id, put.slug) = (LATE, "late".parse().unwrap());
    shop.must(NOW, Command::PutProgram(put)).await;
    for (days, amount) in [(29, 200), (25, 200), (21, 200), (20, 300), (0, 300)] {
        assert_eq!(late_amounts(&shop, days_ago(days)).await, [amount], "{days}");
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_type_is_known_from_the_first_version_that_has_it_until_one_without_it() {
    let shop = Shop::open().await;
    shop.must(days_ago(20), put_program(SHOP, "shop", "USD", fixed(&[("standard", 1), ("gift", 300)]))).await;
    shop.must(days_ago(15), put_program(SHOP, "shop", "USD", fixed(&[("standard", 2), ("gift", 400)]))).await;
    shop.must(days_ago(10), put_program(SHOP, "shop", "USD", fixed(&[("standard", 3)]))).await;
    shop.must(days_ago(5), put_program(SHOP, "shop", "USD", fixed(&[("standard", 4), ("gift", 500)]))).await;
    for (days, amount) in [(25, 300), (20, 300), (16, 300), (15, 400), (11, 400), (5, 500), (0, 500)] {
        assert_eq!(earned(&shop, days_ago(days), Some("gift")).await, amount, "{days}");
    }
    for (days, kind) in [(10, "gift"), (6, "gift"), (0, "lead"), (3, "never")] {
        let refused = shop.send(happened(&shop, days_ago(days), Some(kind))).await;
        assert_eq!(reason(refused), Rejection::UnknownCommissionType, "{kind} {days}");
    }
    // The first by its beginning: a backdated one that has the type goes before.
    shop.must(NOW, backdated(fixed(&[("standard", 5), ("gift", 250)]), days_ago(22))).await;
    assert_eq!(earned(&shop, days_ago(25), Some("gift")).await, 250);
    shop.assert_sound().await;
}

#[tokio::test]
async fn the_currency_stays_while_rules_hold_amounts_of_it() {
    let shop = Shop::open().await;
    let euros = || put_program(SHOP, "shop", "EUR", settings());
    let target = || Target::Level(2);
    let whose = Whose::Affiliate(JANE);
    shop.must(NOW, put_override(1, whose, target(), json!({"form": "fixed", "value": 5}), None)).await;
    let error = shop.apply(NOW, euros()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Conflict { field: "currency", .. }), "{error:?}");
    shop.must(NOW, put_override(1, whose, target(), json!({"form": "percentage", "value": 5}), None)).await;
    shop.must(NOW, euros()).await;
    shop.assert_sound().await;
}
