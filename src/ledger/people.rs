//! Whom an affiliate belongs to: its group, whose overrides it shares, and its parent, who earns the levels above it.
//!
//! Both have a history, so that a conversion finds them as they were when it happened (MONEY 4, 5). An affiliate has one
//! of each at a time, and no chain of parents ever closes a circle: the account's lock lets one change through at a
//! time, and each walks up the whole chain first.

use std::collections::{HashMap, hash_map::Entry as Slot};

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, Set,
};
use uuid::Uuid;

use super::{LedgerError, PutGroup, history::in_force, journal::Entry, overrides, rules::find_affiliate};
use crate::{
    domain::{ids::AffiliateId, time::Timestamp},
    store::entities::{affiliate_group, membership, upline},
};

/// Groups and parents that were read in a transaction: the newest of each affiliate, and since when.
#[derive(Default)]
pub(super) struct Belongings {
    groups: HashMap<AffiliateId, Option<(Timestamp, Option<Uuid>)>>,
    parents: HashMap<AffiliateId, Option<(Timestamp, Option<AffiliateId>)>>,
}

/// A group keeps its slug for life.
pub(super) async fn put_group(entry: &Entry<'_>, put: &PutGroup) -> Result<(), LedgerError> {
    let known = affiliate_group::Entity::find_by_id(put.id).one(entry.tx).await?;
    match known {
        None => {
            let row = affiliate_group::ActiveModel {
                id: Set(put.id),
                account_id: Set(entry.account.0),
                slug: Set(put.slug.to_string()),
                title: Set(put.title.clone()),
                created_at: Set(entry.at.0),
                updated_at: Set(entry.at.0),
                deleted_at: Set(None),
            };
            affiliate_group::Entity::insert(row)
                .exec_without_returning(entry.tx)
                .await
                .map_err(|error| LedgerError::unique("slug", error))?;
        }
        Some(row) if row.account_id != entry.account.0 || row.deleted_at.is_some() => {
            return Err(LedgerError::NotFound("group"));
        }
        Some(row) => {
            let mut row = row.into_active_model();
            row.title = Set(put.title.clone());
            row.updated_at = Set(entry.at.0);
            row.update(entry.tx).await?;
        }
    }
    Ok(())
}

/// Its overrides end with it. Who was in it stays so in the history, which conversions of that time look up.
pub(super) async fn delete_group(entry: &Entry<'_>, id: Uuid) -> Result<(), LedgerError> {
    let mut row = find_group(entry, id).await?.into_active_model();
    row.deleted_at = Set(Some(entry.at.0));
    row.update(entry.tx).await?;
    overrides::end_those_of_group(entry, id).await
}

pub(super) async fn find_group(entry: &Entry<'_>, id: Uuid) -> Result<affiliate_group::Model, LedgerError> {
    let row = affiliate_group::Entity::find_by_id(id)
        .filter(affiliate_group::Column::AccountId.eq(entry.account.0))
        .filter(affiliate_group::Column::DeletedAt.is_null())
        .one(entry.tx)
        .await?;
    row.ok_or(LedgerError::NotFound("group"))
}

pub(super) async fn set_group(
    entry: &Entry<'_>,
    affiliate: AffiliateId,
    group: Option<Uuid>,
) -> Result<(), LedgerError> {
    find_affiliate(entry, affiliate).await?;
    if let Some(group) = group {
        find_group(entry, group).await?;
    }
    let newest = membership_at(entry.tx, affiliate, Timestamp(i64::MAX)).await?;
    let row = membership::ActiveModel {
        affiliate_id: Set(affiliate.0),
        seq: Set(entry.seq),
        account_id: Set(entry.account.0),
        starts_at: Set(after(entry.at, newest.map(|(since, _)| since))),
        group_id: Set(group),
    };
    membership::Entity::insert(row).exec_without_returning(entry.tx).await?;
    Ok(())
}

/// A parent that is the affiliate itself or stands below it is refused.
pub(super) async fn set_parent(
    entry: &Entry<'_>,
    affiliate: AffiliateId,
    parent: Option<AffiliateId>,
) -> Result<(), LedgerError> {
    find_affiliate(entry, affiliate).await?;
    if let Some(parent) = parent {
        find_affiliate(entry, parent).await.map_err(|error| match error {
            LedgerError::NotFound(_) => LedgerError::NotFound("parent"),
            other => other,
        })?;
        refuse_circle(entry, affiliate, parent).await?;
    }
    let newest = upline_at(entry.tx, affiliate, Timestamp(i64::MAX)).await?;
    let row = upline::ActiveModel {
        affiliate_id: Set(affiliate.0),
        seq: Set(entry.seq),
        account_id: Set(entry.account.0),
        starts_at: Set(after(entry.at, newest.map(|(since, _)| since))),
        parent_id: Set(parent.map(|parent| parent.0)),
    };
    upline::Entity::insert(row).exec_without_returning(entry.tx).await?;
    Ok(())
}

async fn refuse_circle(
    entry: &Entry<'_>,
    affiliate: AffiliateId,
    parent: AffiliateId,
) -> Result<(), LedgerError> {
    let mut above = Some(parent);
    while let Some(one) = above {
        if one == affiliate {
            let message = if one == parent {
                "cannot be the affiliate itself"
            } else {
                "stands below the affiliate: the parents would close a circle"
            };
            return Err(LedgerError::Conflict { field: "parent", message });
        }
        above = upline_at(entry.tx, one, Timestamp(i64::MAX)).await?.and_then(|(_, parent)| parent);
    }
    Ok(())
}

/// A change is in force from now on, but never before the one that it replaces: clocks of several processes differ.
fn after(at: Timestamp, last: Option<Timestamp>) -> i64 {
    last.map_or(at, |last| last.max(at)).0
}

/// The group of an affiliate at a time. One that was deleted since is named all the same; it has no overrides.
pub(super) async fn group_at(
    entry: &Entry<'_>,
    affiliate: AffiliateId,
    time: Timestamp,
) -> Result<Option<Uuid>, LedgerError> {
    let mut known = entry.known.lock().await;
    let newest = match known.belongings.groups.entry(affiliate) {
        Slot::Occupied(known) => *known.get(),
        Slot::Vacant(unknown) => {
            *unknown.insert(membership_at(entry.tx, affiliate, Timestamp(i64::MAX)).await?)
        }
    };
    match newest {
        Some((since, _)) if since > time => {
            Ok(membership_at(entry.tx, affiliate, time).await?.and_then(|(_, group)| group))
        }
        Some((_, group)) => Ok(group),
        None => Ok(None),
    }
}

/// The parent, the grandparent, … of an affiliate as they were at a time: as many as there were, at most `most`.
pub(super) async fn parents_at(
    entry: &Entry<'_>,
    affiliate: AffiliateId,
    time: Timestamp,
    most: usize,
) -> Result<Vec<AffiliateId>, LedgerError> {
    let mut chain = Vec::new();
    let mut last = affiliate;
    while chain.len() < most
        && let Some(parent) = parent_at(entry, last, time).await?
    {
        chain.push(parent);
        last = parent;
    }
    Ok(chain)
}

async fn parent_at(
    entry: &Entry<'_>,
    affiliate: AffiliateId,
    time: Timestamp,
) -> Result<Option<AffiliateId>, LedgerError> {
    let mut known = entry.known.lock().await;
    let newest = match known.belongings.parents.entry(affiliate) {
        Slot::Occupied(known) => *known.get(),
        Slot::Vacant(unknown) => *unknown.insert(upline_at(entry.tx, affiliate, Timestamp(i64::MAX)).await?),
    };
    match newest {
        Some((since, _)) if since > time => {
            Ok(upline_at(entry.tx, affiliate, time).await?.and_then(|(_, parent)| parent))
        }
        Some((_, parent)) => Ok(parent),
        None => Ok(None),
    }
}

async fn membership_at(
    db: &impl ConnectionTrait,
    affiliate: AffiliateId,
    time: Timestamp,
) -> Result<Option<(Timestamp, Option<Uuid>)>, LedgerError> {
    use membership::Column;
    let history = membership::Entity::find().filter(Column::AffiliateId.eq(affiliate.0));
    let row = in_force(db, history, (Column::StartsAt, Column::Seq), time).await?;
    Ok(row.map(|row| (Timestamp(row.starts_at), row.group_id)))
}

async fn upline_at(
    db: &impl ConnectionTrait,
    affiliate: AffiliateId,
    time: Timestamp,
) -> Result<Option<(Timestamp, Option<AffiliateId>)>, LedgerError> {
    use upline::Column;
    let history = upline::Entity::find().filter(Column::AffiliateId.eq(affiliate.0));
    let row = in_force(db, history, (Column::StartsAt, Column::Seq), time).await?;
    Ok(row.map(|row| (Timestamp(row.starts_at), row.parent_id.map(AffiliateId))))
}
