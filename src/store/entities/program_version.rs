//! Every version of a program's settings; the one in force at a time has the latest `starts_at` not after it.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "program_versions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub program_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i32,
    pub account_id: i64,
    pub starts_at: i64,
    pub settings: Json,
    /// The journal's number of the command that wrote it.
    pub seq: i64,
}

impl ActiveModelBehavior for ActiveModel {}
