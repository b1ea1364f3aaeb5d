//! Whatever is sent, taken back and refunded in whatever order.

use proptest::prelude::*;
use sea_orm::EntityTrait;
use tokio::runtime::Builder;
use waypost::{
    domain::{
        program::ProgramSettings,
        time::{MS_PER_DAY, Timestamp},
    },
    ledger::{Command, PayoutEnd},
    store::entities::{commission_line, payment as payment_row},
};

use crate::{
    fixtures::*,
    payments::{adjust, books, cancel, end, paid, payment, payout},
};

#[derive(Clone, Debug)]
enum Step {
    Sale(i64),
    /// Of the n-th sale, so much.
    Refund(u8, i64),
    Adjust(i64),
    Pay(i64),
    Payout(i64),
    /// Of the n-th payment or payout.
    Cancel(u8),
    End(u8, PayoutEnd),
    /// Days pass.
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ends = prop::sample::select(vec![PayoutEnd::Paid, PayoutEnd::Failed, PayoutEnd::Cancelled]);
    let step = prop_oneof![
        4 => (0..20_000_i64).prop_map(Step::Sale),
        2 => (0..4_u8, 1..9_000_i64).prop_map(|(n, cents)| Step::Refund(n, cents)),
        1 => (-500..500_i64).prop_map(Step::Adjust),
        2 => (1..900_i64).prop_map(Step::Pay),
        4 => (1..900_i64).prop_map(Step::Payout),
        1 => (0..6_u8).prop_map(Step::Cancel),
        3 => (0..6_u8, ends).prop_map(|(n, end)| Step::End(n, end)),
        2 => (1..9_i64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..24)
}

fn decimal(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

async fn play(steps: &[Step]) {
    let shop = Shop::open().await;
    let settings = ProgramSettings { auto_approve_commissions: true, payout_delay: 7, ..settings() };
    shop.must(OPENED, put_program(SHOP, "shop", "USD", settings)).await;
    let (mut at, mut sales, mut sent) = (NOW, 0, Vec::new());
    for (n, step) in (100_u128..).zip(steps) {
        let of = |n: &u8| sent.get(usize::from(*n)).copied().unwrap_or(99);
        match step {
            Step::Sale(cents) => {
                let order = shop.order(&format!("o-{sales}"), &decimal(*cents));
                settled(shop.send_at(order, at).await);
                sales += 1;
            }
            Step::Refund(n, cents) => {
                let refund = shop.refund_of(&format!("o-{n}"), &decimal(*cents));
                shop.receive(&shop.refund_event(refund, at)).await;
            }
            Step::Adjust(cents) => drop(shop.apply(at, Command::Adjust(Box::new(adjust(n, *cents)))).await),
            Step::Pay(cents) => {
                shop.must(at, payment(n, *cents)).await;
                sent.push(n);
            }
            Step::Payout(cents) => {
                let [balance, ..] = books(&shop).await;
                let made = shop.apply(at, payout(n, *cents)).await;
                let waiting: i64 = lines(&shop)
                    .await
                    .iter()
                    .filter(|line| line.final_at > Some(at.0))
                    .map(|line| line.amount)
                    .sum();
                assert_eq!(made.is_ok(), *cents <= balance - waiting, "{made:?}");
                if made.is_ok() {
                    sent.push(n);
                }
            }
            Step::Cancel(n) => drop(shop.apply(at, cancel(of(n))).await),
            Step::End(n, way) => drop(shop.apply(at, end(of(n), *way)).await),
            Step::Wait(days) => at = Timestamp(at.0 + days * MS_PER_DAY),
        }
        shop.assert_verified().await;
        assert_eq!(paid(&shop, at).await, paid_by_hand(&shop, at).await);
    }
    shop.assert_sound().await;
}

async fn lines(shop: &Shop) -> Vec<commission_line::Model> {
    let mut rows = commission_line::Entity::find().all(shop.store.reader()).await.unwrap();
    rows.sort_by_key(|row| (row.created_seq, row.number));
    rows
}

/// The longest beginning of the final lines of which every beginning is covered.
async fn paid_by_hand(shop: &Shop, at: Timestamp) -> Vec<i64> {
    let payments = payment_row::Entity::find().all(shop.store.reader()).await.unwrap();
    let standing =
        payments.iter().filter(|row| ["recorded", "created", "paid"].contains(&row.status.as_str()));
    let sent: i64 = standing.map(|row| row.amount).sum();
    let rows = lines(shop).await;
    let amounts: Vec<i64> = rows
        .iter()
        .filter(|row| row.final_at.is_some_and(|then| then <= at.0))
        .map(|row| row.amount)
        .collect();
    let covered = (1..=amounts.len()).take_while(|n| amounts[..*n].iter().sum::<i64>() <= sent).count();
    amounts[..covered].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn the_books_add_up_and_no_payout_is_more_than_is_available(steps in steps()) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&steps));
    }
}
