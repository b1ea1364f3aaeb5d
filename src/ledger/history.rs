//! What is in force at a time: of all that has begun by then the latest, the later written on a tie (MONEY 1).

use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, Select};

use crate::domain::time::Timestamp;

/// The row of a history that is in force at a time; `written` tells the order of writing.
pub(super) async fn in_force<E: EntityTrait>(
    db: &impl ConnectionTrait,
    history: Select<E>,
    (starts_at, written): (E::Column, E::Column),
    time: Timestamp,
) -> Result<Option<E::Model>, DbErr> {
    history.filter(starts_at.lte(time.0)).order_by_desc(starts_at).order_by_desc(written).one(db).await
}
