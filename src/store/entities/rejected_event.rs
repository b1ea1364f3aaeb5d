//! A conversion or refund that was not taken, with the reason.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rejected_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: i64,
    pub event_id: Uuid,
    pub kind: String,
    pub reason: String,
    /// What a reader needs to repair it.
    pub detail: Option<String>,
    pub warnings: Json,
    /// JSON as text: it may hold what a database's JSON cannot.
    pub event: String,
    pub received_at: i64,
    pub rejected_at: i64,
    /// When it was sent again with success.
    pub retried_at: Option<i64>,
    pub edge: Option<String>,
    pub boot: Option<Uuid>,
    pub stream: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
