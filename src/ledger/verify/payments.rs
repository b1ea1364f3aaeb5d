//! Every payment and payout must stand in the ledger with its amount where its status says: cash, reserved or nowhere.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait,
};
use uuid::Uuid;

use super::{PAGE, Verification};
use crate::{
    domain::{
        ids::Prefix,
        postings::OWN,
        reason::{LedgerAccount, PaymentKind, PaymentStatus},
    },
    store::entities::{payment, posting},
};

/// Payment, affiliate, currency, ledger account.
type PaymentKey = (Uuid, i64, String, String);

pub(super) async fn compare(db: &impl ConnectionTrait, found: &mut Verification) -> Result<(), DbErr> {
    let mut after = None;
    loop {
        let mut query = payment::Entity::find().order_by_asc(payment::Column::Id).limit(PAGE);
        if let Some(id) = after {
            query = query.filter(payment::Column::Id.gt(id));
        }
        let rows = query.all(db).await?;
        let Some(last) = rows.last() else { break };
        let mut sums = sums(db, after, last.id).await?;
        after = Some(last.id);
        for row in rows {
            found.payments += 1;
            compare_one(&row, &mut sums, found);
        }
    }
    let strangers =
        posting::Entity::find()
            .filter(posting::Column::PaymentId.is_not_null())
            .filter(posting::Column::PaymentId.not_in_subquery(
                payment::Entity::find().select_only().column(payment::Column::Id).into_query(),
            ))
            .count(db)
            .await?;
    if strangers > 0 {
        found.differences.push(format!("{strangers} postings belong to payments that are not stored"));
    }
    let ownerless = posting::Entity::find()
        .filter(posting::Column::LineId.is_null())
        .filter(posting::Column::PaymentId.is_null())
        .count(db)
        .await?;
    if ownerless > 0 {
        found.differences.push(format!("{ownerless} postings belong to no line and no payment"));
    }
    Ok(())
}

fn compare_one(row: &payment::Model, sums: &mut BTreeMap<PaymentKey, i128>, found: &mut Verification) {
    let amount = row.amount;
    // What is owed less, what was sent, what is set aside; debits above zero.
    let (payable, cash, reserved) = match PaymentStatus::parse(&row.status) {
        Some(PaymentStatus::Recorded | PaymentStatus::Paid) => (amount, -amount, 0),
        Some(PaymentStatus::Created) => (amount, 0, -amount),
        Some(PaymentStatus::Failed | PaymentStatus::Cancelled) | None => (0, 0, 0),
    };
    let prefix = match PaymentKind::parse(&row.kind) {
        Some(PaymentKind::Payout) => Prefix::Payout,
        Some(PaymentKind::Payment) | None => Prefix::Payment,
    };
    for (owner, account, worth) in [
        (row.affiliate_id, LedgerAccount::Payable, payable),
        (OWN.0, LedgerAccount::Cash, cash),
        (row.affiliate_id, LedgerAccount::Reserved, reserved),
    ] {
        let key = (row.id, owner, row.currency.clone(), account.as_str().to_owned());
        let posted = sums.remove(&key).unwrap_or(0);
        if i128::from(worth) != posted {
            found.differences.push(format!(
                "account {}, {} {}: it is {} and comes to {worth} {account} in {} (minor units), its postings to \
                 {posted}",
                row.account_id,
                row.kind,
                prefix.format(row.id),
                row.status,
                row.currency
            ));
        }
    }
}

/// The postings of the payments above `after` up to `last`, added up.
async fn sums(
    db: &impl ConnectionTrait,
    after: Option<Uuid>,
    last: Uuid,
) -> Result<BTreeMap<PaymentKey, i128>, DbErr> {
    use posting::Column;
    let mut query = posting::Entity::find().filter(Column::PaymentId.lte(last));
    if let Some(after) = after {
        query = query.filter(Column::PaymentId.gt(after));
    }
    let mut sums = BTreeMap::new();
    for row in query.all(db).await? {
        if let Some(payment) = row.payment_id {
            let key = (payment, row.affiliate_id, row.currency, row.ledger_account);
            *sums.entry(key).or_default() += i128::from(row.amount);
        }
    }
    Ok(sums)
}
