//! Accounts, keys, programs, affiliates, links, coupons, and what edges are told of them.

use sea_orm_migration::{prelude::*, schema::*};

use super::{create, index, unique};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_rules"
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
            .table("accounts")
            .col(big_integer("id"))
            .col(text("slug"))
            .col(text("name"))
            .col(text("time_zone"))
            .col(text_null("fallback_url"))
            .col(big_integer("last_seq"))
            .col(big_integer("created_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("domains")
            .col(text("host"))
            .col(big_integer("account_id"))
            .col(text_null("cookie_domain"))
            .col(big_integer("created_at"))
            .col(big_integer_null("deleted_at"))
            .primary_key(Index::create().col("host"))
            .to_owned(),
        Table::create()
            .table("api_keys")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(text("name"))
            .col(text("kind"))
            .col(text("prefix"))
            .col(text("hash"))
            .col(text("scopes"))
            .col(big_integer("created_at"))
            .col(big_integer_null("revoked_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("programs")
            .col(big_integer("id"))
            .col(big_integer("account_id"))
            .col(text("slug"))
            .col(text("currency"))
            .col(integer("version"))
            .col(json_binary("settings"))
            .col(text("pixel_secret"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .col(big_integer_null("deleted_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("program_versions")
            .col(big_integer("program_id"))
            .col(integer("version"))
            .col(big_integer("account_id"))
            .col(big_integer("starts_at"))
            .col(json_binary("settings"))
            .col(big_integer("seq"))
            .primary_key(Index::create().col("program_id").col("version"))
            .to_owned(),
        Table::create()
            .table("affiliates")
            .col(big_integer("id"))
            .col(big_integer("account_id"))
            .col(text("slug"))
            .col(text_null("email"))
            .col(text_null("first_name"))
            .col(text_null("last_name"))
            .col(text_null("company"))
            .col(json_binary("meta_data"))
            .col(boolean("suspended"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .col(big_integer_null("deleted_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("enrolments")
            .col(big_integer("program_id"))
            .col(big_integer("affiliate_id"))
            .col(big_integer("account_id"))
            .col(text("standing"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .primary_key(Index::create().col("program_id").col("affiliate_id"))
            .to_owned(),
        Table::create()
            .table("standings")
            .col(big_integer("affiliate_id"))
            .col(big_integer("program_id"))
            .col(big_integer("seq"))
            .col(big_integer("account_id"))
            .col(big_integer("starts_at"))
            .col(text("standing"))
            .primary_key(Index::create().col("affiliate_id").col("program_id").col("seq"))
            .to_owned(),
        Table::create()
            .table("links")
            .col(big_integer("id"))
            .col(uuid("uid"))
            .col(big_integer("account_id"))
            .col(big_integer("program_id"))
            .col(big_integer("affiliate_id"))
            .col(text("code"))
            .col(text_null("destination"))
            .col(text_null("source_id"))
            .col(text_null("asset_id"))
            .col(big_integer_null("expires_at"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .col(big_integer_null("deleted_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("coupons")
            .col(uuid("id"))
            .col(big_integer("account_id"))
            .col(big_integer("program_id"))
            .col(big_integer("affiliate_id"))
            .col(text("code"))
            .col(text("code_key"))
            .col(big_integer_null("starts_at"))
            .col(big_integer_null("ends_at"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .col(big_integer_null("deleted_at"))
            .primary_key(Index::create().col("id"))
            .to_owned(),
        Table::create()
            .table("catalog_records")
            .col(text("key"))
            .col(big_integer("version"))
            .col(json_binary("record"))
            .primary_key(Index::create().col("key"))
            .to_owned(),
        Table::create()
            .table("id_sequences")
            .col(text("name"))
            .col(big_integer("last"))
            .primary_key(Index::create().col("name"))
            .to_owned(),
        Table::create()
            .table("idempotency_keys")
            .col(big_integer("account_id"))
            .col(text("key"))
            .col(text("fingerprint"))
            .col(integer("status"))
            .col(text("body"))
            .col(big_integer("created_at"))
            .primary_key(Index::create().col("account_id").col("key"))
            .to_owned(),
    ]
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        unique("accounts", &["slug"]).to_owned(),
        index("domains", &["account_id"]).to_owned(),
        unique("api_keys", &["hash"]).to_owned(),
        index("api_keys", &["account_id", "id"]).to_owned(),
        unique("programs", &["account_id", "slug"]).to_owned(),
        index("program_versions", &["program_id", "starts_at"]).to_owned(),
        unique("affiliates", &["account_id", "slug"]).to_owned(),
        index("enrolments", &["affiliate_id"]).to_owned(),
        unique("links", &["account_id", "code"]).to_owned(),
        unique("links", &["uid"]).to_owned(),
        index("links", &["account_id", "id"]).to_owned(),
        index("links", &["account_id", "source_id", "asset_id"]).to_owned(),
        index("links", &["affiliate_id"]).to_owned(),
        index("links", &["program_id"]).to_owned(),
        // A deleted coupon frees its code.
        unique("coupons", &["account_id", "code_key"])
            .and_where(Expr::col("deleted_at").is_null())
            .to_owned(),
        index("coupons", &["account_id", "id"]).to_owned(),
        index("coupons", &["affiliate_id"]).to_owned(),
        index("coupons", &["program_id"]).to_owned(),
        index("catalog_records", &["version"]).to_owned(),
        index("idempotency_keys", &["created_at"]).to_owned(),
    ]
}
