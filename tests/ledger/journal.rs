//! The journal: what is in it, what is not, and what it finds.

use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::json;
use waypost::{
    domain::{sealed::SealingKeys, time::Timestamp},
    events::{Conversion, Refund},
    ledger::{Command, verify},
    settlement::reconcile,
    store::{
        entities::{journal_entry, program},
        pixel_secrets,
    },
};

use crate::{backend::AS_JSON, fixtures::*};

async fn journal(shop: &Shop) -> String {
    let rows = journal_entry::Entity::find().all(shop.store.reader()).await.unwrap();
    rows.into_iter().map(|row| row.command.to_string()).collect()
}

#[tokio::test]
async fn no_free_text_and_no_secret_is_journaled() {
    let shop = Shop::open().await;
    let mut deep = json!("jane.doe@example.com");
    for _ in 0..100 {
        deep = json!({ "in": deep });
    }
    let meta_data = json!({ "email": "jane.doe@example.com", "rate": 1.1, "deep": deep });
    let meta_data = meta_data.as_object().unwrap();
    let sale = Conversion { meta_data: meta_data.clone(), ..shop.order("o-1", "10") };
    let id = settled(shop.send(sale).await);
    let refund = Refund { meta_data: meta_data.clone(), ..shop.refund_of("o-1", "1") };
    let refund = settled(shop.refund(refund).await);
    let sealing = SealingKeys::new(&[[3; 32]]).unwrap();
    let tx = shop.store.begin().await.unwrap();
    pixel_secrets::renew(&tx, SHOP, &sealing, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    let text = journal(&shop).await;
    assert!(!text.contains("jane.doe") && !text.contains("meta_data"), "{text}");
    let row = program::Entity::find().one(shop.store.reader()).await.unwrap().unwrap();
    let secret = pixel_secrets::open(&row, &sealing).unwrap();
    assert!(!text.contains(&secret) && !text.contains(&row.pixel_secret));
    // It stays with what it came with.
    assert_eq!(shop.conversion(id).await.input["meta_data"]["email"], "jane.doe@example.com");
    assert_eq!(shop.refund_row(refund).await.input["meta_data"]["email"], "jane.doe@example.com");
    shop.assert_sound().await;
}

#[tokio::test]
async fn what_changes_nothing_takes_no_place() {
    let shop = Shop::open().await;
    settled(shop.send(shop.order("o-1", "10")).await);
    let before = journal(&shop).await;
    shop.send(shop.order("o-1", "10")).await;
    shop.send(shop.sale("1")).await;
    shop.refund(shop.refund_of("o-1", "11")).await;
    assert_eq!(journal(&shop).await, before);
    shop.assert_sound().await;
}

/// What is changed past the ledger is found by one check at least.
#[tokio::test]
async fn tampering_is_found() {
    let other_amount =
        format!("UPDATE journal SET command = replace(CAST(command AS text), '\"10\"', '\"11\"'){AS_JSON}");
    let tampering = [
        ("UPDATE balances SET amount = amount + 1 WHERE ledger_account = 'payable'", "verify replay"),
        ("UPDATE postings SET amount = amount * 2", "verify replay"),
        ("DELETE FROM postings WHERE number = 1", "verify replay"),
        ("UPDATE commission_lines SET amount = amount + 1", "verify replay"),
        ("UPDATE commission_lines SET status = 'pending' WHERE status = 'approved'", "verify replay"),
        ("DELETE FROM commission_lines", "verify replay"),
        ("UPDATE commission_lines SET commission_type = 'gold'", "verify replay"),
        ("UPDATE conversions SET affiliate_id = 2 WHERE status = 'settled'", "replay"),
        ("UPDATE conversions SET status = 'held' WHERE status = 'settled'", "verify replay reconcile"),
        ("DELETE FROM conversions WHERE status = 'settled'", "verify replay reconcile"),
        ("DELETE FROM claims", "replay"),
        ("DELETE FROM customers", "verify replay"),
        ("DELETE FROM line_changes", "replay"),
        ("DELETE FROM refunds", "replay reconcile"),
        ("DELETE FROM rejected_events", "reconcile"),
        ("UPDATE stream_outcomes SET events = events + 1 WHERE outcome = 'duplicate'", "reconcile"),
        ("UPDATE seen_ranges SET last = last + 1", "reconcile"),
        ("DELETE FROM journal WHERE seq = (SELECT MAX(seq) FROM journal)", "replay"),
        ("DELETE FROM journal WHERE seq = 7", "replay"),
        (&other_amount, "replay"),
        // Nothing is changed, nothing is found.
        ("UPDATE programs SET deleted_at = NULL", ""),
    ];
    for (statement, expected) in tampering {
        let shop = Shop::open().await;
        let sale = Conversion { customer_id: Some("c-1".to_owned()), ..shop.order("o-1", "10") };
        let id = settled(shop.send(sale).await);
        settled(shop.send(shop.order("o-2", "20")).await);
        shop.must(NOW, Command::ApproveLine { line: shop.lines(id).await[0].id }).await;
        settled(shop.refund(shop.refund_of("o-1", "4")).await);
        shop.send(shop.sale("1")).await;
        shop.send(shop.order("o-2", "20")).await;
        let tx = shop.store.begin().await.unwrap();
        tx.execute_unprepared(statement).await.unwrap();
        tx.commit().await.unwrap();
        let mut found = Vec::new();
        if !verify::verify(shop.store.reader()).await.unwrap().differences.is_empty() {
            found.push("verify");
        }
        if shop.replay().await.differing > 0 {
            found.push("replay");
        }
        if !reconcile::reconcile(shop.store.reader()).await.unwrap().differences.is_empty() {
            found.push("reconcile");
        }
        assert_eq!(found.join(" "), expected, "{statement}");
    }
}
