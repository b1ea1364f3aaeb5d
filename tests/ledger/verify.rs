//! `waypost ledger verify` adds up again what is kept for tiers, caps, bonuses and recurrence.

use sea_orm::ConnectionTrait;
use serde_json::json;
use waypost::{
    domain::program::ProgramSettings,
    events::Conversion,
    ledger::{Command, verify},
};

use crate::{
    bonuses::{approve, fixed, put, settings_of},
    fixtures::*,
};

/// A shop that keeps a sum of every kind, with sales of one customer.
async fn shop() -> Shop {
    let shop = Shop::open().await;
    let mut rules = serde_json::to_value(settings()).unwrap();
    let bracket =
        |from: i64, percent: i64| json!({"from": from, "form": "percentage", "value": percent * 100_000_000});
    rules["commission_types"][0] = json!({
        "identifier": "standard", "title": "Standard", "form": "tiered", "measure": "revenue", "period": "month",
        "mode": "whole", "brackets": [bracket(0, 5), bracket(100_000, 10)],
    });
    rules["caps"] =
        json!([{"scope": "program", "period": "lifetime", "measure": "amount", "limit": 1_000_000}]);
    let rules: ProgramSettings = serde_json::from_value(rules).unwrap();
    shop.must(OPENED, put_program(SHOP, "shop", "USD", rules)).await;
    shop.must(OPENED, put(1, settings_of("alltime", "conversion_amount", fixed(&[(10_000_000, 1)])))).await;
    for (external_id, amount) in [("o-1", "10"), ("o-2", "20"), ("o-3", "40")] {
        let customer_id = Some("c-1".to_owned());
        let id = settled(shop.send(Conversion { customer_id, ..shop.order(external_id, amount) }).await);
        approve(&shop, id, NOW).await;
    }
    settled(shop.refund(shop.refund_of("o-2", "5")).await);
    let deleted = settled(shop.send(shop.order("o-4", "80")).await);
    shop.must(NOW, Command::DeleteConversion { conversion: deleted }).await;
    shop.assert_sound().await;
    shop
}

/// What is found after a statement was run past the ledger: by the one check, and how many rows differ by the other.
async fn found_after(statement: &str) -> (Vec<String>, u64) {
    let shop = shop().await;
    let tx = shop.store.begin().await.unwrap();
    tx.execute_unprepared(statement).await.unwrap();
    tx.commit().await.unwrap();
    let found = verify::verify(shop.store.reader()).await.unwrap();
    (found.differences, shop.replay().await.differing)
}

#[tokio::test]
async fn everything_that_is_kept_is_added_up() {
    let shop = shop().await;
    let found = verify::verify(shop.store.reader()).await.unwrap();
    // By type and month, by the whole program, by bonus; by type and towards the customer's cap.
    assert_eq!((found.measures, found.customer_counts), (3, 2));
}

#[tokio::test]
async fn a_measure_that_was_changed_is_found() {
    let (found, differing) =
        found_after("UPDATE measures SET amount = amount + 100 WHERE subject = 'type:standard'").await;
    let expected = "account 1, program 1, affiliate 1: the measure type:standard by month from \
                    2026-03-01T00:00:00.000Z at the rate 1 is kept as 3 of 6600, its conversions come to 3 of 6500 \
                    (minor units)";
    assert_eq!((found, differing), (vec![expected.to_owned()], 1));

    let (found, differing) = found_after("UPDATE measures SET count = 0 WHERE subject = 'cap'").await;
    let expected = "account 1, program 1, all affiliates: the measure cap by lifetime from \
                    1970-01-01T00:00:00.000Z at the rate 1 is kept as 0 of 325, its conversions come to 3 of 325 \
                    (minor units)";
    assert_eq!((found, differing), (vec![expected.to_owned()], 1));

    let (found, differing) = found_after("DELETE FROM measures WHERE subject LIKE 'bonus:%'").await;
    assert_eq!((found.len(), differing), (1, 1), "{found:?}");
    assert!(found[0].contains("is kept as 0 of 0, its conversions come to 3 of 6500"), "{found:?}");
}

#[tokio::test]
async fn a_count_that_was_changed_is_found() {
    let (found, differing) =
        found_after("UPDATE customer_counts SET conversions = conversions - 1 WHERE subject = 'cap'").await;
    assert_eq!((found.len(), differing), (1, 1), "{found:?}");
    assert!(found[0].starts_with("account 1, customer cus_"), "{found:?}");
    assert!(found[0].ends_with("2 conversions are counted for cap, its conversions come to 3"), "{found:?}");
    let (found, differing) = found_after("DELETE FROM customer_counts").await;
    assert_eq!((found.len(), differing), (2, 2), "{found:?}");
}

#[tokio::test]
async fn what_belongs_to_nobody_is_found() {
    let (found, differing) = found_after("UPDATE measures SET program_id = 9 WHERE subject = 'cap'").await;
    assert_eq!((found.len(), differing), (2, 2), "{found:?}");
    assert_eq!(found[1], "1 measures belong to programs that are not stored");
    let (found, _) = found_after("DELETE FROM customers").await;
    assert_eq!(found, ["2 counts belong to customers that are not stored"]);
}
