//! Bonuses (MONEY 9): their rules, and what they award.
//!
//! An interval is awarded by a command of its own, which looks at everything again at its place in the order: however
//! often it comes, and from wherever, it pays once. What counts from ever is looked at after each command that touched
//! one of its affiliates.

mod award;
mod counting;
mod intervals;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use award::award;
pub use intervals::{OpenInterval, closed_and_open, decide, may_have_reached};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, Set,
};
use uuid::Uuid;
pub(super) use versions::{Bonus, of_program};

use self::counting::{Added, Selection};
use super::{LedgerError, PutBonus, journal::Entry, lines, measures};
use crate::{
    domain::{
        bonuses::BonusSettings,
        calendar::{Span, Zone},
        ids::{AccountId, AffiliateId, ProgramId},
        measures::Sum,
        time::Timestamp,
    },
    store::entities::{bonus, bonus_version, commission_line, conversion, program},
};

/// What a command changed that a bonus may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touched {
    program: ProgramId,
    affiliate: AffiliateId,
    /// When its conversion happened; none: what changed is how the affiliate stands.
    occurred_at: Option<Timestamp>,
}

/// Creates a bonus, or writes a new version of one.
pub(super) async fn put(entry: &mut Entry<'_>, put: &PutBonus) -> Result<(), LedgerError> {
    check(entry, put)?;
    let known = bonus::Entity::find_by_id(put.id).one(entry.tx).await?;
    let row = match known {
        None => create(entry, put).await?,
        Some(row) if row.account_id != entry.account.0 || row.deleted_at.is_some() => {
            return Err(LedgerError::NotFound("bonus"));
        }
        Some(row) if row.program_id != put.program.0 => {
            return Err(LedgerError::Conflict { field: "program", message: "cannot be changed" });
        }
        Some(row) => row,
    };
    let version = row.version + 1;
    let starts_at = put.from.unwrap_or(entry.at);
    write_version(entry, put.id, version, starts_at, Some(&put.settings)).await?;
    let bonus = versions::with_versions(entry.tx, &row).await?;
    let newest = bonus.newest().map_or(&put.settings, |newest| newest.settings);
    let mut row = row.into_active_model();
    row.version = Set(version);
    row.identifier = Set(newest.identifier.clone());
    row.settings = Set(to_json(newest)?);
    row.updated_at = Set(entry.at.0);
    row.update(entry.tx).await.map_err(|error| LedgerError::unique("identifier", error))?;
    intervals::open_anew(entry, &bonus).await?;
    let affiliates = keep_measure(entry, &bonus).await?;
    for affiliate in affiliates {
        award::test_all_time(entry, &bonus, affiliate).await?;
    }
    Ok(())
}

fn check(entry: &Entry<'_>, put: &PutBonus) -> Result<(), LedgerError> {
    put.settings.check().map_err(|error| LedgerError::NotPossible {
        code: "invalid_bonus",
        message: format!("{} {error}", error.field()),
    })?;
    if put.from.is_some_and(|from| from > entry.at) {
        let message = "a version of a bonus cannot begin in the future".to_owned();
        return Err(LedgerError::NotPossible { code: "from_in_future", message });
    }
    Ok(())
}

/// The row of a new bonus, before its first version.
async fn create(entry: &Entry<'_>, put: &PutBonus) -> Result<bonus::Model, LedgerError> {
    let program = program::Entity::find_by_id(put.program.0)
        .filter(program::Column::AccountId.eq(entry.account.0))
        .filter(program::Column::DeletedAt.is_null())
        .one(entry.tx)
        .await?;
    program.ok_or(LedgerError::NotFound("program"))?;
    let row = bonus::Model {
        id: put.id,
        account_id: entry.account.0,
        program_id: put.program.0,
        identifier: put.settings.identifier.clone(),
        version: 0,
        settings: to_json(&put.settings)?,
        created_at: entry.at.0,
        updated_at: entry.at.0,
        deleted_at: None,
    };
    bonus::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(entry.tx)
        .await
        .map_err(|error| LedgerError::unique("identifier", error))?;
    Ok(row)
}

fn to_json(settings: &BonusSettings) -> Result<serde_json::Value, LedgerError> {
    serde_json::to_value(settings).map_err(|error| LedgerError::damaged("settings of a bonus", error))
}

async fn write_version(
    entry: &Entry<'_>,
    bonus: Uuid,
    version: i32,
    starts_at: Timestamp,
    settings: Option<&BonusSettings>,
) -> Result<(), LedgerError> {
    let row = bonus_version::ActiveModel {
        bonus_id: Set(bonus),
        version: Set(version),
        account_id: Set(entry.account.0),
        starts_at: Set(starts_at.0),
        settings: Set(settings.map_or(Ok(serde_json::Value::Null), to_json)?),
        seq: Set(entry.seq),
    };
    bonus_version::Entity::insert(row).exec_without_returning(entry.tx).await?;
    Ok(())
}

/// The bonus is gone from now on. Intervals that have ended are still decided.
pub(super) async fn delete(entry: &mut Entry<'_>, id: Uuid) -> Result<(), LedgerError> {
    let row = bonus::Entity::find_by_id(id)
        .filter(bonus::Column::AccountId.eq(entry.account.0))
        .filter(bonus::Column::DeletedAt.is_null())
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("bonus"))?;
    let version = row.version + 1;
    write_version(entry, id, version, entry.at, None).await?;
    let bonus = versions::with_versions(entry.tx, &row).await?;
    let mut row = row.into_active_model();
    row.version = Set(version);
    row.deleted_at = Set(Some(entry.at.0));
    row.update(entry.tx).await?;
    intervals::open_anew(entry, &bonus).await?;
    keep_measure(entry, &bonus).await?;
    Ok(())
}

/// Adds up the measure of the version that is in force from now on, if it counts from ever; answers who has one.
async fn keep_measure(entry: &mut Entry<'_>, bonus: &Bonus) -> Result<Vec<AffiliateId>, LedgerError> {
    measures::forget_bonus(entry, bonus.program, bonus.id).await?;
    let sums = all_time_sums(entry.tx, entry.account, &entry.zone, bonus).await?;
    let affiliates = sums.keys().copied().collect();
    for (affiliate, sums) in sums {
        for (factor, sum) in sums {
            measures::note_bonus(entry, bonus.program, affiliate, bonus.id, &factor, sum);
        }
    }
    Ok(affiliates)
}

/// What each affiliate brought for a bonus, by the factor of the amounts' currency; nothing where it does not count
/// from ever.
pub(super) async fn all_time_sums(
    db: &impl ConnectionTrait,
    account: AccountId,
    zone: &Zone,
    bonus: &Bonus,
) -> Result<BTreeMap<AffiliateId, BTreeMap<String, Sum>>, LedgerError> {
    let Some(version) = bonus.all_time() else { return Ok(BTreeMap::new()) };
    let Some(span) = version.settings.counted_span(Span::ALWAYS, zone) else { return Ok(BTreeMap::new()) };
    let selection = Selection { account, program: bonus.program, affiliate: None, span };
    counting::sums(db, selection, version.settings.measure).await
}

/// What a conversion adds to the bonuses that count from ever, before a command changes it.
#[must_use = "the bonuses have to follow the change"]
#[derive(Default)]
pub(super) struct Before(Vec<(Uuid, AddedBefore)>);

#[derive(Default)]
struct AddedBefore {
    added: Added,
    first: bool,
}

/// See [`Before`].
pub(super) async fn before(
    entry: &Entry<'_>,
    row: &conversion::Model,
    lines: &[commission_line::Model],
) -> Result<Before, LedgerError> {
    let mut before = Before::default();
    let Some(program) = row.program_id else { return Ok(before) };
    for bonus in entry.bonuses(ProgramId(program)).await?.iter() {
        let Some(version) = bonus.all_time() else { continue };
        let first = counting::is_first(entry.tx, row, version).await?;
        let span = version.settings.counted_span(Span::ALWAYS, &entry.zone);
        let added = counting::added(row, lines, version.settings, span, first)?;
        before.0.push((bonus.id, AddedBefore { added, first }));
    }
    Ok(before)
}

/// Moves the bonuses to what a conversion adds now, and notes that it was touched. A new one has added nothing before.
pub(super) async fn follow(
    entry: &mut Entry<'_>,
    row: &conversion::Model,
    lines: &[commission_line::Model],
    before: Before,
) -> Result<(), LedgerError> {
    let (Some(program), Some(affiliate)) = (row.program_id.map(ProgramId), row.affiliate_id.map(AffiliateId))
    else {
        return Ok(());
    };
    let mut before = before.0;
    for bonus in entry.bonuses(program).await?.iter() {
        let Some(version) = bonus.all_time() else { continue };
        let place = before.iter().position(|(id, _)| *id == bonus.id);
        let was = place.map(|place| before.swap_remove(place).1).unwrap_or_default();
        let first = counting::is_first(entry.tx, row, version).await?;
        let span = version.settings.counted_span(Span::ALWAYS, &entry.zone);
        let added = counting::added(row, lines, version.settings, span, first)?;
        note(entry, bonus, affiliate, was.added, added);
        if first && !was.first {
            give_way(entry, bonus, row).await?;
        }
    }
    touch(entry, row);
    Ok(())
}

/// A conversion has settled, with its lines.
pub(super) async fn settled(
    entry: &mut Entry<'_>,
    conversion: Uuid,
    program: ProgramId,
) -> Result<(), LedgerError> {
    if entry.bonuses(program).await?.is_empty() {
        return Ok(());
    }
    let row = conversion::Entity::find_by_id(conversion).one(entry.tx).await?;
    let row = row.ok_or(LedgerError::NotFound("conversion"))?;
    let lines = lines::of_conversion(entry, conversion).await?;
    follow(entry, &row, &lines, Before::default()).await
}

fn note(entry: &mut Entry<'_>, bonus: &Bonus, affiliate: AffiliateId, before: Added, after: Added) {
    let taken = before.map(|(factor, sum)| (factor, Sum { count: -sum.count, amount: -sum.amount }));
    for (factor, sum) in taken.into_iter().chain(after) {
        measures::note_bonus(entry, bonus.program, affiliate, bonus.id, &factor, sum);
    }
}

/// A conversion has become its customer's first above 0: the one that was the first before no longer is.
async fn give_way(entry: &mut Entry<'_>, bonus: &Bonus, to: &conversion::Model) -> Result<(), LedgerError> {
    let Some(version) = bonus.all_time() else { return Ok(()) };
    let Some(row) = counting::next_above_zero(entry.tx, to).await? else { return Ok(()) };
    let Some(affiliate) = row.affiliate_id.map(AffiliateId) else { return Ok(()) };
    let lines = lines::of_conversion(entry, row.id).await?;
    let span = version.settings.counted_span(Span::ALWAYS, &entry.zone);
    let with = |first: bool| counting::added(&row, &lines, version.settings, span, first);
    let (before, after) = (with(true)?, with(false)?);
    note(entry, bonus, affiliate, before, after);
    Ok(())
}

/// Notes that a conversion changed, or no longer waits.
pub(super) fn touch(entry: &mut Entry<'_>, row: &conversion::Model) {
    if let (Some(program), Some(affiliate)) = (row.program_id, row.affiliate_id) {
        let occurred_at = Some(Timestamp(row.occurred_at));
        entry.touched.insert(Touched {
            program: ProgramId(program),
            affiliate: AffiliateId(affiliate),
            occurred_at,
        });
    }
}

/// Notes that an affiliate may be let in again: in one program, or in all.
pub(super) async fn stands_anew(
    entry: &mut Entry<'_>,
    program: Option<ProgramId>,
    affiliate: AffiliateId,
) -> Result<(), LedgerError> {
    let mut find = bonus::Entity::find().filter(bonus::Column::AccountId.eq(entry.account.0));
    if let Some(program) = program {
        find = find.filter(bonus::Column::ProgramId.eq(program.0));
    }
    let rows = find.all(entry.tx).await?;
    let programs: BTreeSet<ProgramId> = rows.iter().map(|row| ProgramId(row.program_id)).collect();
    if programs.is_empty() {
        return Ok(());
    }
    intervals::open_all(entry, &programs.iter().copied().collect::<Vec<_>>()).await?;
    let touched = programs.into_iter().map(|program| Touched { program, affiliate, occurred_at: None });
    entry.touched.extend(touched);
    Ok(())
}

/// Follows what the command touched: intervals have to be looked at, and what counts from ever is tested.
pub(super) async fn after(entry: &mut Entry<'_>) -> Result<(), LedgerError> {
    let touched = std::mem::take(&mut entry.touched);
    let mut tested = BTreeSet::new();
    for Touched { program, affiliate, occurred_at } in touched {
        for bonus in entry.bonuses(program).await?.iter() {
            if let Some(time) = occurred_at {
                intervals::open(entry, bonus, time).await?;
            }
            if tested.insert((bonus.id, affiliate)) {
                award::test_all_time(entry, bonus, affiliate).await?;
            }
        }
    }
    Ok(())
}
