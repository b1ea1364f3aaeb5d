//! Adds up the ledger from its postings and compares: what every seq, every balance and every line must come to.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
};

use crate::store::entities::{balance, commission_line, posting};

/// Rows that are read at once.
const PAGE: u64 = 5_000;

/// What was added up.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    pub postings: u64,
    pub balances: u64,
    pub lines: u64,
    /// Sentences, one for each thing that does not add up.
    pub differences: Vec<String>,
}

/// Account, affiliate, currency, ledger account.
type BalanceKey = (i64, i64, String, String);

/// Account, seq and number of the posting that was read last.
type Place = (i64, i64, i32);

/// Reads the whole ledger and compares it with itself.
pub async fn verify(db: &impl ConnectionTrait) -> Result<Verification, DbErr> {
    let mut found = Verification::default();
    let sums = add_up(db, &mut found).await?;
    compare_balances(db, &sums, &mut found).await?;
    compare_lines(db, &sums, &mut found).await?;
    Ok(found)
}

/// Sums the postings per balance, and checks that those of each seq add up to 0 per currency.
async fn add_up(
    db: &impl ConnectionTrait,
    found: &mut Verification,
) -> Result<BTreeMap<BalanceKey, i64>, DbErr> {
    let mut sums = BTreeMap::new();
    let mut entry = (0, 0);
    let mut entry_sums: BTreeMap<String, i64> = BTreeMap::new();
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
            *entry_sums.entry(row.currency.clone()).or_default() += row.amount;
            let key = (row.account_id, row.affiliate_id, row.currency, row.ledger_account);
            *sums.entry(key).or_default() += row.amount;
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

fn close(entry: (i64, i64), sums: &mut BTreeMap<String, i64>, found: &mut Verification) {
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
    sums: &BTreeMap<BalanceKey, i64>,
    found: &mut Verification,
) -> Result<(), DbErr> {
    let mut stored: BTreeMap<BalanceKey, i64> = BTreeMap::new();
    for row in balance::Entity::find().all(db).await? {
        stored.insert((row.account_id, row.affiliate_id, row.currency, row.ledger_account), row.amount);
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

/// What an affiliate's lines are worth by their status must be what accrued and payable hold (a credit balance).
async fn compare_lines(
    db: &impl ConnectionTrait,
    sums: &BTreeMap<BalanceKey, i64>,
    found: &mut Verification,
) -> Result<(), DbErr> {
    let mut owed: BTreeMap<BalanceKey, i64> = BTreeMap::new();
    let mut after = None;
    loop {
        let mut query = commission_line::Entity::find().order_by_asc(commission_line::Column::Id).limit(PAGE);
        if let Some(id) = after {
            query = query.filter(commission_line::Column::Id.gt(id));
        }
        let rows = query.all(db).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
        for row in rows {
            found.lines += 1;
            let name = match row.status.as_str() {
                "pending" => "accrued",
                "approved" => "payable",
                _ => continue,
            };
            let key = (row.account_id, row.affiliate_id, row.currency, name.to_owned());
            *owed.entry(key).or_default() += row.amount;
        }
    }
    let posted = sums.iter().filter(|(key, _)| matches!(key.3.as_str(), "accrued" | "payable"));
    let keys: std::collections::BTreeSet<_> = owed.keys().chain(posted.map(|(key, _)| key)).collect();
    for key in keys {
        let lines = owed.get(key).copied().unwrap_or(0);
        let ledger = -sums.get(key).copied().unwrap_or(0);
        if lines != ledger {
            let (account, affiliate, currency, name) = key;
            found.differences.push(format!(
                "account {account}, affiliate {affiliate}: the lines come to {lines} {name} in {currency} (minor \
                 units), the ledger to {ledger}"
            ));
        }
    }
    Ok(())
}
