//! The table of exchange rates, which the operator loads for all accounts.
//!
//! A conversion that finds no rate waits for the next load. So that none misses it, the two take turns: whoever finds no
//! rate looks again under a lock which keeps a load from being counted before the conversion is there to be woken.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, Set,
    sea_query::{Expr, OnConflict},
};

use super::{
    bulk,
    entities::exchange_rate::{self, Column, Entity},
    sequences::{self, Sequence},
};
use crate::domain::{
    amount::Currency,
    rates::{self, LOOK_BACK_DAYS, RateRow, StoredRate},
    time::Timestamp,
};

/// Puts rows into the table, in the place of those of the same base, quote and day, and answers how many were new or
/// changed. Where there are any, it counts as a load: conversions that wait for a rate are tried again.
///
/// No two of `rows` have the same base, quote and day.
pub async fn load(tx: &impl ConnectionTrait, mut rows: Vec<RateRow>, at: Timestamp) -> Result<u64, DbErr> {
    // Two loads at once lock their rows in the same order.
    rows.sort_unstable_by_key(|row| (row.base.code(), row.quote.code(), row.day));
    let models = rows.iter().map(|row| exchange_rate::ActiveModel {
        base: Set(row.base.code().to_owned()),
        quote: Set(row.quote.code().to_owned()),
        day: Set(row.day),
        rate: Set(row.rate),
        loaded_at: Set(at.0),
    });
    let mut changed = 0;
    for mut insert in bulk::inserts(tx, &models.collect::<Vec<_>>())? {
        let differs = Expr::col((Entity, Column::Rate)).ne(Expr::col(("excluded", Column::Rate)));
        insert.on_conflict(
            OnConflict::columns([Column::Base, Column::Quote, Column::Day])
                .update_columns([Column::Rate, Column::LoadedAt])
                .action_and_where(differs)
                .to_owned(),
        );
        changed += tx.execute(&insert).await?.rows_affected();
    }
    if changed > 0 {
        sequences::next(tx, Sequence::RateLoad).await?;
    }
    Ok(changed)
}

/// The number of the last load; 0 before the first.
pub async fn last_load(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    sequences::last(db, Sequence::RateLoad).await
}

/// The rate between two currencies for a day, for a conversion that will wait where there is none: see the head of this
/// module. `tx` may write.
pub async fn find(
    tx: &impl ConnectionTrait,
    from: Currency,
    to: Currency,
    day: i32,
) -> Result<Option<StoredRate>, DbErr> {
    let found = rates::find(&rows_for(tx, from, to, day).await?, from, to, day);
    if found.is_some() {
        return Ok(found);
    }
    sequences::hold(tx, Sequence::RateLoad).await?;
    Ok(rates::find(&rows_for(tx, from, to, day).await?, from, to, day))
}

/// The rows among which [`rates::find`] finds the rate between two currencies on a day.
pub async fn rows_for(
    db: &impl ConnectionTrait,
    from: Currency,
    to: Currency,
    day: i32,
) -> Result<Vec<RateRow>, DbErr> {
    let codes = [from.code(), to.code(), "EUR"];
    let rows = Entity::find()
        .filter(Column::Base.is_in(codes))
        .filter(Column::Quote.is_in(codes))
        .filter(Column::Day.between(day.saturating_sub(LOOK_BACK_DAYS), day))
        .all(db)
        .await?;
    rows.into_iter().map(read).collect()
}

/// Which rows are listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateFilter {
    pub base: Option<Currency>,
    pub quote: Option<Currency>,
    /// The first day.
    pub from: Option<i32>,
    /// The last day.
    pub to: Option<i32>,
}

/// The place of a row in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatePlace {
    pub day: i32,
    pub base: String,
    pub quote: String,
}

impl RatePlace {
    pub fn of(row: &exchange_rate::Model) -> Self {
        Self { day: row.day, base: row.base.clone(), quote: row.quote.clone() }
    }
}

/// At most `limit` rows behind `after`: the newest day first, within a day by base and quote.
pub async fn list(
    db: &impl ConnectionTrait,
    filter: RateFilter,
    after: Option<&RatePlace>,
    limit: u64,
) -> Result<Vec<exchange_rate::Model>, DbErr> {
    let behind = after.map(|place| {
        let base = Column::Base.gt(&place.base);
        let quote = Column::Base.eq(&place.base).and(Column::Quote.gt(&place.quote));
        Column::Day.lt(place.day).or(Column::Day.eq(place.day).and(base.or(quote)))
    });
    let wanted = Condition::all()
        .add_option(filter.base.map(|base| Column::Base.eq(base.code())))
        .add_option(filter.quote.map(|quote| Column::Quote.eq(quote.code())))
        .add_option(filter.from.map(|day| Column::Day.gte(day)))
        .add_option(filter.to.map(|day| Column::Day.lte(day)))
        .add_option(behind);
    Entity::find()
        .filter(wanted)
        .order_by_desc(Column::Day)
        .order_by_asc(Column::Base)
        .order_by_asc(Column::Quote)
        .limit(limit)
        .all(db)
        .await
}

fn read(row: exchange_rate::Model) -> Result<RateRow, DbErr> {
    let currency = |code: &str| {
        code.parse::<Currency>().map_err(|error| DbErr::Type(format!("exchange_rates: {code} is {error}")))
    };
    Ok(RateRow { base: currency(&row.base)?, quote: currency(&row.quote)?, day: row.day, rate: row.rate })
}
