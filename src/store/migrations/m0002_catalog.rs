//! How far the catalog was published, per topic.

use sea_orm_migration::{prelude::*, schema::*};

use super::create;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_catalog"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let publications = Table::create()
            .table("catalog_publications")
            .col(text("topic"))
            .col(text("topic_id"))
            .col(big_integer("publishing"))
            .col(big_integer("published"))
            .col(boolean("whole"))
            .col(uuid_null("holder"))
            .col(big_integer("held_until"))
            .primary_key(Index::create().col("topic"))
            .to_owned();
        create(manager, vec![publications], Vec::new()).await
    }
}
