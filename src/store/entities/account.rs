//! A merchant.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub slug: String,
    pub name: String,
    /// IANA name, as `domain::calendar::Zone` reads it; calendar days and periods are cut in it. Never changed.
    pub time_zone: String,
    /// Where an unknown code leads.
    pub fallback_url: Option<String>,
    /// The last number of the account's journal.
    pub last_seq: i64,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
