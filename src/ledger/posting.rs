//! Writes postings and the balances that run along with them.

use std::collections::BTreeMap;

use sea_orm::{
    EntityTrait, ExprTrait, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{LedgerError, journal::Entry};
use crate::{
    domain::postings::Posting,
    store::{
        INSERT_ROWS,
        entities::{balance, posting},
    },
};

/// Writes the postings of changed lines, in their order; none is no change.
pub(super) async fn post(entry: &mut Entry<'_>, changes: &[(Uuid, Vec<Posting>)]) -> Result<(), LedgerError> {
    let mut rows = Vec::new();
    let mut sums: BTreeMap<(i64, &str, &str), i64> = BTreeMap::new();
    for (line, sides) in changes {
        for side in sides {
            rows.push(posting::ActiveModel {
                account_id: Set(entry.account.0),
                seq: Set(entry.seq),
                number: Set(entry.next_posting()),
                affiliate_id: Set(side.affiliate.0),
                ledger_account: Set(side.account.as_str().to_owned()),
                currency: Set(side.currency.code().to_owned()),
                amount: Set(side.amount),
                line_id: Set(Some(*line)),
                event: Set(side.event.as_str().to_owned()),
                at: Set(entry.at.0),
            });
            let key = (side.affiliate.0, side.currency.code(), side.account.as_str());
            *sums.entry(key).or_default() += side.amount;
        }
    }
    while !rows.is_empty() {
        let chunk = rows.drain(..rows.len().min(INSERT_ROWS));
        posting::Entity::insert_many(chunk).exec_without_returning(entry.tx).await?;
    }
    add_to_balances(entry, sums).await
}

async fn add_to_balances(
    entry: &Entry<'_>,
    sums: BTreeMap<(i64, &str, &str), i64>,
) -> Result<(), LedgerError> {
    use balance::Column;
    if sums.is_empty() {
        return Ok(());
    }
    // A conversion has one affiliate and two currencies at most: a handful of rows.
    let rows = sums.into_iter().map(|((affiliate, currency, name), amount)| balance::ActiveModel {
        account_id: Set(entry.account.0),
        affiliate_id: Set(affiliate),
        currency: Set(currency.to_owned()),
        ledger_account: Set(name.to_owned()),
        amount: Set(amount),
    });
    let key = [Column::AccountId, Column::AffiliateId, Column::Currency, Column::LedgerAccount];
    let sum = Expr::col((balance::Entity, Column::Amount)).add(Expr::col(("excluded", Column::Amount)));
    balance::Entity::insert_many(rows)
        .on_conflict(OnConflict::columns(key).value(Column::Amount, sum).to_owned())
        .exec_without_returning(entry.tx)
        .await?;
    Ok(())
}
