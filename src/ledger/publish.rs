//! What edges are told when the rules change: rows as catalog records, through the outbox.

use std::sync::Arc;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};

use super::LedgerError;
use crate::{
    catalog::{AffiliateRecord, CatalogRecord, LinkRecord, ProgramRecord},
    domain::{
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        reason::Standing,
        time::Timestamp,
    },
    store::{
        catalog::publish,
        entities::{affiliate, enrolment, link, program},
    },
};

/// Tells edges of a program as it stands now.
pub async fn program(tx: &impl ConnectionTrait, id: ProgramId) -> Result<(), LedgerError> {
    let row = program::Entity::find_by_id(id.0).one(tx).await?.ok_or(LedgerError::NotFound("program"))?;
    let settings = serde_json::from_value(row.settings).map_err(|e| LedgerError::damaged("settings", e))?;
    let record = ProgramRecord {
        id,
        account: AccountId(row.account_id),
        slug: row.slug,
        settings: Arc::new(settings),
        pixel_secret: row.pixel_secret,
        deleted: row.deleted_at.is_some(),
    };
    Ok(publish(tx, CatalogRecord::Program(Box::new(record))).await?)
}

pub(super) async fn affiliate(tx: &impl ConnectionTrait, id: AffiliateId) -> Result<(), LedgerError> {
    let row = affiliate::Entity::find_by_id(id.0).one(tx).await?.ok_or(LedgerError::NotFound("affiliate"))?;
    let programs = enrolment::Entity::find()
        .filter(enrolment::Column::AffiliateId.eq(id.0))
        .order_by_asc(enrolment::Column::ProgramId)
        .all(tx)
        .await?
        .into_iter()
        .map(|row| match Standing::parse(&row.standing) {
            Some(standing) => Ok((ProgramId(row.program_id), standing)),
            None => Err(LedgerError::damaged("standing", row.standing)),
        })
        .collect::<Result<_, _>>()?;
    let record = AffiliateRecord {
        id,
        account: AccountId(row.account_id),
        slug: row.slug,
        suspended: row.suspended,
        programs,
        deleted: row.deleted_at.is_some(),
    };
    Ok(publish(tx, CatalogRecord::Affiliate(record)).await?)
}

pub(super) async fn link(tx: &impl ConnectionTrait, id: LinkId) -> Result<(), LedgerError> {
    let row = link::Entity::find_by_id(id.0).one(tx).await?.ok_or(LedgerError::NotFound("link"))?;
    let record = LinkRecord {
        id,
        account: AccountId(row.account_id),
        code: row.code,
        program: ProgramId(row.program_id),
        affiliate: AffiliateId(row.affiliate_id),
        destination: row.destination,
        source_id: row.source_id,
        asset_id: row.asset_id,
        expires_at: row.expires_at.map(Timestamp),
        deleted: row.deleted_at.is_some(),
    };
    Ok(publish(tx, CatalogRecord::Link(record)).await?)
}
