//! What edges are told when the rules change: rows as catalog records, through the outbox.

use std::sync::Arc;

use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};

use super::{
    catalog::publish,
    entities::{affiliate, enrolment, link, program},
};
use crate::{
    catalog::{AffiliateRecord, CatalogRecord, LinkRecord, ProgramRecord},
    domain::{
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        reason::Standing,
        sealed::Sealed,
        time::Timestamp,
    },
};

/// Tells edges of a program as it stands now.
pub async fn program(tx: &impl ConnectionTrait, id: ProgramId) -> Result<(), DbErr> {
    let row = program::Entity::find_by_id(id.0).one(tx).await?.ok_or_else(|| gone("program"))?;
    let settings = serde_json::from_value(row.settings).map_err(|error| DbErr::Json(error.to_string()))?;
    let record = ProgramRecord {
        id,
        account: AccountId(row.account_id),
        slug: row.slug,
        settings: Arc::new(settings),
        pixel_secret: Sealed::from_text(row.pixel_secret),
        deleted: row.deleted_at.is_some(),
    };
    publish(tx, CatalogRecord::Program(Box::new(record))).await
}

/// Tells edges of an affiliate and its standings as they are now.
pub async fn affiliate(tx: &impl ConnectionTrait, id: AffiliateId) -> Result<(), DbErr> {
    let row = affiliate::Entity::find_by_id(id.0).one(tx).await?.ok_or_else(|| gone("affiliate"))?;
    let programs = enrolment::Entity::find()
        .filter(enrolment::Column::AffiliateId.eq(id.0))
        .order_by_asc(enrolment::Column::ProgramId)
        .all(tx)
        .await?
        .into_iter()
        .map(|row| match Standing::parse(&row.standing) {
            Some(standing) => Ok((ProgramId(row.program_id), standing)),
            None => Err(DbErr::Type(format!("unknown standing {}", row.standing))),
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
    publish(tx, CatalogRecord::Affiliate(record)).await
}

/// Tells edges of a link as it is now.
pub async fn link(tx: &impl ConnectionTrait, id: LinkId) -> Result<(), DbErr> {
    let row = link::Entity::find_by_id(id.0).one(tx).await?.ok_or_else(|| gone("link"))?;
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
    publish(tx, CatalogRecord::Link(record)).await
}

fn gone(what: &str) -> DbErr {
    DbErr::RecordNotFound(format!("there is no such {what}"))
}
