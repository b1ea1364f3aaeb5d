//! Payments, payouts and adjustments: what they post, what is available, and which lines they pay.

use std::sync::Arc;

use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Set};
use tokio::{sync::Barrier, task::JoinSet};
use uuid::Uuid;
use waypost::{
    domain::{
        bonuses::BonusSettings,
        ids::AffiliateId,
        program::ProgramSettings,
        time::{MS_PER_DAY, Timestamp},
    },
    events::{CommissionEntry, Conversion},
    ledger::{Adjust, Command, LedgerError, PaidLines, Pay, PayoutEnd, Work, verify},
    store::entities::{commission_line, payment},
};

use crate::{bonuses, fixtures::*};

const NOBODY: AffiliateId = AffiliateId(9);

/// Commissions are approved and final at once.
async fn generous() -> Shop {
    let shop = Shop::open().await;
    let settings = ProgramSettings { auto_approve_commissions: true, payout_delay: 0, ..settings() };
    shop.must(OPENED, put_program(SHOP, "shop", "USD", settings)).await;
    shop
}

pub fn pay(n: u128, amount: i64) -> Box<Pay> {
    let currency = "USD".parse().unwrap();
    Box::new(Pay { id: Uuid::from_u128(n), affiliate: JANE, currency, amount, comment: None })
}

pub fn payment(n: u128, amount: i64) -> Command {
    Command::RecordPayment(pay(n, amount))
}

pub fn payout(n: u128, amount: i64) -> Command {
    Command::CreatePayout(pay(n, amount))
}

pub fn cancel(n: u128) -> Command {
    Command::CancelPayment { payment: Uuid::from_u128(n) }
}

pub fn end(n: u128, end: PayoutEnd) -> Command {
    Command::EndPayout { payout: Uuid::from_u128(n), end }
}

pub fn adjust(n: u128, amount: i64) -> Adjust {
    let currency = "USD".parse().unwrap();
    let comment = "by hand".to_owned();
    Adjust { id: Uuid::from_u128(n), affiliate: JANE, program: None, currency, amount, comment }
}

fn minimum(currency: &str, amount: Option<i64>) -> Command {
    Command::SetPayoutMinimum { currency: currency.parse().unwrap(), amount }
}

#[track_caller]
fn code(refused: Result<impl std::fmt::Debug, LedgerError>) -> &'static str {
    match refused {
        Err(LedgerError::NotPossible { code, message }) => {
            assert!(!message.is_empty());
            code
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// Event, affiliate, account, amount of all postings from the n-th on.
async fn postings_from(shop: &Shop, n: usize) -> Vec<(String, i64, String, i64)> {
    shop.postings().await.split_off(n)
}

fn rows(rows: &[(&str, i64, &str, i64)]) -> Vec<(String, i64, String, i64)> {
    rows.iter()
        .map(|(event, who, account, amount)| ((*event).into(), *who, (*account).into(), *amount))
        .collect()
}

/// What jane's balance is, what is reserved for her and what was sent, in cents.
pub async fn books(shop: &Shop) -> [i64; 3] {
    let balances = shop.balances().await;
    let of =
        |affiliate: i64, account: &str| -balances.get(&(affiliate, account.to_owned())).copied().unwrap_or(0);
    [of(1, "payable"), of(1, "reserved"), of(0, "cash")]
}

/// Amounts of jane's lines that are paid at a time, in the order of their making.
pub async fn paid(shop: &Shop, at: Timestamp) -> Vec<i64> {
    let db = shop.store.snapshot().await.unwrap();
    let lines = PaidLines::load(&db, shop.account, JANE.0, "USD", at).await.unwrap();
    let mut rows = commission_line::Entity::find().all(&db).await.unwrap();
    rows.sort_by_key(|row| (row.created_seq, row.conversion_id.is_none(), row.number));
    rows.iter().filter(|row| lines.include(row)).map(|row| row.amount).collect()
}

async fn payment_row(shop: &Shop, n: u128) -> payment::Model {
    payment::Entity::find_by_id(Uuid::from_u128(n)).one(shop.store.reader()).await.unwrap().unwrap()
}

#[tokio::test]
async fn every_posting_of_the_table() {
    let shop = generous().await;
    settled(shop.send(shop.janes("49.90")).await);
    settled(shop.send(shop.janes("100")).await);
    let before = shop.postings().await.len();
    assert_eq!(books(&shop).await, [1499, 0, 0]);

    shop.must(NOW, payment(1, 499)).await;
    assert_eq!(books(&shop).await, [1000, 0, 499]);
    shop.must(NOW, cancel(1)).await;
    assert_eq!(books(&shop).await, [1499, 0, 0]);
    shop.must(NOW, payout(2, 1000)).await;
    assert_eq!(books(&shop).await, [499, 1000, 0]);
    shop.must(NOW, end(2, PayoutEnd::Paid)).await;
    assert_eq!(books(&shop).await, [499, 0, 1000]);
    shop.must(NOW, payout(3, 499)).await;
    shop.must(NOW, end(3, PayoutEnd::Failed)).await;
    shop.must(NOW, payout(4, 1)).await;
    shop.must(NOW, end(4, PayoutEnd::Cancelled)).await;
    assert_eq!(books(&shop).await, [499, 0, 1000]);

    let expected = rows(&[
        ("payment_recorded", 1, "payable", 499),
        ("payment_recorded", 0, "cash", -499),
        ("payment_cancelled", 0, "cash", 499),
        ("payment_cancelled", 1, "payable", -499),
        ("payout_created", 1, "payable", 1000),
        ("payout_created", 1, "reserved", -1000),
        ("payout_paid", 1, "reserved", 1000),
        ("payout_paid", 0, "cash", -1000),
        ("payout_created", 1, "payable", 499),
        ("payout_created", 1, "reserved", -499),
        ("payout_returned", 1, "reserved", 499),
        ("payout_returned", 1, "payable", -499),
        ("payout_created", 1, "payable", 1),
        ("payout_created", 1, "reserved", -1),
        ("payout_returned", 1, "reserved", 1),
        ("payout_returned", 1, "payable", -1),
    ]);
    assert_eq!(postings_from(&shop, before).await, expected);
    let verified = verify::verify(shop.store.reader()).await.unwrap();
    assert_eq!(verified.payments, 4);
    shop.assert_sound().await;
}

#[tokio::test]
async fn states_lead_on_and_never_back() {
    let shop = generous().await;
    settled(shop.send(shop.janes("100")).await);
    for (n, way) in [(2, PayoutEnd::Paid), (3, PayoutEnd::Failed), (4, PayoutEnd::Cancelled)] {
        shop.must(NOW, payout(n, 1)).await;
        shop.must(Timestamp(NOW.0 + 1), end(n, way)).await;
        for again in [PayoutEnd::Paid, PayoutEnd::Failed, PayoutEnd::Cancelled] {
            let expected = if again == way { "already_so" } else { "has_ended" };
            assert_eq!(code(shop.apply(NOW, end(n, again)).await), expected);
        }
    }
    let row = payment_row(&shop, 3).await;
    assert_eq!((row.kind.as_str(), row.status.as_str()), ("payout", "failed"));
    assert_eq!((row.created_at, row.updated_at), (NOW.0, NOW.0 + 1));
    shop.must(NOW, payment(1, 1)).await;
    shop.must(NOW, cancel(1)).await;
    assert_eq!(code(shop.apply(NOW, cancel(1)).await), "already_so");
    // A payment is no payout and a payout no payment.
    for stranger in [end(1, PayoutEnd::Paid), cancel(2), cancel(77), end(77, PayoutEnd::Paid)] {
        let refused = shop.apply(NOW, stranger).await;
        assert!(matches!(refused, Err(LedgerError::NotFound(_))), "{refused:?}");
    }
    // An id is given out once.
    assert!(matches!(shop.apply(NOW, payment(1, 5)).await, Err(LedgerError::Conflict { field: "id", .. })));
    shop.assert_sound().await;
}

#[tokio::test]
async fn only_what_is_final_can_be_paid_out() {
    let shop = Shop::open().await;
    let id = settled(shop.send(shop.janes("49.90")).await);
    let line = shop.lines(id).await[0].id;
    assert_eq!(code(shop.apply(NOW, payout(1, 1)).await), "exceeds_available");
    shop.must(NOW, Command::ApproveLine { line }).await;
    // 4.99 in the balance; 14 days after the sale they are final.
    let last = Timestamp(NOW.0 + 14 * MS_PER_DAY - 1);
    assert_eq!(code(shop.apply(last, payout(1, 1)).await), "exceeds_available");
    let then = Timestamp(NOW.0 + 14 * MS_PER_DAY);
    assert_eq!(code(shop.apply(then, payout(1, 500)).await), "exceeds_available");
    shop.must(then, payout(1, 499)).await;
    assert_eq!(code(shop.apply(then, payout(2, 1)).await), "exceeds_available");
    // Before it was final it was not paid, whatever was sent.
    assert_eq!(paid(&shop, last).await, Vec::<i64>::new());
    assert_eq!(paid(&shop, then).await, [499]);
    shop.must(then, end(1, PayoutEnd::Failed)).await;
    assert_eq!(paid(&shop, then).await, Vec::<i64>::new());
    shop.must(then, payout(3, 400)).await;
    shop.must(then, payout(4, 99)).await;
    assert_eq!(paid(&shop, then).await, [499]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_refund_of_a_paid_line_takes_the_balance_below_zero() {
    let shop = generous().await;
    settled(shop.send(shop.order("o-1", "49.90")).await);
    shop.must(NOW, payment(1, 499)).await;
    assert_eq!((books(&shop).await, paid(&shop, NOW).await), ([0, 0, 499], vec![499]));
    // 10 % of the 40.00 that are left are 4.00.
    settled(shop.refund(shop.refund_of("o-1", "9.90")).await);
    assert_eq!((books(&shop).await, paid(&shop, NOW).await), ([-99, 0, 499], vec![400]));
    assert_eq!(code(shop.apply(NOW, payout(2, 1)).await), "exceeds_available");
    // 1.00 more, of which 0.99 were paid before: one cent is left.
    settled(shop.send(shop.order("o-2", "10")).await);
    assert_eq!((books(&shop).await, paid(&shop, NOW).await), ([1, 0, 499], vec![400]));
    assert_eq!(code(shop.apply(NOW, payout(2, 2)).await), "exceeds_available");
    shop.must(NOW, payout(2, 1)).await;
    assert_eq!((books(&shop).await, paid(&shop, NOW).await), ([0, 1, 499], vec![400, 100]));
    // More may have been sent than there ever was.
    shop.must(NOW, payment(3, 1_000_000)).await;
    assert_eq!(books(&shop).await, [-1_000_000, 1, 1_000_499]);
    assert_eq!(code(shop.apply(NOW, payment(4, 0)).await), "amount_invalid");
    assert_eq!(code(shop.apply(NOW, payment(4, -1)).await), "amount_invalid");
    assert_eq!(code(shop.apply(NOW, payment(4, 1_000_000_000_000_001)).await), "amount_invalid");
    shop.assert_sound().await;
}

/// One of jane's with these parts.
fn sale_of(shop: &Shop, parts: &[&str]) -> Conversion {
    let part = |sub: &&str| CommissionEntry {
        sub_amount: sub.parse().unwrap(),
        commission_type: None,
        comment: None,
    };
    Conversion { commissions: parts.iter().map(part).collect(), ..shop.janes("") }
}

#[tokio::test]
async fn lines_are_paid_in_the_order_of_their_making() {
    let shop = generous().await;
    // Two lines of one sale, of 1.00 and 2.00, then one of 3.00.
    settled(shop.send(sale_of(&shop, &["10", "20"])).await);
    settled(shop.send(shop.janes("30")).await);
    shop.must(NOW, payment(1, 299)).await;
    assert_eq!(paid(&shop, NOW).await, [100]);
    shop.must(NOW, payment(2, 1)).await;
    assert_eq!(paid(&shop, NOW).await, [100, 200]);
    shop.must(NOW, payment(3, 299)).await;
    assert_eq!(paid(&shop, NOW).await, [100, 200]);
    // 2.99 are over. A line of -1.00 at the end does not reach the one of 3.00 before it.
    shop.must(NOW, Command::Adjust(Box::new(adjust(10, -100)))).await;
    assert_eq!(paid(&shop, NOW).await, [100, 200]);
    shop.must(NOW, payment(4, 1)).await;
    assert_eq!(paid(&shop, NOW).await, [100, 200, 300, -100]);
    // The 1.00 that was taken back pays for 1.00 more.
    shop.must(NOW, Command::Adjust(Box::new(adjust(11, 100)))).await;
    shop.must(NOW, Command::Adjust(Box::new(adjust(12, 1)))).await;
    assert_eq!(paid(&shop, NOW).await, [100, 200, 300, -100, 100]);
    shop.must(NOW, cancel(2)).await;
    // 5.99 less 0.01: still 1.00, 2.00; 2.99 do not pay for 3.00.
    assert_eq!(paid(&shop, NOW).await, [100, 200]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_a_sale_awards_is_paid_after_its_commissions() {
    let shop = generous().await;
    for (n, identifier, value) in [(1, "gold", 300), (2, "silver", 50)] {
        let rules = bonuses::settings_of("alltime", "conversion_count", bonuses::fixed(&[(1, value)]));
        let rules = BonusSettings { identifier: identifier.to_owned(), ..rules };
        shop.must(OPENED, bonuses::put(n, rules)).await;
    }
    // One command makes lines of 1.00 and 2.00 and the bonuses of 3.00 and 0.50.
    settled(shop.send(sale_of(&shop, &["10", "20"])).await);
    for (n, sent, expected) in [
        (1, 100, vec![100]),
        (2, 199, vec![100]),
        (3, 1, vec![100, 200]),
        (4, 299, vec![100, 200]),
        (5, 1, vec![100, 200, 300]),
        (6, 50, vec![100, 200, 300, 50]),
    ] {
        shop.must(NOW, payment(n, sent)).await;
        assert_eq!(paid(&shop, NOW).await, expected, "{n}");
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_payout_below_the_minimum_is_refused() {
    let shop = generous().await;
    settled(shop.send(shop.janes("100")).await);
    shop.must(NOW, minimum("USD", Some(500))).await;
    shop.must(NOW, minimum("EUR", Some(100_000))).await;
    assert_eq!(code(shop.apply(NOW, payout(1, 499)).await), "below_minimum_payout");
    let refused = shop.apply(NOW, payout(1, 499)).await.unwrap_err();
    assert_eq!(refused.to_string(), "a payout must be at least 5.00 USD");
    shop.must(NOW, payout(1, 500)).await;
    // A record of what was sent has no minimum.
    shop.must(NOW, payment(2, 1)).await;
    shop.must(NOW, minimum("USD", Some(1))).await;
    shop.must(NOW, payout(3, 1)).await;
    shop.must(NOW, minimum("USD", None)).await;
    let refused = shop.apply(NOW, minimum("USD", None)).await;
    assert!(matches!(refused, Err(LedgerError::NotFound("payout minimum"))), "{refused:?}");
    assert_eq!(code(shop.apply(NOW, minimum("USD", Some(0))).await), "amount_invalid");
    shop.assert_sound().await;
}

#[tokio::test]
async fn who_is_suspended_or_deleted_gets_no_payout() {
    let shop = generous().await;
    settled(shop.send(shop.janes("100")).await);
    shop.must(NOW, put_affiliate(JANE, "jane", true)).await;
    assert_eq!(code(shop.apply(NOW, payout(1, 1)).await), "affiliate_suspended");
    shop.must(NOW, payment(2, 1)).await;
    shop.must(NOW, put_affiliate(JANE, "jane", false)).await;
    shop.must(NOW, payout(1, 1)).await;
    shop.must(NOW, Command::DeleteAffiliate { affiliate: JANE }).await;
    assert_eq!(code(shop.apply(NOW, payout(3, 1)).await), "affiliate_deleted");
    // What was under way goes on, and history can be completed.
    shop.must(NOW, end(1, PayoutEnd::Paid)).await;
    shop.must(NOW, payment(4, 997)).await;
    shop.must(NOW, Command::Adjust(Box::new(adjust(10, -1)))).await;
    assert_eq!(books(&shop).await, [0, 0, 999]);
    let nobody = Box::new(Pay { affiliate: NOBODY, ..*pay(5, 1) });
    for command in [Command::RecordPayment(nobody.clone()), Command::CreatePayout(nobody)] {
        let refused = shop.apply(NOW, command).await;
        assert!(matches!(refused, Err(LedgerError::NotFound("affiliate"))), "{refused:?}");
    }
    shop.assert_sound().await;
}

#[tokio::test]
async fn adjustments_are_final_at_once() {
    let shop = Shop::open().await;
    let given = Adjust { program: Some(SHOP), ..adjust(10, 500) };
    shop.must(NOW, Command::Adjust(Box::new(given))).await;
    shop.must(NOW, Command::Adjust(Box::new(adjust(11, -200)))).await;
    let expected = rows(&[
        ("earned", 0, "expense", 500),
        ("earned", 1, "accrued", -500),
        ("approved", 1, "accrued", 500),
        ("approved", 1, "payable", -500),
        ("earned", 0, "expense", -200),
        ("earned", 1, "accrued", 200),
        ("approved", 1, "accrued", -200),
        ("approved", 1, "payable", 200),
    ]);
    assert_eq!(postings_from(&shop, 0).await, expected);
    let line = commission_line::Entity::find_by_id(Uuid::from_u128(10))
        .one(shop.store.reader())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((line.kind.as_str(), line.status.as_str(), line.amount), ("adjustment", "approved", 500));
    assert_eq!(
        (line.program_id, line.final_at, line.comment.as_deref()),
        (SHOP.0, Some(NOW.0), Some("by hand"))
    );
    assert_eq!(code(shop.apply(NOW, payout(1, 301)).await), "exceeds_available");
    shop.must(NOW, payout(1, 300)).await;
    assert_eq!(paid(&shop, NOW).await, Vec::<i64>::new());
    shop.must(NOW, payment(2, 200)).await;
    assert_eq!(paid(&shop, NOW).await, [500, -200]);

    // Taken back and given again it is final at once again, whatever the program's payout delay.
    shop.must(NOW, Command::DisapproveLine { line: line.id }).await;
    assert_eq!(books(&shop).await, [-700, 300, 200]);
    shop.must(Timestamp(NOW.0 + 5), Command::ApproveLine { line: line.id }).await;
    let line = commission_line::Entity::find_by_id(line.id).one(shop.store.reader()).await.unwrap().unwrap();
    assert_eq!(line.final_at, Some(NOW.0 + 5));

    assert_eq!(code(shop.apply(NOW, Command::Adjust(Box::new(adjust(12, 0)))).await), "amount_invalid");
    for amount in [1_000_000_000_000_001, -1_000_000_000_000_001, i64::MIN] {
        assert_eq!(
            code(shop.apply(NOW, Command::Adjust(Box::new(adjust(12, amount)))).await),
            "amount_invalid"
        );
    }
    let nowhere = Adjust { program: Some(waypost::domain::ids::ProgramId(77)), ..adjust(12, 1) };
    let refused = shop.apply(NOW, Command::Adjust(Box::new(nowhere))).await;
    assert!(matches!(refused, Err(LedgerError::NotFound("program"))), "{refused:?}");
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_payment_and_an_adjustment_are_explained() {
    let shop = generous().await;
    let told = async |line: Uuid| {
        let steps = waypost::ledger::explain(shop.store.reader(), shop.account, line).await.unwrap();
        steps.into_iter().map(|step| step.text).collect::<Vec<_>>()
    };
    shop.must(NOW, Command::Adjust(Box::new(adjust(10, -200)))).await;
    let line = Uuid::from_u128(10);
    let mut expected = vec![
        "Somebody made this adjustment of -2.00 USD for affiliate jane: by hand.",
        "Adjustments start approved and are final at once.",
        "It is worth -2.00 USD and may be withdrawn from 2026-03-01T12:00:00.000Z on.",
        "Payments have covered it.",
    ];
    assert_eq!(told(line).await, expected);
    shop.must(NOW, Command::DisapproveLine { line }).await;
    expected.truncate(2);
    expected
        .extend(["At 2026-03-01T12:00:00.000Z it was disapproved.", "It is disapproved and counts nothing."]);
    assert_eq!(told(line).await, expected);

    let id = settled(shop.send(shop.janes("49.90")).await);
    let line = shop.lines(id).await[0].id;
    assert!(told(line).await.last().unwrap().starts_with("It is worth 4.99 USD"));
    shop.must(NOW, payment(1, 499)).await;
    assert_eq!(told(line).await.last().unwrap(), "Payments have covered it.");
    shop.must(NOW, cancel(1)).await;
    assert!(told(line).await.last().unwrap().starts_with("It is worth 4.99 USD"));
}

#[tokio::test]
async fn commands_of_one_transaction_see_each_other() {
    let shop = generous().await;
    settled(shop.send(shop.janes("100")).await);
    let tx = shop.store.begin().await.unwrap();
    let mut work = Work::new(&tx);
    work.apply(shop.account, NOW, &payout(1, 600)).await.unwrap();
    assert_eq!(code(work.apply(shop.account, NOW, &payout(2, 401)).await), "exceeds_available");
    drop(work);
    tx.rollback().await.unwrap();
    let tx = shop.store.begin().await.unwrap();
    let mut work = Work::new(&tx);
    work.apply(shop.account, NOW, &payout(1, 600)).await.unwrap();
    work.apply(shop.account, NOW, &payout(2, 400)).await.unwrap();
    work.finish().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(books(&shop).await, [0, 1000, 0]);
    shop.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_payouts_of_the_same_money_one_is_made() {
    let shop = Arc::new(generous().await);
    settled(shop.send(shop.janes("49.90")).await);
    let barrier = Arc::new(Barrier::new(12));
    let mut tasks = JoinSet::new();
    for n in 0..12 {
        let (shop, barrier) = (shop.clone(), barrier.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            shop.apply(NOW, payout(100 + n, 499)).await
        });
    }
    let results = tasks.join_all().await;
    let (made, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 11));
    assert!(refused.into_iter().all(|result| code(result) == "exceeds_available"));
    assert_eq!(books(&shop).await, [0, 499, 0]);
    shop.assert_sound().await;
}

#[tokio::test]
async fn another_account_has_no_hand_in_it() {
    let shop = generous().await;
    let other = shop.neighbour().await;
    settled(shop.send(shop.janes("100")).await);
    shop.must(NOW, payment(1, 100)).await;
    shop.must(NOW, payout(2, 100)).await;
    shop.must(NOW, minimum("USD", Some(100))).await;
    for command in [
        cancel(1),
        end(2, PayoutEnd::Cancelled),
        payment(3, 1),
        payout(3, 1),
        Command::Adjust(Box::new(adjust(3, 1))),
        minimum("USD", None),
    ] {
        let refused = shop.apply_for(other, NOW, command).await;
        assert!(matches!(refused, Err(LedgerError::NotFound(_))), "{refused:?}");
    }
    shop.apply_for(other, NOW, minimum("USD", Some(1))).await.unwrap();
    assert_eq!(code(shop.apply(NOW, payout(4, 99)).await), "below_minimum_payout");
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_was_written_past_the_ledger_is_found() {
    let shop = generous().await;
    settled(shop.send(shop.janes("100")).await);
    shop.must(NOW, payout(1, 100)).await;
    shop.must(NOW, minimum("USD", Some(100))).await;
    let mut row = payment_row(&shop, 1).await.into_active_model();
    row.status = Set("paid".to_owned());
    let tx = shop.store.begin().await.unwrap();
    row.update(&tx).await.unwrap();
    tx.commit().await.unwrap();
    let found = verify::verify(shop.store.reader()).await.unwrap().differences;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("it is paid and comes to -100 cash in USD (minor units), its postings to 0"),
        "{found:?}"
    );
    assert!(found[1].contains("0 reserved in USD (minor units), its postings to -100"), "{found:?}");
    let replayed = shop.replay().await;
    assert_eq!(replayed.differing, 1, "{:?}", replayed.differences);
    assert!(replayed.differences[0].starts_with("payment "), "{:?}", replayed.differences);
}
