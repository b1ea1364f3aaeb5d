//! A followed link.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clicks")]
pub struct Model {
    /// Days since 1970-01-01 in UTC, from the click id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: i64,
    pub link_id: i64,
    pub program_id: i64,
    pub affiliate_id: i64,
    pub class: String,
    pub attributable: bool,
    pub review: bool,
    pub clicked_at: i64,
    pub ip_prefix: Option<String>,
    pub visitor: Option<String>,
    pub user_agent: Option<String>,
    pub device: String,
    pub os: String,
    pub browser: String,
    pub country: Option<String>,
    pub network: Option<i64>,
    pub referrer: Option<String>,
    pub source_id: Option<String>,
    pub asset_id: Option<String>,
    pub tracking_id: Option<String>,
    /// The five sub ids, deep link, meta data: what is only shown.
    pub details: Json,
    pub duplicate_of: Option<Uuid>,
}

impl ActiveModelBehavior for ActiveModel {}
