//! API keys: made once, shown once, kept as a hash.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, Set,
};
use uuid::Uuid;

use super::{catalog, entities::api_key};
use crate::{
    catalog::{CatalogRecord, KeyKind, KeyRecord, Scope},
    domain::{ids::AccountId, time::Timestamp},
};

/// Characters of a key that may be shown to tell keys apart.
const SHOWN: usize = 14;

/// A key at the only moment when its text is known.
pub struct NewKey {
    pub id: Uuid,
    /// `wp_sk_…` or `wp_pk_…` and 52 characters of 32 random bytes. Secret.
    pub text: String,
    pub prefix: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// What is stored of a key: BLAKE3 of its text. The text has 256 random bits, so no slow hash is needed.
pub fn hash(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// 256 random bits as 52 characters `a-z2-7`.
pub fn random_secret() -> Result<String, DbErr> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(|error| DbErr::Custom(format!("no randomness: {error}")))?;
    Ok(BASE32_NOPAD.encode(&random).to_ascii_lowercase())
}

/// Makes a key, stores its hash and tells the edges.
pub async fn create(
    tx: &impl ConnectionTrait,
    account: AccountId,
    name: &str,
    kind: KeyKind,
    scopes: &[Scope],
    at: Timestamp,
) -> Result<NewKey, DbErr> {
    let label = match kind {
        KeyKind::Secret => "wp_sk_",
        KeyKind::Publishable => "wp_pk_",
    };
    let text = format!("{label}{}", random_secret()?);
    let key = NewKey { id: Uuid::now_v7(), prefix: text[..SHOWN].to_owned(), text };
    let row = api_key::Model {
        id: key.id,
        account_id: account.0,
        name: name.to_owned(),
        kind: kind.as_str().to_owned(),
        prefix: key.prefix.clone(),
        hash: HEXLOWER.encode(&hash(&key.text)),
        scopes: scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "),
        created_at: at.0,
        revoked_at: None,
    };
    let record = record(&row)?;
    api_key::Entity::insert(row.into_active_model()).exec_without_returning(tx).await?;
    catalog::publish(tx, CatalogRecord::Key(record)).await?;
    Ok(key)
}

/// Revokes a key; `false` when the account has none of that id. Revoking twice is no error.
pub async fn revoke(
    tx: &impl ConnectionTrait,
    account: AccountId,
    id: Uuid,
    at: Timestamp,
) -> Result<bool, DbErr> {
    let row =
        api_key::Entity::find_by_id(id).filter(api_key::Column::AccountId.eq(account.0)).one(tx).await?;
    let Some(mut row) = row else { return Ok(false) };
    if row.revoked_at.is_none() {
        row.revoked_at = Some(at.0);
        let mut change = row.clone().into_active_model();
        change.revoked_at = Set(row.revoked_at);
        change.update(tx).await?;
        catalog::publish(tx, CatalogRecord::Key(record(&row)?)).await?;
    }
    Ok(true)
}

/// The keys of an account, oldest first.
pub async fn list(db: &impl ConnectionTrait, account: AccountId) -> Result<Vec<api_key::Model>, DbErr> {
    api_key::Entity::find()
        .filter(api_key::Column::AccountId.eq(account.0))
        .order_by_asc(api_key::Column::Id)
        .all(db)
        .await
}

/// The key with this hash, revoked ones included.
pub async fn find(db: &impl ConnectionTrait, hash: &[u8; 32]) -> Result<Option<api_key::Model>, DbErr> {
    api_key::Entity::find().filter(api_key::Column::Hash.eq(HEXLOWER.encode(hash))).one(db).await
}

/// A stored key as edges know it.
pub fn record(row: &api_key::Model) -> Result<KeyRecord, DbErr> {
    let kind = match row.kind.as_str() {
        "secret" => KeyKind::Secret,
        "publishable" => KeyKind::Publishable,
        other => return Err(DbErr::Custom(format!("unknown kind of key {other}"))),
    };
    Ok(KeyRecord {
        hash: row.hash.clone(),
        account: AccountId(row.account_id),
        kind,
        scopes: row.scopes.split_whitespace().filter_map(Scope::parse).collect(),
        revoked: row.revoked_at.is_some(),
    })
}
