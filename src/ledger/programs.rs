//! Programs as the rules see them: their settings and an affiliate's standing, as they were at a time.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::SelectStatement,
};

use super::{LedgerError, history::in_force};
use crate::{
    domain::{
        amount::Currency,
        ids::{AccountId, AffiliateId, ProgramId},
        measures::Kept,
        program::{CommissionType, ProgramSettings},
        reason::Standing,
        time::Timestamp,
    },
    store::entities::{program, program_version, standing},
};

/// In `standings`, the program that stands for all programs.
pub(super) const EVERY_PROGRAM: i64 = 0;

/// A program with the version of its settings that was in force.
#[derive(Clone)]
pub(super) struct ProgramThen {
    pub id: ProgramId,
    pub currency: Currency,
    pub version: i32,
    pub settings: ProgramSettings,
    /// Measures that its rules ask for.
    pub measured: Vec<Kept>,
    /// It takes no new conversions; what it owes stays.
    pub deleted: bool,
}

/// A program that is not deleted, by slug.
pub(super) async fn by_slug(
    db: &impl ConnectionTrait,
    account: AccountId,
    slug: &str,
) -> Result<Option<program::Model>, LedgerError> {
    Ok(by_slug_even_deleted(db, account, slug).await?.filter(|row| row.deleted_at.is_none()))
}

/// The program of a slug, deleted or not: a slug is never given out again, and what was sold can be refunded.
pub(super) async fn by_slug_even_deleted(
    db: &impl ConnectionTrait,
    account: AccountId,
    slug: &str,
) -> Result<Option<program::Model>, LedgerError> {
    let row = program::Entity::find()
        .filter(program::Column::AccountId.eq(account.0))
        .filter(program::Column::Slug.eq(slug))
        .one(db)
        .await?;
    Ok(row)
}

/// The ids of an account's programs that are not deleted, as a subquery.
pub(super) fn live(account: AccountId) -> SelectStatement {
    program::Entity::find()
        .select_only()
        .column(program::Column::Id)
        .filter(program::Column::AccountId.eq(account.0))
        .filter(program::Column::DeletedAt.is_null())
        .into_query()
}

/// The programs of a group, by today's settings.
pub(super) async fn of_group(
    db: &impl ConnectionTrait,
    account: AccountId,
    group: &str,
) -> Result<Vec<ProgramId>, LedgerError> {
    let rows = program::Entity::find()
        .filter(program::Column::AccountId.eq(account.0))
        .filter(program::Column::DeletedAt.is_null())
        .all(db)
        .await?;
    let mut programs = Vec::new();
    for row in rows {
        if read_settings(row.settings)?.program_group.as_deref() == Some(group) {
            programs.push(ProgramId(row.id));
        }
    }
    Ok(programs)
}

/// A program as it was at a time: the version with the latest start not after it, the later written on a tie;
/// before its first version as in the first (MONEY 1). `None`: the account has no such program.
pub(super) async fn at(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: ProgramId,
    time: Timestamp,
) -> Result<Option<ProgramThen>, LedgerError> {
    known_at(db, account, id, time, i64::MAX).await
}

/// The same as the command with this number of the journal knew it: a version may be written later and begin earlier.
pub(super) async fn known_at(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: ProgramId,
    time: Timestamp,
    seq: i64,
) -> Result<Option<ProgramThen>, LedgerError> {
    use program_version::Column;
    let row =
        program::Entity::find_by_id(id.0).filter(program::Column::AccountId.eq(account.0)).one(db).await?;
    let Some(row) = row else { return Ok(None) };
    let versions =
        || program_version::Entity::find().filter(Column::ProgramId.eq(id.0)).filter(Column::Seq.lte(seq));
    if let Some(version) = in_force(db, versions(), (Column::StartsAt, Column::Version), time).await? {
        return then(&row, version).map(Some);
    }
    let first = versions().order_by_asc(Column::StartsAt).order_by_asc(Column::Version).one(db).await?;
    let first = first.ok_or_else(|| LedgerError::damaged("program", "it has no version"))?;
    let mut program = then(&row, first)?;
    // Settings and types were as in the first, levels and caps were not.
    program.settings.levels.clear();
    program.settings.caps.clear();
    Ok(Some(program))
}

/// The start of the version in force now, and the number of the last one written.
pub(super) async fn last_versions(
    db: &impl ConnectionTrait,
    id: ProgramId,
) -> Result<(Timestamp, i32), LedgerError> {
    use program_version::Column;
    let last = program_version::Entity::find()
        .select_only()
        .column_as(Column::StartsAt.max(), "starts_at")
        .column_as(Column::Version.max(), "version")
        .filter(Column::ProgramId.eq(id.0))
        .into_tuple::<(Option<i64>, Option<i32>)>()
        .one(db)
        .await?;
    match last {
        Some((Some(starts_at), Some(version))) => Ok((Timestamp(starts_at), version)),
        Some((None, _) | (_, None)) | None => Err(LedgerError::damaged("program", "it has no version")),
    }
}

/// A commission type as it was at a time: of the version that was in force; else, where no version up to then had it, of
/// the first that has it (MONEY 1). `program` is the program at that time.
pub(super) async fn commission_type_at(
    db: &impl ConnectionTrait,
    program: &ProgramThen,
    identifier: &str,
    time: Timestamp,
) -> Result<Option<CommissionType>, LedgerError> {
    if let Some(found) = program.settings.commission_type(identifier) {
        return Ok(Some(found.clone()));
    }
    let versions = program_version::Entity::find()
        .filter(program_version::Column::ProgramId.eq(program.id.0))
        .order_by_asc(program_version::Column::StartsAt)
        .order_by_asc(program_version::Column::Version)
        .all(db)
        .await?;
    for version in versions {
        let starts_at = Timestamp(version.starts_at);
        if let Some(found) = read_settings(version.settings)?.commission_type(identifier) {
            return Ok((starts_at > time).then(|| found.clone()));
        }
    }
    Ok(None)
}

/// The newest version of a program, and since when it is in force.
pub(super) async fn newest(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: ProgramId,
) -> Result<Option<(Timestamp, ProgramThen)>, LedgerError> {
    use program_version::Column;
    let row =
        program::Entity::find_by_id(id.0).filter(program::Column::AccountId.eq(account.0)).one(db).await?;
    let Some(row) = row else { return Ok(None) };
    let history = program_version::Entity::find().filter(Column::ProgramId.eq(id.0));
    let version = in_force(db, history, (Column::StartsAt, Column::Version), Timestamp::MAX).await?;
    let version = version.ok_or_else(|| LedgerError::damaged("program", "it has no version"))?;
    Ok(Some((Timestamp(version.starts_at), then(&row, version)?)))
}

fn then(row: &program::Model, version: program_version::Model) -> Result<ProgramThen, LedgerError> {
    Ok(ProgramThen {
        id: ProgramId(row.id),
        currency: row.currency.parse().map_err(|error| LedgerError::damaged("currency", error))?,
        version: version.version,
        settings: read_settings(version.settings)?,
        measured: serde_json::from_value(row.measured.clone())
            .map_err(|error| LedgerError::damaged("measures", error))?,
        deleted: row.deleted_at.is_some(),
    })
}

fn read_settings(json: serde_json::Value) -> Result<ProgramSettings, LedgerError> {
    serde_json::from_value(json).map_err(|error| LedgerError::damaged("settings", error))
}

/// How an affiliate stood in a program, or in all ([`EVERY_PROGRAM`]), at a time, and since when.
pub(super) async fn standing_at(
    db: &impl ConnectionTrait,
    program_id: i64,
    affiliate: AffiliateId,
    time: Timestamp,
) -> Result<Option<(Timestamp, Standing)>, LedgerError> {
    use standing::Column;
    let history = standing::Entity::find()
        .filter(Column::AffiliateId.eq(affiliate.0))
        .filter(Column::ProgramId.eq(program_id));
    let row = in_force(db, history, (Column::StartsAt, Column::Seq), time).await?;
    row.map(|row| {
        let standing = Standing::parse(&row.standing);
        let standing = standing.ok_or_else(|| LedgerError::damaged("standing", &row.standing))?;
        Ok((Timestamp(row.starts_at), standing))
    })
    .transpose()
}
