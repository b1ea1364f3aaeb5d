//! Everybody at once in one account: two settlements, people who review, correct and pay, and two jobs for bonuses.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;
use waypost::{
    domain::{
        calendar::Zone,
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        reason::Standing,
        time::{MS_PER_DAY, Timestamp},
    },
    jobs::bonuses,
    ledger::{
        self, Command, LedgerError, Pay, PayoutEnd, PutAffiliate, PutBonus, PutLink, PutProgram, RulesOf,
    },
    store::{
        Store, accounts,
        entities::{bonus_award, commission_line, conversion, payment, refund},
        is_transient,
    },
    stream::Topic,
};

use crate::{
    fixtures::*,
    together::{Partitions, caught_up},
};

const SALES: usize = 60;
const REFUNDED: usize = 15;
const PEOPLE: usize = 4;
/// What each of them tries to do.
const ACTS: usize = 20;

const BUSY: ProgramId = ProgramId(2);
const JUNE: AffiliateId = AffiliateId(2);

fn commands() -> Vec<Command> {
    let settings = json!({
        "name": "Busy", "destination": "https://shop.example/", "deep_link_hosts": [], "allow_http": false,
        "referral_parameter": "ref", "click_parameter": "click_id", "cookie_time": 30,
        "override_max_cookie_time": false, "cookie_same_site": "lax", "attribution_model": "last_click",
        "referrer_policy": "no-referrer", "pixel": "held", "duplicate_window_ms": 3_600_000,
        "commission_types": [{
            "identifier": "standard", "title": "By the month", "form": "tiered", "measure": "revenue",
            "period": "month", "mode": "marginal", "brackets": [
                {"from": 0, "form": "percentage", "value": 1_000_000_000},
                {"from": 50_000, "form": "percentage", "value": 1_500_000_000},
            ],
        }],
        "caps": [{"scope": "affiliate", "period": "month", "measure": "amount", "limit": 6_000}],
        "default_commission_type": "standard", "auto_approve_commissions": false, "payout_delay": 0,
        "refund_policy": "reverse", "program_group": null,
    });
    let bonus = |id: u128, interval: &str, measure: &str, target: serde_json::Value| {
        let settings = json!({
            "identifier": interval, "title": interval, "interval": interval, "measure": measure,
            "targets": [target], "start_date": null, "end_date": null, "active": true,
        });
        let settings = serde_json::from_value(settings).unwrap();
        Command::PutBonus(Box::new(PutBonus { id: Uuid::from_u128(id), program: BUSY, settings, from: None }))
    };
    vec![
        Command::PutProgram(Box::new(PutProgram {
            id: BUSY,
            slug: "busy".parse().unwrap(),
            currency: "USD".parse().unwrap(),
            settings: serde_json::from_value(settings).unwrap(),
            from: None,
        })),
        Command::PutAffiliate(PutAffiliate { id: JUNE, slug: "june".parse().unwrap(), suspended: false }),
        Command::SetStanding { program: BUSY, affiliate: JUNE, standing: Standing::Approved },
        Command::PutLink(Box::new(PutLink {
            id: LinkId(2),
            uid: Uuid::from_u128(2),
            program: BUSY,
            affiliate: JUNE,
            code: "june".to_owned(),
            destination: None,
            source_id: None,
            asset_id: None,
            expires_at: None,
        })),
        bonus(1, "calday", "conversion_count", json!({"target": 5, "form": "fixed", "value": 700})),
        bonus(
            2,
            "alltime",
            "conversion_amount",
            json!({"target": 30_000, "form": "percentage", "value": 100_000_000}),
        ),
    ]
}

/// An account that was there some days ago.
async fn open(store: &Store, at: Timestamp) -> AccountId {
    let tx = store.begin().await.unwrap();
    let account = accounts::create(&tx, &"busy".parse().unwrap(), "Busy", &Zone::utc(), at).await.unwrap();
    for command in commands() {
        ledger::apply(&tx, account, at, &command).await.unwrap();
    }
    tx.commit().await.unwrap();
    account
}

/// Whether the state of things allowed it; what lost to another transaction is done again.
async fn act(store: &Store, account: AccountId, command: &Command) -> bool {
    loop {
        let tried = async {
            let tx = store.begin().await?;
            ledger::apply(&tx, account, Timestamp::now(), command).await?;
            tx.commit().await?;
            Ok(())
        };
        match tried.await {
            Ok(()) => return true,
            Err(LedgerError::NotPossible { .. }) => return false,
            Err(LedgerError::Store(error)) if is_transient(&error) => {}
            Err(error) => panic!("{command:?}: {error}"),
        }
    }
}

/// The n-th act of a person: on a line, a conversion or a payment of those there are.
async fn command(store: &Store, account: AccountId, person: usize, n: usize) -> Option<Command> {
    let (db, which) = (store.reader(), n * 7 + person * 31);
    let lines = commission_line::Entity::find()
        .filter(commission_line::Column::AccountId.eq(account.0))
        .order_by_asc(commission_line::Column::CreatedSeq)
        .all(db)
        .await
        .unwrap();
    let line = lines.get(which % lines.len().max(1))?;
    let of_account = payment::Entity::find().filter(payment::Column::AccountId.eq(account.0));
    let rows = of_account.order_by_asc(payment::Column::CreatedSeq).all(db).await.unwrap();
    let sent = |kind: &str| {
        let of_kind: Vec<Uuid> = rows.iter().filter(|row| row.kind == kind).map(|row| row.id).collect();
        of_kind.get(which % of_kind.len().max(1)).copied()
    };
    let pay = |amount: i64| {
        let currency = "USD".parse().unwrap();
        Box::new(Pay { id: Uuid::now_v7(), affiliate: JUNE, currency, amount, comment: None })
    };
    let ends = [PayoutEnd::Paid, PayoutEnd::Failed, PayoutEnd::Cancelled];
    Some(match (n + person) % 11 {
        0..=2 => Command::ApproveLine { line: line.id },
        3 => Command::DisapproveLine { line: line.id },
        4 => Command::ReopenLine { line: line.id },
        5 => Command::EditLine { line: line.id, amount: which as i64 % 300, comment: None },
        6 => Command::EditConversion { conversion: line.conversion_id?, amount: 900 + which as i64 },
        7 => Command::Recalculate { conversion: line.conversion_id?, rules: RulesOf::Then },
        8 => Command::RecordPayment(pay(1 + which as i64 % 150)),
        9 => Command::CreatePayout(pay(1 + which as i64 % 50)),
        _ if n.is_multiple_of(2) => Command::EndPayout { payout: sent("payout")?, end: ends[n % 3] },
        _ => Command::CancelPayment { payment: sent("payment")? },
    })
}

/// How many of each word there are.
fn count<T>(rows: &[T], word: impl Fn(&T) -> &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(word(row).to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_at_once_is_as_one_after_the_other() {
    let mut world = World::open().await;
    world.settings.batch_events = 6;
    let now = Timestamp::now();
    let yesterday = Timestamp(now.0 - MS_PER_DAY);
    let account = open(&world.store, Timestamp(now.0 - 3 * MS_PER_DAY)).await;
    // Refunds lie in the other partition than their sales, so some come first; every fifth sale comes twice.
    let mut records = vec![Vec::new(); 2];
    let mut numbered = Numbered::new(1, "conversions/0");
    for n in 0..SALES {
        let mut sale = world.sale(&format!("o-{n}"), "10");
        (sale.account, sale.referral_code) = (account, Some("june".to_owned()));
        (sale.program, sale.occurred_at) = (Some("busy".to_owned()), Some(yesterday));
        sale.customer_id = Some(format!("c-{}", n % 10));
        let event = numbered.sale(sale);
        records[n % 2].push(Bytes::from(event.encode()));
        if n % 5 == 0 {
            records[(n + 1) % 2].push(Bytes::from(event.encode()));
        }
        if n % (SALES / REFUNDED) == 0 {
            let mut refund = world.refund(&format!("o-{n}"), Some("3"));
            (refund.account, refund.program) = (account, Some("busy".to_owned()));
            records[(n + 1) % 2].push(Bytes::from(numbered.refund(refund).encode()));
        }
    }
    let (records, none) = (Arc::new(records), Arc::new(vec![Vec::new(); 2]));
    let run =
        |ours: i32| world.settle_from(Partitions::new(&none, &[ours]), Partitions::new(&records, &[ours]));
    let instances = [run(0), run(1)];

    let over = Arc::new(AtomicBool::new(false));
    let mut jobs = JoinSet::new();
    for _ in 0..2 {
        let (store, over) = (world.store.clone(), over.clone());
        jobs.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                bonuses::pass(&store, Timestamp::now()).await.unwrap();
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    eventually("there is something to act on", async || {
        commission_line::Entity::find().one(world.store.reader()).await.unwrap().is_some()
    })
    .await;
    let mut people = JoinSet::new();
    for person in 0..PEOPLE {
        let store = world.store.clone();
        people.spawn(async move {
            let mut done = 0;
            for n in 0..ACTS {
                if let Some(command) = command(&store, account, person, n).await {
                    done += usize::from(act(&store, account, &command).await);
                }
            }
            done
        });
    }
    caught_up(&world, Topic::Conversions, &records).await;
    let done: usize = people.join_all().await.into_iter().sum();
    assert!(done > PEOPLE * ACTS / 3, "{done} acts took effect");
    for running in instances {
        running.stop().await;
    }
    // Once nothing is pending the day is decided, by one of the two.
    let tx = world.store.begin().await.unwrap();
    for line in commission_line::Entity::find().all(&tx).await.unwrap() {
        if line.status == "pending" {
            let approve = Command::ApproveLine { line: line.id };
            ledger::apply(&tx, account, Timestamp::now(), &approve).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    eventually("the day is awarded", async || {
        let awards = bonus_award::Entity::find().all(world.store.reader()).await.unwrap();
        awards.iter().any(|row| row.bonus_id == Uuid::from_u128(1))
    })
    .await;
    over.store(true, Ordering::Relaxed);
    jobs.join_all().await;

    // The journal, told by one, leads to the same rows.
    world.assert_sound().await;
    let db = world.store.reader();
    let sales = conversion::Entity::find().all(db).await.unwrap();
    assert_eq!(count(&sales, |row| &row.status), [("settled".to_owned(), SALES)].into());
    let refunds = refund::Entity::find().all(db).await.unwrap();
    assert_eq!(count(&refunds, |row| &row.status), [("settled".to_owned(), REFUNDED)].into());
    let lines = commission_line::Entity::find().all(db).await.unwrap();
    let kinds = count(&lines, |row| &row.kind);
    assert_eq!((kinds["regular"], kinds["bonus"]), (SALES, 2));
    // What june has: approved, and neither paid nor set aside.
    let approved: i64 = lines.iter().filter(|row| row.status == "approved").map(|row| row.amount).sum();
    let payments = payment::Entity::find().all(db).await.unwrap();
    let stands = payments.iter().filter(|row| ["recorded", "created", "paid"].contains(&row.status.as_str()));
    let sent: i64 = stands.map(|row| row.amount).sum();
    assert_eq!(-world.balances().await[&(JUNE.0, "payable".to_owned())], approved - sent);
    assert!(!payments.is_empty());
}
