//! A referral code of one affiliate in one program.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "links")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// Known outside as `lnk_…`.
    pub uid: Uuid,
    pub account_id: i64,
    pub program_id: i64,
    pub affiliate_id: i64,
    /// Unique in the account, also among deleted links: a code never changes hands.
    pub code: String,
    pub destination: Option<String>,
    pub source_id: Option<String>,
    pub asset_id: Option<String>,
    pub expires_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
    pub deleted_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
