//! Clicks, their counts, and what settlement knows of the event log.

use sea_orm_migration::{prelude::*, schema::*};

use super::{create, index};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_events"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, tables(), indexes()).await
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table("clicks")
            .col(integer("day"))
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(big_integer("link_id"))
            .col(big_integer("program_id"))
            .col(big_integer("affiliate_id"))
            .col(text("class"))
            .col(boolean("attributable"))
            .col(boolean("review"))
            .col(big_integer("clicked_at"))
            .col(text_null("ip_prefix"))
            .col(text_null("visitor"))
            .col(text_null("user_agent"))
            .col(text("device"))
            .col(text("os"))
            .col(text("browser"))
            .col(text_null("country"))
            .col(big_integer_null("network"))
            .col(text_null("referrer"))
            .col(text_null("source_id"))
            .col(text_null("asset_id"))
            .col(text_null("tracking_id"))
            .col(json_binary("details"))
            .col(uuid_null("duplicate_of"))
            .primary_key(Index::create().col("day").col("id"))
            .to_owned(),
        Table::create()
            .table("click_rollups")
            .col(big_integer("link_id"))
            .col(integer("day"))
            .col(text("class"))
            .col(text("country"))
            .col(text("device"))
            .col(integer("partition"))
            .col(big_integer("account_id"))
            .col(big_integer("program_id"))
            .col(big_integer("affiliate_id"))
            .col(big_integer("clicks"))
            .primary_key(
                Index::create()
                    .col("link_id")
                    .col("day")
                    .col("class")
                    .col("country")
                    .col("device")
                    .col("partition"),
            )
            .to_owned(),
        Table::create()
            .table("positions")
            .col(text("topic"))
            .col(integer("partition"))
            .col(big_integer("next_offset"))
            .col(binary_null("last"))
            .primary_key(Index::create().col("topic").col("partition"))
            .to_owned(),
        Table::create()
            .table("seen_ranges")
            .col(text("edge"))
            .col(uuid("boot"))
            .col(text("stream"))
            .col(big_integer("first"))
            .col(big_integer("last"))
            .primary_key(Index::create().col("edge").col("boot").col("stream").col("first"))
            .to_owned(),
        Table::create()
            .table("stream_outcomes")
            .col(text("edge"))
            .col(uuid("boot"))
            .col(text("stream"))
            .col(text("outcome"))
            .col(big_integer("events"))
            .col(big_integer("last_at"))
            .primary_key(Index::create().col("edge").col("boot").col("stream").col("outcome"))
            .to_owned(),
        Table::create()
            .table("rejected_events")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(uuid("event_id"))
            .col(text("kind"))
            .col(text("reason"))
            .col(text_null("detail"))
            .col(json_binary("warnings"))
            // As text: what was refused for a character that the database cannot hold is kept all the same.
            .col(text("event"))
            .col(big_integer("received_at"))
            .col(big_integer("rejected_at"))
            .col(big_integer_null("retried_at"))
            .col(text_null("edge"))
            .col(uuid_null("boot"))
            .col(text_null("stream"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
    ]
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        index("clicks", &["account_id", "id"]).to_owned(),
        index("clicks", &["account_id", "tracking_id", "clicked_at"])
            .and_where(Expr::col("tracking_id").is_not_null())
            .to_owned(),
        index("click_rollups", &["account_id", "day"]).to_owned(),
        index("rejected_events", &["account_id", "id"]).to_owned(),
    ]
}
