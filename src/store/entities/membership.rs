//! The history of the groups an affiliate was in: one at a time.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "memberships")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub affiliate_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub account_id: i64,
    pub starts_at: i64,
    /// None: in no group from then on.
    pub group_id: Option<Uuid>,
}

impl ActiveModelBehavior for ActiveModel {}
