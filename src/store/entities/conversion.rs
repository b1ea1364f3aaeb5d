//! A reported lead, appointment or sale that was taken.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "conversions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: i64,
    /// The journal's number with which it came in: the order of arrival.
    pub arrived_seq: i64,
    /// The journal's number with which it settled; none while it waits.
    pub seq: Option<i64>,
    /// `settled`, `pending`, `held`, `declined`, `replaced`, `rejected` (waited in vain),
    /// `deleted`.
    pub status: String,
    pub kind: String,
    pub event_id: Uuid,
    pub fingerprint: String,
    pub program_id: Option<i64>,
    pub affiliate_id: Option<i64>,
    pub link_id: Option<i64>,
    pub customer_id: Option<Uuid>,
    pub click_id: Option<Uuid>,
    pub external_id: Option<String>,
    /// Minor units of `currency`.
    pub amount: i64,
    pub refunded: i64,
    pub currency: Option<String>,
    pub occurred_at: i64,
    pub received_at: i64,
    pub settled_at: Option<i64>,
    /// What a pending one waits for, and until when.
    pub waits_for: Option<String>,
    pub waits_until: Option<i64>,
    /// The input that resolved.
    pub resolved_by: Option<String>,
    pub warnings: Json,
    /// Sent to review by its click.
    pub review: bool,
    /// Clicks and inputs as attribution saw them.
    pub attribution: Json,
    /// The event's body.
    pub input: Json,
    /// Where it was taken; none over REST.
    pub edge: Option<String>,
    pub boot: Option<Uuid>,
    pub stream: Option<String>,
    /// `domain::pricing::Entry`, before any refund.
    pub entries: Json,
    /// `domain::rates::StoredRate`; null in the program's currency.
    pub rate: Json,
    /// Nothing is left of it; one of amount 0 was refunded.
    pub refunded_whole: bool,
    pub deleted_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
