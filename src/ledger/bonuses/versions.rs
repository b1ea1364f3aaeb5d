//! Bonuses with all their versions.

use std::collections::BTreeSet;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use crate::{
    domain::{
        bonuses::{BonusInterval, BonusSettings},
        calendar::{Span, Zone},
        ids::ProgramId,
        time::Timestamp,
    },
    ledger::LedgerError,
    store::entities::{bonus, bonus_version},
};

/// A bonus, deleted or not: what it owes for intervals before its end stays.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Bonus {
    pub id: Uuid,
    pub program: ProgramId,
    /// In the order of their starts; the later written later.
    versions: Vec<Version>,
}

/// What a bonus says from a time on.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Version {
    pub number: i32,
    pub starts_at: Timestamp,
    /// None: the bonus is gone from then on.
    settings: Option<BonusSettings>,
}

/// A version with its settings.
#[derive(Clone, Copy, Debug)]
pub(in crate::ledger) struct InForce<'a> {
    pub number: i32,
    pub settings: &'a BonusSettings,
}

impl Bonus {
    /// The version in force at a time; none before the first, and where it is gone.
    pub fn at(&self, time: Timestamp) -> Option<InForce<'_>> {
        in_force(self.versions.iter().rev().find(|version| version.starts_at <= time)?)
    }

    /// The version that is in force when all have begun.
    pub fn newest(&self) -> Option<InForce<'_>> {
        in_force(self.versions.last()?)
    }

    /// The first time at which it is in force.
    pub fn first_from(&self) -> Timestamp {
        self.versions.first().map_or(Timestamp::MAX, |version| version.starts_at)
    }

    /// The kinds of intervals that close, of all versions.
    pub fn kinds(&self) -> BTreeSet<BonusInterval> {
        let settings = self.versions.iter().filter_map(|version| version.settings.as_ref());
        settings.map(|one| one.interval).filter(|kind| *kind != BonusInterval::AllTime).collect()
    }

    /// The version that decides about an interval of this kind, the one in force at its end; none: it pays nothing.
    /// An interval that ends before the bonus begins has none.
    pub fn deciding(&self, kind: BonusInterval, interval: Span) -> Option<InForce<'_>> {
        let found = self.at(interval.end + -1)?;
        Some(found).filter(|found| found.settings.active && found.settings.interval == kind)
    }

    /// The same of an interval whose kind is not known.
    pub fn deciding_about(&self, interval: Span, zone: &Zone) -> Option<InForce<'_>> {
        let mut kinds = self.kinds().into_iter().filter(|kind| kind.span(interval.start, zone) == interval);
        kinds.find_map(|kind| self.deciding(kind, interval))
    }

    /// The version in force at a time, where it counts from ever.
    pub fn all_time_at(&self, time: Timestamp) -> Option<InForce<'_>> {
        self.at(time).filter(is_all_time)
    }

    /// The version whose measure is kept: the newest, where it counts from ever.
    pub fn all_time(&self) -> Option<InForce<'_>> {
        self.newest().filter(is_all_time)
    }
}

fn in_force(version: &Version) -> Option<InForce<'_>> {
    version.settings.as_ref().map(|settings| InForce { number: version.number, settings })
}

fn is_all_time(found: &InForce<'_>) -> bool {
    found.settings.active && found.settings.interval == BonusInterval::AllTime
}

/// The bonuses of a program, the oldest first.
pub(in crate::ledger) async fn of_program(
    db: &impl ConnectionTrait,
    program: ProgramId,
) -> Result<Vec<Bonus>, LedgerError> {
    let rows = bonus::Entity::find().filter(bonus::Column::ProgramId.eq(program.0)).all(db).await?;
    let mut bonuses = Vec::with_capacity(rows.len());
    for row in rows {
        bonuses.push(with_versions(db, &row).await?);
    }
    bonuses.sort_by_key(|bonus| bonus.id);
    Ok(bonuses)
}

pub(super) async fn with_versions(
    db: &impl ConnectionTrait,
    row: &bonus::Model,
) -> Result<Bonus, LedgerError> {
    use bonus_version::Column;
    let versions = bonus_version::Entity::find()
        .filter(Column::BonusId.eq(row.id))
        .order_by_asc(Column::StartsAt)
        .order_by_asc(Column::Version)
        .all(db)
        .await?;
    let versions = versions.into_iter().map(|version| {
        let settings = serde_json::from_value(version.settings)
            .map_err(|error| LedgerError::damaged("settings of a bonus", error))?;
        Ok(Version { number: version.version, starts_at: Timestamp(version.starts_at), settings })
    });
    Ok(Bonus {
        id: row.id,
        program: ProgramId(row.program_id),
        versions: versions.collect::<Result<_, LedgerError>>()?,
    })
}
