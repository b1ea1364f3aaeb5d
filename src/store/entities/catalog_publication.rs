//! How far the catalog was published on a topic, and which process may publish now.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "catalog_publications")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub topic: String,
    /// The cluster's id and the topic's own; empty: nothing was published yet.
    pub topic_id: String,
    /// The highest version that may be on the topic; written before it is sent.
    pub publishing: i64,
    /// The highest version that is on the topic.
    pub published: i64,
    /// Everything was published at least once.
    pub whole: bool,
    pub holder: Option<Uuid>,
    /// Until then nobody else publishes.
    pub held_until: i64,
}

impl ActiveModelBehavior for ActiveModel {}
