//! How far the catalog was published, and which process may publish: one row per topic.
//!
//! What is about to be sent is noted before it is sent. So a store that was restored from an older copy is told apart
//! from one whose publisher was killed: only the topic of the former can have a version that the store never noted.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Set, UpdateMany, sea_query::Expr,
};
use uuid::Uuid;

use super::{
    Store,
    entities::{
        catalog_publication::{ActiveModel, Column, Entity, Model},
        catalog_record,
    },
    sequences::{self, Sequence},
};
use crate::{
    catalog::{CatalogRecord, RecordKey},
    domain::time::Timestamp,
};

/// Versions that are moved in one statement.
const WINDOW: i64 = 50_000;

/// Keys that are looked up in one statement.
const LOOK_UP: usize = 500;

/// What is waiting to be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    pub published: i64,
    /// The highest version that there is.
    pub newest: i64,
    /// Records above the published version.
    pub waiting: u64,
}

/// How it stands with a topic.
pub async fn find(db: &impl ConnectionTrait, topic: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(topic.to_owned()).one(db).await
}

/// What is waiting for a topic.
pub async fn outbox(db: &impl ConnectionTrait, topic: &str) -> Result<Outbox, DbErr> {
    let published = find(db, topic).await?.map_or(0, |row| row.published);
    let newest = catalog_record::Entity::find()
        .select_only()
        .column(catalog_record::Column::Version)
        .order_by_desc(catalog_record::Column::Version)
        .into_tuple::<i64>()
        .one(db)
        .await?
        .unwrap_or(0);
    let waiting = if newest > published {
        catalog_record::Entity::find().filter(catalog_record::Column::Version.gt(published)).count(db).await?
    } else {
        0
    };
    Ok(Outbox { published, newest, waiting })
}

/// Takes or keeps the right to publish until `until`; `false`: another process has it.
///
/// Clocks that differ harm nothing: the topic itself lets one publisher write alone.
pub async fn hold(
    store: &Store,
    topic: &str,
    holder: Uuid,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, DbErr> {
    let row = ActiveModel {
        topic: Set(topic.to_owned()),
        topic_id: Set(String::new()),
        publishing: Set(0),
        published: Set(0),
        whole: Set(false),
        holder: Set(None),
        held_until: Set(0),
    };
    let free = Condition::any()
        .add(Column::Holder.eq(holder))
        .add(Column::Holder.is_null())
        .add(Column::HeldUntil.lt(now.0));
    let hold = Entity::update_many()
        .col_expr(Column::Holder, Expr::value(holder))
        .col_expr(Column::HeldUntil, Expr::value(until.0))
        .filter(Column::Topic.eq(topic))
        .filter(free);
    let held = store.in_time(async {
        let tx = store.begin().await?;
        Entity::insert(row).on_conflict_do_nothing_on([Column::Topic]).exec_without_returning(&tx).await?;
        let held = hold.exec(&tx).await?;
        tx.commit().await?;
        Ok::<_, DbErr>(held)
    });
    Ok(held.await?.rows_affected == 1)
}

/// Gives the right to publish back, so that another process need not wait.
pub async fn release(store: &Store, topic: &str, holder: Uuid) -> Result<(), DbErr> {
    let change = held(topic, holder).col_expr(Column::Holder, Expr::value(Option::<Uuid>::None));
    run(store, change).await.map(|_| ())
}

/// A topic on which this store has never published.
pub async fn begin_topic(store: &Store, topic: &str, holder: Uuid, topic_id: &str) -> Result<bool, DbErr> {
    let change = held(topic, holder)
        .col_expr(Column::TopicId, Expr::value(topic_id))
        .col_expr(Column::Publishing, Expr::value(0_i64))
        .col_expr(Column::Published, Expr::value(0_i64))
        .col_expr(Column::Whole, Expr::value(false));
    run(store, change).await
}

/// Notes that versions up to `to` are about to be sent; `false`: it does not stand where this process believes.
pub async fn intend(store: &Store, topic: &str, holder: Uuid, from: i64, to: i64) -> Result<bool, DbErr> {
    let change =
        held(topic, holder).col_expr(Column::Publishing, Expr::value(to)).filter(Column::Published.eq(from));
    run(store, change).await
}

/// Notes that versions up to `to` were sent; `false`: it does not stand where this process believes.
pub async fn done(
    store: &Store,
    topic: &str,
    holder: Uuid,
    from: i64,
    to: i64,
    whole: bool,
) -> Result<bool, DbErr> {
    let change = held(topic, holder)
        .col_expr(Column::Published, Expr::value(to))
        .col_expr(Column::Whole, Expr::value(whole))
        .filter(Column::Published.eq(from));
    run(store, change).await
}

fn held(topic: &str, holder: Uuid) -> UpdateMany<Entity> {
    Entity::update_many().filter(Column::Topic.eq(topic)).filter(Column::Holder.eq(holder))
}

async fn run(store: &Store, change: UpdateMany<Entity>) -> Result<bool, DbErr> {
    let changed = store.in_time(async {
        let tx = store.begin().await?;
        let changed = change.exec(&tx).await?;
        tx.commit().await?;
        Ok::<_, DbErr>(changed)
    });
    Ok(changed.await?.rows_affected == 1)
}

/// The next `count` ids of each kind are not given out: as many as may have been given after an older copy of the store
/// was made, where no topic tells how many.
pub async fn skip_ids(store: &Store, count: i64) -> Result<(), DbErr> {
    let tx = store.begin().await?;
    for ids in Sequence::IDS {
        sequences::skip(&tx, ids, count).await?;
    }
    tx.commit().await
}

/// What was made ready to be published again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Republication {
    pub records: u64,
    /// On the topic, and not in this store: they will be removed.
    pub removed: u64,
}

/// Makes every record newer than anything on the topic, and removes what the topic has and the store has not.
///
/// Ids that were given after the copy are not given again: clicks and tokens that name them are out there, and would
/// become those of somebody else. What was made took a version each, so there are no more of them than versions.
///
/// `newest`: the highest version on the topic, not below 0. `whole`: as the topic says. `live`: the keys that have a
/// value there. One transaction; changes wait.
pub async fn republish(
    store: &Store,
    topic: &str,
    topic_id: &str,
    newest: i64,
    whole: bool,
    live: &[RecordKey],
) -> Result<Republication, DbErr> {
    let tx = store.begin().await?;
    let given = sequences::last(&tx, Sequence::CatalogVersion).await?;
    let forgotten = std::cmp::max(newest.saturating_sub(given), 0);
    // Ids before the version, as everybody takes them.
    for ids in Sequence::IDS {
        sequences::skip(&tx, ids, forgotten).await?;
    }
    // The row of the sequence is locked from here on, so that nobody takes a version meanwhile.
    let last = sequences::next(&tx, Sequence::CatalogVersion).await?;
    let mut records = 0;
    // From the highest down, so that no window meets what was moved.
    let mut above = last;
    while above > 0 {
        let moved = catalog_record::Entity::update_many()
            .col_expr(catalog_record::Column::Version, Expr::col(catalog_record::Column::Version).add(newest))
            .filter(catalog_record::Column::Version.lte(above))
            .filter(catalog_record::Column::Version.gt(above - WINDOW))
            .exec(&tx)
            .await?;
        records += moved.rows_affected;
        above -= WINDOW;
    }
    sequences::raise(&tx, Sequence::CatalogVersion, last.saturating_add(newest)).await?;
    let mut removed = 0;
    for keys in live.chunks(LOOK_UP) {
        let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let known: Vec<String> = catalog_record::Entity::find()
            .select_only()
            .column(catalog_record::Column::Key)
            .filter(catalog_record::Column::Key.is_in(names))
            .into_tuple()
            .all(&tx)
            .await?;
        for key in keys.iter().filter(|key| !known.contains(&key.to_string())) {
            super::catalog::publish(&tx, CatalogRecord::Removed(key.clone())).await?;
            removed += 1;
        }
    }
    let row = ActiveModel {
        topic: Set(topic.to_owned()),
        topic_id: Set(topic_id.to_owned()),
        publishing: Set(newest),
        published: Set(0),
        whole: Set(whole),
        holder: Set(None),
        held_until: Set(0),
    };
    Entity::insert(row)
        .on_conflict(
            sea_orm::sea_query::OnConflict::column(Column::Topic)
                .update_columns([
                    Column::TopicId,
                    Column::Publishing,
                    Column::Published,
                    Column::Whole,
                    Column::Holder,
                    Column::HeldUntil,
                ])
                .to_owned(),
        )
        .exec_without_returning(&tx)
        .await?;
    tx.commit().await?;
    Ok(Republication { records, removed })
}
