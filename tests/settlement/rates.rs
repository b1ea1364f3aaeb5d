//! Sales in another currency wait for a rate, and a load of rates wakes them.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use waypost::{
    domain::{
        amount::Currency,
        calendar::Zone,
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        rates::{RateRow, StoredRate, parse_rate},
        time::{MS_PER_DAY, Timestamp},
    },
    events::Conversion,
    ledger::Effect,
    store::{
        entities::{account, commission_line, conversion},
        exchange_rates,
    },
    stream::Topic,
};

use crate::fixtures::*;

/// Sales that wait: enough for a load to come while they are looked at.
const MANY: i64 = 40;

async fn load(world: &World, day: i32, rates: &[(&str, &str, &str)]) {
    let currency = |code: &str| code.parse::<Currency>().unwrap();
    let row = |(base, quote, rate): &(&str, &str, &str)| RateRow {
        base: currency(base),
        quote: currency(quote),
        day,
        rate: parse_rate(rate).unwrap(),
    };
    let tx = world.store.begin().await.unwrap();
    exchange_rates::load(&tx, rates.iter().map(row).collect(), Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
}

fn in_yen(world: &World, external_id: &str, amount: &str) -> Conversion {
    Conversion { currency: Some("JPY".to_owned()), ..world.sale(external_id, amount) }
}

async fn conversions(world: &World, account: AccountId) -> Vec<conversion::Model> {
    conversion::Entity::find()
        .filter(conversion::Column::AccountId.eq(account.0))
        .order_by_asc(conversion::Column::ArrivedSeq)
        .all(world.store.reader())
        .await
        .unwrap()
}

async fn last_seq(world: &World) -> i64 {
    let row = account::Entity::find_by_id(world.account.0).one(world.store.reader()).await.unwrap();
    row.unwrap().last_seq
}

fn rate_of(row: &conversion::Model) -> StoredRate {
    serde_json::from_value(row.rate.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_wakes_what_waits_for_a_rate_in_order() {
    let world = World::open().await;
    let today = Timestamp::now().day();
    let mut sales = Numbered::new(1, "conversions/0");
    let waiting: Vec<_> = (0..MANY).map(|n| sales.sale(in_yen(&world, &format!("o-{n}"), "1000"))).collect();
    let running = world.settle();
    world.append_events(Topic::Conversions, &waiting).await;
    eventually("all wait", || async { world.outcomes().await.get("pending") == Some(&MANY) }).await;
    let arrived = last_seq(&world).await;
    // Rates that do not help: of other currencies, and of days that are too long ago.
    load(&world, today, &[("EUR", "GBP", "0.8"), ("EUR", "JPY", "165")]).await;
    load(&world, today - 8, &[("USD", "JPY", "140")]).await;
    let first = conversions(&world, world.account).await.remove(0);
    assert_eq!((first.waits_for.as_deref(), first.waits_until), (Some("rate_missing"), None));
    let tx = world.store.begin().await.unwrap();
    let intake = world.parts().intake;
    let tried = intake.retry_pending(&tx, world.account, first.id, true, Timestamp::now()).await.unwrap();
    assert!(matches!(tried, Some(Effect::Pending { .. })), "{tried:?}");
    tx.commit().await.unwrap();
    assert_eq!(last_seq(&world).await, arrived, "what finds still no rate takes no place");
    world.assert_sound().await;

    load(&world, today - 1, &[("EUR", "USD", "1.1")]).await;
    eventually("all settled", || async { world.outcomes().await.get("settled") == Some(&MANY) }).await;
    running.stop().await;
    let rows = conversions(&world, world.account).await;
    assert!(rows.windows(2).all(|pair| pair[0].seq < pair[1].seq), "woken in order of arrival");
    assert_eq!(last_seq(&world).await, arrived + MANY);
    for row in &rows {
        let rate = rate_of(row);
        // 1.1 / 165 dollars for a yen: two thirds of a cent.
        assert_eq!(rate.factor.to_string(), "2/3");
        let used: Vec<_> = rate.rows.iter().map(|row| (row.quote.code(), row.day)).collect();
        assert_eq!(used, [("JPY", today), ("USD", today - 1)]);
    }
    let lines = commission_line::Entity::find().all(world.store.reader()).await.unwrap();
    assert_eq!(lines.len(), rows.len());
    assert!(lines.iter().all(|line| (line.amount, line.currency.as_str()) == (100, "JPY")), "{lines:?}");

    // Another rate for that day changes nothing that has settled.
    load(&world, today, &[("JPY", "USD", "1")]).await;
    world.append_events(Topic::Conversions, &[sales.sale(in_yen(&world, "later", "1000"))]).await;
    world.settle_all().await;
    let again = conversions(&world, world.account).await;
    assert_eq!(again[..rows.len()], rows);
    assert_eq!(rate_of(&again[rows.len()]).factor.to_string(), "100");
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_while_nothing_ran_is_seen_at_the_start() {
    let world = World::open().await;
    let mut sales = Numbered::new(1, "conversions/0");
    // Its click never comes, and is not needed.
    let sale =
        Conversion { click_id: Some(uuid::Uuid::now_v7().to_string()), ..in_yen(&world, "o-1", "500") };
    world.append_events(Topic::Conversions, &[sales.sale(sale)]).await;
    world.settle_all().await;
    assert_eq!(world.outcomes().await.get("pending"), Some(&1));
    load(&world, Timestamp::now().day(), &[("USD", "JPY", "160")]).await;
    let running = world.settle();
    eventually("it settled", || async { world.outcomes().await.get("settled") == Some(&1) }).await;
    running.stop().await;
    let row = conversions(&world, world.account).await.remove(0);
    assert_eq!(rate_of(&row).factor.to_string(), "5/8");
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_day_of_a_rate_is_that_of_the_accounts_time_zone() {
    let world = World::open().await;
    let at = Timestamp::now();
    let hour = at.0.rem_euclid(MS_PER_DAY) / 3_600_000;
    // Where it is yesterday still, or tomorrow already.
    let zone = Zone::named(if hour < 10 { "Pacific/Pago_Pago" } else { "Pacific/Kiritimati" }).unwrap();
    let (program, affiliate, link) = (ProgramId(2), AffiliateId(2), LinkId(2));
    let there = world.account_in(&zone, program, affiliate, link, "ana").await;
    assert_ne!(zone.day_of(at), at.day());
    load(&world, at.day(), &[("USD", "JPY", "100")]).await;
    load(&world, zone.day_of(at), &[("USD", "JPY", "200")]).await;
    let mut sales = Numbered::new(1, "conversions/0");
    let here = Conversion { occurred_at: Some(at), ..in_yen(&world, "o-1", "1000") };
    let there_too = Conversion { account: there, referral_code: Some("ana".to_owned()), ..here.clone() };
    world.append_events(Topic::Conversions, &[sales.sale(here), sales.sale(there_too)]).await;
    world.settle_all().await;
    for (account, factor) in [(world.account, "1"), (there, "1/2")] {
        let rows = conversions(&world, account).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].status, "settled", "{rows:?}");
        assert_eq!(rate_of(&rows[0]).factor.to_string(), factor);
    }
    world.assert_sound().await;
}
