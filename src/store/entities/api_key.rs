//! An API key, known by its hash only.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: i64,
    pub name: String,
    /// `secret` or `publishable`.
    pub kind: String,
    /// The first characters, by which people tell keys apart.
    pub prefix: String,
    /// BLAKE3 of the key, 64 hex digits.
    pub hash: String,
    /// Scopes separated by a space.
    pub scopes: String,
    pub created_at: i64,
    pub revoked_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
