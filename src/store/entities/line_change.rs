//! What happened to a commission line after it was made.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "line_changes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub line_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// From 1 in its seq.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    pub account_id: i64,
    pub at: i64,
    /// `approved`, `disapproved`, `pending`, `refunded`, `edited`, `conversion_edited`, `recalculated`.
    pub what: String,
    pub amount_before: i64,
    pub amount_after: i64,
    pub status_before: String,
    pub status_after: String,
    /// The codes of the rules that stopped the line; null where none did.
    pub reason_before: Option<String>,
    pub reason_after: Option<String>,
    pub refund_id: Option<Uuid>,
    /// The pricing before a recalculation; else null.
    pub pricing_before: Json,
    /// The line's sub amounts.
    pub sub_amount_before: Option<i64>,
    pub sub_amount_after: Option<i64>,
    /// What was left of its conversion then, where a refund or a correction changed the line.
    pub left_after: Option<i64>,
    pub comment: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
