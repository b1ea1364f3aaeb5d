//! The history of standings: the one at a time has the latest `starts_at` not after it, the later `seq` on a tie.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "standings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub affiliate_id: i64,
    /// 0: in every program.
    #[sea_orm(primary_key, auto_increment = false)]
    pub program_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub account_id: i64,
    pub starts_at: i64,
    pub standing: String,
}

impl ActiveModelBehavior for ActiveModel {}
