//! The commands of one transaction: the rules that they share are read once, and what nobody reads before the commit is
//! written for all of them at the end.
//!
//! Rules change under their account's lock alone, and this transaction holds it from an account's first command on.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, Set,
    sea_query::{Expr, OnConflict},
};

use super::{
    Command, Effect, LedgerError, bonuses, counts, execute,
    journal::{Entry, LookedUp},
    known::Known,
    measures,
};
use crate::{
    domain::{ids::AccountId, reason::Rejection, time::Timestamp},
    store::{
        bulk,
        entities::{account, balance, journal_entry, posting},
    },
};

/// Account, affiliate, currency, ledger account.
type BalanceKey = (i64, i64, String, String);

/// Commands under way. Nothing of them may be committed before [`Self::finish`]; after an error the transaction is lost.
#[must_use = "the postings are not written before it is finished"]
pub struct Work<'a> {
    tx: &'a DatabaseTransaction,
    known: Known,
    ends: Ends,
}

/// What is written at the end.
#[derive(Default)]
pub(super) struct Ends {
    /// The last place in the order of each account, and whether it is new.
    pub seqs: BTreeMap<AccountId, (i64, bool)>,
    pub journal: Vec<journal_entry::ActiveModel>,
    pub postings: Vec<posting::ActiveModel>,
    pub balances: BTreeMap<BalanceKey, i128>,
    pub measures: measures::Moved,
    pub counts: counts::Moved,
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("commands", &self.ends.journal.len()).finish_non_exhaustive()
    }
}

impl<'a> Work<'a> {
    pub fn new(tx: &'a DatabaseTransaction) -> Self {
        Self { tx, known: Known::default(), ends: Ends::default() }
    }

    /// Lets a command take effect after those before it.
    pub async fn apply(
        &mut self,
        account: AccountId,
        at: Timestamp,
        command: &Command,
    ) -> Result<Effect, LedgerError> {
        self.apply_at(account, at, command, None).await
    }

    /// Lets a command of the journal take effect again, with what it had looked up.
    pub(super) async fn apply_again(
        &mut self,
        account: AccountId,
        at: Timestamp,
        command: &Command,
        looked_up: LookedUp,
    ) -> Result<Effect, LedgerError> {
        self.apply_at(account, at, command, Some(looked_up)).await
    }

    async fn apply_at(
        &mut self,
        account: AccountId,
        at: Timestamp,
        command: &Command,
        replayed: Option<LookedUp>,
    ) -> Result<Effect, LedgerError> {
        let known = std::mem::take(&mut self.known);
        let ends = std::mem::take(&mut self.ends);
        let mut entry = Entry::begin(self.tx, account, at, known, ends, replayed).await?;
        // On the heap: the states of all commands together are too large for the stack of a thread.
        let applied = Box::pin(execute(&mut entry, command)).await?;
        if command.changes_rules() {
            entry.forget_rules();
        }
        if applied.changed {
            bonuses::after(&mut entry).await?;
            entry.write(command)?;
        }
        (self.known, self.ends) = entry.end();
        Ok(applied.effect)
    }

    /// Writes what is left to be written.
    pub async fn finish(self) -> Result<(), LedgerError> {
        let Ends { seqs, journal, postings, balances, measures, counts } = self.ends;
        for (account, (seq, _)) in seqs.iter().filter(|(_, (_, new))| *new) {
            account::Entity::update_many()
                .col_expr(account::Column::LastSeq, Expr::value(*seq))
                .filter(account::Column::Id.eq(account.0))
                .exec(self.tx)
                .await?;
        }
        write(self.tx, journal).await?;
        write(self.tx, postings).await?;
        measures::write(self.tx, measures).await?;
        counts::write(self.tx, counts).await?;
        add_to_balances(self.tx, balances).await
    }
}

async fn write<A: sea_orm::ActiveModelTrait>(
    tx: &DatabaseTransaction,
    rows: Vec<A>,
) -> Result<(), LedgerError> {
    use sea_orm::ConnectionTrait;
    for insert in bulk::inserts(tx, &rows)? {
        tx.execute(&insert).await?;
    }
    Ok(())
}

/// In the order of their keys, as everybody does.
async fn add_to_balances(
    tx: &DatabaseTransaction,
    sums: BTreeMap<BalanceKey, i128>,
) -> Result<(), LedgerError> {
    use balance::Column;
    use sea_orm::ConnectionTrait;
    let rows: Vec<_> = sums
        .into_iter()
        .map(|((account, affiliate, currency, name), amount)| {
            let amount =
                i64::try_from(amount).map_err(|_| LedgerError::Rejected(Rejection::AmountTooLarge))?;
            Ok(balance::ActiveModel {
                account_id: Set(account),
                affiliate_id: Set(affiliate),
                currency: Set(currency),
                ledger_account: Set(name),
                amount: Set(amount),
            })
        })
        .collect::<Result<_, LedgerError>>()?;
    let key = [Column::AccountId, Column::AffiliateId, Column::Currency, Column::LedgerAccount];
    let sum = Expr::col((balance::Entity, Column::Amount)).add(Expr::col(("excluded", Column::Amount)));
    for mut insert in bulk::inserts(tx, &rows)? {
        insert.on_conflict(OnConflict::columns(key).value(Column::Amount, sum.clone()).to_owned());
        tx.execute(&insert).await?;
    }
    Ok(())
}
