//! The schema, one migration after another; what has shipped is never changed.

use sea_orm::{ConnectionTrait, DbBackend};
use sea_orm_migration::{prelude::*, schema::big_integer};

mod m0001_events;
mod m0001_money;
mod m0001_rules;
mod m0002_catalog;
mod m0003_engine;

/// Tables of which PostgreSQL keeps each day apart: see `store::partitions`.
const PARTITIONED_BY_DAY: [&str; 1] = ["clicks"];

#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_rules::Migration),
            Box::new(m0001_events::Migration),
            Box::new(m0001_money::Migration),
            Box::new(m0002_catalog::Migration),
            Box::new(m0003_engine::Migration),
        ]
    }
}

/// Makes tables and their indexes; what is particular to a database stands here.
async fn create(
    manager: &SchemaManager<'_>,
    tables: Vec<TableCreateStatement>,
    indexes: Vec<IndexCreateStatement>,
) -> Result<(), DbErr> {
    let is_postgres = manager.get_database_backend() == DbBackend::Postgres;
    for mut table in tables {
        let name = table_name(&table);
        if is_postgres && PARTITIONED_BY_DAY.contains(&name.as_str()) {
            table.extra("PARTITION BY RANGE (day)");
        }
        let texts: Vec<String> = text_columns(&table);
        manager.create_table(table).await?;
        if is_postgres && !texts.is_empty() {
            sort_by_bytes(manager, &name, &texts).await?;
        }
    }
    for index in indexes {
        manager.create_index(index).await?;
    }
    Ok(())
}

/// Adds columns to a table that is there; SQLite takes one at a time.
async fn add(manager: &SchemaManager<'_>, table: &'static str, columns: Vec<ColumnDef>) -> Result<(), DbErr> {
    for column in columns {
        manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
    }
    Ok(())
}

fn table_name(table: &TableCreateStatement) -> String {
    match table.get_table_name() {
        Some(TableRef::Table(name, _)) => name.1.to_string(),
        _ => String::new(),
    }
}

fn text_columns(table: &TableCreateStatement) -> Vec<String> {
    let is_text = |column: &&ColumnDef| matches!(column.get_column_type(), Some(ColumnType::Text));
    table.get_columns().iter().filter(is_text).map(ColumnDef::get_column_name).collect()
}

/// Texts sort by their bytes, as in SQLite, whatever the locale of the database: lists come in one order, and an
/// upgrade of the system's locales breaks no index.
async fn sort_by_bytes(manager: &SchemaManager<'_>, table: &str, columns: &[String]) -> Result<(), DbErr> {
    let changes: Vec<String> =
        columns.iter().map(|column| format!("ALTER COLUMN \"{column}\" TYPE text COLLATE \"C\"")).collect();
    let sql = format!("ALTER TABLE \"{table}\" {}", changes.join(", "));
    manager.get_connection().execute_unprepared(&sql).await?;
    Ok(())
}

/// Beyond this no sum goes, whose ends are those of 64 bits: SQLite would go on with a float.
const LARGEST_SUM: i64 = 9_000_000_000_000_000_000;

/// A whole number to which others are added.
fn sum(name: &'static str) -> ColumnDef {
    let bounds = Expr::col(name).between(-LARGEST_SUM, LARGEST_SUM);
    big_integer(name).check(bounds).take()
}

fn index(table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(format!("ix_{table}_{}", columns.join("_"))).table(table);
    for column in columns {
        index.col(*column);
    }
    index
}

fn unique(table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = index(table, columns);
    index.unique();
    index
}
