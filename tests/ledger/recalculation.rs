//! What a recalculation makes of lines whose price belongs in another currency.

use uuid::Uuid;
use waypost::{
    domain::{
        price::Price,
        program::{ProgramSettings, RefundPolicy},
        reason::LineStatus,
        time::{MS_PER_DAY, Timestamp},
    },
    events::Conversion,
    ledger::{Command, RulesOf, explain},
};

use crate::{bonuses::load_rate, fixtures::*};

/// The first type of the program pays so much.
fn paying(price: Price) -> Command {
    let mut settings: ProgramSettings = settings();
    settings.commission_types[0].price = price;
    put_program(SHOP, "shop", "USD", settings)
}

/// 10000 JPY, of which 150 are 1 USD, as `o-1`.
async fn sold_in_yen(shop: &Shop) -> Uuid {
    load_rate(shop, "USD", "JPY", NOW, 15_000_000_000).await;
    let sale = Conversion { currency: Some("JPY".to_owned()), ..shop.order("o-1", "10000") };
    settled(shop.send(sale).await)
}

#[tokio::test]
async fn a_price_in_another_currency_ends_the_line_and_begins_one() {
    let shop = Shop::open().await;
    let id = sold_in_yen(&shop).await;
    let lines = async || {
        let told = |line: &waypost::store::entities::commission_line::Model| {
            (line.number, line.currency.clone(), line.amount, line.status.clone(), line.reason.clone())
        };
        shop.lines(id).await.iter().map(told).collect::<Vec<_>>()
    };
    let line = |number, currency: &str, amount, status: LineStatus, reason: Option<&str>| {
        (number, currency.to_owned(), amount, status.as_str().to_owned(), reason.map(str::to_owned))
    };
    let begun = |number, currency, amount| line(number, currency, amount, LineStatus::Pending, None);
    let ended = |number, currency| line(number, currency, 0, LineStatus::Disapproved, Some("recalculated"));
    assert_eq!(lines().await, [begun(1, "JPY", 1_000)]);

    let later = Timestamp(NOW.0 + MS_PER_DAY);
    shop.must(later, paying(Price::Fixed { value: 500 })).await;
    let recalculate = |rules| Command::Recalculate { conversion: id, rules };
    shop.must(later, recalculate(RulesOf::Current)).await;
    assert_eq!(lines().await, [ended(1, "JPY"), begun(2, "USD", 500)]);
    let second = shop.lines(id).await.remove(1);
    let steps = explain(shop.store.reader(), shop.account, second.id).await.unwrap();
    assert!(
        steps.iter().any(|step| step.text.contains("The commission is 5.00 USD, whatever the amount.")),
        "{steps:?}"
    );
    shop.assert_sound().await;

    settled(shop.refund(shop.refund_of("o-1", "5000")).await);
    assert_eq!(lines().await, [ended(1, "JPY"), begun(2, "USD", 250)]);
    shop.must(later, recalculate(RulesOf::Then)).await;
    assert_eq!(lines().await, [begun(1, "JPY", 500), ended(2, "USD")]);
    settled(shop.refund(shop.refund_of("o-1", "")).await);
    assert_eq!(shop.amounts(id).await, [0, 0]);
    shop.assert_sound().await;
}

/// The sub amount of every line is that of its entry, also where the line has ended.
#[tokio::test]
async fn a_line_that_has_ended_keeps_up_with_its_entry() {
    let shop = Shop::open().await;
    let id = sold_in_yen(&shop).await;
    let later = Timestamp(NOW.0 + MS_PER_DAY);
    let recalculate = Command::Recalculate { conversion: id, rules: RulesOf::Current };
    shop.must(later, paying(Price::Fixed { value: 500 })).await;
    shop.must(later, recalculate.clone()).await;
    settled(shop.refund(shop.refund_of("o-1", "5000")).await);
    let parts = async || shop.lines(id).await.iter().map(|line| line.sub_amount).collect::<Vec<_>>();
    assert_eq!(parts().await, [5_000, 5_000]);
    let Command::PutProgram(mut keeping) = paying(Price::Fixed { value: 500 }) else { unreachable!() };
    keeping.settings.refund_policy = RefundPolicy::Keep;
    keeping.from = Some(NOW);
    shop.must(later, Command::PutProgram(keeping)).await;
    shop.must(later, recalculate).await;
    assert_eq!(parts().await, [10_000, 10_000]);
    shop.assert_sound().await;
}
