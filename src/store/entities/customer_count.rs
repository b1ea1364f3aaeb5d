//! How many conversions of a customer earned what recurrence looks at.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "customer_counts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub customer_id: Uuid,
    /// `type:standard`, `cap`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    pub account_id: i64,
    pub conversions: i64,
}

impl ActiveModelBehavior for ActiveModel {}
