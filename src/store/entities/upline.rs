//! The history of the parents of an affiliate.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "uplines")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub affiliate_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub account_id: i64,
    pub starts_at: i64,
    /// None: without a parent from then on.
    pub parent_id: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
