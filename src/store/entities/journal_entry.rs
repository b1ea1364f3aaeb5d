//! The ordered record of everything that changed money.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "journal")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub at: i64,
    pub command: Json,
    /// What the command found outside of the ledger: `ledger::journal::LookedUp`.
    pub looked_up: Json,
}

impl ActiveModelBehavior for ActiveModel {}
