//! Where settlement stands in a partition of a topic.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "positions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub topic: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub partition: i32,
    /// The offset of the next event.
    pub next_offset: i64,
    /// The fingerprint of the record before it; none: nothing was read since the position was set.
    pub last: Option<Vec<u8>>,
}

impl ActiveModelBehavior for ActiveModel {}
