//! Every count of a customer must be what its conversions have earned.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, sea_query::Expr,
};
use uuid::Uuid;

use super::{PAGE, Verification};
use crate::{
    domain::ids::Prefix,
    ledger::{LedgerError, counts},
    store::entities::{conversion, customer, customer_count},
};

pub(super) async fn compare(db: &impl ConnectionTrait, found: &mut Verification) -> Result<(), LedgerError> {
    use customer::Column;
    let mut after = None;
    loop {
        let mut query = customer::Entity::find()
            .select_only()
            .columns([Column::Id, Column::AccountId])
            .order_by_asc(Column::Id)
            .limit(PAGE);
        if let Some(id) = after {
            query = query.filter(Column::Id.gt(id));
        }
        let customers: Vec<(Uuid, i64)> = query.into_tuple().all(db).await?;
        let Some((last, _)) = customers.last().copied() else { break };
        compare_page(db, &customers, after, last, found).await?;
        after = Some(last);
    }
    let strangers = customer_count::Entity::find()
        .filter(
            customer_count::Column::CustomerId
                .not_in_subquery(customer::Entity::find().select_only().column(Column::Id).into_query()),
        )
        .count(db)
        .await?;
    if strangers > 0 {
        found.differences.push(format!("{strangers} counts belong to customers that are not stored"));
    }
    Ok(())
}

/// Compares the counts of the customers above `after` up to `last`.
async fn compare_page(
    db: &impl ConnectionTrait,
    customers: &[(Uuid, i64)],
    after: Option<Uuid>,
    last: Uuid,
    found: &mut Verification,
) -> Result<(), LedgerError> {
    let range = |customer: Expr| {
        let page = Condition::all().add(customer.clone().lte(last));
        if let Some(after) = after { page.add(customer.gt(after)) } else { page }
    };
    let of_conversions = range(Expr::col((conversion::Entity, conversion::Column::CustomerId)));
    let sums = counts::sums(db, of_conversions).await?;
    let of_counts = range(Expr::col((customer_count::Entity, customer_count::Column::CustomerId)));
    let mut stored: BTreeMap<(Uuid, String), i64> = BTreeMap::new();
    for row in customer_count::Entity::find().filter(of_counts).all(db).await? {
        stored.insert((row.customer_id, row.subject), row.conversions);
    }
    found.customer_counts += stored.len() as u64;
    let accounts: BTreeMap<Uuid, i64> = customers.iter().copied().collect();
    let keys: BTreeSet<_> = stored.keys().chain(sums.keys()).collect();
    for key in keys {
        let kept = stored.get(key).copied().unwrap_or(0);
        let sum = sums.get(key).copied().unwrap_or(0);
        let (customer, subject) = key;
        // Those of nobody are told together.
        let Some(account) = accounts.get(customer).filter(|_| kept != sum) else { continue };
        found.differences.push(format!(
            "account {account}, customer {}: {kept} conversions are counted for {subject}, its conversions come to {sum}",
            Prefix::Customer.format(*customer)
        ));
    }
    Ok(())
}
