//! The buyer as the merchant knows them, bound to an affiliate.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "customers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: i64,
    pub program_id: i64,
    /// The merchant's id.
    pub customer_id: String,
    pub affiliate_id: i64,
    pub link_id: Option<i64>,
    pub created_at: i64,
    pub created_seq: i64,
    /// `trial`, `lead` or `new`: where it begins.
    pub track: String,
    /// It has had a conversion with an amount above 0.
    pub moved_on: bool,
    pub canceled: bool,
    /// When the first of its conversions that settled happened.
    pub first_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
