//! Accounts and their tracking domains.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect, Set, sea_query::OnConflict,
};

use super::{
    catalog,
    entities::{account, domain},
    sequences::{self, Sequence},
};
use crate::{
    catalog::{AccountRecord, CatalogRecord, DomainRecord},
    domain::{
        calendar::Zone,
        ids::{AccountId, Slug},
        time::Timestamp,
    },
};

/// Makes an account and tells the edges. Its time zone is fixed from then on: periods that were counted would not fit
/// another.
pub async fn create(
    tx: &impl ConnectionTrait,
    slug: &Slug,
    name: &str,
    zone: &Zone,
    at: Timestamp,
) -> Result<AccountId, DbErr> {
    let id = sequences::next(tx, Sequence::Account).await?;
    let row = account::Model {
        id,
        slug: slug.to_string(),
        name: name.to_owned(),
        time_zone: zone.name().to_owned(),
        fallback_url: None,
        last_seq: 0,
        created_at: at.0,
    };
    account::Entity::insert(row.into_active_model()).exec_without_returning(tx).await?;
    let record = AccountRecord { id: AccountId(id), slug: slug.to_string(), fallback_url: None };
    catalog::publish(tx, CatalogRecord::Account(record)).await?;
    Ok(AccountId(id))
}

/// Locks accounts until the transaction ends, in the order in which everybody does: nobody else changes their money or
/// rules meanwhile. An id that is no account's is passed over.
pub async fn lock(
    tx: &impl ConnectionTrait,
    accounts: impl IntoIterator<Item = AccountId>,
) -> Result<(), DbErr> {
    let ids: BTreeSet<i64> = accounts.into_iter().map(|account| account.0).collect();
    if ids.is_empty() {
        return Ok(());
    }
    account::Entity::find()
        .select_only()
        .column(account::Column::Id)
        .filter(account::Column::Id.is_in(ids))
        .order_by_asc(account::Column::Id)
        .lock_exclusive()
        .into_tuple::<i64>()
        .all(tx)
        .await?;
    Ok(())
}

/// Gives an account a host name under which its links and pixels live. `host`: lower case, without a port, and
/// nobody's now.
pub async fn add_domain(
    tx: &impl ConnectionTrait,
    account: AccountId,
    host: &str,
    cookie_domain: Option<&str>,
    at: Timestamp,
) -> Result<(), DbErr> {
    let row = domain::Model {
        host: host.to_owned(),
        account_id: account.0,
        cookie_domain: cookie_domain.map(str::to_owned),
        created_at: at.0,
        deleted_at: None,
    };
    let record = domain_record(&row);
    let mut removed = OnConflict::column(domain::Column::Host);
    removed
        .update_columns([
            domain::Column::AccountId,
            domain::Column::CookieDomain,
            domain::Column::CreatedAt,
            domain::Column::DeletedAt,
        ])
        .action_and_where(domain::Column::DeletedAt.is_not_null());
    let insert = domain::Entity::insert(row.into_active_model()).on_conflict(removed);
    if insert.exec_without_returning(tx).await? == 0 {
        return Err(DbErr::RecordNotInserted);
    }
    catalog::publish(tx, CatalogRecord::Domain(record)).await
}

/// Takes a host name from an account; `false` when it has none of that name.
pub async fn remove_domain(
    tx: &impl ConnectionTrait,
    account: AccountId,
    host: &str,
    at: Timestamp,
) -> Result<bool, DbErr> {
    let row = domain::Entity::find_by_id(host.to_owned())
        .filter(domain::Column::AccountId.eq(account.0))
        .filter(domain::Column::DeletedAt.is_null())
        .one(tx)
        .await?;
    let Some(row) = row else { return Ok(false) };
    let mut change = row.into_active_model();
    change.deleted_at = Set(Some(at.0));
    let row = change.update(tx).await?;
    catalog::publish(tx, CatalogRecord::Domain(domain_record(&row))).await?;
    Ok(true)
}

fn domain_record(row: &domain::Model) -> DomainRecord {
    DomainRecord {
        host: row.host.clone(),
        account: AccountId(row.account_id),
        cookie_domain: row.cookie_domain.clone(),
        deleted: row.deleted_at.is_some(),
    }
}

pub async fn find_by_slug(db: &impl ConnectionTrait, slug: &str) -> Result<Option<account::Model>, DbErr> {
    account::Entity::find().filter(account::Column::Slug.eq(slug)).one(db).await
}

/// All accounts, oldest first.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<account::Model>, DbErr> {
    account::Entity::find().order_by_asc(account::Column::Id).all(db).await
}
