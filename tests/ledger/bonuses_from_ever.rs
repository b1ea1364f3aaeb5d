//! Bonuses that count from ever: tested after every command, each step paid once.

use sea_orm::{EntityTrait, QueryOrder};
use uuid::Uuid;
use waypost::{
    domain::{
        bonuses::BonusSettings,
        program::ProgramSettings,
        time::{MS_PER_DAY, Timestamp},
    },
    events::Conversion,
    jobs::bonuses::Pass,
    ledger::{self, Command},
    store::entities::{bonus_award, measure},
};

use crate::{bonuses::*, fixtures::*};

#[tokio::test]
async fn from_ever_pays_each_step_once() {
    let shop = Shop::open().await;
    shop.must(OPENED, put(1, settings_of("alltime", "conversion_count", fixed(&[(2, 500), (4, 900)])))).await;
    let first = approved(&shop, "10", NOW).await;
    let second = settled(shop.send(shop.janes("10")).await);
    assert!(amounts(&shop).await.is_empty());
    approve(&shop, second, NOW).await;
    assert_eq!(amounts(&shop).await, [500]);
    // Down to one and up again: the same step is not paid twice.
    let line = shop.lines(first).await[0].id;
    shop.must(NOW, Command::DisapproveLine { line }).await;
    shop.must(NOW, Command::ApproveLine { line }).await;
    assert_eq!(amounts(&shop).await, [500]);
    // A pending one holds nothing up.
    settled(shop.send(shop.janes("10")).await);
    approved(&shop, "10", NOW).await;
    assert_eq!(amounts(&shop).await, [500]);
    approved(&shop, "10", NOW).await;
    assert_eq!(amounts(&shop).await, [500, 400]);
    shop.must(NOW, Command::DeleteConversion { conversion: first }).await;
    assert_eq!(amounts(&shop).await, [500, 400]);
    assert_eq!(pass(&shop, at("2030-01-01T00:00:00Z")).await, Pass::default());
    let award = bonus_award::Entity::find().one(shop.store.reader()).await.unwrap().unwrap();
    assert_eq!((award.target, award.amount, award.interval_start), (4, 900, 0));
    shop.assert_sound().await;
}

#[tokio::test]
async fn from_ever_counts_what_was_before_the_bonus() {
    let shop = Shop::open().await;
    for day in 0..3 {
        approved(&shop, "10", Timestamp(NOW.0 - day * MS_PER_DAY)).await;
    }
    // The two days from 2026-02-28 on, both included.
    let settings = BonusSettings {
        start_date: Some(at("2026-02-28T00:00:00Z").day()),
        end_date: Some(at("2026-03-01T00:00:00Z").day()),
        ..settings_of("alltime", "conversion_amount", percent(&[(2_000, 10), (3_000, 20)]))
    };
    shop.must(NOW, put(1, settings.clone())).await;
    assert_eq!(amounts(&shop).await, [200]);
    // Another version counts all three: 20 % of 30.00 less what was paid.
    let all = BonusSettings { start_date: None, ..settings.clone() };
    shop.must(NOW, put(1, all.clone())).await;
    assert_eq!(amounts(&shop).await, [200, 400]);
    // Switched off nothing is tested; switched on again it catches up.
    let more = BonusSettings {
        targets: settings_of("alltime", "conversion_amount", percent(&[(4_000, 50)])).targets,
        ..all
    };
    shop.must(NOW, put(1, BonusSettings { active: false, ..more.clone() })).await;
    approved(&shop, "10", NOW).await;
    assert_eq!(amounts(&shop).await, [200, 400]);
    shop.must(NOW, put(1, more)).await;
    assert_eq!(amounts(&shop).await, [200, 400, 1_400]);
    shop.must(NOW, Command::DeleteBonus { bonus: Uuid::from_u128(1) }).await;
    approved(&shop, "1000", NOW).await;
    assert_eq!(amounts(&shop).await.len(), 3);
    assert!(measure::Entity::find().all(shop.store.reader()).await.unwrap().is_empty());
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_is_approved_at_once_is_awarded_at_once() {
    let shop = Shop::open().await;
    let auto = ProgramSettings { auto_approve_commissions: true, ..settings() };
    shop.must(OPENED, put_program(SHOP, "shop", "USD", auto)).await;
    shop.must(OPENED, put(1, settings_of("alltime", "conversion_amount", fixed(&[(5_000, 1_000)])))).await;
    settled(shop.send(shop.janes("49.99")).await);
    assert!(amounts(&shop).await.is_empty());
    settled(shop.send(shop.janes("0.01")).await);
    let line = &bonus_lines(&shop).await[0];
    assert_eq!((line.amount, line.status.as_str()), (1_000, "approved"));
    // 14 days after the award.
    assert_eq!(line.final_at, Some(NOW.plus_days(14).0));
    assert_eq!(shop.balances().await[&(JANE.0, "payable".to_owned())], -1_500);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_bonus_is_explained() {
    let shop = Shop::open().await;
    shop.must(
        OPENED,
        put(1, settings_of("alltime", "conversion_amount", percent(&[(1_000, 5), (2_000, 10)]))),
    )
    .await;
    approved(&shop, "10.50", NOW).await;
    approved(&shop, "10.25", NOW).await;
    let line = bonus_lines(&shop).await.pop().unwrap();
    let steps = ledger::explain(shop.store.reader(), shop.account, line.id).await.unwrap();
    let texts: Vec<&str> = steps.iter().map(|step| step.text.as_str()).collect();
    // 5 % of 10.50 are 0.525, paid as 0.52; 10 % of 20.75 are 2.075, 2.08.
    let expected = [
        "Bonus alltime of program shop: version 1 was in force when it was awarded. It counts the amounts of \
         conversions from ever; only the highest target that was reached pays.",
        "Affiliate jane had conversions that count, worth 20.75 USD from ever: the target of 20.00 USD was reached.",
        "The target pays 10 % of 20.75 USD: 2.075 USD, rounded to 2.08 USD (a half goes to the even neighbour). 0.52 \
         USD were paid for lower targets: the difference is 1.56 USD.",
        "The program does not approve commissions by itself: it started pending.",
        "It is worth 1.56 USD and waits for approval.",
    ];
    assert_eq!(texts, expected);
    shop.must(NOW, Command::ApproveLine { line: line.id }).await;
    let steps = ledger::explain(shop.store.reader(), shop.account, line.id).await.unwrap();
    assert!(steps.last().unwrap().text.ends_with("14 days after the award."), "{steps:?}");
    shop.assert_sound().await;
}

/// Rows of kept measures that say something.
async fn kept(shop: &Shop) -> Vec<measure::Model> {
    let rows = measure::Entity::find()
        .order_by_asc(measure::Column::Subject)
        .order_by_asc(measure::Column::Rate)
        .all(shop.store.reader())
        .await
        .unwrap();
    rows.into_iter().filter(|row| row.count != 0 || row.amount != 0).collect()
}

#[tokio::test]
async fn what_is_kept_from_ever_is_what_there_is() {
    let shop = Shop::open().await;
    for day in 0..2 {
        load_rate(&shop, "EUR", "USD", Timestamp(NOW.0 - day * MS_PER_DAY), 110_000_000 + day).await;
    }
    let kinds = ["conversion_count", "conversion_amount", "customer_count"];
    let bonus = |id: usize| BonusSettings {
        identifier: kinds[id].to_owned(),
        ..settings_of("alltime", kinds[id], fixed(&[(1_000_000_000, 1)]))
    };
    for id in 0..3 {
        shop.must(OPENED, put(id as u128, bonus(id))).await;
    }
    let mut conversions = Vec::new();
    for n in 0_i64..24 {
        // The first four are worth nothing, and earn their fixed price all the same.
        let sale = Conversion {
            currency: (n % 2 == 0).then(|| "EUR".to_owned()),
            customer_id: (n % 4 != 3).then(|| format!("c-{}", n % 4)),
            commission_type: (n < 4).then(|| "lead".to_owned()),
            ..shop.order(&format!("o-{n}"), if n < 4 { "0" } else { "12.34" })
        };
        let time = Timestamp(NOW.0 - (n / 2 % 2) * MS_PER_DAY);
        let id = settled(shop.send_at(sale, time).await);
        if n % 7 != 6 {
            approve(&shop, id, time).await;
        }
        conversions.push(id);
    }
    // The customers' first conversions above 0 become others, and some conversions count no more.
    for (n, amount) in [(1, 500), (0, 100), (2, 900)] {
        shop.must(NOW, Command::EditConversion { conversion: conversions[n], amount }).await;
    }
    refund_at(&shop, shop.refund_of("o-5", "2.34"), NOW).await;
    refund_at(&shop, shop.refund_of("o-6", ""), NOW).await;
    shop.must(NOW, Command::DeleteConversion { conversion: conversions[7] }).await;
    let line = shop.lines(conversions[8]).await[0].id;
    shop.must(NOW, Command::DisapproveLine { line }).await;
    let before = kept(&shop).await;
    // Three bonuses, with amounts in dollars and in euros of two days.
    assert_eq!(before.len(), 9, "{before:?}");
    // Of the three customers, each with a first conversion that became one by an edit, all three count.
    let customers = before.iter().filter(|row| row.subject.ends_with('2')).map(|row| row.count);
    assert_eq!(customers.sum::<i64>(), 3);
    for id in 0..3 {
        shop.must(NOW, put(id as u128, bonus(id))).await;
    }
    assert_eq!(kept(&shop).await, before);
    shop.assert_sound().await;
}
