//! An event id or external id that is taken.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "claims")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: i64,
    /// 32 hex digits of BLAKE3 over what is claimed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub claim: String,
    /// The conversion or refund that holds it.
    pub holder: Uuid,
    pub fingerprint: String,
}

impl ActiveModelBehavior for ActiveModel {}
