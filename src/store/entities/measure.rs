//! Sums that tiers and caps ask for, kept along with the lines they come from.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "measures")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub program_id: i64,
    /// 0: all affiliates of the program.
    #[sea_orm(primary_key, auto_increment = false)]
    pub affiliate_id: i64,
    /// `type:standard`, `cap`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    /// `domain::calendar::Period`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub period: String,
    /// When the period begins.
    #[sea_orm(primary_key, auto_increment = false)]
    pub starts_at: i64,
    /// Of the amounts' currency to the program's, per minor unit, as a fraction.
    #[sea_orm(primary_key, auto_increment = false)]
    pub rate: String,
    pub account_id: i64,
    pub count: i64,
    /// Minor units before the rate.
    pub amount: i64,
}

impl ActiveModelBehavior for ActiveModel {}
