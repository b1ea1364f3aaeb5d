//! Approval and its postings, as the table of the rules has them.

use waypost::{
    domain::{
        program::ProgramSettings,
        reason::LineStatus,
        time::{MS_PER_DAY, Timestamp},
        token::ClickToken,
    },
    events::Conversion,
    ledger::{self, Command, LedgerError},
};

use crate::fixtures::*;

type Row = (&'static str, i64, &'static str, i64);

async fn assert_postings(shop: &Shop, expected: &[Row]) {
    let found = shop.postings().await;
    let found: Vec<Row> = found
        .iter()
        .map(|(event, affiliate, account, amount)| {
            let word = |text: &String| -> &'static str { Box::leak(text.clone().into_boxed_str()) };
            (word(event), *affiliate, word(account), *amount)
        })
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn approve_disapprove_and_approve_again() {
    let shop = Shop::open().await;
    let id = settled(shop.send(shop.janes("49.90")).await);
    let line = shop.lines(id).await[0].clone();
    assert_eq!((line.status.as_str(), line.approved_at, line.final_at), ("pending", None, None));
    let mut expected = vec![("earned", 0, "expense", 499), ("earned", 1, "accrued", -499)];
    assert_postings(&shop, &expected).await;

    let later = Timestamp(NOW.0 + MS_PER_DAY);
    shop.must(later, Command::ApproveLine { line: line.id }).await;
    expected.extend([("approved", 1, "accrued", 499), ("approved", 1, "payable", -499)]);
    assert_postings(&shop, &expected).await;
    let row = shop.lines(id).await[0].clone();
    // Its conversion's time and 14 days, as that is later than the approval.
    assert_eq!((row.approved_at, row.final_at), (Some(later.0), Some(NOW.0 + 14 * MS_PER_DAY)));

    shop.must(later, Command::DisapproveLine { line: line.id }).await;
    expected.extend([("disapproved", 1, "payable", 499), ("disapproved", 0, "expense", -499)]);
    assert_postings(&shop, &expected).await;
    let row = shop.lines(id).await[0].clone();
    assert_eq!((row.approved_at, row.final_at), (None, None));
    assert!(shop.balances().await.is_empty());

    let much_later = Timestamp(NOW.0 + 20 * MS_PER_DAY);
    shop.must(much_later, Command::ApproveLine { line: line.id }).await;
    expected.extend([
        ("reopened", 0, "expense", 499),
        ("reopened", 1, "accrued", -499),
        ("approved", 1, "accrued", 499),
        ("approved", 1, "payable", -499),
    ]);
    assert_postings(&shop, &expected).await;
    assert_eq!(shop.lines(id).await[0].final_at, Some(much_later.0));
    let balances: Vec<_> = shop.balances().await.into_iter().collect();
    assert_eq!(balances, [((0, "expense".to_owned()), 499), ((1, "payable".to_owned()), -499)]);
    let error = shop.apply(NOW, Command::ApproveLine { line: line.id }).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotPossible { code: "already_so", .. }), "{error:?}");
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_pending_line_is_disapproved_from_where_it_accrued() {
    let shop = Shop::open().await;
    let id = settled(shop.send(shop.janes("10")).await);
    let line = shop.lines(id).await[0].id;
    shop.must(NOW, Command::DisapproveLine { line }).await;
    assert_postings(
        &shop,
        &[
            ("earned", 0, "expense", 100),
            ("earned", 1, "accrued", -100),
            ("disapproved", 1, "accrued", 100),
            ("disapproved", 0, "expense", -100),
        ],
    )
    .await;
    shop.assert_sound().await;
}

#[tokio::test]
async fn lines_start_approved_where_nothing_sends_them_to_review() {
    let shop = Shop::open().await;
    let auto = ProgramSettings { auto_approve_commissions: true, payout_delay: 0, ..settings() };
    let yesterday = Timestamp(NOW.0 - MS_PER_DAY);
    shop.must(yesterday, put_program(SHOP, "shop", "USD", auto)).await;
    let id = settled(shop.send(shop.janes("10")).await);
    let line = shop.lines(id).await[0].clone();
    assert_eq!(
        (line.status.as_str(), line.approved_at, line.final_at),
        ("approved", Some(NOW.0), Some(NOW.0))
    );
    let suspicious =
        ClickToken { click_id: click_id(yesterday), link: JANES_LINK, attributable: true, review: true };
    let sale = Conversion { click_id: Some(shop.sign(suspicious)), ..shop.sale("10") };
    let id = settled(shop.send(sale).await);
    assert!(shop.conversion(id).await.review);
    assert_eq!(shop.lines(id).await[0].status, LineStatus::Pending.as_str());
    shop.assert_sound().await;
}

#[tokio::test]
async fn the_explanation_ends_with_what_is_stored() {
    let shop = Shop::open().await;
    let sale = Conversion { coupon: Some("NOBODY".to_owned()), ..shop.order("o-1", "49.905") };
    let id = settled(shop.send(sale).await);
    let line = shop.lines(id).await[0].id;
    settled(shop.refund(shop.refund_of("o-1", "9.90")).await);
    shop.must(NOW, Command::ApproveLine { line }).await;
    let steps = ledger::explain(shop.store.reader(), shop.account, line).await.unwrap();
    let kinds: Vec<_> = steps.iter().map(|step| serde_json::to_value(step.step).unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "passed_over",
            "attribution",
            "window",
            "warning",
            "rule",
            "calculation",
            "review",
            "refund",
            "change",
            "result"
        ]
    );
    // 49.90 less 9.90 is 40.00; 10 % of that.
    let last = steps.last().unwrap();
    assert_eq!(
        (last.data["amount"].as_str(), last.data["status"].as_str()),
        (Some("4.00"), Some("approved"))
    );
    assert!(last.text.starts_with("It is worth 4.00 USD, approved at"), "{}", last.text);
}
