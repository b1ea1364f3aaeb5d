//! One side of a double entry: debits above zero, credits below; the postings of a seq add up to 0.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "postings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// From 1 in its seq.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    /// 0: the account's own (expense, cash).
    pub affiliate_id: i64,
    pub ledger_account: String,
    pub currency: String,
    pub amount: i64,
    pub line_id: Option<Uuid>,
    /// `earned`, `approved`, `refunded`, …
    pub event: String,
    pub at: i64,
    /// The payment or payout that caused it.
    pub payment_id: Option<Uuid>,
}

impl ActiveModelBehavior for ActiveModel {}
