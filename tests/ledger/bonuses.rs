//! Bonuses, with figures worked out by hand: what counts, when it is awarded, and that it is once.

use std::sync::Arc;

use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryOrder, Set};
use serde_json::{Value, json};
use tokio::{sync::Barrier, task::JoinSet};
use uuid::Uuid;
use waypost::{
    domain::{
        bonuses::BonusSettings,
        ids::{AffiliateId, LinkId, ProgramId},
        reason::Standing,
        time::{MS_PER_DAY, Timestamp},
    },
    events::{Conversion, Refund},
    jobs::bonuses::{self, Pass},
    ledger::{self, Command, Effect, LedgerError, PutBonus},
    store::entities::{bonus, bonus_award, bonus_interval, commission_line, exchange_rate, journal_entry},
};

use crate::fixtures::*;

const ANNE: AffiliateId = AffiliateId(2);

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// Targets that pay fixed amounts.
pub fn fixed(targets: &[(i64, i64)]) -> Value {
    targets.iter().map(|(target, value)| json!({"target": target, "form": "fixed", "value": value})).collect()
}

/// Targets that pay whole percents.
pub fn percent(targets: &[(i64, i64)]) -> Value {
    let target = |(target, percent): &(i64, i64)| json!({"target": target, "form": "percentage", "value": percent * 100_000_000});
    targets.iter().map(target).collect()
}

pub fn settings_of(interval: &str, measure: &str, targets: Value) -> BonusSettings {
    serde_json::from_value(json!({
        "identifier": interval, "title": interval, "interval": interval, "measure": measure,
        "targets": targets, "start_date": null, "end_date": null, "active": true,
    }))
    .unwrap()
}

pub fn put(id: u128, settings: BonusSettings) -> Command {
    put_from(id, settings, None)
}

fn put_from(id: u128, settings: BonusSettings, from: Option<Timestamp>) -> Command {
    Command::PutBonus(Box::new(PutBonus { id: Uuid::from_u128(id), program: SHOP, settings, from }))
}

fn award(id: u128, affiliate: AffiliateId, interval: Timestamp) -> Command {
    Command::AwardBonus { bonus: Uuid::from_u128(id), affiliate, interval }
}

/// A conversion of jane's that is approved at once.
pub async fn approved(shop: &Shop, amount: &str, time: Timestamp) -> Uuid {
    let id = settled(shop.send_at(shop.janes(amount), time).await);
    approve(shop, id, time).await;
    id
}

pub async fn approve(shop: &Shop, conversion: Uuid, time: Timestamp) {
    for line in shop.lines(conversion).await {
        shop.must(time, Command::ApproveLine { line: line.id }).await;
    }
}

pub async fn pass(shop: &Shop, now: Timestamp) -> Pass {
    bonuses::pass(&shop.store, now).await.unwrap()
}

/// The lines of bonuses in their order.
pub async fn bonus_lines(shop: &Shop) -> Vec<commission_line::Model> {
    let rows = commission_line::Entity::find()
        .order_by_asc(commission_line::Column::CreatedSeq)
        .order_by_asc(commission_line::Column::Id)
        .all(shop.store.reader())
        .await
        .unwrap();
    rows.into_iter().filter(|row| row.kind == "bonus").collect()
}

/// Type and amount of them, in the order of both.
async fn awarded(shop: &Shop) -> Vec<(String, i64)> {
    let lines = bonus_lines(shop).await.into_iter().map(|row| (row.commission_type, row.amount));
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

pub async fn amounts(shop: &Shop) -> Vec<i64> {
    bonus_lines(shop).await.into_iter().map(|row| row.amount).collect()
}

pub async fn refund_at(shop: &Shop, refund: Refund, time: Timestamp) {
    settled(shop.receive(&shop.refund_event(refund, time)).await);
}

async fn live_in(shop: &Shop, zone: &str) {
    let tx = shop.store.begin().await.unwrap();
    tx.execute_unprepared(&format!("UPDATE accounts SET time_zone = '{zone}'")).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn every_interval_pays_by_its_highest_target() {
    let shop = Shop::open().await;
    for (id, interval) in ["calday", "calweek", "calmo", "calqu", "calyr"].into_iter().enumerate() {
        let settings = settings_of(interval, "conversion_count", fixed(&[(2, 500), (3, 900)]));
        shop.must(OPENED, put(id as u128, settings)).await;
    }
    // 2026-03-01 is the Sunday of the week that begins on 2026-02-23.
    for time in
        ["2026-01-10T12:00:00Z", "2026-02-25T12:00:00Z", "2026-03-01T08:00:00Z", "2026-03-01T23:59:59.999Z"]
    {
        approved(&shop, "10", at(time)).await;
    }
    assert_eq!(pass(&shop, at("2026-03-01T23:59:59.999Z")).await.awarded, 0);
    assert_eq!(pass(&shop, at("2026-03-02T00:00:00Z")).await.awarded, 2);
    let expect = |pairs: &[(&str, i64)]| -> Vec<(String, i64)> {
        pairs.iter().map(|(kind, amount)| ((*kind).to_owned(), *amount)).collect()
    };
    // Two on the day, three in the week.
    assert_eq!(awarded(&shop).await, expect(&[("calday", 500), ("calweek", 900)]));
    // One in February and in January, two in March, four in the quarter and the year.
    assert_eq!(pass(&shop, at("2026-04-01T00:00:00Z")).await.awarded, 2);
    assert_eq!(pass(&shop, at("2027-01-01T00:00:00Z")).await, Pass { awarded: 1, decided: 1, open: 0 });
    let all = [("calday", 500), ("calmo", 500), ("calqu", 900), ("calweek", 900), ("calyr", 900)];
    assert_eq!(awarded(&shop).await, expect(&all));
    assert_eq!(pass(&shop, at("2030-01-01T00:00:00Z")).await, Pass::default());
    for line in bonus_lines(&shop).await {
        assert_eq!((line.status.as_str(), line.currency.as_str()), ("pending", "USD"));
        assert_eq!((line.affiliate_id, line.program_id, line.conversion_id), (JANE.0, SHOP.0, None));
    }
    // 4 times 1.00 are approved, the bonuses wait: 5 + 5 + 9 + 9 + 9.
    let balances = shop.balances().await;
    assert_eq!(balances[&(JANE.0, "payable".to_owned())], -400);
    assert_eq!(balances[&(JANE.0, "accrued".to_owned())], -3_700);
    shop.assert_sound().await;
}

#[tokio::test]
async fn days_on_which_the_clocks_change_are_whole() {
    let shop = Shop::open().await;
    live_in(&shop, "Europe/Berlin").await;
    shop.must(OPENED, put(1, settings_of("calday", "conversion_count", fixed(&[(2, 500)])))).await;
    // The day of 23 hours and that of 25, each from its first to its last millisecond.
    let days = [
        ("2026-03-28T23:00:00Z", "2026-03-29T21:59:59.999Z", "2026-03-29T22:00:00Z"),
        ("2026-10-24T22:00:00Z", "2026-10-25T22:59:59.999Z", "2026-10-25T23:00:00Z"),
    ];
    for (n, (first, last, end)) in days.into_iter().enumerate() {
        // Neither belongs to the day.
        approved(&shop, "10", at(first) + -1).await;
        approved(&shop, "10", at(first)).await;
        approved(&shop, "10", at(last)).await;
        assert_eq!(pass(&shop, at(last)).await.awarded, 0);
        assert_eq!(pass(&shop, at(end)).await.awarded, 1, "{first}");
        approved(&shop, "10", at(end)).await;
        assert_eq!(amounts(&shop).await.len(), n + 1);
    }
    let rows = bonus_award::Entity::find().all(shop.store.reader()).await.unwrap();
    let mut hours: Vec<i64> =
        rows.iter().map(|row| (row.interval_end - row.interval_start) / 3_600_000).collect();
    hours.sort_unstable();
    assert_eq!(hours, [23, 25]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_waits_for_review_holds_it_up() {
    let shop = Shop::open().await;
    shop.must(OPENED, put(1, settings_of("calday", "conversion_count", fixed(&[(1, 500), (2, 900)])))).await;
    let tomorrow = at("2026-03-02T00:00:00Z");
    approved(&shop, "10", NOW).await;
    let second = settled(shop.send(shop.janes("10")).await);
    // A line of 0 holds nothing up: 0.01 of which 10 % are nothing.
    settled(shop.send(shop.janes("0.01")).await);
    assert_eq!(pass(&shop, tomorrow).await, Pass { awarded: 0, decided: 1, open: 0 });
    // Nothing has happened: nobody looks again.
    assert_eq!(pass(&shop, tomorrow).await, Pass::default());
    approve(&shop, second, tomorrow).await;
    assert_eq!(pass(&shop, tomorrow).await.awarded, 1);
    assert_eq!(amounts(&shop).await, [900]);
    // Decided: a third does not pay more, and a disapproved one takes nothing back.
    approved(&shop, "10", NOW).await;
    let line = shop.lines(second).await[0].id;
    shop.must(tomorrow, Command::DisapproveLine { line }).await;
    assert_eq!(pass(&shop, tomorrow).await.awarded, 0);
    assert_eq!(amounts(&shop).await, [900]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn who_is_suspended_is_awarded_once_it_is_over() {
    let tomorrow = at("2026-03-02T00:00:00Z");
    let ways: [(Command, Command); 2] = [
        (standing(SHOP, JANE, Standing::Suspended), standing(SHOP, JANE, Standing::Approved)),
        (put_affiliate(JANE, "jane", true), put_affiliate(JANE, "jane", false)),
    ];
    for (suspend, lift) in ways {
        let shop = Shop::open().await;
        let count = |interval| settings_of(interval, "conversion_count", fixed(&[(1, 500)]));
        shop.must(OPENED, put(1, count("calday"))).await;
        let id = settled(shop.send(shop.janes("10")).await);
        shop.must(OPENED, put(2, count("alltime"))).await;
        shop.must(NOW, suspend).await;
        approve(&shop, id, NOW).await;
        assert_eq!(pass(&shop, tomorrow).await, Pass { awarded: 0, decided: 1, open: 0 });
        assert_eq!(awarded(&shop).await, []);
        // What counts from ever is tested at once, the day by the next look.
        shop.must(tomorrow, lift).await;
        assert_eq!(awarded(&shop).await, [("alltime".to_owned(), 500)]);
        assert_eq!(pass(&shop, tomorrow).await.awarded, 1);
        assert_eq!(awarded(&shop).await.len(), 2);
        shop.assert_sound().await;
    }
    // Who is deleted is never awarded.
    let shop = Shop::open().await;
    shop.must(OPENED, put(1, settings_of("calday", "conversion_count", fixed(&[(1, 500)])))).await;
    approved(&shop, "10", NOW).await;
    shop.must(NOW, Command::DeleteAffiliate { affiliate: JANE }).await;
    assert_eq!(pass(&shop, tomorrow).await.awarded, 0);
    shop.assert_sound().await;
}

pub async fn load_rate(shop: &Shop, base: &str, quote: &str, time: Timestamp, rate: i64) {
    let row = exchange_rate::Model {
        base: base.to_owned(),
        quote: quote.to_owned(),
        day: time.day(),
        rate,
        loaded_at: time.0,
    };
    let tx = shop.store.begin().await.unwrap();
    exchange_rate::Entity::insert(row.into_active_model()).exec_without_returning(&tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_conversion_without_its_rate_holds_it_up() {
    let shop = Shop::open().await;
    shop.must(
        OPENED,
        put(1, settings_of("calday", "conversion_amount", percent(&[(1_000, 1), (12_000, 2)]))),
    )
    .await;
    let tomorrow = at("2026-03-02T00:00:00Z");
    approved(&shop, "10", NOW).await;
    let euros = Conversion { currency: Some("EUR".to_owned()), ..shop.janes("99.99") };
    let waiting = pending(shop.send(euros).await);
    assert_eq!(pass(&shop, tomorrow).await.awarded, 0);
    load_rate(&shop, "EUR", "USD", NOW, 110_000_000).await;
    shop.retry(waiting, false, tomorrow).await.unwrap();
    // Now it waits for its review.
    assert_eq!(pass(&shop, tomorrow).await.awarded, 0);
    approve(&shop, waiting, tomorrow).await;
    assert_eq!(pass(&shop, tomorrow).await.awarded, 1);
    // 10.00 and 99.99 at 1.1: 119.989 USD, less than 120 to the millicent; 1 % is 1.19989.
    assert_eq!(amounts(&shop).await, [120]);
    let line = &bonus_lines(&shop).await[0];
    assert_eq!(
        (&line.pricing["amount"], &line.pricing["exact"]),
        (&json!("119989/10"), &json!("119989/1000"))
    );
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_waits_for_a_rate_holds_up_whose_it_was_when_it_was_tried() {
    let shop = Shop::open().await;
    shop.must(OPENED, put_affiliate(ANNE, "anne", false)).await;
    shop.must(OPENED, standing(SHOP, ANNE, Standing::Approved)).await;
    shop.must(OPENED, put_link(LinkId(2), SHOP, ANNE, "anne")).await;
    shop.must(OPENED, put(1, settings_of("calday", "conversion_count", fixed(&[(1, 300)])))).await;
    let of_customer = |sale: Conversion| Conversion { customer_id: Some("c-1".to_owned()), ..sale };
    let euros = Conversion { currency: Some("EUR".to_owned()), ..of_customer(shop.janes("10")) };
    let waiting = pending(shop.send(euros).await);
    approved(&shop, "10", NOW).await;
    // The customer becomes anne's.
    let annes = Conversion { referral_code: Some("anne".to_owned()), ..shop.sale("5") };
    let sold = settled(shop.send(of_customer(annes)).await);
    approve(&shop, sold, NOW).await;
    let tomorrow = at("2026-03-02T00:00:00Z");
    let awarded_to =
        async || bonus_lines(&shop).await.iter().map(|line| line.affiliate_id).collect::<Vec<_>>();
    pass(&shop, tomorrow).await;
    assert_eq!(awarded_to().await, [ANNE.0]);
    // What waited is anne's then, and jane's interval is looked at again.
    load_rate(&shop, "EUR", "USD", NOW, 110_000_000).await;
    shop.retry(waiting, false, tomorrow).await.unwrap();
    assert_eq!(shop.conversion(waiting).await.affiliate_id, Some(ANNE.0));
    pass(&shop, tomorrow).await;
    assert_eq!(awarded_to().await, [ANNE.0, JANE.0]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn refunds_count_until_the_award_and_not_after() {
    let shop = Shop::open().await;
    shop.must(OPENED, put(1, settings_of("calday", "conversion_amount", percent(&[(5_000, 10)])))).await;
    shop.must(OPENED, put(2, settings_of("calweek", "conversion_count", fixed(&[(2, 700)])))).await;
    let tomorrow = at("2026-03-02T00:00:00Z");
    for (order, amount) in [("o-1", "100"), ("o-2", "30")] {
        let id = settled(shop.send(shop.order(order, amount)).await);
        approve(&shop, id, NOW).await;
    }
    // 60.05 of one are left, nothing of the other: 10 % are 6.005, to the even cent. One is left for the week.
    refund_at(&shop, shop.refund_of("o-1", "39.95"), NOW).await;
    refund_at(&shop, shop.refund_of("o-2", ""), NOW).await;
    assert_eq!(pass(&shop, tomorrow).await.awarded, 1);
    assert_eq!(awarded(&shop).await, [("calday".to_owned(), 600)]);
    refund_at(&shop, shop.refund_of("o-1", ""), tomorrow).await;
    assert_eq!(pass(&shop, tomorrow).await.awarded, 0);
    assert_eq!(amounts(&shop).await, [600]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn customers_count_with_their_first_conversion_above_zero() {
    let shop = Shop::open().await;
    shop.must(OPENED, put(1, settings_of("calday", "customer_count", percent(&[(2, 10)])))).await;
    let yesterday = Timestamp(NOW.0 - MS_PER_DAY);
    let of = |customer: &str, amount: &str| Conversion {
        customer_id: Some(customer.to_owned()),
        ..shop.janes(amount)
    };
    let send = async |customer: &str, amount: &str, time: Timestamp| {
        let id = settled(shop.send_at(of(customer, amount), time).await);
        approve(&shop, id, time).await;
    };
    // c-1 bought the day before; c-2 only signed up then, and buys now, twice; c-3 buys now.
    send("c-1", "10", yesterday).await;
    settled(shop.send_at(of("c-2", "0"), yesterday).await);
    send("c-1", "20", NOW).await;
    send("c-2", "30", NOW).await;
    send("c-2", "40", NOW).await;
    assert_eq!(pass(&shop, at("2026-03-02T00:00:00Z")).await.awarded, 0);
    send("c-3", "0.50", NOW).await;
    assert_eq!(pass(&shop, at("2026-03-02T00:00:00Z")).await.awarded, 1);
    // 10 % of all that counts on the day: 20, 30, 40 and 0.50.
    assert_eq!(amounts(&shop).await, [905]);
    assert_eq!(bonus_lines(&shop).await[0].pricing["number"], 2);
    shop.assert_sound().await;
}

async fn commands(shop: &Shop) -> usize {
    journal_entry::Entity::find().all(shop.store.reader()).await.unwrap().len()
}

#[tokio::test]
async fn a_target_that_is_worth_nothing_is_reached_once_and_makes_no_line() {
    let shop = Shop::open().await;
    shop.must(OPENED, put(1, settings_of("calday", "conversion_count", percent(&[(1, 10)])))).await;
    let lead = Conversion { commission_type: Some("lead".to_owned()), ..shop.janes("0") };
    let id = settled(shop.send(lead).await);
    approve(&shop, id, NOW).await;
    let tomorrow = at("2026-03-02T00:00:00Z");
    assert_eq!(pass(&shop, tomorrow).await, Pass { awarded: 0, decided: 1, open: 0 });
    let row = bonus_award::Entity::find().one(shop.store.reader()).await.unwrap().unwrap();
    assert_eq!((row.target, row.amount, row.line_id), (1, 0, None));
    // What comes later is too late: it was decided.
    approved(&shop, "100", NOW).await;
    assert_eq!(pass(&shop, tomorrow).await, Pass { awarded: 0, decided: 1, open: 0 });
    assert!(bonus_lines(&shop).await.is_empty());
    shop.assert_sound().await;
}

#[tokio::test]
async fn an_award_is_looked_at_again_in_the_ledger() {
    let shop = Shop::open().await;
    shop.must(OPENED, put(1, settings_of("calday", "conversion_count", fixed(&[(1, 500)])))).await;
    let day = at("2026-03-01T00:00:00Z");
    let end = at("2026-03-02T00:00:00Z");
    approved(&shop, "10", NOW).await;
    let before = commands(&shop).await;
    let nothing = Effect::Awarded { lines: Vec::new() };
    // Not closed, not the start of an interval, an interval before the bonus, an affiliate without conversions.
    shop.must(OPENED, put_affiliate(ANNE, "anne", false)).await;
    for (time, start, affiliate) in
        [(end + -1, day, JANE), (end, NOW, JANE), (end, at("2025-12-30T00:00:00Z"), JANE), (end, day, ANNE)]
    {
        assert_eq!(shop.must(time, award(1, affiliate, start)).await, nothing, "{time} {start}");
    }
    let Effect::Awarded { lines } = shop.must(end, award(1, JANE, day)).await else { panic!() };
    assert_eq!(lines, [bonus_lines(&shop).await[0].id]);
    assert_eq!(shop.must(end, award(1, JANE, day)).await, nothing);
    // What changes nothing is not journaled: the affiliate and the award are.
    assert_eq!(commands(&shop).await, before + 2);
    for command in [award(9, JANE, day), award(1, AffiliateId(9), day)] {
        assert!(matches!(shop.apply(end, command).await, Err(LedgerError::NotFound(_))));
    }
    shop.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_jobs_at_once_award_once() {
    let shop = Arc::new(Shop::open().await);
    for (id, interval) in ["calday", "calweek", "calmo"].into_iter().enumerate() {
        shop.must(OPENED, put(id as u128, settings_of(interval, "conversion_count", fixed(&[(1, 500)]))))
            .await;
    }
    shop.furnish(ProgramId(2), "other", ANNE, "anne", LinkId(2)).await;
    shop.must(OPENED, standing(SHOP, ANNE, Standing::Approved)).await;
    shop.must(OPENED, put_link(LinkId(3), SHOP, ANNE, "anne-here")).await;
    approved(&shop, "10", NOW).await;
    let hers = Conversion { referral_code: Some("anne-here".to_owned()), ..shop.sale("10") };
    let hers = settled(shop.send(hers).await);
    approve(&shop, hers, NOW).await;
    let later = at("2026-04-01T00:00:00Z");
    let barrier = Arc::new(Barrier::new(6));
    let mut tasks = JoinSet::new();
    for _ in 0..6 {
        let (shop, barrier) = (shop.clone(), barrier.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            bonuses::pass(&shop.store, later).await.unwrap().awarded
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<u64>(), 6);
    assert_eq!(amounts(&shop).await, [500; 6]);
    assert_eq!(pass(&shop, later).await, Pass::default());
    shop.assert_sound().await;
}

#[tokio::test]
async fn the_version_at_the_end_of_the_interval_decides() {
    let shop = Shop::open().await;
    let pays = |value: i64| settings_of("calday", "conversion_count", fixed(&[(1, value)]));
    let (noon, end) = (NOW, at("2026-03-02T00:00:00Z"));
    shop.must(OPENED, put(1, pays(100))).await;
    approved(&shop, "10", noon).await;
    shop.must(end + -1, put(1, pays(200))).await;
    shop.must(end, put(1, pays(300))).await;
    assert_eq!(pass(&shop, end).await.awarded, 1);
    assert_eq!(amounts(&shop).await, [200]);

    // Gone before the day ended, it pays nothing for it; what ended before is still decided.
    approved(&shop, "10", end).await;
    let held_up = settled(shop.send_at(shop.janes("10"), end).await);
    let next = end.plus_days(1);
    assert_eq!(pass(&shop, next).await.awarded, 0);
    approved(&shop, "10", next).await;
    shop.must(next + 1, Command::DeleteBonus { bonus: Uuid::from_u128(1) }).await;
    approve(&shop, held_up, next + 2).await;
    assert_eq!(pass(&shop, next.plus_days(9)).await.awarded, 1);
    assert_eq!(amounts(&shop).await, [200, 300]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_backdated_bonus_pays_for_what_ended_since() {
    let shop = Shop::open().await;
    for time in ["2026-02-10T12:00:00Z", "2026-02-11T12:00:00Z", "2026-02-20T12:00:00Z"] {
        approved(&shop, "10", at(time)).await;
    }
    let daily = settings_of("calday", "conversion_count", fixed(&[(1, 500)]));
    // In force from within the second of these days on: it ends after.
    shop.must(NOW, put_from(1, daily.clone(), Some(at("2026-02-11T23:59:59.999Z")))).await;
    assert_eq!(pass(&shop, NOW).await.awarded, 2);
    // From the 15th on it was another, that pays more and once a month; the 20th was paid by the day before.
    let monthly = BonusSettings { interval: waypost::domain::bonuses::BonusInterval::Month, ..daily };
    shop.must(NOW, put_from(1, monthly, Some(at("2026-02-15T00:00:00Z")))).await;
    assert_eq!(pass(&shop, NOW).await.awarded, 1);
    let mut starts: Vec<String> = bonus_award::Entity::find()
        .all(shop.store.reader())
        .await
        .unwrap()
        .into_iter()
        .map(|row| {
            format!(
                "{} {}",
                Timestamp(row.interval_start),
                (row.interval_end - row.interval_start) / MS_PER_DAY
            )
        })
        .collect();
    starts.sort();
    let expected =
        ["2026-02-01T00:00:00.000Z 28", "2026-02-11T00:00:00.000Z 1", "2026-02-20T00:00:00.000Z 1"];
    assert_eq!(starts, expected);
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let shop = Shop::open().await;
    let good = settings_of("calday", "conversion_count", fixed(&[(1, 500)]));
    let with = |targets: Value| settings_of("calday", "conversion_count", targets);
    let dates = BonusSettings { start_date: Some(5), end_date: Some(4), ..good.clone() };
    let refused = [
        (put(1, with(json!([]))), "targets must have at least one entry"),
        (put(1, with(fixed(&[(2, 1), (2, 1)]))), "targets[1].target must be above the target before it"),
        (put(1, with(fixed(&[(0, 1)]))), "targets[0].target must be above 0"),
        (put(1, dates), "end_date must not be before start_date"),
        (put_from(1, good.clone(), Some(NOW + 1)), "a version of a bonus cannot begin in the future"),
    ];
    for (command, message) in refused {
        match shop.apply(NOW, command).await {
            Err(LedgerError::NotPossible { message: told, .. }) => assert_eq!(told, message),
            other => panic!("{message}: {other:?}"),
        }
    }
    shop.must(NOW, put(1, good.clone())).await;
    let taken = shop.apply(NOW, put(2, good.clone())).await;
    assert!(matches!(taken, Err(LedgerError::Conflict { field: "identifier", .. })), "{taken:?}");
    shop.must(NOW, Command::DeleteBonus { bonus: Uuid::from_u128(1) }).await;
    // A deleted one frees its identifier, and is gone.
    shop.must(NOW, put(2, good.clone())).await;
    for command in [put(1, good), Command::DeleteBonus { bonus: Uuid::from_u128(1) }] {
        assert!(matches!(shop.apply(NOW, command).await, Err(LedgerError::NotFound("bonus"))));
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_opened_an_interval_meanwhile_keeps_it_open() {
    let shop = Shop::open().await;
    shop.must(OPENED, put(1, settings_of("calday", "conversion_count", fixed(&[(1, 500)])))).await;
    let tomorrow = at("2026-03-02T00:00:00Z");
    let id = settled(shop.send(shop.janes("10")).await);
    let open = ledger::bonuses::closed_and_open(shop.store.reader(), tomorrow, None, 10).await.unwrap();
    assert_eq!(open.len(), 1);
    // It is read, then a command comes in between.
    approve(&shop, id, tomorrow).await;
    let tx = shop.store.begin().await.unwrap();
    assert!(!ledger::bonuses::decide(&tx, &open[0]).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(pass(&shop, tomorrow).await, Pass { awarded: 1, decided: 1, open: 0 });
    let rows = bonus_interval::Entity::find().all(shop.store.reader()).await.unwrap();
    assert!(rows.iter().all(|row| row.decided));
    // What cannot be read stays open, and the others are decided all the same.
    shop.must(
        OPENED,
        put(
            2,
            BonusSettings {
                identifier: "other".into(),
                ..settings_of("calday", "conversion_count", fixed(&[(1, 7)]))
            },
        ),
    )
    .await;
    let row = bonus::Entity::find_by_id(Uuid::from_u128(1)).one(shop.store.reader()).await.unwrap().unwrap();
    let mut damaged = row.into_active_model();
    damaged.account_id = Set(99);
    let tx = shop.store.begin().await.unwrap();
    damaged.update(&tx).await.unwrap();
    tx.execute_unprepared("UPDATE bonus_intervals SET decided = FALSE").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(pass(&shop, tomorrow).await, Pass { awarded: 1, decided: 1, open: 1 });
}
