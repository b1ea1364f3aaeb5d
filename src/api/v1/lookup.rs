//! From names to rows and back, always inside the caller's account.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, QueryTrait, Select,
    sea_query::{Alias, Expr, Query, SelectStatement},
};
use uuid::Uuid;

use crate::{
    api::{
        error::ApiError,
        fields::{Fields, Given, Input},
    },
    domain::ids::{AccountId, AffiliateId, Prefix},
    store::entities::{affiliate, link, program},
};

/// A program that is not deleted.
pub async fn program(
    db: &impl ConnectionTrait,
    account: AccountId,
    slug: &str,
) -> Result<program::Model, ApiError> {
    let row = find_program(db, account, slug).await?;
    row.filter(|row| row.deleted_at.is_none()).ok_or(ApiError::NotFound("program"))
}

/// An affiliate that is not deleted.
pub async fn affiliate(
    db: &impl ConnectionTrait,
    account: AccountId,
    slug: &str,
) -> Result<affiliate::Model, ApiError> {
    let row = find_affiliate(db, account, slug).await?;
    row.filter(|row| row.deleted_at.is_none()).ok_or(ApiError::NotFound("affiliate"))
}

/// The affiliate that the field `affiliate` names; none: the field is wrong.
pub async fn affiliate_of_field(
    db: &impl ConnectionTrait,
    account: AccountId,
    slug: &str,
    fields: &mut Fields,
) -> Result<Option<AffiliateId>, ApiError> {
    match affiliate(db, account, slug).await {
        Ok(found) => Ok(Some(AffiliateId(found.id))),
        Err(ApiError::NotFound(_)) => {
            fields.wrong("affiliate", "there is no such affiliate");
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// An affiliate, deleted or not: history and balance stay.
pub async fn any_affiliate(
    db: &impl ConnectionTrait,
    account: AccountId,
    slug: &str,
) -> Result<affiliate::Model, ApiError> {
    find_affiliate(db, account, slug).await?.ok_or(ApiError::NotFound("affiliate"))
}

/// The ids of an account's affiliates that are not deleted, as a subquery.
pub fn live_affiliates(account: AccountId) -> SelectStatement {
    affiliate::Entity::find()
        .select_only()
        .column(affiliate::Column::Id)
        .filter(affiliate::Column::AccountId.eq(account.0))
        .filter(affiliate::Column::DeletedAt.is_null())
        .into_query()
}

/// Of the rows of a history of affiliates the newest of each, whose affiliate is not deleted.
pub fn newest_of_live<E: EntityTrait>(
    history: Select<E>,
    account: AccountId,
    (affiliate, seq): (E::Column, E::Column),
) -> Select<E> {
    let later = Alias::new("later");
    let newest = Query::select()
        .expr(Expr::col((later.clone(), seq)).max())
        .from_as(E::default(), later.clone())
        .and_where(Expr::col((later, affiliate)).equals((E::default(), affiliate)))
        .to_owned();
    history.filter(seq.in_subquery(newest)).filter(affiliate.in_subquery(live_affiliates(account)))
}

async fn find_program(
    db: &impl ConnectionTrait,
    account: AccountId,
    slug: &str,
) -> Result<Option<program::Model>, ApiError> {
    let find = program::Entity::find()
        .filter(program::Column::AccountId.eq(account.0))
        .filter(program::Column::Slug.eq(slug));
    Ok(find.one(db).await?)
}

async fn find_affiliate(
    db: &impl ConnectionTrait,
    account: AccountId,
    slug: &str,
) -> Result<Option<affiliate::Model>, ApiError> {
    let find = affiliate::Entity::find()
        .filter(affiliate::Column::AccountId.eq(account.0))
        .filter(affiliate::Column::Slug.eq(slug));
    Ok(find.one(db).await?)
}

/// Reads a prefixed id of a path.
pub fn id(prefix: Prefix, what: &'static str, text: &str) -> Result<Uuid, ApiError> {
    prefix.parse(text).ok_or(ApiError::NotFound(what))
}

/// Lists may be cut to a program and an affiliate, deleted ones included.
#[derive(Debug, Default)]
pub struct Of {
    pub program: Option<i64>,
    pub affiliate: Option<i64>,
}

/// Reads the filters `program` and `affiliate`.
pub async fn filters(
    db: &impl ConnectionTrait,
    account: AccountId,
    fields: &mut Fields,
) -> Result<Of, ApiError> {
    let mut of = Of::default();
    if let Given::Is(slug) = fields.given("program", Input::text) {
        of.program = find_program(db, account, &slug).await?.map(|row| row.id);
        if of.program.is_none() {
            fields.wrong("program", "there is no such program");
        }
    }
    of.affiliate = affiliate_filter(db, account, fields).await?;
    Ok(of)
}

/// Reads the filter `affiliate`, deleted ones included.
pub async fn affiliate_filter(
    db: &impl ConnectionTrait,
    account: AccountId,
    fields: &mut Fields,
) -> Result<Option<i64>, ApiError> {
    let Given::Is(slug) = fields.given("affiliate", Input::text) else { return Ok(None) };
    let row = find_affiliate(db, account, &slug).await?;
    if row.is_none() {
        fields.wrong("affiliate", "there is no such affiliate");
    }
    Ok(row.map(|row| row.id))
}

/// Reads the filter `link`, deleted ones included.
pub async fn link_filter(
    db: &impl ConnectionTrait,
    account: AccountId,
    fields: &mut Fields,
) -> Result<Option<i64>, ApiError> {
    let Given::Is(uid) = fields.given("link", crate::api::values::id(Prefix::Link)) else { return Ok(None) };
    let row = link::Entity::find()
        .filter(link::Column::AccountId.eq(account.0))
        .filter(link::Column::Uid.eq(uid))
        .one(db)
        .await?;
    if row.is_none() {
        fields.wrong("link", "there is no such link");
    }
    Ok(row.map(|row| row.id))
}

/// The names of what rows refer to by number.
#[derive(Debug, Default)]
pub struct Names {
    programs: HashMap<i64, String>,
    affiliates: HashMap<i64, String>,
    links: HashMap<i64, Uuid>,
}

/// What rows refer to.
#[derive(Debug, Default)]
pub struct Refs {
    pub programs: BTreeSet<i64>,
    pub affiliates: BTreeSet<i64>,
    pub links: BTreeSet<i64>,
}

impl Names {
    /// Loads the names of at most three pages' worth of things, one query a kind.
    pub async fn load(db: &impl ConnectionTrait, account: AccountId, refs: Refs) -> Result<Self, ApiError> {
        let mut names = Self::default();
        if !refs.programs.is_empty() {
            let find = program::Entity::find()
                .filter(program::Column::AccountId.eq(account.0))
                .filter(program::Column::Id.is_in(refs.programs));
            names.programs = find.all(db).await?.into_iter().map(|row| (row.id, row.slug)).collect();
        }
        if !refs.affiliates.is_empty() {
            let find = affiliate::Entity::find()
                .filter(affiliate::Column::AccountId.eq(account.0))
                .filter(affiliate::Column::Id.is_in(refs.affiliates));
            names.affiliates = find.all(db).await?.into_iter().map(|row| (row.id, row.slug)).collect();
        }
        if !refs.links.is_empty() {
            let find = link::Entity::find()
                .filter(link::Column::AccountId.eq(account.0))
                .filter(link::Column::Id.is_in(refs.links));
            names.links = find.all(db).await?.into_iter().map(|row| (row.id, row.uid)).collect();
        }
        Ok(names)
    }

    pub fn program(&self, id: i64) -> Result<String, ApiError> {
        self.programs.get(&id).cloned().ok_or_else(|| ApiError::internal(format!("no program {id}")))
    }

    pub fn affiliate(&self, id: i64) -> Result<String, ApiError> {
        self.affiliates.get(&id).cloned().ok_or_else(|| ApiError::internal(format!("no affiliate {id}")))
    }

    pub fn link(&self, id: i64) -> Result<String, ApiError> {
        let uid = self.links.get(&id).ok_or_else(|| ApiError::internal(format!("no link {id}")))?;
        Ok(Prefix::Link.format(*uid))
    }
}
