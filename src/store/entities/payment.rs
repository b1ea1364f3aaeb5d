//! Money that was sent, or is to be sent, to an affiliate.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payments")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: i64,
    pub affiliate_id: i64,
    /// `payment`, `payout`.
    pub kind: String,
    /// Of a payment `recorded`, `cancelled`; of a payout `created`, `paid`, `failed`, `cancelled`.
    pub status: String,
    pub currency: String,
    pub amount: i64,
    pub comment: Option<String>,
    pub created_at: i64,
    pub created_seq: i64,
    pub updated_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
