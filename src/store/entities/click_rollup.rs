//! Clicks counted per day; statistics are read from here.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "click_rollups")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub link_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub class: String,
    /// Empty: unknown.
    #[sea_orm(primary_key, auto_increment = false)]
    pub country: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub device: String,
    /// Partition of the topic: consumers never meet on a row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub partition: i32,
    pub account_id: i64,
    pub program_id: i64,
    pub affiliate_id: i64,
    pub clicks: i64,
}

impl ActiveModelBehavior for ActiveModel {}
