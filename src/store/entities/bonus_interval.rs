//! The bonus job's notebook: intervals in which something happened, and whether every affiliate in them is decided.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bonus_intervals")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub bonus_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub interval_start: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub interval_end: i64,
    pub program_id: i64,
    pub decided: bool,
    /// Where a command opened it last.
    pub opened_seq: i64,
}

impl ActiveModelBehavior for ActiveModel {}
