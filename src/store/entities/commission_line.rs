//! What an affiliate earns by a conversion.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "commission_lines")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: i64,
    pub conversion_id: Option<Uuid>,
    pub program_id: i64,
    pub affiliate_id: i64,
    /// Place in its conversion, of a bonus among those that its command awarded, from 1.
    pub number: i32,
    /// `regular`.
    pub kind: String,
    pub commission_type: String,
    /// Minor units of `currency`.
    pub amount: i64,
    pub sub_amount: i64,
    pub currency: String,
    /// `pending`, `approved`, `disapproved`.
    pub status: String,
    pub reason: Option<String>,
    pub earned: bool,
    pub comment: Option<String>,
    /// The price as it was worked out: rule, version, original sub amount.
    pub pricing: Json,
    pub occurred_at: i64,
    pub approved_at: Option<i64>,
    /// From then on it may be withdrawn.
    pub final_at: Option<i64>,
    pub created_at: i64,
    pub created_seq: i64,
    /// The entry of its conversion that it is for, from 1.
    pub entry: i32,
    /// 1: regular; from 2 the upline's.
    pub level: i32,
    /// Its type counts for the customer's `recurring_cap`.
    pub counts_towards_cap: bool,
    /// Set by hand, or left when its conversion was edited: the amount from which refunds are taken.
    pub set_amount: Option<i64>,
    /// What was left of the conversion then.
    pub set_left: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
