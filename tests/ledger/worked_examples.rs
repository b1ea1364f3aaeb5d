//! The examples of docs/money.md: the ledger works each out, and the page has to say the same.

use sea_orm::{EntityTrait, IntoActiveModel};
use serde_json::{Value, json};
use uuid::Uuid;
use waypost::{
    domain::{
        calendar::parse_day,
        ids::{AffiliateId, LinkId},
        price::Target,
        program::ProgramSettings,
        reason::Standing,
        time::{MS_PER_DAY, Timestamp},
    },
    ledger::{Command, Pay, PutGroup, RulesOf, Whose},
    store::entities::{commission_line, exchange_rate},
};

use crate::{bonuses, fixtures::*};

const JOE: AffiliateId = AffiliateId(2);
const ANN: AffiliateId = AffiliateId(3);

/// The page says this, wherever its lines are broken.
#[track_caller]
fn says(sentence: &str) {
    let page = include_str!("../../docs/money.md").replace("\n> ", "\n").replace("\n>\n", "\n");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&page).contains(&words(sentence)), "docs/money.md does not say: {sentence}");
}

/// The shop's settings with these instead.
fn with(change: Value) -> ProgramSettings {
    let mut json = serde_json::to_value(settings()).unwrap();
    json.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(json).unwrap()
}

fn percent(whole: i64) -> Value {
    json!({"form": "percentage", "value": whole * 100_000_000})
}

fn one_type(mut price: Value) -> Value {
    price["identifier"] = json!("standard");
    price["title"] = json!("Standard");
    json!({"commission_types": [price]})
}

/// A shop that has had these settings from its first day.
async fn shop(change: Value) -> Shop {
    shop_in("USD", change).await
}

async fn shop_in(currency: &str, change: Value) -> Shop {
    let shop = Shop::open().await;
    let put = put_program(SHOP, "shop", currency, with(change));
    shop.must(OPENED, put).await;
    shop
}

/// What a line is worth, with its currency.
fn worth(line: &commission_line::Model) -> String {
    let currency: waypost::domain::amount::Currency = line.currency.parse().unwrap();
    format!("{} {currency}", currency.format(line.amount))
}

/// The first line of one of jane's sales.
async fn sell(shop: &Shop, amount: &str, at: Timestamp) -> commission_line::Model {
    let id = settled(shop.send_at(shop.janes(amount), at).await);
    shop.lines(id).await.remove(0)
}

#[tokio::test]
async fn a_percentage_and_a_fixed_amount() {
    let shop = shop(json!({})).await;
    let line = sell(&shop, "49.95", NOW).await;
    says(&format!("A sale of 49.95 USD at 10 % is worth 4.995 USD: the affiliate gets {}.", worth(&line)));
    let mut lead = shop.janes("");
    lead.commission_type = Some("lead".to_owned());
    let id = settled(shop.send(lead).await);
    let line = shop.lines(id).await.remove(0);
    says(&format!("A lead that pays a fixed 5.00 USD pays {}, whatever it was worth.", worth(&line)));
}

#[tokio::test]
async fn a_tier_that_is_crossed() {
    for mode in ["whole", "marginal"] {
        let mut ten = percent(10);
        ten["from"] = json!(100_000);
        let mut five = percent(5);
        five["from"] = json!(0);
        let tiers = json!({
            "form": "tiered", "measure": "revenue", "period": "month", "mode": mode, "brackets": [five, ten],
        });
        let shop = shop(one_type(tiers)).await;
        sell(&shop, "950.00", NOW).await;
        let line = sell(&shop, "100.00", NOW + MINUTE).await;
        match mode {
            "whole" => says(&format!("all of the sale is priced at 10 %, and pays {}.", worth(&line))),
            _ => says(&format!(
                "50.00 USD are priced at 5 % and 50.00 USD at 10 %: 2.50 USD and 5.00 USD, together {}.",
                worth(&line)
            )),
        }
        shop.assert_sound().await;
    }
}

#[tokio::test]
async fn a_first_payment() {
    let mut price = percent(20);
    price["first_payment"] = json!({"form": "fixed", "value": 1_500});
    let shop = shop(one_type(price)).await;
    let mut paid = Vec::new();
    for (n, amount) in ["0.00", "30.00", "30.00"].iter().enumerate() {
        let mut sale = shop.janes(amount);
        sale.customer_id = Some("carol".to_owned());
        let id = settled(shop.send_at(sale, NOW + n as i64 * MINUTE).await);
        paid.push(worth(&shop.lines(id).await[0]));
    }
    assert_eq!(paid[0], "0.00 USD");
    says(&format!(
        "A trial of 0.00 USD pays nothing, the first month of 30.00 USD pays {}, the second {}.",
        paid[1], paid[2]
    ));
}

/// jane's parent is joe, his is ann.
async fn family(shop: &Shop) {
    for (id, who, link) in [(JOE, "joe", 2), (ANN, "ann", 3)] {
        shop.must(OPENED, put_affiliate(id, who, false)).await;
        shop.must(OPENED, standing(SHOP, id, Standing::Approved)).await;
        shop.must(OPENED, put_link(LinkId(link), SHOP, id, who)).await;
    }
    shop.must(OPENED, Command::SetParent { affiliate: JANE, parent: Some(JOE) }).await;
    shop.must(OPENED, Command::SetParent { affiliate: JOE, parent: Some(ANN) }).await;
}

#[tokio::test]
async fn levels() {
    let shop = shop(json!({"levels": [percent(5), {"form": "fixed", "value": 100}]})).await;
    family(&shop).await;
    let id = settled(shop.send(shop.janes("80.00")).await);
    let lines: Vec<String> = shop.lines(id).await.iter().map(worth).collect();
    says(&format!(
        "A sale of 80.00 USD pays {} to Jane, {} to her parent Joe, and {} to his parent Ann.",
        lines[0], lines[1], lines[2]
    ));
    shop.must(NOW, standing(SHOP, JOE, Standing::Suspended)).await;
    let id = settled(shop.send_at(shop.janes("80.00"), NOW + MINUTE).await);
    let lines = shop.lines(id).await;
    assert_eq!(lines[1].reason.as_deref(), Some("affiliate_suspended"));
    says(&format!(
        "Had Joe been suspended, he would have got {}, and Ann still {}.",
        worth(&lines[1]),
        worth(&lines[2])
    ));
    shop.assert_sound().await;
}

#[tokio::test]
async fn an_override() {
    let shop = shop(json!({})).await;
    family(&shop).await;
    let partners = Uuid::from_u128(100);
    let put = PutGroup { id: partners, slug: "partners".parse().unwrap(), title: "Partners".to_owned() };
    shop.must(OPENED, Command::PutGroup(put)).await;
    for affiliate in [JANE, JOE] {
        shop.must(OPENED, Command::SetGroup { affiliate, group: Some(partners) }).await;
    }
    let standard = || Target::CommissionType("standard".to_owned());
    shop.must(OPENED, put_override(1, Whose::Group(partners), standard(), percent(12), None)).await;
    shop.must(OPENED, put_override(2, Whose::Affiliate(JANE), standard(), percent(15), None)).await;
    let mut paid = Vec::new();
    for who in ["jane", "joe", "ann"] {
        let mut sale = shop.sale("100.00");
        sale.referral_code = Some(who.to_owned());
        let id = settled(shop.send(sale).await);
        paid.push(worth(&shop.lines(id).await[0]));
    }
    says(&format!(
        "The type pays 10 %, the group *partners* 12 %, Jane herself 15 %. A sale of 100.00 USD pays Jane {}, another \
         partner {}, anybody else {}.",
        paid[0], paid[1], paid[2]
    ));
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_cross_rate() {
    let day = parse_day("2026-03-01").unwrap();
    for in_program_currency in [false, true] {
        let shop = shop_in("GBP", json!({"settle_in_program_currency": in_program_currency})).await;
        let tx = shop.store.begin().await.unwrap();
        for (quote, rate) in [("USD", 110_000_000), ("GBP", 88_000_000)] {
            let row = exchange_rate::Model {
                base: "EUR".to_owned(),
                quote: quote.to_owned(),
                day,
                rate,
                loaded_at: NOW.0,
            };
            exchange_rate::Entity::insert(row.into_active_model()).exec_without_returning(&tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut sale = shop.janes("50.00");
        sale.currency = Some("USD".to_owned());
        let id = settled(shop.send(sale).await);
        let line = worth(&shop.lines(id).await[0]);
        if in_program_currency {
            says(&format!("with `settle_in_program_currency` it is 40.00 GBP and pays {line}."));
        } else {
            says(&format!("A sale of 50.00 USD at 10 % pays {line};"));
        }
        shop.assert_sound().await;
    }
}

#[tokio::test]
async fn recurrence() {
    let mut price = percent(10);
    price["recurrence"] = json!({"repeating": 2});
    let shop = shop(one_type(price)).await;
    let mut lines = Vec::new();
    for n in 0..3 {
        let mut sale = shop.janes("20.00");
        sale.customer_id = Some("carol".to_owned());
        let id = settled(shop.send_at(sale, NOW + n * MINUTE).await);
        lines.extend(shop.lines(id).await);
    }
    assert_eq!(worth(&lines[0]), worth(&lines[1]));
    says(&format!(
        "of three orders of 20.00 USD at 10 % the first two pay {} each, the third pays {} with the reason `{}`.",
        worth(&lines[0]),
        worth(&lines[2]),
        lines[2].reason.as_deref().unwrap()
    ));
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_cap() {
    let cap = json!({"scope": "affiliate", "period": "month", "measure": "amount", "limit": 1_500});
    let shop = shop(json!({"caps": [cap]})).await;
    let mut lines = Vec::new();
    for n in 0..3 {
        lines.push(sell(&shop, "100.00", NOW + n * MINUTE).await);
    }
    says(&format!(
        "Of three sales of 100.00 USD the first pays {}, the second {}, the third {} with the reason `{}`.",
        worth(&lines[0]),
        worth(&lines[1]),
        worth(&lines[2]),
        lines[2].reason.as_deref().unwrap()
    ));
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_refund_in_parts() {
    let shop = shop(json!({})).await;
    let id = settled(shop.send(shop.order("o-1", "49.90")).await);
    let mut amounts = vec![worth(&shop.lines(id).await[0])];
    for amount in ["10.00", "39.90"] {
        shop.refund(shop.refund_by_id(id, amount)).await;
        amounts.push(worth(&shop.lines(id).await[0]));
    }
    says(&format!(
        "A sale of 49.90 USD at 10 % pays {}. After a refund of 10.00 USD it is {}, after another of 39.90 USD it is {}.",
        amounts[0], amounts[1], amounts[2]
    ));
    let mut fixed = shop.order("o-2", "30.00");
    fixed.commission_type = Some("lead".to_owned());
    let id = settled(shop.send(fixed).await);
    shop.refund(shop.refund_by_id(id, "10.00")).await;
    let line = worth(&shop.lines(id).await[0]);
    says(&format!("A fixed 5.00 USD for a sale of 30.00 USD becomes {line} after a refund of 10.00 USD."));
}

#[tokio::test]
async fn a_refund_after_payment() {
    let price = json!({"form": "percentage", "value": 750_000_000});
    let shop = shop_in("JPY", one_type(price)).await;
    let id = settled(shop.send(shop.order("o-1", "1234")).await);
    let line = shop.lines(id).await.remove(0);
    let before = worth(&line);
    shop.must(NOW, Command::ApproveLine { line: line.id }).await;
    let (id_of_payment, currency) = (Uuid::from_u128(1), "JPY".parse().unwrap());
    let pay = Pay { id: id_of_payment, affiliate: JANE, currency, amount: line.amount, comment: None };
    shop.must(NOW, Command::RecordPayment(Box::new(pay))).await;
    let payable = (JANE.0, "payable".to_owned());
    assert_eq!(shop.balances().await.get(&payable), None);
    shop.refund(shop.refund_by_id(id, "")).await;
    // A balance is a credit.
    let balance = -shop.balances().await[&payable];
    says(&format!(
        "A sale of 1234 JPY at 7.5 % pays {before}, which is approved and paid. All of it is refunded: the line is {}, \
         and the balance is {balance} JPY until the next commissions make it up.",
        worth(&shop.lines(id).await[0])
    ));
    shop.assert_sound().await;
}

#[tokio::test]
async fn parts() {
    let shop = shop(json!({})).await;
    let mut sale = shop.order("o-1", "30.00");
    sale.commissions = serde_json::from_value(json!([
        {"sub_amount": "10.00"}, {"sub_amount": "10.00"}, {"sub_amount": "10.00"},
    ]))
    .unwrap();
    let id = settled(shop.send(sale).await);
    shop.refund(shop.refund_by_id(id, "0.01")).await;
    let parts: Vec<i64> = shop.lines(id).await.iter().map(|line| line.sub_amount).collect();
    assert_eq!(parts, [1_000, 1_000, 999]);
    says("A refund of 0.01 USD leaves 29.99 USD: the parts are 10.00, 10.00 and 9.99 USD.");
}

#[tokio::test]
async fn a_bonus() {
    let shop = shop(json!({})).await;
    let targets = bonuses::fixed(&[(3, 5_000), (10, 20_000)]);
    shop.must(OPENED, bonuses::put(1, bonuses::settings_of("calmo", "conversion_count", targets))).await;
    // On the first, the second and twice on the last of March.
    for time in [NOW, NOW + MS_PER_DAY, NOW + 30 * MS_PER_DAY, NOW + 30 * MS_PER_DAY] {
        bonuses::approved(&shop, "100.00", time).await;
    }
    let over = bonuses::at("2026-04-01T00:00:00Z");
    assert_eq!(bonuses::pass(&shop, over + -1).await.awarded, 0);
    assert_eq!(bonuses::pass(&shop, over).await.awarded, 1);
    bonuses::approved(&shop, "100.00", over).await;
    assert_eq!(bonuses::pass(&shop, over).await.awarded, 0);
    says(&format!(
        "50.00 USD from 3 conversions a month, 200.00 USD from 10. Four approved conversions in March pay {} once, when \
         March is over.",
        worth(&bonuses::bonus_lines(&shop).await[0])
    ));
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_recalculation() {
    let shop = shop(json!({})).await;
    let id = settled(shop.send(shop.order("o-1", "100.00")).await);
    let mut amounts = vec![worth(&shop.lines(id).await[0])];
    for command in [
        Command::EditConversion { conversion: id, amount: 12_000 },
        Command::Recalculate { conversion: id, rules: RulesOf::Then },
    ] {
        shop.must(NOW + MINUTE, command).await;
        amounts.push(worth(&shop.lines(id).await[0]));
    }
    says(&format!(
        "A sale of 100.00 USD at 10 % pays {}. Its amount is corrected to 120.00 USD: it still pays {}. Recalculated it \
         pays {}.",
        amounts[0], amounts[1], amounts[2]
    ));
    shop.assert_sound().await;
}
