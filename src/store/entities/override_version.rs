//! What an override said from a time on.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "override_versions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub override_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i32,
    pub account_id: i64,
    pub starts_at: i64,
    /// Null: removed from then on.
    pub rule: Json,
    pub seq: i64,
}

impl ActiveModelBehavior for ActiveModel {}
