//! The sums over everything: ledger, journal, clicks, streams, and what the merchants set up.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;
use waypost::{domain::time::Timestamp, settlement::reconcile::StreamReport};

use crate::{
    chaos::Trouble,
    diary::Click,
    market::Program,
    processes::{End, Run},
    verdict::Judge,
};

/// A click that was answered longer ago than this is stored, or is in a log that a kill leaves whole: half a second
/// until the spool takes it, its commit, and the rest for a disk and two cores that others use too.
const CLICK_AT_RISK_MS: i64 = 4_000;

impl Judge<'_> {
    /// Double entry: every sum is zero, every balance is the sum of its postings, the journal has no gap.
    pub fn sums(&mut self) {
        let mut by_command: BTreeMap<_, i64> = BTreeMap::new();
        let mut by_currency: BTreeMap<_, i64> = BTreeMap::new();
        let mut balances: BTreeMap<_, i64> = BTreeMap::new();
        for row in &self.books.postings {
            *by_command.entry((row.account_id, row.seq)).or_default() += row.amount;
            *by_currency.entry((row.account_id, row.currency.as_str())).or_default() += row.amount;
            let key = (row.account_id, row.affiliate_id, row.currency.as_str(), row.ledger_account.as_str());
            *balances.entry(key).or_default() += row.amount;
        }
        let unbalanced = by_command.values().chain(by_currency.values()).filter(|sum| **sum != 0).count();
        if unbalanced > 0 {
            self.verdict.complain(format!("{unbalanced} sums of postings are not zero"));
        }
        for row in &self.books.balances {
            let key = (row.account_id, row.affiliate_id, row.currency.as_str(), row.ledger_account.as_str());
            let sum = balances.remove(&key).unwrap_or(0);
            if sum != row.amount {
                self.verdict.complain(format!("the postings of {key:?} add up to {sum}, not {}", row.amount));
            }
        }
        for (key, sum) in balances.iter().filter(|(_, sum)| **sum != 0) {
            self.verdict.complain(format!("{key:?} has {sum} and no balance"));
        }
        for account in &self.books.accounts {
            let numbers = self.books.journal.get(&account.id).map(Vec::as_slice).unwrap_or_default();
            if !numbers.iter().copied().eq(1..=account.last_seq) {
                self.verdict.complain(format!("the journal of {} has gaps", account.slug));
            }
        }
        let lines: HashSet<Uuid> = self.books.lines.values().flatten().map(|line| line.id).collect();
        let stray = self.postings.keys().filter(|line| !lines.contains(line)).count();
        if stray > 0 {
            self.verdict.complain(format!("there are postings of {stray} lines that do not exist"));
        }
        self.verdict.count("postings", self.books.postings.len());
    }

    /// A click is stored, or was in the last moment of an edge that was killed.
    pub fn clicks(&mut self) {
        let clicks = &self.story.diary.clicks;
        let (stored, lost): (Vec<&Click>, Vec<&Click>) =
            clicks.iter().partition(|click| self.books.clicks.contains(&click.id));
        self.verdict.count("clicks stored", stored.len());
        for click in lost {
            let killed = self.runs_of(click.edge).iter().any(|run| match run.end {
                End::Killed(at) | End::ByItself(at, _) => {
                    let grace = CLICK_AT_RISK_MS + self.stood_still(click.edge, click.asked, at);
                    run.covers(click.asked) && click.answered + grace >= at
                }
                End::Running | End::Stopped(..) => false,
            });
            let full = |trouble: &Trouble| {
                (trouble.from - CLICK_AT_RISK_MS..=trouble.to + CLICK_AT_RISK_MS).contains(&click.asked)
            };
            let full =
                self.story.faults.full.iter().any(|(edge, trouble)| *edge == click.edge && full(trouble));
            match (click.owed, killed, full) {
                (false, true, _) => self.verdict.count("clicks lost by a kill", 1),
                (false, false, true) => self.verdict.count("clicks lost by a full disk", 1),
                _ => self.verdict.complain(format!(
                    "a click was lost at {} that nothing can have cost: {click:?}",
                    Timestamp(click.asked)
                )),
            }
        }
        let unknown = self.books.clicks.len() - self.story.diary.clicks.len().min(self.books.clicks.len());
        let cut: u64 = ["click", "click by REST"]
            .iter()
            .filter_map(|what| self.story.diary.answers.by_status.get(&(*what, "cut".to_owned())))
            .sum();
        if unknown as u64 > cut + self.story.tries {
            self.verdict
                .complain(format!("{unknown} clicks more are stored than were answered, and {cut} cut"));
        }
    }

    fn runs_of(&self, edge: &str) -> &[Run] {
        let found = self.story.edges.iter().find(|(name, _)| *name == edge);
        found.map(|(_, runs)| runs.as_slice()).unwrap_or_default()
    }

    /// How long an edge stood still in this time.
    fn stood_still(&self, edge: &str, from: i64, to: i64) -> i64 {
        let of_edge = self.story.faults.frozen.iter().filter(|(name, _)| *name == edge);
        of_edge.map(|(_, trouble)| (trouble.to.min(to) - trouble.from.max(from)).max(0)).sum()
    }

    /// What was seen has an outcome; what is missing, a kill or a full disk explains.
    pub fn streams(&mut self) {
        for difference in &self.books.streams.differences {
            self.verdict.complaints.push(difference.clone());
        }
        for stream in &self.books.streams.streams {
            let begun = Timestamp::of_uuid(stream.boot).map_or(0, |at| at.0);
            let run = self.runs_of(&stream.edge).iter().rev().find(|run| run.covers(begun)).copied();
            let Some(run) = run else {
                self.verdict.complain(format!("nobody ran what was seen as {} {}", stream.edge, stream.boot));
                continue;
            };
            self.stream(stream, run);
        }
    }

    fn stream(&mut self, stream: &StreamReport, run: Run) {
        let name = format!("{} of {}", stream.stream, stream.edge);
        match run.end {
            End::Killed(_) | End::ByItself(..) => {
                self.verdict
                    .count("numbers missing after a kill", usize::try_from(stream.missing()).unwrap());
            }
            End::Stopped(to, _) => {
                let overlaps = |trouble: &Trouble| trouble.from <= to && trouble.to >= run.began;
                let full = &self.story.faults.full;
                let full = full.iter().any(|(edge, trouble)| *edge == stream.edge && overlaps(trouble));
                if full {
                    self.verdict
                        .count("numbers refused by a full disk", usize::try_from(stream.missing()).unwrap());
                } else if !stream.gaps.is_empty() {
                    self.verdict
                        .complain(format!("{name} was stopped in good order and lacks {:?}", stream.gaps));
                }
                if !stream.ended {
                    self.verdict.complain(format!("{name} was stopped in good order and has no end"));
                }
            }
            End::Running => self.verdict.complain(format!("{name} still runs")),
        }
    }

    /// What was answered to the merchants is there, once.
    pub fn setup(&mut self) {
        for (number, account) in self.story.market.iter().enumerate() {
            let Some(row) = self.books.accounts.iter().find(|row| row.slug == account.slug) else {
                self.verdict.complain(format!("the account {} is gone", account.slug));
                continue;
            };
            let affiliates = account.affiliates.read().unwrap().clone();
            for affiliate in &affiliates {
                let found = self.books.affiliates.values();
                let found =
                    found.filter(|found| found.account_id == row.id && found.slug == affiliate.slug).count();
                let mut links = 0;
                for program in Program::ALL {
                    let (code, coupon) = (affiliate.link(program), affiliate.coupon(program));
                    links += self
                        .books
                        .links
                        .iter()
                        .filter(|link| link.account_id == row.id && link.code == code)
                        .count();
                    links += self.books.coupons.iter().filter(|row| row.code == coupon).count();
                }
                if (found, links) != (1, 4) {
                    self.verdict.complain(format!(
                        "{} is there {found} times, with {links} links and coupons",
                        affiliate.slug
                    ));
                }
            }
            for program in Program::ALL {
                let changes = self.story.ledger.prices.iter();
                let changes =
                    changes.filter(|price| (price.account, price.program) == (number, program)).count();
                let ids = self.books.programs.values();
                let ids: Vec<i64> = ids
                    .filter(|found| found.account_id == row.id && found.slug == program.slug())
                    .map(|found| found.id)
                    .collect();
                let versions = self.books.versions.iter().filter(|row| ids.contains(&row.program_id)).count();
                if (ids.len(), versions) != (1, 1 + changes) {
                    self.verdict.complain(format!(
                        "{} of {} is there {} times, with {versions} versions after {changes} changes",
                        program.slug(),
                        account.slug,
                        ids.len()
                    ));
                }
            }
        }
        let mut customers: HashMap<(i64, &str), usize> = HashMap::new();
        for row in &self.books.customers {
            *customers.entry((row.program_id, &row.customer_id)).or_default() += 1;
        }
        if customers.values().any(|rows| *rows != 1) {
            self.verdict.complain("a customer is there twice".to_owned());
        }
        self.verdict.count("customers", customers.len());
    }
}
