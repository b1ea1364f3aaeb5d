//! Numbers of an edge's stream that settlement has seen, as ranges that do not touch.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "seen_ranges")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub edge: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub boot: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub stream: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub first: i64,
    /// Included.
    pub last: i64,
}

impl ActiveModelBehavior for ActiveModel {}
