//! Money that went back to the buyer.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refunds")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: i64,
    /// The journal's number with which it came in: the order of arrival.
    pub arrived_seq: i64,
    pub seq: Option<i64>,
    /// `settled`, `pending`, or `rejected` (waited in vain).
    pub status: String,
    pub event_id: Uuid,
    pub fingerprint: String,
    pub external_id: Option<String>,
    pub conversion_id: Option<Uuid>,
    /// The claim under which its conversion will be known; set while it waits for one.
    pub awaited_claim: Option<String>,
    pub amount: i64,
    pub reason: Option<String>,
    pub received_at: i64,
    pub settled_at: Option<i64>,
    pub waits_until: Option<i64>,
    pub input: Json,
    pub edge: Option<String>,
    pub boot: Option<Uuid>,
    pub stream: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
