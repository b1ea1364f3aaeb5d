//! Adds up the ledger and compares: what every seq, every balance, every line and every payment must come to by the
//! postings, and every sum that is kept for the rules by the conversions.
//!
//! While others write, hand over a transaction: it sees one state of the store from beginning to end.

mod counts;
mod measures;
mod payments;

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait,
};
use uuid::Uuid;

use super::LedgerError;
use crate::{
    domain::ids::Prefix,
    store::entities::{balance, commission_line, posting},
};

/// Rows that are read at once.
const PAGE: u64 = 5_000;

/// What was added up.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    pub postings: u64,
    pub balances: u64,
    pub lines: u64,
    /// Payments and payouts.
    pub payments: u64,
    /// What tiers, caps and bonuses that count from ever ask for.
    pub measures: u64,
    /// What recurrence asks for.
    pub customer_counts: u64,
    /// Sentences, one for each thing that does not add up.
    pub differences: Vec<String>,
}

/// Account, affiliate, currency, ledger account.
type BalanceKey = (i64, i64, String, String);

/// Account, seq and number of the posting that was read last.
type Place = (i64, i64, i32);

/// Reads the whole ledger and compares it with itself.
///
/// # Errors
/// Where the store cannot be read, or has something in it from which nothing can be added up.
pub async fn verify(db: &impl ConnectionTrait) -> Result<Verification, LedgerError> {
    let mut found = Verification::default();
    let sums = add_up(db, &mut found).await?;
    compare_balances(db, &sums, &mut found).await?;
    compare_lines(db, &mut found).await?;
    payments::compare(db, &mut found).await?;
    measures::compare(db, &mut found).await?;
    counts::compare(db, &mut found).await?;
    Ok(found)
}

/// Sums the postings per balance, and checks that those of each seq add up to 0 per currency.
async fn add_up(
    db: &impl ConnectionTrait,
    found: &mut Verification,
) -> Result<BTreeMap<BalanceKey, i128>, DbErr> {
    let mut sums = BTreeMap::new();
    let mut entry = (0, 0);
    let mut entry_sums: BTreeMap<String, i128> = BTreeMap::new();
    let mut after: Option<Place> = None;
    loop {
        let rows = postings_after(db, after).await?;
        let Some(last) = rows.last() else { break };
        after = Some((last.account_id, last.seq, last.number));
        for row in rows {
            found.postings += 1;
            if (row.account_id, row.seq) != entry {
                close(entry, &mut entry_sums, found);
                entry = (row.account_id, row.seq);
            }
            *entry_sums.entry(row.currency.clone()).or_default() += i128::from(row.amount);
            let key = (row.account_id, row.affiliate_id, row.currency, row.ledger_account);
            *sums.entry(key).or_default() += i128::from(row.amount);
        }
    }
    close(entry, &mut entry_sums, found);
    Ok(sums)
}

async fn postings_after(
    db: &impl ConnectionTrait,
    after: Option<Place>,
) -> Result<Vec<posting::Model>, DbErr> {
    use posting::Column;
    let mut query = posting::Entity::find()
        .order_by_asc(Column::AccountId)
        .order_by_asc(Column::Seq)
        .order_by_asc(Column::Number)
        .limit(PAGE);
    if let Some((account, seq, number)) = after {
        let same_seq = Column::Seq.eq(seq).and(Column::Number.gt(number));
        let same_account = Column::AccountId.eq(account).and(Column::Seq.gt(seq).or(same_seq));
        query = query.filter(Column::AccountId.gt(account).or(same_account));
    }
    query.all(db).await
}

fn close(entry: (i64, i64), sums: &mut BTreeMap<String, i128>, found: &mut Verification) {
    for (currency, sum) in std::mem::take(sums) {
        if sum != 0 {
            let (account, seq) = entry;
            found.differences.push(format!(
                "account {account}, seq {seq}: the postings in {currency} add up to {sum}, not 0"
            ));
        }
    }
}

async fn compare_balances(
    db: &impl ConnectionTrait,
    sums: &BTreeMap<BalanceKey, i128>,
    found: &mut Verification,
) -> Result<(), DbErr> {
    let mut stored: BTreeMap<BalanceKey, i128> = BTreeMap::new();
    for row in balance::Entity::find().all(db).await? {
        stored
            .insert((row.account_id, row.affiliate_id, row.currency, row.ledger_account), row.amount.into());
    }
    found.balances = stored.len() as u64;
    let keys: std::collections::BTreeSet<_> = stored.keys().chain(sums.keys()).collect();
    for key in keys {
        let kept = stored.get(key).copied().unwrap_or(0);
        let sum = sums.get(key).copied().unwrap_or(0);
        if kept != sum {
            let (account, affiliate, currency, name) = key;
            found.differences.push(format!(
                "account {account}, affiliate {affiliate}: {name} in {currency} is kept as {kept}, its postings \
                 add up to {sum}"
            ));
        }
    }
    Ok(())
}

/// Every line must stand in the ledger with its amount where its status says: accrued, payable or nowhere.
async fn compare_lines(db: &impl ConnectionTrait, found: &mut Verification) -> Result<(), DbErr> {
    let mut after = None;
    loop {
        let mut query = commission_line::Entity::find().order_by_asc(commission_line::Column::Id).limit(PAGE);
        if let Some(id) = after {
            query = query.filter(commission_line::Column::Id.gt(id));
        }
        let rows = query.all(db).await?;
        let Some(last) = rows.last() else { break };
        let sums = sums_of_lines(db, after, last.id).await?;
        after = Some(last.id);
        for row in rows {
            found.lines += 1;
            let (accrued, payable) = match row.status.as_str() {
                "pending" => (row.amount, 0),
                "approved" => (0, row.amount),
                _ => (0, 0),
            };
            for (name, worth) in [("accrued", accrued), ("payable", payable)] {
                // A credit balance: what is owed is below zero.
                let key = (row.id, row.affiliate_id, row.currency.clone(), name.to_owned());
                let posted = -sums.get(&key).copied().unwrap_or(0);
                if i128::from(worth) != posted {
                    found.differences.push(format!(
                        "account {}, commission {}: the line comes to {worth} {name} in {} (minor units), its \
                         postings to {posted}",
                        row.account_id,
                        Prefix::Commission.format(row.id),
                        row.currency
                    ));
                }
            }
        }
    }
    let strangers = posting::Entity::find()
        .filter(posting::Column::LineId.is_not_null())
        .filter(posting::Column::LineId.not_in_subquery(
            commission_line::Entity::find().select_only().column(commission_line::Column::Id).into_query(),
        ))
        .count(db)
        .await?;
    if strangers > 0 {
        found.differences.push(format!("{strangers} postings belong to lines that are not stored"));
    }
    Ok(())
}

/// Line, affiliate, currency, ledger account.
type LineKey = (Uuid, i64, String, String);

/// The postings of the lines above `after` up to `last`, added up.
async fn sums_of_lines(
    db: &impl ConnectionTrait,
    after: Option<Uuid>,
    last: Uuid,
) -> Result<BTreeMap<LineKey, i128>, DbErr> {
    use posting::Column;
    let mut query = posting::Entity::find().filter(Column::LineId.lte(last));
    if let Some(after) = after {
        query = query.filter(Column::LineId.gt(after));
    }
    let mut sums = BTreeMap::new();
    for row in query.all(db).await? {
        if let Some(line) = row.line_id {
            let key = (line, row.affiliate_id, row.currency, row.ledger_account);
            *sums.entry(key).or_default() += i128::from(row.amount);
        }
    }
    Ok(sums)
}
