//! Customers, conversions, commissions and the ledger.

use sea_orm_migration::{prelude::*, schema::*};

use super::{create, index, sum, unique};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_money"
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
            .table("customers")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(big_integer("program_id"))
            .col(text("customer_id"))
            .col(big_integer("affiliate_id"))
            .col(big_integer_null("link_id"))
            .col(big_integer("created_at"))
            .col(big_integer("created_seq"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("conversions")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(big_integer("arrived_seq"))
            .col(big_integer_null("seq"))
            .col(text("status"))
            .col(text("kind"))
            .col(uuid("event_id"))
            .col(text("fingerprint"))
            .col(big_integer_null("program_id"))
            .col(big_integer_null("affiliate_id"))
            .col(big_integer_null("link_id"))
            .col(uuid_null("customer_id"))
            .col(uuid_null("click_id"))
            .col(text_null("external_id"))
            .col(big_integer("amount"))
            .col(big_integer("refunded"))
            .col(text_null("currency"))
            .col(big_integer("occurred_at"))
            .col(big_integer("received_at"))
            .col(big_integer_null("settled_at"))
            .col(text_null("waits_for"))
            .col(big_integer_null("waits_until"))
            .col(text_null("resolved_by"))
            .col(json_binary("warnings"))
            .col(boolean("review"))
            .col(json_binary("attribution"))
            .col(json_binary("input"))
            .col(text_null("edge"))
            .col(uuid_null("boot"))
            .col(text_null("stream"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("claims")
            .col(big_integer("account_id"))
            .col(text("claim"))
            .col(uuid("holder"))
            .col(text("fingerprint"))
            .primary_key(Index::create().col("account_id").col("claim"))
            .to_owned(),
        Table::create()
            .table("commission_lines")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(uuid_null("conversion_id"))
            .col(big_integer("program_id"))
            .col(big_integer("affiliate_id"))
            .col(integer("number"))
            .col(text("kind"))
            .col(text("commission_type"))
            .col(big_integer("amount"))
            .col(big_integer("sub_amount"))
            .col(text("currency"))
            .col(text("status"))
            .col(text_null("reason"))
            .col(boolean("earned"))
            .col(text_null("comment"))
            .col(json_binary("pricing"))
            .col(big_integer("occurred_at"))
            .col(big_integer_null("approved_at"))
            .col(big_integer_null("final_at"))
            .col(big_integer("created_at"))
            .col(big_integer("created_seq"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("line_changes")
            .col(uuid("line_id"))
            .col(big_integer("seq"))
            .col(integer("number"))
            .col(big_integer("account_id"))
            .col(big_integer("at"))
            .col(text("what"))
            .col(big_integer("amount_before"))
            .col(big_integer("amount_after"))
            .col(text("status_before"))
            .col(text("status_after"))
            .col(uuid_null("refund_id"))
            .primary_key(Index::create().col("line_id").col("seq").col("number"))
            .to_owned(),
        Table::create()
            .table("refunds")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(big_integer("arrived_seq"))
            .col(big_integer_null("seq"))
            .col(text("status"))
            .col(uuid("event_id"))
            .col(text("fingerprint"))
            .col(text_null("external_id"))
            .col(uuid_null("conversion_id"))
            .col(text_null("awaited_claim"))
            .col(big_integer("amount"))
            .col(text_null("reason"))
            .col(big_integer("received_at"))
            .col(big_integer_null("settled_at"))
            .col(big_integer_null("waits_until"))
            .col(json_binary("input"))
            .col(text_null("edge"))
            .col(uuid_null("boot"))
            .col(text_null("stream"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("journal")
            .col(big_integer("account_id"))
            .col(big_integer("seq"))
            .col(big_integer("at"))
            .col(json_binary("command"))
            .primary_key(Index::create().col("account_id").col("seq"))
            .to_owned(),
        Table::create()
            .table("postings")
            .col(big_integer("account_id"))
            .col(big_integer("seq"))
            .col(integer("number"))
            .col(big_integer("affiliate_id"))
            .col(text("ledger_account"))
            .col(text("currency"))
            .col(big_integer("amount"))
            .col(uuid_null("line_id"))
            .col(text("event"))
            .col(big_integer("at"))
            .primary_key(Index::create().col("account_id").col("seq").col("number"))
            .to_owned(),
        Table::create()
            .table("balances")
            .col(big_integer("account_id"))
            .col(big_integer("affiliate_id"))
            .col(text("currency"))
            .col(text("ledger_account"))
            .col(sum("amount"))
            .primary_key(
                Index::create().col("account_id").col("affiliate_id").col("currency").col("ledger_account"),
            )
            .to_owned(),
    ]
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        unique("customers", &["program_id", "customer_id"]).to_owned(),
        index("customers", &["account_id", "id"]).to_owned(),
        index("customers", &["account_id", "customer_id"]).to_owned(),
        index("conversions", &["account_id", "id"]).to_owned(),
        index("conversions", &["account_id", "status", "id"]).to_owned(),
        index("conversions", &["program_id", "kind", "external_id"]).to_owned(),
        // Repeats among held ones.
        index("conversions", &["account_id", "event_id"]).to_owned(),
        index("conversions", &["account_id", "external_id"]).to_owned(),
        index("conversions", &["account_id", "occurred_at"]).to_owned(),
        index("conversions", &["status", "received_at"]).to_owned(),
        index("conversions", &["account_id", "arrived_seq"])
            .and_where(Expr::col("waits_until").is_not_null())
            .to_owned(),
        index("conversions", &["affiliate_id", "id"]).to_owned(),
        index("claims", &["holder"]).to_owned(),
        index("commission_lines", &["account_id", "id"]).to_owned(),
        index("commission_lines", &["account_id", "occurred_at"]).to_owned(),
        index("commission_lines", &["conversion_id"]).to_owned(),
        index("commission_lines", &["affiliate_id", "id"]).to_owned(),
        index("refunds", &["conversion_id"]).to_owned(),
        index("refunds", &["awaited_claim"]).to_owned(),
        index("refunds", &["account_id", "id"]).to_owned(),
        index("refunds", &["status", "received_at"]).to_owned(),
        index("refunds", &["waits_until"]).to_owned(),
        index("postings", &["line_id"]).to_owned(),
        index("postings", &["affiliate_id", "seq"]).to_owned(),
    ]
}
