//! What the engine has stored beside what the model says.

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use waypost::{
    domain::{amount::Currency, explanation::StepKind, reason::LineKind, time::Timestamp},
    ledger::{self, PaidLines},
    store::entities::{balance, bonus_award, commission_line, conversion, payment, posting},
};

use crate::{
    drive::Engine,
    model::{ConversionState, Line, Model, Ms, PaymentState},
    recompute::Told,
};

/// One text for each thing.
type Rows = BTreeMap<String, String>;

fn state(state: ConversionState) -> &'static str {
    match state {
        ConversionState::Settled => "settled",
        ConversionState::Deleted => "deleted",
        ConversionState::Pending(_) => "pending",
        ConversionState::Held => "held",
        ConversionState::Gone => "gone",
    }
}

fn expected_line(line: &Line) -> String {
    let kind = match line.kind {
        LineKind::Regular => format!("{} counts={}", line.commission_type, line.counts_towards_cap),
        LineKind::Level | LineKind::Bonus | LineKind::Adjustment => String::new(),
    };
    format!(
        "{} {kind} entry={} level={} program={} affiliate={} sub={} amount={} {} {} reason={:?} earned={} final={:?}",
        line.kind,
        line.entry,
        line.level,
        line.program.unwrap_or(0),
        line.affiliate,
        line.sub_amount,
        line.amount,
        line.currency,
        line.status,
        line.reason.map(|reason| reason.as_str()),
        line.earned,
        line.final_at,
    )
}

fn stored_line(row: &commission_line::Model) -> String {
    let kind = match row.kind.as_str() {
        "regular" => format!("{} counts={}", row.commission_type, row.counts_towards_cap),
        _ => String::new(),
    };
    let of_conversion = row.conversion_id.is_some();
    format!(
        "{} {kind} entry={} level={} program={} affiliate={} sub={} amount={} {} {} reason={:?} earned={} final={:?}",
        row.kind,
        if of_conversion { row.entry } else { 1 },
        if of_conversion { row.level } else { 1 },
        row.program_id,
        row.affiliate_id,
        if of_conversion { row.sub_amount } else { 0 },
        row.amount,
        row.currency,
        row.status,
        row.reason.as_deref(),
        row.earned && of_conversion,
        row.final_at,
    )
}

fn is_paid(model: &Model, line: &Line, at: Ms) -> &'static str {
    if model.paid(line.affiliate, line.currency, at).contains(&line.made) { " paid" } else { "" }
}

fn expected(model: &Model, at: Ms) -> Rows {
    let mut rows = Rows::new();
    for (ix, each) in model.conversions.iter().enumerate() {
        let mut text = state(each.state).to_owned();
        if matches!(each.state, ConversionState::Settled | ConversionState::Deleted) {
            let customer = each.customer.map(|ix| model.customers[ix].name.clone());
            text = format!(
                "{text} program={} affiliate={} customer={customer:?} amount={} refunded={} {}",
                each.program,
                each.affiliate,
                each.amount,
                each.refunded,
                each.currency.unwrap(),
            );
            for (line, number) in each.lines.iter().zip(1..) {
                let paid = is_paid(model, line, at);
                rows.insert(format!("conversion {ix} line {number}"), expected_line(line) + paid);
            }
        }
        if each.state != ConversionState::Gone {
            rows.insert(format!("conversion {ix}"), text);
        }
    }
    for (place, line) in model.loose.iter().enumerate() {
        rows.insert(format!("loose {place}"), expected_line(line) + is_paid(model, line, at));
    }
    for ((affiliate, currency, account), amount) in model.balances() {
        rows.insert(format!("balance {affiliate} {} {account}", currency.0), amount.to_string());
    }
    for (ix, each) in model.customers.iter().enumerate() {
        let text = format!(
            "program={} {} affiliate={} track={} moved_on={} canceled={} first_at={:?}",
            each.program,
            each.name,
            each.affiliate,
            each.track,
            model.moved_on(ix),
            each.cancellations.last().is_some_and(|(_, canceled)| *canceled),
            model.first_at(ix),
        );
        rows.insert(format!("customer {ix}"), text);
    }
    for ((bonus, affiliate, interval), award) in &model.awards {
        let text = format!("target={} amount={}", award.target, award.amount);
        rows.insert(format!("award {bonus} {affiliate} {interval}"), text);
    }
    for each in &model.payments {
        let state = match each.state {
            PaymentState::Recorded => "recorded",
            PaymentState::Created => "created",
            PaymentState::Paid => "paid",
            PaymentState::Failed => "failed",
            PaymentState::Cancelled => "cancelled",
        };
        let text = format!("{state} {} {} {}", each.affiliate, each.amount, each.currency);
        rows.insert(format!("payment {}", each.id), text);
    }
    rows
}

/// What is paid, by affiliate and currency.
struct Paid<'a> {
    engine: &'a Engine,
    at: Ms,
    known: BTreeMap<(i64, String), PaidLines>,
}

impl Paid<'_> {
    async fn is_paid(&mut self, row: &commission_line::Model) -> &'static str {
        let key = (row.affiliate_id, row.currency.clone());
        if !self.known.contains_key(&key) {
            let (db, account) = (self.engine.reader(), self.engine.account);
            let lines = PaidLines::load(db, account, key.0, &key.1, Timestamp(self.at)).await.unwrap();
            self.known.insert(key.clone(), lines);
        }
        if self.known[&key].include(row) { " paid" } else { "" }
    }
}

async fn stored(engine: &Engine, at: Ms) -> Rows {
    let (db, account) = (engine.reader(), engine.account.0);
    let mut rows = Rows::new();
    let mut paid = Paid { engine, at, known: BTreeMap::new() };
    let places: BTreeMap<_, _> = engine.conversions.iter().map(|(ix, id)| (*id, *ix)).collect();
    let customers = engine.customers(db).await;
    let names: BTreeMap<_, _> = customers.iter().map(|row| (row.id, row.customer_id.clone())).collect();
    let found = conversion::Entity::find().filter(conversion::Column::AccountId.eq(account));
    for row in found.all(db).await.unwrap() {
        let mut text = row.status.clone();
        if !["settled", "deleted", "pending", "held"].contains(&row.status.as_str()) {
            continue;
        }
        if ["settled", "deleted"].contains(&row.status.as_str()) {
            let customer = row.customer_id.map(|id| names[&id].clone());
            text = format!(
                "{text} program={} affiliate={} customer={customer:?} amount={} refunded={} {}",
                row.program_id.unwrap(),
                row.affiliate_id.unwrap(),
                row.amount,
                row.refunded,
                row.currency.unwrap(),
            );
        }
        let place = places.get(&row.id).map_or_else(|| row.id.to_string(), ToString::to_string);
        rows.insert(format!("conversion {place}"), text);
    }
    let found = commission_line::Entity::find()
        .filter(commission_line::Column::AccountId.eq(account))
        .filter(commission_line::Column::ConversionId.is_not_null());
    for row in found.all(db).await.unwrap() {
        let ix = places[&row.conversion_id.unwrap()];
        let text = stored_line(&row) + paid.is_paid(&row).await;
        rows.insert(format!("conversion {ix} line {}", row.number), text);
    }
    for (place, row) in engine.loose(db).await.iter().enumerate() {
        rows.insert(format!("loose {place}"), stored_line(row) + paid.is_paid(row).await);
    }
    let found = balance::Entity::find().filter(balance::Column::AccountId.eq(account));
    for row in found.all(db).await.unwrap().into_iter().filter(|row| row.amount != 0) {
        let name = format!("balance {} {} {}", row.affiliate_id, row.currency, row.ledger_account);
        rows.insert(name, row.amount.to_string());
    }
    for (ix, row) in customers.iter().enumerate() {
        let text = format!(
            "program={} {} affiliate={} track={} moved_on={} canceled={} first_at={:?}",
            row.program_id,
            row.customer_id,
            row.affiliate_id,
            row.track,
            row.moved_on,
            row.canceled,
            row.first_at,
        );
        rows.insert(format!("customer {ix}"), text);
    }
    let found = bonus_award::Entity::find().filter(bonus_award::Column::AccountId.eq(account));
    for row in found.all(db).await.unwrap() {
        let text = format!("target={} amount={}", row.target, row.amount);
        rows.insert(format!("award {} {} {}", row.bonus_id, row.affiliate_id, row.interval_start), text);
    }
    let found = payment::Entity::find().filter(payment::Column::AccountId.eq(account));
    for row in found.all(db).await.unwrap() {
        let text = format!("{} {} {} {}", row.status, row.affiliate_id, row.amount, row.currency);
        rows.insert(format!("payment {}", row.id), text);
    }
    rows
}

/// Everything that is stored is as the model has it.
pub async fn same(engine: &Engine, model: &Model, at: Ms) -> Result<(), String> {
    let (expected, stored) = (expected(model, at), stored(engine, at).await);
    let mut differences = String::new();
    for name in expected.keys().chain(stored.keys().filter(|name| !expected.contains_key(*name))) {
        let (model, engine) = (expected.get(name), stored.get(name));
        if model != engine {
            let text = |side: Option<&String>| side.cloned().unwrap_or_else(|| "nothing".to_owned());
            differences += &format!("{name}\n    model:  {}\n    engine: {}\n", text(model), text(engine));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

/// The postings of each command add up to 0 in each currency, and all of them to the balances.
#[derive(Default)]
pub struct Books {
    seen: i64,
    sums: BTreeMap<(i64, String, String), i64>,
}

impl Books {
    pub async fn add_up(&mut self, engine: &Engine) -> Result<(), String> {
        let (db, account) = (engine.reader(), engine.account.0);
        let found = posting::Entity::find()
            .filter(posting::Column::AccountId.eq(account))
            .filter(posting::Column::Seq.gt(self.seen))
            .order_by_asc(posting::Column::Seq);
        let mut of_seq: BTreeMap<(i64, String), i64> = BTreeMap::new();
        for row in found.all(db).await.unwrap() {
            if row.amount == 0 {
                return Err(format!("a posting of 0: {row:?}"));
            }
            self.seen = self.seen.max(row.seq);
            *of_seq.entry((row.seq, row.currency.clone())).or_default() += row.amount;
            *self.sums.entry((row.affiliate_id, row.currency, row.ledger_account)).or_default() += row.amount;
        }
        if let Some(((seq, currency), sum)) = of_seq.iter().find(|(_, sum)| **sum != 0) {
            return Err(format!("the postings of {seq} in {currency} add up to {sum}"));
        }
        let found = balance::Entity::find().filter(balance::Column::AccountId.eq(account));
        let balances: BTreeMap<_, _> = found
            .all(db)
            .await
            .unwrap()
            .into_iter()
            .map(|row| ((row.affiliate_id, row.currency, row.ledger_account), row.amount))
            .collect();
        let differs = |key: &&(i64, String, String)| {
            self.sums.get(*key).copied().unwrap_or(0) != balances.get(*key).copied().unwrap_or(0)
        };
        match self.sums.keys().chain(balances.keys()).find(differs) {
            Some(key) => Err(format!("the balance {key:?} is not the sum of its postings")),
            None => Ok(()),
        }
    }
}

/// Every line's story comes to what is stored.
pub async fn explained(engine: &Engine) -> Result<(), String> {
    let db = engine.reader();
    let found =
        commission_line::Entity::find().filter(commission_line::Column::AccountId.eq(engine.account.0));
    for row in found.all(db).await.unwrap() {
        let steps = ledger::explain(db, engine.account, row.id)
            .await
            .map_err(|error| format!("line {row:?} cannot be explained: {error}"))?;
        let currency: Currency = row.currency.parse().unwrap();
        let last = steps.iter().rfind(|step| step.step == StepKind::Result).unwrap();
        let ends = (last.data["amount"].as_str(), last.data["status"].as_str());
        if ends != (Some(&*currency.format(row.amount)), Some(&*row.status)) {
            return Err(format!("the story of {row:?} ends with {last:?}"));
        }
        let told = Told::follow(&steps, currency)
            .map_err(|error| format!("the story of {row:?} does not come out: {error}\n{steps:#?}"))?;
        if told != row.amount {
            return Err(format!("the story of {row:?} comes to {told}\n{steps:#?}"));
        }
    }
    Ok(())
}

/// What the history is called when it is printed.
pub fn describe(at: Ms, act: &crate::model::Act) -> String {
    format!("{} {act:?}", Timestamp(at))
}
