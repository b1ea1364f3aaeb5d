//! A program, with the settings now in force.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "programs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub account_id: i64,
    pub slug: String,
    pub currency: String,
    /// The number of the version now in force.
    pub version: i32,
    pub settings: Json,
    /// Signs the merchant's pixels; sealed, and never in the journal. Empty: none was made yet, so no signature is right.
    pub pixel_secret: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub deleted_at: Option<i64>,
    /// What measures are kept: `ledger::measures::Kept`.
    pub measured: Json,
}

impl ActiveModelBehavior for ActiveModel {}
