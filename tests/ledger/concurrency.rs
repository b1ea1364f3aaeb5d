//! Many at once: the account's lock and the claims let one through.

use std::sync::Arc;

use tokio::{sync::Barrier, task::JoinSet};
use waypost::{events::Conversion, ledger::Effect};

use crate::fixtures::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_deliveries_of_one_external_id_settle_once() {
    let shop = Arc::new(Shop::open().await);
    let barrier = Arc::new(Barrier::new(50));
    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let (shop, barrier) = (shop.clone(), barrier.clone());
        tasks.spawn(async move {
            // Without the program named each has an event id of its own; some name it.
            let program = (n % 3 == 0).then(|| "shop".to_owned());
            let event = shop.event(Conversion { program, ..shop.order("o-1", "10") }, NOW);
            barrier.wait().await;
            shop.receive(&event).await
        });
    }
    let effects = tasks.join_all().await;
    let count = |of: fn(&Effect) -> bool| effects.iter().filter(|effect| of(effect)).count();
    assert_eq!(count(|effect| matches!(effect, Effect::Settled { .. })), 1);
    // The same event id with another body does not occur: those that name the program are the same to the letter.
    assert_eq!(count(|effect| matches!(effect, Effect::Duplicate { .. })), 49);
    assert_eq!(shop.balances().await[&(1, "accrued".to_owned())], -100);
    shop.assert_sound().await;
}
