//! What a bonus has paid an affiliate for an interval.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bonus_awards")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub bonus_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub affiliate_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub interval_start: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub interval_end: i64,
    pub account_id: i64,
    /// The highest target that was paid for.
    pub target: i64,
    /// All that was awarded, in minor units of the program's currency.
    pub amount: i64,
    /// The last line; none while all that was reached is worth nothing.
    pub line_id: Option<Uuid>,
    /// Where it was awarded last.
    pub seq: i64,
}

impl ActiveModelBehavior for ActiveModel {}
