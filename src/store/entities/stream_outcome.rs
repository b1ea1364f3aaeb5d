//! How many events of an edge's stream ended how.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stream_outcomes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub edge: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub boot: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub stream: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub outcome: String,
    pub events: i64,
    /// When the latest of them was received.
    pub last_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
