//! The whole engine: groups, uplines, overrides, bonuses, exchange rates, kept measures, payments, corrections.

use sea_orm_migration::{prelude::*, schema::*};

use super::{add, create, index, sum, unique};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_engine"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, columns) in columns() {
            add(manager, table, columns).await?;
        }
        create(manager, tables(), indexes()).await?;
        // A row that is there can be locked: `sequences::hold`.
        let first = "INSERT INTO id_sequences (name, last) VALUES ('rate_load', 0)";
        manager.get_connection().execute_unprepared(first).await?;
        Ok(())
    }
}

/// What is added to tables that are there. Every row that is older gets the default.
fn columns() -> Vec<(&'static str, Vec<ColumnDef>)> {
    vec![
        ("programs", vec![json_binary("measured").default("[]").take()]),
        (
            "customers",
            vec![
                text("track").default("new").take(),
                boolean("moved_on").default(false).take(),
                boolean("canceled").default(false).take(),
                big_integer_null("first_at").take(),
            ],
        ),
        (
            "conversions",
            vec![
                json_binary("entries").default("[]").take(),
                json_binary("rate").default("null").take(),
                boolean("refunded_whole").default(false).take(),
                big_integer_null("deleted_at").take(),
            ],
        ),
        (
            "commission_lines",
            vec![
                integer("entry").default(1).take(),
                integer("level").default(1).take(),
                boolean("counts_towards_cap").default(false).take(),
                big_integer_null("set_amount").take(),
                big_integer_null("set_left").take(),
            ],
        ),
        (
            "line_changes",
            vec![
                json_binary("pricing_before").default("null").take(),
                text_null("reason_before").take(),
                text_null("reason_after").take(),
                big_integer_null("sub_amount_before").take(),
                big_integer_null("sub_amount_after").take(),
                big_integer_null("left_after").take(),
                text_null("comment").take(),
            ],
        ),
        ("journal", vec![json_binary("looked_up").default("null").take()]),
        ("postings", vec![uuid_null("payment_id").take()]),
    ]
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table("affiliate_groups")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(text("slug"))
            .col(text("title"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .col(big_integer_null("deleted_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("memberships")
            .col(big_integer("affiliate_id"))
            .col(big_integer("seq"))
            .col(big_integer("account_id"))
            .col(big_integer("starts_at"))
            .col(uuid_null("group_id"))
            .primary_key(Index::create().col("affiliate_id").col("seq"))
            .to_owned(),
        Table::create()
            .table("uplines")
            .col(big_integer("affiliate_id"))
            .col(big_integer("seq"))
            .col(big_integer("account_id"))
            .col(big_integer("starts_at"))
            .col(big_integer_null("parent_id"))
            .primary_key(Index::create().col("affiliate_id").col("seq"))
            .to_owned(),
        Table::create()
            .table("overrides")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(big_integer("program_id"))
            .col(big_integer_null("affiliate_id"))
            .col(uuid_null("group_id"))
            .col(text_null("commission_type"))
            .col(integer_null("level"))
            // The same four as one text: one override for each.
            .col(text("subject"))
            .col(integer("version"))
            .col(json_binary("rule"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("override_versions")
            .col(uuid("override_id"))
            .col(integer("version"))
            .col(big_integer("account_id"))
            .col(big_integer("starts_at"))
            .col(json_binary("rule"))
            .col(big_integer("seq"))
            .primary_key(Index::create().col("override_id").col("version"))
            .to_owned(),
        Table::create()
            .table("bonuses")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(big_integer("program_id"))
            .col(text("identifier"))
            .col(integer("version"))
            .col(json_binary("settings"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .col(big_integer_null("deleted_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("bonus_versions")
            .col(uuid("bonus_id"))
            .col(integer("version"))
            .col(big_integer("account_id"))
            .col(big_integer("starts_at"))
            .col(json_binary("settings"))
            .col(big_integer("seq"))
            .primary_key(Index::create().col("bonus_id").col("version"))
            .to_owned(),
        Table::create()
            .table("bonus_awards")
            .col(uuid("bonus_id"))
            .col(big_integer("affiliate_id"))
            .col(big_integer("interval_start"))
            .col(big_integer("interval_end"))
            .col(big_integer("account_id"))
            .col(big_integer("target"))
            .col(big_integer("amount"))
            .col(uuid_null("line_id"))
            .col(big_integer("seq"))
            .primary_key(
                Index::create().col("bonus_id").col("affiliate_id").col("interval_start").col("interval_end"),
            )
            .to_owned(),
        // What the job has looked at; no money depends on it.
        Table::create()
            .table("bonus_intervals")
            .col(uuid("bonus_id"))
            .col(big_integer("interval_start"))
            .col(big_integer("interval_end"))
            .col(big_integer("program_id"))
            .col(boolean("decided"))
            .col(big_integer("opened_seq"))
            .primary_key(Index::create().col("bonus_id").col("interval_start").col("interval_end"))
            .to_owned(),
        Table::create()
            .table("measures")
            .col(big_integer("program_id"))
            .col(big_integer("affiliate_id"))
            .col(text("subject"))
            .col(text("period"))
            .col(big_integer("starts_at"))
            .col(text("rate"))
            .col(big_integer("account_id"))
            .col(big_integer("count"))
            .col(sum("amount"))
            .primary_key(
                Index::create()
                    .col("program_id")
                    .col("affiliate_id")
                    .col("subject")
                    .col("period")
                    .col("starts_at")
                    .col("rate"),
            )
            .to_owned(),
        Table::create()
            .table("customer_counts")
            .col(uuid("customer_id"))
            .col(text("subject"))
            .col(big_integer("account_id"))
            .col(big_integer("conversions"))
            .primary_key(Index::create().col("customer_id").col("subject"))
            .to_owned(),
        Table::create()
            .table("cancellations")
            .col(uuid("customer_id"))
            .col(big_integer("seq"))
            .col(big_integer("account_id"))
            .col(big_integer("starts_at"))
            .col(boolean("canceled"))
            .primary_key(Index::create().col("customer_id").col("seq"))
            .to_owned(),
        Table::create()
            .table("exchange_rates")
            .col(text("base"))
            .col(text("quote"))
            .col(integer("day"))
            .col(big_integer("rate"))
            .col(big_integer("loaded_at"))
            .primary_key(Index::create().col("base").col("quote").col("day"))
            .to_owned(),
        Table::create()
            .table("payments")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(big_integer("affiliate_id"))
            .col(text("kind"))
            .col(text("status"))
            .col(text("currency"))
            .col(big_integer("amount"))
            .col(text_null("comment"))
            .col(big_integer("created_at"))
            .col(big_integer("created_seq"))
            .col(big_integer("updated_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("payout_minimums")
            .col(big_integer("account_id"))
            .col(text("currency"))
            .col(big_integer("amount"))
            .col(big_integer("updated_at"))
            .primary_key(Index::create().col("account_id").col("currency"))
            .to_owned(),
    ]
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        // A deleted group frees its slug.
        unique("affiliate_groups", &["account_id", "slug"])
            .and_where(Expr::col("deleted_at").is_null())
            .to_owned(),
        index("memberships", &["group_id"]).to_owned(),
        index("uplines", &["parent_id"]).to_owned(),
        unique("overrides", &["program_id", "subject"]).to_owned(),
        index("overrides", &["account_id", "id"]).to_owned(),
        index("override_versions", &["override_id", "starts_at"]).to_owned(),
        unique("bonuses", &["program_id", "identifier"])
            .and_where(Expr::col("deleted_at").is_null())
            .to_owned(),
        index("bonuses", &["account_id", "id"]).to_owned(),
        index("bonuses", &["program_id"]).to_owned(),
        index("bonus_versions", &["bonus_id", "starts_at"]).to_owned(),
        index("bonus_awards", &["affiliate_id"]).to_owned(),
        index("bonus_intervals", &["decided", "interval_end"]).to_owned(),
        index("bonus_intervals", &["program_id"]).to_owned(),
        index("exchange_rates", &["day"]).to_owned(),
        index("payments", &["account_id", "id"]).to_owned(),
        index("payments", &["affiliate_id", "currency"]).to_owned(),
        index("postings", &["payment_id"]).and_where(Expr::col("payment_id").is_not_null()).to_owned(),
        index("conversions", &["customer_id", "seq"]).to_owned(),
        index("conversions", &["waits_for", "account_id", "arrived_seq"])
            .and_where(Expr::col("waits_for").is_not_null())
            .to_owned(),
        index("conversions", &["program_id", "affiliate_id", "occurred_at"]).to_owned(),
        index("commission_lines", &["program_id", "affiliate_id", "occurred_at"]).to_owned(),
        index("commission_lines", &["affiliate_id", "currency", "final_at"]).to_owned(),
    ]
}
