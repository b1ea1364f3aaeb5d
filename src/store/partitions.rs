//! Clicks by day: on PostgreSQL each day is a partition of its own, which is dropped whole when its time is over. On
//! SQLite a day is its rows.
//!
//! There is no default partition: rows in it would stand in the way of the partition that is theirs.
//!
//! The last day that was forgotten is noted with it, so that rows which are away for another reason are noticed.

use std::collections::BTreeSet;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};

use super::{
    Store,
    entities::click,
    is_postgres, postgres,
    sequences::{self, Sequence},
};

/// How long a partition that is to be dropped waits for its readers. Writers queue up behind it meanwhile.
const DROP_PATIENCE: &str = "1s";

/// Makes the partitions of these days where they are not there, in the caller's transaction. Nothing to do on SQLite.
pub async fn ensure(tx: &DatabaseTransaction, days: &BTreeSet<i32>) -> Result<(), DbErr> {
    if days.is_empty() || !is_postgres(tx) {
        return Ok(());
    }
    let known: BTreeSet<i32> = partitioned_days(tx).await?.into_iter().collect();
    if days.is_subset(&known) {
        return Ok(());
    }
    // Another process may be making the same ones.
    super::lock(tx, vec![postgres::PARTITIONS]).await?;
    let known: BTreeSet<i32> = partitioned_days(tx).await?.into_iter().collect();
    for day in days.difference(&known) {
        let name = name(*day);
        // Attached rather than made as a partition: that would lock out everybody who writes clicks.
        let next = i64::from(*day) + 1;
        tx.execute_unprepared(&format!(
            "CREATE TABLE {name} (LIKE clicks INCLUDING ALL);
             ALTER TABLE clicks ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({next})"
        ))
        .await?;
    }
    Ok(())
}

/// Makes the partitions of these days, in a transaction of its own.
pub async fn create_ahead(store: &Store, days: impl IntoIterator<Item = i32>) -> Result<(), DbErr> {
    let tx = store.begin().await?;
    ensure(&tx, &days.into_iter().collect()).await?;
    tx.commit().await
}

/// A day whose clicks are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    pub day: i32,
    /// Not counted where the day went as a whole.
    pub clicks: Option<u64>,
}

/// Forgets the clicks of the oldest day before `limit`; `None`: there is none.
///
/// # Errors
/// On PostgreSQL also when somebody has been reading clicks for long: the drop is given up then, because writers would
/// have to wait behind it.
pub async fn forget_oldest_before(store: &Store, limit: i32) -> Result<Option<Forgotten>, DbErr> {
    if is_postgres(store.reader()) {
        return drop_oldest_before(store, limit).await;
    }
    let Some(day) = oldest_row_before(store, limit).await? else { return Ok(None) };
    let tx = store.begin().await?;
    let deleted = click::Entity::delete_many().filter(click::Column::Day.eq(day)).exec(&tx).await?;
    note_forgotten(&tx, day).await?;
    tx.commit().await?;
    Ok(Some(Forgotten { day, clicks: Some(deleted.rows_affected) }))
}

async fn drop_oldest_before(store: &Store, limit: i32) -> Result<Option<Forgotten>, DbErr> {
    let tx = store.begin().await?;
    tx.execute_unprepared(&format!("SET LOCAL lock_timeout = '{DROP_PATIENCE}'")).await?;
    super::lock(&tx, vec![postgres::PARTITIONS]).await?;
    let Some(day) = partitioned_days(&tx).await?.into_iter().min().filter(|day| *day < limit) else {
        return Ok(None);
    };
    tx.execute_unprepared(&format!("DROP TABLE {}", name(day))).await?;
    note_forgotten(&tx, day).await?;
    tx.commit().await?;
    Ok(Some(Forgotten { day, clicks: None }))
}

async fn note_forgotten(tx: &DatabaseTransaction, day: i32) -> Result<(), DbErr> {
    // The row may not be there yet.
    sequences::skip(tx, Sequence::ForgottenDay, 0).await?;
    sequences::raise(tx, Sequence::ForgottenDay, i64::from(day)).await
}

/// The last day whose clicks were forgotten; `None` before the first. Days after it are whole.
pub async fn last_forgotten(db: &impl ConnectionTrait) -> Result<Option<i32>, DbErr> {
    let day = sequences::last(db, Sequence::ForgottenDay).await?;
    Ok(i32::try_from(day).ok().filter(|day| *day > 0))
}

/// Whether the day's partition has been dropped by now. A reader that began before may not see that the day was
/// forgotten, but it finds the rows gone: dropping a table waits for no snapshot. Never on SQLite.
pub async fn has_gone(db: &impl ConnectionTrait, day: i32) -> Result<bool, DbErr> {
    if !is_postgres(db) {
        return Ok(false);
    }
    let sql = format!("SELECT to_regclass('{}') IS NULL AS gone", name(day));
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    row.map_or(Ok(false), |row| row.try_get("", "gone"))
}

async fn oldest_row_before(store: &Store, limit: i32) -> Result<Option<i32>, DbErr> {
    click::Entity::find()
        .select_only()
        .column(click::Column::Day)
        .filter(click::Column::Day.lt(limit))
        .order_by_asc(click::Column::Day)
        .into_tuple::<i32>()
        .one(store.reader())
        .await
}

/// The days that have a partition.
async fn partitioned_days(db: &impl ConnectionTrait) -> Result<Vec<i32>, DbErr> {
    let sql = "SELECT relname::text AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
               WHERE inhparent = 'clicks'::regclass";
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    rows.iter()
        .map(|row| {
            let name: String = row.try_get("", "name")?;
            day(&name).ok_or_else(|| DbErr::Custom(format!("the table {name} is no day of clicks")))
        })
        .collect()
}

/// `clicks_d` and the days since 1970-01-01.
fn name(day: i32) -> String {
    format!("clicks_d{day}")
}

fn day(name: &str) -> Option<i32> {
    name.strip_prefix("clicks_d")?.parse().ok()
}
