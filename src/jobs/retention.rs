//! What is kept for a time. Days of clicks: those whose time is over are forgotten, those that come are made room for;
//! their daily counts stay. Answers under an `Idempotency-Key`.

use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    domain::time::{MS_PER_DAY, Timestamp},
    store::{Store, answers, partitions},
};

const INTERVAL: Duration = Duration::from_secs(3600);

/// Days that have their partition before they begin: a week without this job does no harm. Settlement makes what is
/// missing all the same.
const DAYS_AHEAD: i32 = 7;

/// Runs at once and then every hour, until `shutdown`.
pub async fn run(store: Store, click_days: u32, shutdown: CancellationToken) {
    loop {
        let now = Timestamp::now();
        if let Err(error) = store.in_time(make_room(&store, now)).await {
            warn!(%error, "partitions of the days to come could not be made; trying again in an hour");
        }
        if let Err(error) = forget_clicks(&store, now, click_days).await {
            warn!(%error, "old clicks could not be forgotten; trying again in an hour");
        }
        if let Err(error) = store.in_time(answers::forget(&store, now)).await {
            warn!(%error, "old answers could not be forgotten; trying again in an hour");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(INTERVAL) => {}
        }
    }
}

/// Makes the partitions of yesterday, today and the days to come.
pub async fn make_room(store: &Store, now: Timestamp) -> Result<(), DbErr> {
    let today = now.day();
    partitions::create_ahead(store, today - 1..=today + DAYS_AHEAD).await
}

/// Forgets clicks of days more than `days` before `now`, a day in a transaction of its own so that settlement never
/// waits long; answers how many days.
pub async fn forget_clicks(store: &Store, now: Timestamp, days: u32) -> Result<u32, DbErr> {
    let oldest = now.day().saturating_sub_unsigned(days);
    let mut forgotten = 0;
    while let Some(gone) = store.in_time(partitions::forget_oldest_before(store, oldest)).await? {
        let day = Timestamp(i64::from(gone.day) * MS_PER_DAY);
        info!(%day, clicks = gone.clicks, "forgot the clicks of a day past their retention");
        forgotten += 1;
    }
    Ok(forgotten)
}
