//! Forgets clicks whose time is over. Their daily counts stay.

use std::time::Duration;

use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    domain::time::Timestamp,
    store::{Store, entities::click},
};

const INTERVAL: Duration = Duration::from_secs(3600);

/// Runs at once and then every hour, until `shutdown`.
pub async fn run(store: Store, click_days: u32, shutdown: CancellationToken) {
    loop {
        match forget_clicks(&store, Timestamp::now(), click_days).await {
            Ok(0) => {}
            Ok(clicks) => info!(clicks, "forgot clicks past their retention"),
            Err(error) => warn!(%error, "old clicks could not be forgotten; trying again in an hour"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(INTERVAL) => {}
        }
    }
}

/// Deletes clicks of days more than `days` before `now`, a day in a transaction of its own so that settlement never
/// waits long; answers how many.
pub async fn forget_clicks(store: &Store, now: Timestamp, days: u32) -> Result<u64, DbErr> {
    let oldest = now.day().saturating_sub_unsigned(days);
    let mut forgotten = 0;
    while let Some(day) = oldest_day_before(store, oldest).await? {
        let tx = store.begin().await?;
        let deleted = click::Entity::delete_many().filter(click::Column::Day.eq(day)).exec(&tx).await?;
        tx.commit().await?;
        forgotten += deleted.rows_affected;
    }
    Ok(forgotten)
}

async fn oldest_day_before(store: &Store, limit: i32) -> Result<Option<i32>, DbErr> {
    use sea_orm::{QueryOrder, QuerySelect};
    click::Entity::find()
        .select_only()
        .column(click::Column::Day)
        .filter(click::Column::Day.lt(limit))
        .order_by_asc(click::Column::Day)
        .into_tuple::<i32>()
        .one(store.reader())
        .await
}
