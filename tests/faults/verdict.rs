//! The verdict: every obligation has exactly one effect, and nothing else has any.
//!
//! What an effect must be is worked out here from what the clients know, apart from the code under test.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;
use waypost::{
    domain::{ids::Prefix, time::Timestamp},
    store::entities::{conversion, posting},
};

use crate::{
    books::Books,
    chaos::Faults,
    diary::{By, Diary, Order, Sent, Way},
    market::{Market, Program},
    merchant::{Ledger, Price},
    processes::Run,
};

/// What a client may have given up may be read by an edge so much later: the longest that one stands still, and more.
const READ_LATE_MS: i64 = 20_000;

/// What happened, as those know it who did it.
pub struct Story {
    pub market: Market,
    pub diary: Diary,
    pub ledger: Ledger,
    pub faults: Faults,
    /// The runs of each edge.
    pub edges: Vec<(&'static str, Vec<Run>)>,
    /// How often links were tried to see whether they work: clicks too, at most so many.
    pub tries: u64,
}

#[derive(Debug, Default)]
pub struct Verdict {
    pub complaints: Vec<String>,
    pub effects: BTreeMap<&'static str, u64>,
}

impl Verdict {
    pub fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    pub fn count(&mut self, effect: &'static str, count: usize) {
        *self.effects.entry(effect).or_default() += count as u64;
    }
}

/// Compares what was promised with what came of it.
pub fn judge(story: &Story, books: &Books) -> Verdict {
    let mut verdict = Verdict::default();
    let mut judge = Judge { story, books, verdict: &mut verdict, postings: HashMap::new() };
    for posting in &books.postings {
        judge.postings.entry(posting.line_id.unwrap_or_default()).or_default().push(posting);
    }
    judge.orders();
    judge.sums();
    judge.clicks();
    judge.streams();
    judge.setup();
    verdict
}

pub struct Judge<'a> {
    pub story: &'a Story,
    pub books: &'a Books,
    pub verdict: &'a mut Verdict,
    /// By their line.
    pub postings: HashMap<Uuid, Vec<&'a posting::Model>>,
}

impl Judge<'_> {
    fn orders(&mut self) {
        let known: HashSet<&str> = self.story.diary.orders.iter().map(|order| order.name.as_str()).collect();
        let refunds = self.story.diary.orders.iter().flat_map(|order| &order.refunds);
        let known_refunds: HashSet<&str> = refunds.map(|refund| refund.name.as_str()).collect();
        let of_conversions = self.books.conversions.keys().filter(|name| !known.contains(name.as_str()));
        let of_refunds = self.books.refunds.keys().filter(|name| !known_refunds.contains(name.as_str()));
        for name in of_conversions.chain(of_refunds) {
            self.verdict.complaints.push(format!("nobody reported what is stored as {name}"));
        }
        for name in self.books.rejected.keys().filter(|name| !known.contains(name.as_str())) {
            let rows = &self.books.rejected[name];
            self.verdict.complaints.push(format!("{name} was rejected: {}", rows[0].reason));
        }
        for order in &self.story.diary.orders {
            if let Err(complaint) = self.order(order) {
                self.verdict.complain(format!("{complaint}\n    of {order:?}"));
            }
        }
        let lines: usize = self.books.lines.values().map(Vec::len).sum();
        let settled = self.books.conversions.values().flatten().filter(|row| row.status == "settled").count();
        if lines != settled {
            self.verdict.complain(format!("{settled} conversions are settled, and there are {lines} lines"));
        }
    }

    fn order(&mut self, order: &Order) -> Result<(), String> {
        let none = Vec::new();
        let rows = self.books.conversions.get(&order.name).unwrap_or(&none);
        let rejected = self.books.rejected.get(&order.name).map_or(0, Vec::len);
        if order.by == By::Nothing {
            // It claims nothing: each time that it arrived it was rejected anew.
            check(rows.is_empty(), "an order without an affiliate has an effect")?;
            within("rejections", rejected, order.sent)?;
            let reasons = self.books.rejected.get(&order.name).into_iter().flatten();
            check(
                reasons.clone().all(|row| row.reason == "unattributed"),
                "it was rejected for another reason",
            )?;
            self.verdict.count("rejected as unattributed", rejected);
            return Ok(());
        }
        let (rival_amount, rival) = order.rival.unwrap_or((order.amount, Sent::default()));
        if !rows.is_empty() && rows.iter().all(|row| row.status == "pending") {
            return self.waiting(order, rows, order.sent.tries + rival.tries);
        }
        let [row] = rows.as_slice() else {
            check(rows.is_empty(), &format!("it has {} effects", rows.len()))?;
            check(order.sent.taken + rival.taken == 0, "it was answered 202 and has no effect")?;
            check(rejected == 0, "it was rejected")?;
            self.verdict.count("never answered, without effect", 1);
            return self.refunds(order, None, 0);
        };
        let (winner, loser, amount) = match row.amount {
            amount if amount == order.amount => (order.sent, rival, amount),
            amount if amount == rival_amount => (rival, order.sent, amount),
            other => return Err(format!("its amount is {other}")),
        };
        check(winner.tries > 0, "it has an effect and was never sent")?;
        within("rejected contradictions", rejected, loser)?;
        let reasons = self.books.rejected.get(&order.name).into_iter().flatten();
        check(
            reasons.clone().all(|row| row.reason == "idempotency_conflict"),
            "a wrong reason of rejection",
        )?;
        self.verdict.count("rejected as contradictions", rejected);
        self.verdict.count("repeats without effect", (winner.taken as usize).saturating_sub(1));
        self.row(order, row)?;
        check(row.status == "settled" && row.seq.is_some(), &format!("it is {}", row.status))?;
        self.verdict.count("settled", 1);
        self.refunds(order, Some(row), row.refunded)?;
        self.line(order, row, amount)
    }

    /// A click that a kill cost is waited for. Without an id of its own each sending waits for itself: which of them
    /// is the first is said when the time is over.
    fn waiting(&mut self, order: &Order, rows: &[conversion::Model], tries: u32) -> Result<(), String> {
        let By::Bare(click) = order.by else { return Err("it waits, and has all it needs".to_owned()) };
        check(!self.books.clicks.contains(&click), "it waits for a click that is stored")?;
        check(rows.len() <= tries as usize, "it waits more often than it was sent")?;
        for row in rows {
            self.row(order, row)?;
            check(!self.books.lines.contains_key(&row.id), "it waits and has lines")?;
        }
        self.verdict.count("waiting for a click that a kill cost", rows.len());
        self.refunds(order, None, 0)
    }

    /// What the conversion says.
    fn row(&self, order: &Order, row: &conversion::Model) -> Result<(), String> {
        let account = self.books.accounts.iter().find(|account| account.id == row.account_id);
        let account = account.map(|account| account.slug.as_str());
        check(account == Some(self.story.market[order.account].slug), "it is in another account")?;
        check(row.external_id == order.external_id, "it has another external id")?;
        check(row.kind == "conversion", "it is of another kind")?;
        let (first, last) = match order.rival {
            Some((_, rival)) if rival.tries > 0 => (order.sent.first, order.sent.last.max(rival.last)),
            _ => (order.sent.first, order.sent.last),
        };
        let received = (first..=last + READ_LATE_MS).contains(&row.received_at);
        check(received, &format!("it was received at {}", Timestamp(row.received_at)))?;
        check(
            row.occurred_at == order.occurred_at.unwrap_or(row.received_at),
            "it occurred at another time",
        )?;
        let retry_safe = order.key.is_some()
            || (order.external_id.is_some() && (order.body.get("program").is_some()))
            || order.way == Way::Pixel;
        let id = Prefix::Event.format(row.event_id);
        let same_id = order.event_ids.iter().all(|answered| *answered == id);
        check(!retry_safe || same_id, "it was answered with another event id")?;
        if row.status != "settled" {
            return Ok(());
        }
        let program = row.program_id.and_then(|id| self.books.programs.get(&id)).map(|row| row.slug.as_str());
        check(program == Some(order.program.slug()), "it is in another program")?;
        let affiliate =
            row.affiliate_id.and_then(|id| self.books.affiliates.get(&id)).map(|row| row.slug.as_str());
        check(affiliate == Some(&order.affiliate), &format!("it is {affiliate:?}'s"))?;
        let resolved_by = row.resolved_by.as_deref().unwrap_or_default();
        let right = match &order.by {
            By::Token(click) | By::Bare(click) => resolved_by == "click_id" && row.click_id == Some(*click),
            By::Coupon => resolved_by == "coupon",
            By::Code => resolved_by == "referral_code",
            By::Customer(..) => ["customer_id", "click_id"].contains(&resolved_by),
            By::Nothing => false,
        };
        check(right, &format!("it was resolved by {resolved_by}"))
    }

    /// Each refund took effect once; `refunded` is what all of them took.
    fn refunds(
        &mut self,
        order: &Order,
        row: Option<&conversion::Model>,
        refunded: i64,
    ) -> Result<(), String> {
        let mut sum = 0;
        for refund in &order.refunds {
            let none = Vec::new();
            let rows = self.books.refunds.get(&refund.name).unwrap_or(&none);
            let [found] = rows.as_slice() else {
                check(rows.is_empty(), &format!("{} has {} effects", refund.name, rows.len()))?;
                check(
                    refund.sent.taken == 0,
                    &format!("{} was answered 202 and has no effect", refund.name),
                )?;
                continue;
            };
            check(refund.sent.tries > 0, "a refund has an effect and was never sent")?;
            let Some(row) = row else {
                check(found.status == "pending", "a refund does not wait for its conversion")?;
                self.verdict.count("refunds waiting for their conversion", 1);
                continue;
            };
            let amount = refund.amount.unwrap_or(order.amount);
            let right =
                found.status == "settled" && found.amount == amount && found.conversion_id == Some(row.id);
            check(right, &format!("{} is {} of {}", refund.name, found.status, found.amount))?;
            sum += amount;
            self.verdict.count("refunds settled", 1);
        }
        check(sum == refunded, &format!("{refunded} were refunded, not {sum}"))
    }

    /// The one line of a conversion, and its postings.
    fn line(&mut self, order: &Order, row: &conversion::Model, amount: i64) -> Result<(), String> {
        let lines = self.books.lines.get(&row.id).map(Vec::as_slice).unwrap_or_default();
        let [line] = lines else { return Err(format!("it has {} lines", lines.len())) };
        let reviewed = self.story.ledger.reviews.iter().find(|review| review.line == line.id);
        let status = match reviewed {
            None => "pending",
            Some(review) if review.approved => "approved",
            Some(_) => "disapproved",
        };
        check(line.status == status, &format!("its line is {}, not {status}", line.status))?;
        check(
            (line.affiliate_id, line.program_id) == (row.affiliate_id.unwrap(), row.program_id.unwrap()),
            "whose line?",
        )?;
        let of_line = self.postings.get(&line.id).map(Vec::as_slice).unwrap_or_default();
        let sum = |wanted: &dyn Fn(&posting::Model) -> bool| -> i64 {
            of_line.iter().filter(|row| wanted(row)).map(|row| row.amount).sum()
        };
        for (event, most) in
            [("earned", 1), ("approved", 1), ("disapproved", 1), ("refunded", order.refunds.len())]
        {
            let posted = of_line.iter().filter(|row| row.event == event).count();
            check(posted <= 2 * most, &format!("{event} was posted {posted} times"))?;
        }
        let values = values_at(&self.story.ledger.prices, order.account, order.program, row.occurred_at);
        let fits = |value: &&&str| {
            let earned = order.program.worth(value, amount, amount);
            let worth = order.program.worth(value, amount, amount - row.refunded);
            line.amount == worth && sum(&|row| row.event == "earned" && row.amount > 0) == earned
        };
        check(
            values.iter().any(|value| fits(&value)),
            &format!("its line is worth {}, by none of {values:?}", line.amount),
        )?;
        let stands = |name: &str| sum(&|row| row.ledger_account == name);
        let worth = |wanted: &str| if status == wanted { -line.amount } else { 0 };
        let expense = if status == "disapproved" { 0 } else { line.amount };
        let right = (stands("accrued"), stands("payable"), stands("expense"));
        check(
            right == (worth("pending"), worth("approved"), expense),
            &format!("it is posted as {right:?}"),
        )?;
        Ok(())
    }
}

/// The values that may have been in force at a time. A change came into force between asking and answer.
fn values_at(prices: &[Price], account: usize, program: Program, at: i64) -> Vec<&'static str> {
    let mut values = vec![program.values()[0]];
    for price in prices.iter().filter(|price| (price.account, price.program) == (account, program)) {
        if price.answered <= at {
            values = vec![price.value];
        } else if price.asked <= at {
            values.push(price.value);
        }
    }
    values
}

fn check(right: bool, complaint: &str) -> Result<(), String> {
    if right { Ok(()) } else { Err(complaint.to_owned()) }
}

/// What was taken came at least so often; what was only sent may have come as well.
fn within(what: &str, times: usize, sent: Sent) -> Result<(), String> {
    let right = (sent.taken as usize..=sent.tries as usize).contains(&times);
    check(right, &format!("{times} {what} of something sent {} times, taken {}", sent.tries, sent.taken))
}
