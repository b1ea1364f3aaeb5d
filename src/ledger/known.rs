//! Rules that were read in a transaction and cannot change before its end.
//!
//! Of what has a history the newest is kept: most events are younger than it. What an older event needs is asked for.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::{
    LedgerError,
    bonuses::{self, Bonus},
    overrides::KnownOverrides,
    people::Belongings,
    programs::{self, EVERY_PROGRAM, ProgramThen},
};
use crate::{
    domain::{
        calendar::{Span, Zone},
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        reason::Standing,
        time::Timestamp,
    },
    store::entities::{link, program},
};

#[derive(Default)]
pub(super) struct Known {
    zones: HashMap<AccountId, Zone>,
    slugs: HashMap<(AccountId, String), Option<ProgramId>>,
    /// The newest version, and since when it is in force.
    programs: HashMap<(AccountId, ProgramId), Option<(Timestamp, ProgramThen)>>,
    /// The newest standing, and since when.
    standings: HashMap<(i64, AffiliateId), Option<(Timestamp, Standing)>>,
    links: HashMap<(AccountId, LinkId), Option<link::Model>>,
    pub belongings: Belongings,
    pub overrides: KnownOverrides,
    bonuses: HashMap<ProgramId, Arc<[Bonus]>>,
    /// Intervals of bonuses that were opened.
    opened: HashSet<(Uuid, Span)>,
}

impl Known {
    pub fn zone(&self, account: AccountId) -> Option<Zone> {
        self.zones.get(&account).cloned()
    }

    pub fn remember_zone(&mut self, account: AccountId, zone: Zone) -> Zone {
        self.zones.insert(account, zone.clone());
        zone
    }

    /// The bonuses of a program, deleted or not.
    pub async fn bonuses(
        &mut self,
        tx: &DatabaseTransaction,
        program: ProgramId,
    ) -> Result<Arc<[Bonus]>, LedgerError> {
        if let Some(known) = self.bonuses.get(&program) {
            return Ok(known.clone());
        }
        let bonuses: Arc<[Bonus]> = bonuses::of_program(tx, program).await?.into();
        self.bonuses.insert(program, bonuses.clone());
        Ok(bonuses)
    }

    /// Whether this interval of a bonus was not opened before.
    pub fn note_opened(&mut self, bonus: Uuid, span: Span) -> bool {
        self.opened.insert((bonus, span))
    }

    /// The program of a slug, unless it was deleted.
    pub async fn program_named(
        &mut self,
        tx: &DatabaseTransaction,
        account: AccountId,
        slug: &str,
    ) -> Result<Option<ProgramId>, LedgerError> {
        let key = (account, slug.to_owned());
        if let Some(known) = self.slugs.get(&key) {
            return Ok(*known);
        }
        let row: Option<program::Model> = programs::by_slug(tx, account, slug).await?;
        let id = row.map(|row| ProgramId(row.id));
        self.slugs.insert(key, id);
        Ok(id)
    }

    /// A program as it was at a time.
    pub async fn program_at(
        &mut self,
        tx: &DatabaseTransaction,
        account: AccountId,
        id: ProgramId,
        time: Timestamp,
    ) -> Result<Option<ProgramThen>, LedgerError> {
        let newest = match self.programs.entry((account, id)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(programs::newest(tx, account, id).await?),
        };
        match newest {
            None => Ok(None),
            Some((since, program)) if *since <= time => Ok(Some(program.clone())),
            Some(_) => programs::at(tx, account, id, time).await,
        }
    }

    /// How an affiliate stood in a program and in all programs at a time.
    pub async fn standings(
        &mut self,
        tx: &DatabaseTransaction,
        program: ProgramId,
        affiliate: AffiliateId,
        time: Timestamp,
    ) -> Result<(Option<Standing>, Option<Standing>), LedgerError> {
        let here = self.standing(tx, program.0, affiliate, time).await?;
        Ok((here, self.standing(tx, EVERY_PROGRAM, affiliate, time).await?))
    }

    async fn standing(
        &mut self,
        tx: &DatabaseTransaction,
        program: i64,
        affiliate: AffiliateId,
        time: Timestamp,
    ) -> Result<Option<Standing>, LedgerError> {
        let key = (program, affiliate);
        let newest = match self.standings.entry(key) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                *unknown.insert(programs::standing_at(tx, program, affiliate, Timestamp(i64::MAX)).await?)
            }
        };
        match newest {
            None => Ok(None),
            Some((since, standing)) if since <= time => Ok(Some(standing)),
            Some(_) => {
                let then = programs::standing_at(tx, program, affiliate, time).await?;
                Ok(then.map(|(_, standing)| standing))
            }
        }
    }

    /// A link of the account, deleted or not.
    pub async fn link(
        &mut self,
        tx: &DatabaseTransaction,
        account: AccountId,
        id: LinkId,
    ) -> Result<Option<link::Model>, LedgerError> {
        if let Some(known) = self.links.get(&(account, id)) {
            return Ok(known.clone());
        }
        let find = link::Entity::find_by_id(id.0).filter(link::Column::AccountId.eq(account.0));
        let row = find.one(tx).await?;
        self.links.insert((account, id), row.clone());
        Ok(row)
    }
}
