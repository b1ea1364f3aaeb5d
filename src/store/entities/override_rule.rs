//! A price of one affiliate or group that goes before that of the commission type or level, as it is now.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "overrides")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: i64,
    pub program_id: i64,
    pub affiliate_id: Option<i64>,
    pub group_id: Option<Uuid>,
    pub commission_type: Option<String>,
    pub level: Option<i32>,
    /// `affiliate:7/type:standard`, `group:018f…/level:2`.
    pub subject: String,
    pub version: i32,
    /// `domain::price::OverrideRule`; null once it was removed.
    pub rule: Json,
    pub created_at: i64,
    pub updated_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
