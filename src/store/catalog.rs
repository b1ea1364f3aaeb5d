//! The outbox of the catalog: the newest version of each record, written in the transaction that changed it.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::OnConflict,
};

use super::{
    entities::catalog_record::{ActiveModel, Column, Entity},
    sequences::{self, Sequence},
};
use crate::catalog::{CatalogRecord, Versioned};

/// Writes a record's next version.
pub async fn publish(tx: &impl ConnectionTrait, record: CatalogRecord) -> Result<(), DbErr> {
    let version = sequences::next(tx, Sequence::CatalogVersion).await?;
    let row = ActiveModel {
        key: Set(record.key().to_string()),
        version: Set(version),
        record: Set(serde_json::to_value(&record).map_err(|error| DbErr::Json(error.to_string()))?),
    };
    Entity::insert(row)
        .on_conflict(
            OnConflict::column(Column::Key).update_columns([Column::Version, Column::Record]).to_owned(),
        )
        .exec_without_returning(tx)
        .await?;
    Ok(())
}

/// Records above a version, oldest first, at most `limit`.
pub async fn after(db: &impl ConnectionTrait, version: i64, limit: u64) -> Result<Vec<Versioned>, DbErr> {
    let rows = Entity::find()
        .filter(Column::Version.gt(version))
        .order_by_asc(Column::Version)
        .limit(limit)
        .all(db)
        .await?;
    rows.into_iter()
        .map(|row| {
            let record =
                serde_json::from_value(row.record).map_err(|error| DbErr::Json(error.to_string()))?;
            Ok(Versioned { version: row.version, record })
        })
        .collect()
}
