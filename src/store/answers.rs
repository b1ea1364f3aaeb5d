//! Answers that are kept so that a repeated request gets the same one.

use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};

use super::{Store, entities::idempotency_key};
use crate::domain::time::{MS_PER_DAY, Timestamp};

/// How long an answer is kept.
pub const KEPT_MS: i64 = MS_PER_DAY;

/// Forgets answers whose time is over; answers how many.
pub async fn forget(store: &Store, now: Timestamp) -> Result<u64, DbErr> {
    let tx = store.begin().await?;
    let forgotten = idempotency_key::Entity::delete_many()
        .filter(idempotency_key::Column::CreatedAt.lte(now.0 - KEPT_MS))
        .exec(&tx)
        .await?;
    tx.commit().await?;
    Ok(forgotten.rows_affected)
}
