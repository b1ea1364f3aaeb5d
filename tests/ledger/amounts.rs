//! Defaults, sub amounts, rounding, currencies, types.

use serde_json::json;
use waypost::{
    domain::reason::{Rejection, Waits},
    events::{CommissionEntry, Conversion},
    ledger::Effect,
};

use crate::fixtures::*;

fn part(sub_amount: &str, kind: Option<&str>) -> CommissionEntry {
    CommissionEntry {
        sub_amount: sub_amount.parse().unwrap(),
        commission_type: kind.map(str::to_owned),
        comment: None,
    }
}

#[tokio::test]
async fn an_amount_defaults_to_nothing_or_to_its_parts() {
    let shop = Shop::open().await;
    // 10 % of nothing; it is not earned. The fixed value is.
    let row = shop.conversion(settled(shop.send(shop.janes("")).await)).await;
    assert_eq!((row.amount, row.currency.as_deref()), (0, Some("USD")));
    let lines = shop.lines(row.id).await;
    assert_eq!((lines[0].amount, lines[0].earned), (0, false));
    let lead = Conversion { commission_type: Some("lead".to_owned()), ..shop.janes("") };
    let lines = shop.lines(settled(shop.send(lead).await)).await;
    assert_eq!((lines[0].amount, lines[0].earned), (500, true));
    // Three lines in the order given; the second has a type of its own, the others that of the conversion.
    let parts = vec![part("19.99", Some("standard")), part("5", None), part("0.05", Some("standard"))];
    let sale =
        Conversion { commissions: parts.clone(), commission_type: Some("lead".to_owned()), ..shop.janes("") };
    let row = shop.conversion(settled(shop.send(sale).await)).await;
    assert_eq!(row.amount, 2504);
    let lines: Vec<_> = shop
        .lines(row.id)
        .await
        .into_iter()
        .map(|line| (line.number, line.commission_type, line.sub_amount, line.amount))
        .collect();
    // 199.9 goes to 200; 0.5 to the even 0.
    let standard = || "standard".to_owned();
    assert_eq!(lines, [(1, standard(), 1999, 200), (2, "lead".to_owned(), 500, 500), (3, standard(), 5, 0)]);
    // They need not add up to the amount.
    let row =
        shop.conversion(settled(shop.send(Conversion { commissions: parts, ..shop.janes("1") }).await)).await;
    assert_eq!(row.amount, 100);
    assert_eq!(shop.amounts(row.id).await, [200, 50, 0]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn rounding_is_half_even_and_warned_of() {
    let shop = Shop::open().await;
    for (amount, minor, commission, warned) in [
        ("49.90", 4990, 499, false),
        ("0.245", 24, 2, true),
        ("0.235", 24, 2, true),
        ("1.5e1", 1500, 150, false),
    ] {
        let row = shop.conversion(settled(shop.send(shop.janes(amount)).await)).await;
        assert_eq!(row.amount, minor, "{amount}");
        assert_eq!(row.warnings, if warned { json!(["amount_rounded"]) } else { json!([]) }, "{amount}");
        assert_eq!(shop.amounts(row.id).await, [commission], "{amount}");
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_is_no_amount_type_or_currency_is_rejected_and_claims_nothing() {
    let shop = Shop::open().await;
    let parts = |text| vec![part(text, None)];
    let cases = [
        (shop.order("o-1", "-0.01"), Rejection::AmountNegative),
        (shop.order("o-1", "10000000000000.01"), Rejection::AmountTooLarge),
        (Conversion { commissions: parts("-1"), ..shop.order("o-1", "1") }, Rejection::AmountNegative),
        (Conversion { commissions: parts("1e14"), ..shop.order("o-1", "1") }, Rejection::AmountTooLarge),
        (
            Conversion { commission_type: Some("gold".to_owned()), ..shop.order("o-1", "1") },
            Rejection::UnknownCommissionType,
        ),
        (
            Conversion { commissions: vec![part("1", Some("gold"))], ..shop.order("o-1", "1") },
            Rejection::UnknownCommissionType,
        ),
        (
            Conversion { currency: Some("XXX".to_owned()), ..shop.order("o-1", "1") },
            Rejection::UnknownCurrency,
        ),
    ];
    for (sale, expected) in cases {
        assert_eq!(reason(shop.send(sale).await), expected);
    }
    let id = settled(shop.send(shop.order("o-1", "10")).await);
    assert_eq!(shop.amounts(id).await, [100]);
    assert_eq!(shop.balances().await[&(1, "accrued".to_owned())], -100);
    shop.assert_sound().await;
}

#[tokio::test]
async fn another_currency_waits_for_its_rate() {
    let shop = Shop::open().await;
    let sale = Conversion { currency: Some("EUR".to_owned()), ..shop.order("o-1", "10") };
    let effect = shop.send(sale.clone()).await;
    assert!(matches!(effect, Effect::Pending { waits: Waits::RateMissing, .. }), "{effect:?}");
    let row = shop.conversion(pending(effect)).await;
    assert_eq!((row.waits_until, row.program_id), (None, Some(1)));
    assert!(matches!(shop.send(sale).await, Effect::Duplicate { of } if of == row.id));
    let own = Conversion { currency: Some("usd".to_owned()), ..shop.order("o-2", "10") };
    settled(shop.send(own).await);
    shop.assert_sound().await;
}

#[tokio::test]
async fn thousands_of_lines_are_one_conversion() {
    let shop = Shop::open().await;
    let commissions = (0..2_500).map(|_| part("1", None)).collect();
    let id = settled(shop.send(Conversion { commissions, ..shop.janes("") }).await);
    let lines = shop.lines(id).await;
    assert_eq!(lines.len(), 2_500);
    assert!(lines.iter().zip(1..).all(|(line, number)| (line.number, line.amount) == (number, 10)));
    assert_eq!(shop.balances().await[&(1, "accrued".to_owned())], -25_000);
    shop.assert_sound().await;
}
