//! Histories one after the other: `WAYPOST_HISTORIES` says how many, `WAYPOST_HISTORIES_SEED` which.
//!
//! They share databases, each in an account of its own. One that fails is made smaller and printed.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::Builder;
use waypost::{
    domain::{bonuses::BonusInterval, reason::Rejection},
    events::Body,
    ledger::{replay, verify},
    store::Store,
};

use crate::{
    backend::Database,
    compare::{Books, describe, explained, same},
    drive::{Arrival, Engine, Planned},
    identical::identical,
    model::{Act, Conversion, ConversionState, Line, Model, Ms, Outcome, PaymentState, RefundState},
    plan::{Now, PENDING_TIME, Stage},
    steps::{History, history},
};

/// How many commands a transaction takes when a history is told once more: as many as can share one, and each alone.
const TOLD_AGAIN: [usize; 2] = [usize::MAX, 1];

/// What happened, for whoever asks how often the rare things do.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<&'static str, usize>>);

impl Tally {
    fn add(&self, what: &'static str, many: usize) {
        *self.0.lock().unwrap().entry(what).or_default() += many;
    }

    fn note(&self, model: &Model, planned: &[Planned]) {
        let outcomes = |outcome: Outcome| planned.iter().filter(|each| each.expected == outcome).count();
        self.add("commands", planned.len());
        self.add("duplicates", outcomes(Outcome::Duplicate));
        self.add("conflicts", outcomes(Outcome::Rejected(Rejection::IdempotencyConflict)));
        let foreign = |each: &&Conversion| {
            each.currency.is_some_and(|currency| currency != model.programs[&each.program].currency)
        };
        self.add("in a foreign currency", model.conversions.iter().filter(foreign).count());
        // The one ended, the other began.
        let renewed = |each: &&Conversion| {
            let same = |one: &Line, other: &Line| (one.entry, one.level) == (other.entry, other.level);
            let renewed = |line: &Line| {
                each.lines.iter().any(|other| same(line, other) && line.currency != other.currency)
            };
            each.lines.iter().any(renewed)
        };
        self.add("recalculated into another", model.conversions.iter().filter(renewed).count());
        let of = |interval: BonusInterval| {
            let has = |id: &uuid::Uuid| model.bonuses[id].versions[0].1.interval == interval;
            model.awards.keys().filter(|(id, ..)| has(id)).count()
        };
        self.add("bonuses of a day", of(BonusInterval::Day));
        self.add("of a week", of(BonusInterval::Week));
        self.add("of a month", of(BonusInterval::Month));
        self.add("from ever", of(BonusInterval::AllTime));
        for (what, state, is_payout) in [
            ("payments", PaymentState::Recorded, false),
            ("payments cancelled", PaymentState::Cancelled, false),
            ("payouts open", PaymentState::Created, true),
            ("payouts paid", PaymentState::Paid, true),
            ("payouts failed", PaymentState::Failed, true),
            ("payouts cancelled", PaymentState::Cancelled, true),
        ] {
            let fit = model.payments.iter().filter(|each| (each.state, each.is_payout) == (state, is_payout));
            self.add(what, fit.count());
        }
    }
}

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
    let (mut done, tally) = (0, Tally::default());
    while done < many {
        let part = TOGETHER.min(many - done);
        let databases = [runtime.block_on(Database::create()), runtime.block_on(Database::create())];
        let urls = databases.each_ref().map(Database::url);
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
        let result = runner.run(&history(), |history| {
            runtime.block_on(run(&urls, &history, &tally)).map_err(TestCaseError::fail)
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(reason, history)) => {
                panic!("seed {seed}, after {done} histories:\n{reason}\n{}", told(&history));
            }
            Err(TestError::Abort(reason)) => panic!("{reason}"),
        }
        for url in &urls {
            runtime.block_on(whole(url));
        }
        done += part;
    }
    eprintln!("{done} histories, WAYPOST_HISTORIES_SEED={seed}: {:?}", tally.0.into_inner().unwrap());
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
        if !matches!(act, Act::LoadRates(_) | Act::SetStanding { .. } | Act::PutLink(_) | Act::PutCoupon(_)) {
            text += &format!("{}\n", describe(history.begins, &act));
        }
    }
    let mut at = history.begins;
    for step in &history.steps {
        at += step.wait;
        for act in stage.plan(&Now { history, model: &model, at, account }, &step.what) {
            let outcome = model.apply(at, &act);
            text += &format!("{} -> {outcome:?}\n", describe(at, &act));
        }
    }
    text
}

/// Accounts are told apart by it.
static HISTORIES: AtomicI64 = AtomicI64::new(0);

async fn run(urls: &[String; 2], history: &History, tally: &Tally) -> Result<(), String> {
    let mut stage = Stage::new(HISTORIES.fetch_add(1, Ordering::Relaxed) + 1, history);
    // Both even where the first fails, so that the next accounts have the same numbers.
    let mut engine = Engine::open(&urls[0], &stage.account_slug(), history.zone, history.begins).await;
    let mut other = Engine::open(&urls[1], &stage.account_slug(), history.zone, history.begins).await;
    let result = async {
        let planned = play(history, &mut stage, &mut engine, tally).await?;
        again(&mut other, &planned).await.map_err(|error| format!("again: {error}"))?;
        identical(&engine, &other).await
    };
    let result = result.await;
    engine.close().await;
    other.close().await;
    result
}

/// All of it once more, in other transactions, and with an end of the process in the middle.
async fn again(engine: &mut Engine, planned: &[Planned]) -> Result<(), String> {
    let (first, second) = planned.split_at(planned.len() / 2);
    flush(engine, first, TOLD_AGAIN[0]).await?;
    engine.restart().await;
    flush(engine, second, TOLD_AGAIN[1]).await
}

async fn play(
    history: &History,
    stage: &mut Stage,
    engine: &mut Engine,
    tally: &Tally,
) -> Result<Vec<Planned>, String> {
    let mut model = Model::new(history.zone, PENDING_TIME);
    let mut books = Books::default();
    let mut batches = history.batches.iter().cycle();
    let furniture = stage.furnish(history).into_iter().map(|act| foresee(&mut model, history.begins, act));
    let mut planned: Vec<Planned> = furniture.collect();
    flush(engine, &planned, usize::MAX).await?;
    let mut taken = planned.len();
    let mut at = history.begins;
    // Commands wait until a transaction is full; then both sides are compared.
    let mut size = *batches.next().unwrap();
    for step in &history.steps {
        at += step.wait;
        for act in stage.plan(&Now { history, model: &model, at, account: engine.account }, &step.what) {
            planned.push(foresee(&mut model, at, act));
        }
        if planned.len() - taken >= size {
            flush(engine, &planned[taken..], size).await?;
            taken = planned.len();
            compare(engine, &model, &mut books, at).await?;
            size = *batches.next().unwrap();
        }
    }
    flush(engine, &planned[taken..], size).await?;
    compare(engine, &model, &mut books, at).await?;
    explained(engine).await?;
    // Any refunds that add up to the whole leave nothing.
    taken = planned.len();
    for ix in 0..model.conversions.len() {
        let conversion = &model.conversions[ix];
        if conversion.state == ConversionState::Settled && !conversion.refunded_whole() {
            let event = stage.refund_rest(engine.account, ix, at);
            planned.push(foresee(&mut model, at, Act::Receive(Box::new(event))));
        }
    }
    flush(engine, &planned[taken..], size).await?;
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
    tally.note(&model, &planned);
    Ok(planned)
}

async fn flush(engine: &mut Engine, planned: &[Planned], size: usize) -> Result<(), String> {
    let mut rest = planned;
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
