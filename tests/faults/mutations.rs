//! The verdict can fail: whatever is falsified in the store is found. Nothing of it stays there.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection,
    DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, TransactionTrait,
};
use uuid::Uuid;
use waypost::store::entities::{balance, click, commission_line, conversion, posting, refund};

use crate::{
    books::Books,
    verdict::{Story, judge},
};

/// What is falsified.
#[derive(Clone, Copy, Debug)]
enum Falsified {
    ConversionLost,
    ConversionTwice,
    ConversionUnpaid,
    RefundLost,
    /// Also in the balances, so that all sums are zero.
    PostingTwice,
    PostingLost,
    AmountChanged,
    BalanceChanged,
    ReviewWrong,
    ClickLost,
    NumberMissing,
    OutcomeMissing,
    LinkLost,
    JournalGap,
}

impl Falsified {
    /// Each with a word of the complaint that must come of it.
    const ALL: [(Self, &'static str); 14] = [
        (Self::ConversionLost, "has no effect"),
        (Self::ConversionTwice, "has 2 effects"),
        (Self::ConversionUnpaid, "it has 0 lines"),
        (Self::RefundLost, "has no effect"),
        (Self::PostingTwice, "was posted 4 times"),
        (Self::PostingLost, "sums of postings are not zero"),
        (Self::AmountChanged, "its line is worth"),
        (Self::BalanceChanged, "add up to"),
        (Self::ReviewWrong, "its line is"),
        (Self::ClickLost, "a click was lost"),
        (Self::NumberMissing, "lacks"),
        (Self::OutcomeMissing, "have an outcome"),
        (Self::LinkLost, "links and coupons"),
        (Self::JournalGap, "has gaps"),
    ];
}

/// Falsifies the store in one way after the other, judges, and takes it back.
pub async fn verdict_can_fail(db: &DatabaseConnection, story: &Story) {
    for (falsified, complaint) in Falsified::ALL {
        let tx = db.begin().await.unwrap();
        falsify(&tx, falsified, story).await;
        let verdict = judge(story, &Books::read(&tx).await.unwrap());
        tx.rollback().await.unwrap();
        let found = verdict.complaints.iter().any(|text| text.contains(complaint));
        assert!(found, "{falsified:?} was not found, only {:?}", verdict.complaints);
    }
    println!("the verdict found each of {} falsifications", Falsified::ALL.len());
}

async fn falsify(tx: &DatabaseTransaction, falsified: Falsified, story: &Story) {
    // An order that was answered, by nothing that the verdict would forgive.
    let owed = story.diary.orders.iter().filter(|order| order.sent.taken > 0 && order.rival.is_none());
    let names: Vec<&str> = owed.map(|order| order.name.as_str()).collect();
    let rows =
        conversion::Entity::find().filter(conversion::Column::Status.eq("settled")).all(tx).await.unwrap();
    let is_owed =
        |row: &&conversion::Model| names.contains(&row.input["meta_data"]["order"].as_str().unwrap());
    let order = rows.iter().find(is_owed).unwrap().clone();
    let line = commission_line::Entity::find().filter(commission_line::Column::ConversionId.eq(order.id));
    let line = line.one(tx).await.unwrap().unwrap();
    match falsified {
        Falsified::ConversionLost => {
            conversion::Entity::delete_by_id(order.id).exec(tx).await.unwrap();
        }
        Falsified::ConversionTwice => {
            let mut again = order.into_active_model();
            again.id = Set(Uuid::now_v7());
            again.insert(tx).await.unwrap();
        }
        Falsified::ConversionUnpaid => {
            commission_line::Entity::delete_by_id(line.id).exec(tx).await.unwrap();
        }
        Falsified::RefundLost => {
            let mut answered = story.diary.orders.iter().flat_map(|order| &order.refunds);
            let name = &answered.find(|refund| refund.sent.taken > 0).unwrap().name;
            let lost = refund::Entity::delete_many().filter(refund::Column::ExternalId.eq(name.as_str()));
            assert_eq!(lost.exec(tx).await.unwrap().rows_affected, 1);
        }
        Falsified::PostingTwice => {
            let earned = posting::Column::Event.eq("earned");
            let earned = posting::Entity::find().filter(posting::Column::LineId.eq(line.id)).filter(earned);
            for mut row in earned.all(tx).await.unwrap() {
                let of = (row.account_id, row.affiliate_id, row.currency.clone(), row.ledger_account.clone());
                let balance = balance::Entity::find_by_id(of).one(tx).await.unwrap().unwrap();
                let amount = balance.amount + row.amount;
                let mut balance = balance.into_active_model();
                balance.amount = Set(amount);
                balance.update(tx).await.unwrap();
                row.number += 1_000;
                row.into_active_model().insert(tx).await.unwrap();
            }
        }
        Falsified::PostingLost => {
            let of_line = posting::Entity::delete_many().filter(posting::Column::LineId.eq(line.id));
            of_line.filter(posting::Column::Amount.lt(0)).exec(tx).await.unwrap();
        }
        Falsified::AmountChanged => {
            let amount = line.amount + 1;
            let mut line = line.into_active_model();
            line.amount = Set(amount);
            line.update(tx).await.unwrap();
        }
        Falsified::BalanceChanged => run(tx, "UPDATE balances SET amount = amount + 1").await,
        Falsified::ReviewWrong => {
            let other = if line.status == "approved" { "disapproved" } else { "approved" };
            let mut line = line.into_active_model();
            line.status = Set(other.to_owned());
            line.update(tx).await.unwrap();
        }
        Falsified::ClickLost => {
            let id = story.diary.clicks.iter().find(|click| click.owed).unwrap().id;
            click::Entity::delete_many().filter(click::Column::Id.eq(id)).exec(tx).await.unwrap();
        }
        // The last runs of all edges ended in good order, after anything that could excuse a gap.
        Falsified::NumberMissing => {
            let last = "(SELECT max(boot::text) FROM seen_ranges)";
            run(tx, &format!("UPDATE seen_ranges SET first = 2 WHERE first = 1 AND boot::text = {last}"))
                .await;
        }
        Falsified::OutcomeMissing => run(tx, "UPDATE stream_outcomes SET events = events + 1").await,
        Falsified::LinkLost => run(tx, "DELETE FROM links").await,
        Falsified::JournalGap => run(tx, "DELETE FROM journal WHERE seq = 3").await,
    }
}

async fn run(tx: &DatabaseTransaction, sql: &str) {
    assert!(tx.execute_unprepared(sql).await.unwrap().rows_affected() > 0, "{sql}");
}
