//! Accounts and their tracking domains.

use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};

use super::{
    catalog,
    entities::{account, domain},
    sequences::{self, Sequence},
};
use crate::{
    catalog::{AccountRecord, CatalogRecord, DomainRecord},
    domain::{
        ids::{AccountId, Slug},
        time::Timestamp,
    },
};

/// Makes an account and tells the edges.
pub async fn create(
    tx: &impl ConnectionTrait,
    slug: &Slug,
    name: &str,
    at: Timestamp,
) -> Result<AccountId, DbErr> {
    let id = sequences::next(tx, Sequence::Account).await?;
    let row = account::Model {
        id,
        slug: slug.to_string(),
        name: name.to_owned(),
        time_zone: "UTC".to_owned(),
        fallback_url: None,
        last_seq: 0,
        created_at: at.0,
    };
    account::Entity::insert(row.into_active_model()).exec_without_returning(tx).await?;
    let record = AccountRecord { id: AccountId(id), slug: slug.to_string(), fallback_url: None };
    catalog::publish(tx, CatalogRecord::Account(record)).await?;
    Ok(AccountId(id))
}

/// Gives an account a host name under which its links and pixels live. `host`: lower case, without a port.
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
    domain::Entity::insert(row.into_active_model()).exec_without_returning(tx).await?;
    let record = DomainRecord {
        host: host.to_owned(),
        account,
        cookie_domain: cookie_domain.map(str::to_owned),
        deleted: false,
    };
    catalog::publish(tx, CatalogRecord::Domain(record)).await
}

pub async fn find_by_slug(db: &impl ConnectionTrait, slug: &str) -> Result<Option<account::Model>, DbErr> {
    account::Entity::find().filter(account::Column::Slug.eq(slug)).one(db).await
}

/// All accounts, oldest first.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<account::Model>, DbErr> {
    account::Entity::find().order_by_asc(account::Column::Id).all(db).await
}
