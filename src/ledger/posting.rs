//! Writes postings and the balances that run along with them.

use sea_orm::{
    EntityTrait, ExprTrait, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{LedgerError, journal::Entry};
use crate::{
    domain::postings::Posting,
    store::entities::{balance, posting},
};

/// Writes the postings of one change of a line; none is no change.
pub(super) async fn post(entry: &mut Entry<'_>, line: Uuid, postings: &[Posting]) -> Result<(), LedgerError> {
    if postings.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::with_capacity(postings.len());
    for side in postings {
        rows.push(posting::ActiveModel {
            account_id: Set(entry.account.0),
            seq: Set(entry.seq),
            number: Set(entry.next_posting()),
            affiliate_id: Set(side.affiliate.0),
            ledger_account: Set(side.account.as_str().to_owned()),
            currency: Set(side.currency.code().to_owned()),
            amount: Set(side.amount),
            line_id: Set(Some(line)),
            event: Set(side.event.as_str().to_owned()),
            at: Set(entry.at.0),
        });
    }
    posting::Entity::insert_many(rows).exec_without_returning(entry.tx).await?;
    for side in postings {
        add_to_balance(entry, side).await?;
    }
    Ok(())
}

async fn add_to_balance(entry: &Entry<'_>, side: &Posting) -> Result<(), LedgerError> {
    use balance::Column;
    let row = balance::ActiveModel {
        account_id: Set(entry.account.0),
        affiliate_id: Set(side.affiliate.0),
        currency: Set(side.currency.code().to_owned()),
        ledger_account: Set(side.account.as_str().to_owned()),
        amount: Set(side.amount),
    };
    let key = [Column::AccountId, Column::AffiliateId, Column::Currency, Column::LedgerAccount];
    let sum = Expr::col((balance::Entity, Column::Amount)).add(side.amount);
    balance::Entity::insert(row)
        .on_conflict(OnConflict::columns(key).value(Column::Amount, sum).to_owned())
        .exec_without_returning(entry.tx)
        .await?;
    Ok(())
}
