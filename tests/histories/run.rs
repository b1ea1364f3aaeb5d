//! Histories one after the other: `WAYPOST_HISTORIES` says how many, `WAYPOST_HISTORIES_SEED` which.
//!
//! They share databases, each in an account of its own. One that fails is made smaller and printed.

use std::{
    env,
    sync::atomic::{AtomicI64, Ordering},
};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::Builder;
use waypost::{
    events::Body,
    ledger::{replay, verify},
    store::Store,
};

use crate::{
    backend::Database,
    compare::{Books, describe, explained, same},
    drive::{Arrival, Engine, Planned},
    model::{Act, ConversionState, Model, Ms, Outcome, RefundState},
    plan::{PENDING_TIME, Stage},
    steps::{History, history},
};

/// Histories in one database, after which all of it is verified and replayed.
const TOGETHER: u32 = 50;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn the_engine_is_as_the_model() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let many = number("WAYPOST_HISTORIES").map_or(crate::FEW, |many| u32::try_from(many).unwrap());
    let seed = number("WAYPOST_HISTORIES_SEED").unwrap_or_else(|| u64::from(std::process::id()) ^ now());
    eprintln!("{many} histories, WAYPOST_HISTORIES_SEED={seed}");
    let (mut done, mut commands) = (0, 0);
    while done < many {
        let part = TOGETHER.min(many - done);
        let database = runtime.block_on(Database::create());
        let url = database.url();
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&done.to_le_bytes());
        let config = Config {
            cases: part,
            failure_persistence: None,
            max_shrink_iters: number("WAYPOST_HISTORIES_SHRINK")
                .map_or(1_500, |many| u32::try_from(many).unwrap()),
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let counted = AtomicI64::new(0);
        let result = runner.run(&history(), |history| {
            let taken = runtime.block_on(run(&url, &history)).map_err(TestCaseError::fail)?;
            counted.fetch_add(taken, Ordering::Relaxed);
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(reason, history)) => {
                panic!("seed {seed}, after {done} histories:\n{reason}\n{}", told(&history));
            }
            Err(TestError::Abort(reason)) => panic!("{reason}"),
        }
        commands += counted.into_inner();
        runtime.block_on(whole(&url));
        done += part;
    }
    eprintln!("{done} histories of {commands} commands, WAYPOST_HISTORIES_SEED={seed}");
}

fn now() -> u64 {
    u64::try_from(waypost::domain::time::Timestamp::now().0).unwrap()
}

/// All of a database: the balances are the sums of the postings, and the journal makes the same rows again.
async fn whole(url: &str) {
    let store = Store::connect(url).await.unwrap();
    assert_eq!(verify::verify(store.reader()).await.unwrap().differences, Vec::<String>::new());
    let folder = tempfile::tempdir().unwrap();
    let copy = Store::open(&Store::sqlite_url(&folder.path().join("copy.db"))).await.unwrap();
    let replayed = replay::replay(store.reader(), &copy).await.unwrap();
    assert_eq!((replayed.differing, replayed.differences), (0, Vec::new()));
    copy.close().await.unwrap();
    store.close().await.unwrap();
}

/// The model's own account of a history that failed.
fn told(history: &History) -> String {
    let account = waypost::domain::ids::AccountId(1);
    let mut stage = Stage::new(1, history);
    let mut model = Model::new(history.zone, PENDING_TIME);
    let mut text = format!("zone {}\n", history.zone);
    for act in stage.furnish(history) {
        model.apply(history.begins, &act);
        if matches!(act, Act::PutProgram { .. } | Act::SetParent { .. } | Act::SetGroup { .. }) {
            text += &format!("{}\n", describe(history.begins, &act));
        }
    }
    let mut at = history.begins;
    for step in &history.steps {
        at += step.wait;
        for act in stage.plan(history, &model, at, account, &step.what) {
            let outcome = model.apply(at, &act);
            text += &format!("{} -> {outcome:?}\n", describe(at, &act));
        }
    }
    text
}

/// Accounts are told apart by it.
static HISTORIES: AtomicI64 = AtomicI64::new(0);

/// How many commands it took.
async fn run(url: &str, history: &History) -> Result<i64, String> {
    let mut stage = Stage::new(HISTORIES.fetch_add(1, Ordering::Relaxed) + 1, history);
    let mut engine = Engine::open(url, &stage.account_slug(), history.zone, history.begins).await;
    let result = play(history, &mut stage, &mut engine).await;
    engine.close().await;
    result
}

async fn play(history: &History, stage: &mut Stage, engine: &mut Engine) -> Result<i64, String> {
    let mut model = Model::new(history.zone, PENDING_TIME);
    let mut books = Books::default();
    let mut batches = history.batches.iter().cycle();
    let mut waiting: Vec<Planned> = Vec::new();
    let mut taken = 0;
    let furniture: Vec<Planned> =
        stage.furnish(history).into_iter().map(|act| foresee(&mut model, history.begins, act)).collect();
    flush(engine, furniture, usize::MAX).await?;
    let mut at = history.begins;
    // Commands wait until a transaction is full; then both sides are compared.
    let mut size = *batches.next().unwrap();
    for step in &history.steps {
        at += step.wait;
        for act in stage.plan(history, &model, at, engine.account, &step.what) {
            waiting.push(foresee(&mut model, at, act));
            taken += 1;
        }
        if waiting.len() >= size {
            flush(engine, std::mem::take(&mut waiting), size).await?;
            compare(engine, &model, &mut books, at).await?;
            size = *batches.next().unwrap();
        }
    }
    flush(engine, waiting, size).await?;
    compare(engine, &model, &mut books, at).await?;
    explained(engine).await?;
    // Any refunds that add up to the whole leave nothing.
    let mut rest = Vec::new();
    for ix in 0..model.conversions.len() {
        let conversion = &model.conversions[ix];
        if conversion.state == ConversionState::Settled && !conversion.refunded_whole() {
            let event = stage.refund_rest(engine.account, ix, at);
            rest.push(foresee(&mut model, at, Act::Receive(Box::new(event))));
        }
    }
    taken += i64::try_from(rest.len()).unwrap();
    flush(engine, rest, size).await?;
    compare(engine, &model, &mut books, at).await?;
    explained(engine).await?;
    for ix in 0..model.conversions.len() {
        let conversion = &model.conversions[ix];
        if conversion.state == ConversionState::Settled && !model.keeps(ix) {
            // But what somebody set when nothing was left.
            let mut lines = conversion.lines.iter().filter(|line| line.set.is_none_or(|(_, left)| left > 0));
            if let Some(line) = lines.find(|line| line.amount != 0) {
                return Err(format!("refunded whole, and yet {line:?}"));
            }
        }
    }
    Ok(taken)
}

async fn flush(engine: &mut Engine, planned: Vec<Planned>, size: usize) -> Result<(), String> {
    let mut rest = &planned[..];
    while !rest.is_empty() {
        let taken = engine.take(rest, size).await?;
        rest = &rest[taken..];
    }
    Ok(())
}

async fn compare(engine: &Engine, model: &Model, books: &mut Books, at: Ms) -> Result<(), String> {
    same(engine, model, at).await?;
    books.add_up(engine).await
}

/// Applies a command to the model, and keeps what the engine needs to know of it.
fn foresee(model: &mut Model, at: Ms, act: Act) -> Planned {
    let woken = model.woken(at, &act);
    let waiting: Vec<usize> =
        (0..model.refunds.len()).filter(|ix| model.refunds[*ix].state == RefundState::Pending).collect();
    let given_up = match act {
        Act::Expire => waiting.into_iter().filter(|ix| model.refunds[*ix].waits_until <= at).collect(),
        _ => Vec::new(),
    };
    let before = (model.conversions.len(), model.refunds.len());
    let expected = model.apply(at, &act);
    let arrived = match &act {
        Act::Receive(event) => match event.body {
            Body::Conversion(_) if model.conversions.len() > before.0 => Some(Arrival::Conversion(before.0)),
            Body::Refund(_) if model.refunds.len() > before.1 => Some(Arrival::Refund(before.1)),
            _ => None,
        },
        _ => None,
    };
    debug_assert!(expected != Outcome::Done || arrived.is_none());
    Planned { at, act, expected, woken, given_up, arrived }
}
