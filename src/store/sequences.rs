//! Numbers that are given out once: ids of programs, affiliates and links, versions of catalog records, loads of
//! exchange rates. And one that only grows: the last day whose clicks were forgotten.
//!
//! The row is locked until the transaction ends, so numbers become visible in the order in which they were given.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict},
};

use super::entities::id_sequence::{ActiveModel, Column, Entity};

/// The kinds of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    Account,
    Program,
    Affiliate,
    Link,
    CatalogVersion,
    RateLoad,
    /// In days since 1970-01-01.
    ForgottenDay,
}

impl Sequence {
    /// Those that give out ids.
    pub const IDS: [Self; 4] = [Self::Account, Self::Program, Self::Affiliate, Self::Link];

    const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Program => "program",
            Self::Affiliate => "affiliate",
            Self::Link => "link",
            Self::CatalogVersion => "catalog_version",
            Self::RateLoad => "rate_load",
            Self::ForgottenDay => "forgotten_day",
        }
    }
}

/// The next number of a kind, from 1.
pub async fn next(tx: &impl ConnectionTrait, sequence: Sequence) -> Result<i64, DbErr> {
    let row = ActiveModel { name: sea_orm::Set(sequence.name().to_owned()), last: sea_orm::Set(1) };
    let row = Entity::insert(row)
        .on_conflict(
            OnConflict::column(Column::Name)
                .value(Column::Last, Expr::col((Entity, Column::Last)).add(1))
                .to_owned(),
        )
        .exec_with_returning(tx)
        .await?;
    Ok(row.last)
}

/// The last number of a kind that was given out; 0 before the first.
pub async fn last(db: &impl ConnectionTrait, sequence: Sequence) -> Result<i64, DbErr> {
    let row = Entity::find_by_id(sequence.name().to_owned()).one(db).await?;
    Ok(row.map_or(0, |row| row.last))
}

/// Nobody is given a number of this kind until the transaction ends. Its row has to be there, which the migrations see
/// to where this is used.
pub async fn hold(tx: &impl ConnectionTrait, sequence: Sequence) -> Result<(), DbErr> {
    Entity::find_by_id(sequence.name().to_owned()).lock_shared().one(tx).await?;
    Ok(())
}

/// Numbers up to `last` are given out.
pub async fn raise(tx: &impl ConnectionTrait, sequence: Sequence, last: i64) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::Last, Expr::value(last))
        .filter(Column::Name.eq(sequence.name()))
        .filter(Column::Last.lt(last))
        .exec(tx)
        .await?;
    Ok(())
}

/// The next `count` numbers are not given out.
pub async fn skip(tx: &impl ConnectionTrait, sequence: Sequence, count: i64) -> Result<(), DbErr> {
    let row = ActiveModel { name: sea_orm::Set(sequence.name().to_owned()), last: sea_orm::Set(count) };
    Entity::insert(row)
        .on_conflict(
            OnConflict::column(Column::Name)
                .value(Column::Last, Expr::col((Entity, Column::Last)).add(count))
                .to_owned(),
        )
        .exec_without_returning(tx)
        .await?;
    Ok(())
}
