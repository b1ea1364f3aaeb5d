//! One unit of `base` is `rate` units of `quote`.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "exchange_rates")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub base: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub quote: String,
    /// Days since 1970.
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: i32,
    /// Times 10^8.
    pub rate: i64,
    pub loaded_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
