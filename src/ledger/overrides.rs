//! Overrides: prices of one affiliate or one group that go before those of a program's commission types and levels
//! (MONEY 5), each with its versions.
//!
//! One override stands for each program, owner and target; removed and made again it goes on with its versions. Its
//! row holds what is in force now, and a look-up asks the versions for what was in force at a time. Before the first
//! version it does not exist.

use std::collections::HashMap;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, Set,
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    LedgerError, PutOverride, Whose,
    history::in_force,
    journal::Entry,
    measures, people,
    rules::{find_affiliate, find_program},
};
use crate::{
    domain::{
        ids::{AffiliateId, ProgramId},
        measures::asked_by_price,
        price::{OverrideRule, Price, Target},
        time::Timestamp,
    },
    store::entities::{override_rule, override_version},
};

/// Overrides that were read in a transaction.
#[derive(Default)]
pub(super) struct KnownOverrides {
    owners: HashMap<ProgramId, Owners>,
    /// The newest version of each; none: there is no such override.
    newest: HashMap<(ProgramId, String), Option<Version>>,
}

/// Who has overrides in a program: most programs have none, and nothing else is asked of them.
#[derive(Clone, Copy)]
struct Owners {
    affiliates: bool,
    groups: bool,
}

#[derive(Clone)]
struct Version {
    id: Uuid,
    version: i32,
    since: Timestamp,
    /// None: removed.
    rule: Option<OverrideRule>,
}

/// Whose override it is and what for, as one text: `affiliate:7/type:standard`, `group:018f…/level:2`. Unique in its
/// program.
pub fn subject(whose: Whose, target: &Target) -> String {
    let target = match target {
        Target::CommissionType(identifier) => format!("type:{identifier}"),
        Target::Level(level) => format!("level:{level}"),
    };
    match whose {
        Whose::Affiliate(id) => format!("affiliate:{id}/{target}"),
        Whose::Group(id) => format!("group:{}/{target}", id.simple()),
    }
}

/// Makes, changes or removes an override; program, owner and target are for life.
pub(super) async fn put(entry: &mut Entry<'_>, put: &PutOverride) -> Result<(), LedgerError> {
    find_program(entry, put.program).await?;
    match put.whose {
        Whose::Affiliate(id) => {
            find_affiliate(entry, id).await?;
        }
        Whose::Group(id) => {
            people::find_group(entry, id).await?;
        }
    }
    let starts_at = put.from.unwrap_or(entry.at);
    if let Some(rule) = &put.rule {
        check_target(entry, put, rule, starts_at).await?;
        if let Target::CommissionType(identifier) = &put.target {
            let asked = asked_by_price(identifier, &rule.price);
            measures::keep(entry, put.program, asked.as_slice()).await?;
        }
    }
    let subject = subject(put.whose, &put.target);
    let rule = as_json(put.rule.as_ref())?;
    let known = override_rule::Entity::find_by_id(put.id).one(entry.tx).await?;
    let Some(row) = known else {
        if put.rule.is_none() {
            return Err(LedgerError::NotFound("override"));
        }
        insert(entry, put, subject, rule.clone()).await?;
        return insert_version(entry, put.id, 1, starts_at, rule).await;
    };
    let same = row.account_id == entry.account.0 && row.program_id == put.program.0 && row.subject == subject;
    if !same {
        return Err(LedgerError::NotFound("override"));
    }
    write_version(entry, row, starts_at, rule).await
}

/// A type must be one of the program's, a level above the affiliate itself and without tiers (MONEY 5).
async fn check_target(
    entry: &Entry<'_>,
    put: &PutOverride,
    rule: &OverrideRule,
    starts_at: Timestamp,
) -> Result<(), LedgerError> {
    match &put.target {
        Target::Level(0 | 1) => Err(LedgerError::Conflict { field: "level", message: "begins at 2" }),
        Target::Level(_) => match rule.price {
            Price::Tiered(_) => {
                Err(LedgerError::Conflict { field: "form", message: "cannot be tiered for a level" })
            }
            Price::Fixed { .. } | Price::Percentage { .. } => Ok(()),
        },
        Target::CommissionType(identifier) => {
            if is_a_type(entry, put.program, identifier, starts_at).await? {
                return Ok(());
            }
            let message = "is not a commission type of the program";
            Err(LedgerError::Conflict { field: "commission_type", message })
        }
    }
}

/// Whether the program has the type now, or had it when a backdated override begins.
async fn is_a_type(
    entry: &Entry<'_>,
    program: ProgramId,
    identifier: &str,
    starts_at: Timestamp,
) -> Result<bool, LedgerError> {
    for time in [entry.at, starts_at] {
        let then = entry.program_at(program, time).await?;
        if then.is_some_and(|then| then.settings.commission_type(identifier).is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn insert(
    entry: &Entry<'_>,
    put: &PutOverride,
    subject: String,
    rule: Value,
) -> Result<(), LedgerError> {
    let (affiliate, group) = match put.whose {
        Whose::Affiliate(id) => (Some(id.0), None),
        Whose::Group(id) => (None, Some(id)),
    };
    let (commission_type, level, field) = match &put.target {
        Target::CommissionType(identifier) => (Some(identifier.clone()), None, "commission_type"),
        Target::Level(level) => (None, Some(i32::try_from(*level).unwrap_or(i32::MAX)), "level"),
    };
    let row = override_rule::ActiveModel {
        id: Set(put.id),
        account_id: Set(entry.account.0),
        program_id: Set(put.program.0),
        affiliate_id: Set(affiliate),
        group_id: Set(group),
        commission_type: Set(commission_type),
        level: Set(level),
        subject: Set(subject),
        version: Set(1),
        rule: Set(rule),
        created_at: Set(entry.at.0),
        updated_at: Set(entry.at.0),
    };
    override_rule::Entity::insert(row)
        .exec_without_returning(entry.tx)
        .await
        .map_err(|error| LedgerError::unique(field, error))?;
    Ok(())
}

/// Writes the next version; the row follows unless a later one is in force.
async fn write_version(
    entry: &Entry<'_>,
    row: override_rule::Model,
    starts_at: Timestamp,
    rule: Value,
) -> Result<(), LedgerError> {
    use override_version::Column;
    let id = row.id;
    let versions = || override_version::Entity::find().filter(Column::OverrideId.eq(id));
    let last = versions().order_by_desc(Column::Version).one(entry.tx).await?;
    let next = last.map_or(1, |last| last.version + 1);
    let in_force = newest_version(entry.tx, id).await?;
    let mut row = row.into_active_model();
    if in_force.is_none_or(|version| version.starts_at <= starts_at.0) {
        row.version = Set(next);
        row.rule = Set(rule.clone());
    }
    row.updated_at = Set(entry.at.0);
    row.update(entry.tx).await?;
    insert_version(entry, id, next, starts_at, rule).await
}

async fn insert_version(
    entry: &Entry<'_>,
    id: Uuid,
    version: i32,
    starts_at: Timestamp,
    rule: Value,
) -> Result<(), LedgerError> {
    let row = override_version::ActiveModel {
        override_id: Set(id),
        version: Set(version),
        account_id: Set(entry.account.0),
        starts_at: Set(starts_at.0),
        rule: Set(rule),
        seq: Set(entry.seq),
    };
    override_version::Entity::insert(row).exec_without_returning(entry.tx).await?;
    Ok(())
}

/// Removes what a deleted group has, from now on.
pub(super) async fn end_those_of_group(entry: &Entry<'_>, group: Uuid) -> Result<(), LedgerError> {
    let rows = override_rule::Entity::find()
        .filter(override_rule::Column::AccountId.eq(entry.account.0))
        .filter(override_rule::Column::GroupId.eq(group))
        .order_by_asc(override_rule::Column::Id)
        .all(entry.tx)
        .await?;
    for row in rows.into_iter().filter(|row| !row.rule.is_null()) {
        write_version(entry, row, entry.at, Value::Null).await?;
    }
    Ok(())
}

/// Whether an override of the program says something in amounts of its currency.
pub(super) async fn any_holds_amounts(entry: &Entry<'_>, program: ProgramId) -> Result<bool, LedgerError> {
    let rows = override_rule::Entity::find()
        .filter(override_rule::Column::ProgramId.eq(program.0))
        .all(entry.tx)
        .await?;
    for row in rows {
        let rule: Option<OverrideRule> =
            serde_json::from_value(row.rule).map_err(|error| LedgerError::damaged("override", error))?;
        if rule.is_some_and(|rule| rule.holds_amounts()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The group of an affiliate at a time, in a program where groups have overrides: elsewhere nobody has to know it.
pub(super) async fn group_that_counts(
    entry: &Entry<'_>,
    program: ProgramId,
    affiliate: AffiliateId,
    time: Timestamp,
) -> Result<Option<Uuid>, LedgerError> {
    if !owners(entry, program).await?.groups {
        return Ok(None);
    }
    people::group_at(entry, affiliate, time).await
}

/// The override of one owner for one target in a program, as it was at a time: its id, version and rule.
pub(super) async fn override_at(
    entry: &Entry<'_>,
    program: ProgramId,
    whose: Whose,
    target: &Target,
    time: Timestamp,
) -> Result<Option<(Uuid, i32, OverrideRule)>, LedgerError> {
    let owners = owners(entry, program).await?;
    let any = match whose {
        Whose::Affiliate(_) => owners.affiliates,
        Whose::Group(_) => owners.groups,
    };
    if !any {
        return Ok(None);
    }
    let Some(newest) = newest(entry, program, subject(whose, target)).await? else { return Ok(None) };
    let then =
        if newest.since <= time { Some(newest) } else { version_at(entry.tx, newest.id, time).await? };
    Ok(then.and_then(|then| Some((then.id, then.version, then.rule?))))
}

async fn owners(entry: &Entry<'_>, program: ProgramId) -> Result<Owners, LedgerError> {
    let mut known = entry.known.lock().await;
    if let Some(owners) = known.overrides.owners.get(&program) {
        return Ok(*owners);
    }
    let owners = Owners {
        affiliates: any_from(entry.tx, program, "affiliate:", "affiliate;").await?,
        groups: any_from(entry.tx, program, "group:", "group;").await?,
    };
    known.overrides.owners.insert(program, owners);
    Ok(owners)
}

/// Whether a program has an override whose subject stands between two texts, as its index sorts them.
async fn any_from(
    db: &impl ConnectionTrait,
    program: ProgramId,
    first: &str,
    end: &str,
) -> Result<bool, LedgerError> {
    use override_rule::Column;
    let found: Option<Uuid> = override_rule::Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::ProgramId.eq(program.0))
        .filter(Column::Subject.gte(first))
        .filter(Column::Subject.lt(end))
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    Ok(found.is_some())
}

/// The newest version of the override of a subject.
async fn newest(
    entry: &Entry<'_>,
    program: ProgramId,
    subject: String,
) -> Result<Option<Version>, LedgerError> {
    let mut known = entry.known.lock().await;
    let key = (program, subject);
    if let Some(newest) = known.overrides.newest.get(&key) {
        return Ok(newest.clone());
    }
    let row = override_rule::Entity::find()
        .filter(override_rule::Column::ProgramId.eq(program.0))
        .filter(override_rule::Column::Subject.eq(&key.1))
        .one(entry.tx)
        .await?;
    let newest = match row {
        None => None,
        Some(row) => newest_version(entry.tx, row.id).await?.map(read_version).transpose()?,
    };
    known.overrides.newest.insert(key, newest.clone());
    Ok(newest)
}

async fn newest_version(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<override_version::Model>, LedgerError> {
    latest(db, id, Timestamp(i64::MAX)).await
}

async fn version_at(
    db: &impl ConnectionTrait,
    id: Uuid,
    time: Timestamp,
) -> Result<Option<Version>, LedgerError> {
    latest(db, id, time).await?.map(read_version).transpose()
}

async fn latest(
    db: &impl ConnectionTrait,
    id: Uuid,
    time: Timestamp,
) -> Result<Option<override_version::Model>, LedgerError> {
    use override_version::Column;
    let history = override_version::Entity::find().filter(Column::OverrideId.eq(id));
    Ok(in_force(db, history, (Column::StartsAt, Column::Version), time).await?)
}

fn read_version(row: override_version::Model) -> Result<Version, LedgerError> {
    let rule = serde_json::from_value(row.rule).map_err(|error| LedgerError::damaged("override", error))?;
    Ok(Version { id: row.override_id, version: row.version, since: Timestamp(row.starts_at), rule })
}

fn as_json(rule: Option<&OverrideRule>) -> Result<Value, LedgerError> {
    serde_json::to_value(rule).map_err(|error| LedgerError::damaged("override", error))
}
