//! Figures of the examples in the API documents of other systems: conversions and the commissions that belong to them.

use sea_orm::EntityTrait;
use serde_json::json;
use uuid::Uuid;
use waypost::{
    domain::{
        ids::AffiliateId,
        price::Target,
        reason::{LineStatus, Standing},
    },
    events::Conversion,
    ledger::{Command, Pay, PutGroup, RulesOf, Whose},
    store::entities::payment,
};

use crate::{bonuses::load_rate, fixtures::*};

const SANDRA: AffiliateId = AffiliateId(2);
const THIRD: AffiliateId = AffiliateId(3);

/// A program in USD at 10 %, with levels of 5 % and 3 %; jane below sandra, sandra below a third.
async fn shop() -> Shop {
    let shop = Shop::open().await;
    let mut program = settings();
    program.levels = serde_json::from_value(json!([
        {"form": "percentage", "value": 500_000_000}, {"form": "percentage", "value": 300_000_000},
    ]))
    .unwrap();
    shop.must(OPENED, put_program(SHOP, "shop", "USD", program)).await;
    for (id, slug) in [(SANDRA, "sandra"), (THIRD, "third")] {
        shop.must(OPENED, put_affiliate(id, slug, false)).await;
        shop.must(OPENED, standing(SHOP, id, Standing::Approved)).await;
    }
    shop
}

/// Jane earns for sandra from then on, and sandra for a third.
async fn grow(shop: &Shop, height: usize) {
    let chain = [(JANE, SANDRA), (SANDRA, THIRD)];
    for (affiliate, parent) in chain.into_iter().take(height) {
        shop.must(OPENED, Command::SetParent { affiliate, parent: Some(parent) }).await;
    }
}

/// Kind, currency, sub amount and amount of each line.
async fn lines(shop: &Shop, id: Uuid) -> Vec<(String, String, i64, i64)> {
    let rows = shop.lines(id).await.into_iter();
    rows.map(|row| (row.kind, row.currency, row.sub_amount, row.amount)).collect()
}

fn line(kind: &str, currency: &str, sub_amount: i64, amount: i64) -> (String, String, i64, i64) {
    (kind.to_owned(), currency.to_owned(), sub_amount, amount)
}

#[tokio::test]
async fn a_sale_in_the_currency_of_the_program() {
    let shop = shop().await;
    let id = settled(shop.send(shop.janes("550")).await);
    assert_eq!(lines(&shop, id).await, [line("regular", "USD", 55_000, 5_500)]);
    // Approved, and taken back.
    let row = shop.lines(id).await.remove(0);
    shop.must(NOW, Command::ApproveLine { line: row.id }).await;
    assert_eq!(shop.balances().await[&(JANE.0, "payable".to_owned())], -5_500);
    shop.must(NOW, Command::DisapproveLine { line: row.id }).await;
    let row = shop.lines(id).await.remove(0);
    assert_eq!((row.amount, row.status.as_str()), (5_500, LineStatus::Disapproved.as_str()));
    assert!(shop.balances().await.is_empty());
    shop.assert_sound().await;
}

#[tokio::test]
async fn sales_in_another_currency_pay_in_it() {
    let shop = shop().await;
    load_rate(&shop, "EUR", "USD", NOW, 110_000_000).await;
    let euros = |amount: &str| Conversion { currency: Some("EUR".to_owned()), ..shop.janes(amount) };
    let id = settled(shop.send(euros("300")).await);
    assert_eq!(lines(&shop, id).await, [line("regular", "EUR", 30_000, 3_000)]);
    grow(&shop, 1).await;
    let id = settled(shop.send(euros("100")).await);
    let expected = [line("regular", "EUR", 10_000, 1_000), line("level", "EUR", 10_000, 500)];
    assert_eq!(lines(&shop, id).await, expected);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_part_of_a_sale_and_two_levels() {
    let shop = shop().await;
    grow(&shop, 1).await;
    let mut sale = shop.janes("");
    sale.commissions = serde_json::from_value(json!([{"sub_amount": "20", "comment": "Awesome!"}])).unwrap();
    let id = settled(shop.send(sale).await);
    assert_eq!(
        lines(&shop, id).await,
        [line("regular", "USD", 2_000, 200), line("level", "USD", 2_000, 100)]
    );
    grow(&shop, 2).await;
    let id = settled(shop.send(shop.janes("100")).await);
    assert_eq!(shop.amounts(id).await, [1_000, 500, 300]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn an_edit_without_recalculation_and_an_amount_by_hand() {
    let shop = shop().await;
    let id = settled(shop.send(shop.order("ORD123", "550")).await);
    shop.must(NOW, Command::EditConversion { conversion: id, amount: 1_795 }).await;
    assert_eq!((shop.conversion(id).await.amount, shop.amounts(id).await), (1_795, vec![5_500]));
    // 10 % of it to the cent, a half to the even one.
    shop.must(NOW, Command::Recalculate { conversion: id, rules: RulesOf::Then }).await;
    assert_eq!(shop.amounts(id).await, [180]);

    let id = settled(shop.send(shop.janes("550")).await);
    let row = shop.lines(id).await.remove(0);
    let comment = Some("Amount adjusted because of returned item".to_owned());
    shop.must(NOW, Command::EditLine { line: row.id, amount: 3_055, comment }).await;
    assert_eq!(lines(&shop, id).await, [line("regular", "USD", 55_000, 3_055)]);
    // The same paid.
    shop.must(NOW, Command::ApproveLine { line: row.id }).await;
    let currency = "USD".parse().unwrap();
    let pay = Pay { id: Uuid::from_u128(1), affiliate: JANE, currency, amount: 3_055, comment: None };
    shop.must(NOW, Command::RecordPayment(Box::new(pay))).await;
    let rows = payment::Entity::find().all(shop.store.reader()).await.unwrap();
    assert_eq!((rows.len(), rows[0].amount, rows[0].currency.as_str()), (1, 3_055, "USD"));
    assert_eq!(shop.balances().await.get(&(JANE.0, "payable".to_owned())), None);
    shop.assert_sound().await;
}

/// 10 % once for a customer, 20 % for a group; 20 % once and without a delay.
#[tokio::test]
async fn rules_that_pay_a_customer_once() {
    let shop = shop().await;
    let mut program = settings();
    program.commission_types = serde_json::from_value(json!([{
        "identifier": "standard", "title": "standard", "form": "percentage", "value": 1_000_000_000,
        "recurrence": "once",
    }]))
    .unwrap();
    program.payout_delay = 0;
    shop.must(OPENED, put_program(SHOP, "shop", "USD", program)).await;
    let of = |customer: &str| Conversion { customer_id: Some(customer.to_owned()), ..shop.janes("100") };
    let mut amounts = Vec::new();
    for customer in ["a", "a"] {
        amounts.extend(shop.amounts(settled(shop.send(of(customer)).await)).await);
    }
    let group = Uuid::from_u128(100);
    let put = PutGroup { id: group, slug: "partners".parse().unwrap(), title: "Partners".to_owned() };
    shop.must(OPENED, Command::PutGroup(put)).await;
    shop.must(OPENED, Command::SetGroup { affiliate: JANE, group: Some(group) }).await;
    let target = Target::CommissionType("standard".to_owned());
    let twenty = json!({"form": "percentage", "value": 2_000_000_000});
    shop.must(OPENED, put_override(1, Whose::Group(group), target, twenty, None)).await;
    for customer in ["b", "b", "a"] {
        amounts.extend(shop.amounts(settled(shop.send(of(customer)).await)).await);
    }
    assert_eq!(amounts, [1_000, 0, 2_000, 0, 0]);
    shop.assert_sound().await;
}
