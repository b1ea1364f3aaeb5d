//! Commands that change whom and what the money follows: programs, affiliates, standings, links, coupons.
//!
//! Each writes its rows and, in the same transaction, what edges must know of them.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, Set,
    sea_query::OnConflict,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    LedgerError, PutAffiliate, PutCoupon, PutLink, PutProgram, bonuses,
    journal::Entry,
    measures, overrides,
    programs::{self, EVERY_PROGRAM},
    status,
};
use crate::{
    domain::{
        bonuses::{BonusMeasure, BonusSettings},
        ids::{AffiliateId, LinkId, ProgramId},
        measures::asked_by,
        reason::Standing,
    },
    store::{
        entities::{
            affiliate, bonus, conversion, coupon, enrolment, link, program, program_version, standing,
        },
        publish,
    },
};

/// Creates a program, or writes the next version of its settings. A backdated one is in force from its time on, until
/// the one that began after it; the program's row, and so what edges are told, follows what is in force now.
pub(super) async fn put_program(entry: &mut Entry<'_>, put: &PutProgram) -> Result<(), LedgerError> {
    let settings = serde_json::to_value(&put.settings).map_err(|e| LedgerError::damaged("settings", e))?;
    let starts_at = put.from.unwrap_or(entry.at);
    let known = program::Entity::find_by_id(put.id.0).one(entry.tx).await?;
    let version = match known {
        None => {
            let row = program::ActiveModel {
                id: Set(put.id.0),
                account_id: Set(entry.account.0),
                slug: Set(put.slug.to_string()),
                currency: Set(put.currency.code().to_owned()),
                version: Set(1),
                settings: Set(settings.clone()),
                // A secret is no command: who may know the sealing keys makes it.
                pixel_secret: Set(String::new()),
                measured: Set(json!([])),
                created_at: Set(entry.at.0),
                updated_at: Set(entry.at.0),
                deleted_at: Set(None),
            };
            program::Entity::insert(row)
                .exec_without_returning(entry.tx)
                .await
                .map_err(|error| LedgerError::unique("id", error))?;
            1
        }
        Some(row) if row.account_id != entry.account.0 || row.deleted_at.is_some() => {
            return Err(LedgerError::NotFound("program"));
        }
        Some(row) => {
            if row.currency != put.currency.code() {
                check_change_of_currency(entry, put.id).await?;
            }
            let (in_force, last) = programs::last_versions(entry.tx, put.id).await?;
            let version = last + 1;
            let mut change = row.into_active_model();
            change.currency = Set(put.currency.code().to_owned());
            if in_force <= starts_at {
                change.version = Set(version);
                change.settings = Set(settings.clone());
            }
            change.updated_at = Set(entry.at.0);
            change.update(entry.tx).await?;
            version
        }
    };
    let row = program_version::ActiveModel {
        program_id: Set(put.id.0),
        version: Set(version),
        account_id: Set(entry.account.0),
        starts_at: Set(starts_at.0),
        settings: Set(settings),
        seq: Set(entry.seq),
    };
    program_version::Entity::insert(row).exec_without_returning(entry.tx).await?;
    measures::keep(entry, put.id, &asked_by(&put.settings)).await?;
    Ok(publish::program(entry.tx, put.id).await?)
}

/// What was priced in a currency, or is written in it, would become another amount.
async fn check_change_of_currency(entry: &Entry<'_>, program: ProgramId) -> Result<(), LedgerError> {
    let message = if has_conversions(entry, program).await? {
        "cannot change once the program has a conversion"
    } else if overrides::any_holds_amounts(entry, program).await? {
        "cannot change while overrides hold amounts of it"
    } else if bonus_holds_amounts(entry, program).await? {
        "cannot change while bonuses hold amounts of it"
    } else {
        return Ok(());
    };
    Err(LedgerError::Conflict { field: "currency", message })
}

async fn bonus_holds_amounts(entry: &Entry<'_>, program: ProgramId) -> Result<bool, LedgerError> {
    let rows = bonus::Entity::find()
        .filter(bonus::Column::ProgramId.eq(program.0))
        .filter(bonus::Column::DeletedAt.is_null())
        .all(entry.tx)
        .await?;
    for row in rows {
        let settings: BonusSettings =
            serde_json::from_value(row.settings).map_err(|error| LedgerError::damaged("bonus", error))?;
        let in_amounts = settings.measure == BonusMeasure::ConversionAmount
            || settings.targets.iter().any(|target| target.pays.is_amount());
        if in_amounts {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn has_conversions(entry: &Entry<'_>, program: ProgramId) -> Result<bool, LedgerError> {
    let found = conversion::Entity::find()
        .filter(conversion::Column::AccountId.eq(entry.account.0))
        .filter(conversion::Column::ProgramId.eq(program.0))
        // What is held is anybody's word.
        .filter(conversion::Column::Status.is_in([status::SETTLED, status::PENDING, status::DELETED]))
        .count(entry.tx)
        .await?;
    Ok(found > 0)
}

pub(super) async fn delete_program(entry: &Entry<'_>, id: ProgramId) -> Result<(), LedgerError> {
    let mut row = find_program(entry, id).await?.into_active_model();
    row.deleted_at = Set(Some(entry.at.0));
    row.update(entry.tx).await?;
    Ok(publish::program(entry.tx, id).await?)
}

pub(super) async fn put_affiliate(entry: &mut Entry<'_>, put: &PutAffiliate) -> Result<(), LedgerError> {
    let known = affiliate::Entity::find_by_id(put.id.0).one(entry.tx).await?;
    let suspension_changes = match known {
        None => {
            let row = affiliate::ActiveModel {
                id: Set(put.id.0),
                account_id: Set(entry.account.0),
                slug: Set(put.slug.to_string()),
                meta_data: Set(json!({})),
                suspended: Set(put.suspended),
                created_at: Set(entry.at.0),
                updated_at: Set(entry.at.0),
                ..Default::default()
            };
            affiliate::Entity::insert(row)
                .exec_without_returning(entry.tx)
                .await
                .map_err(|error| LedgerError::unique("id", error))?;
            put.suspended
        }
        Some(row) if row.account_id != entry.account.0 || row.deleted_at.is_some() => {
            return Err(LedgerError::NotFound("affiliate"));
        }
        Some(row) => {
            let changes = row.suspended != put.suspended;
            let mut row = row.into_active_model();
            row.suspended = Set(put.suspended);
            row.updated_at = Set(entry.at.0);
            row.update(entry.tx).await?;
            changes
        }
    };
    if suspension_changes {
        let standing = if put.suspended { Standing::Suspended } else { Standing::Approved };
        write_standing(entry, put.id, EVERY_PROGRAM, standing).await?;
        if !put.suspended {
            bonuses::stands_anew(entry, None, put.id).await?;
        }
    }
    Ok(publish::affiliate(entry.tx, put.id).await?)
}

/// The affiliate's links stop attributing; history and balance stay.
pub(super) async fn delete_affiliate(entry: &Entry<'_>, id: AffiliateId) -> Result<(), LedgerError> {
    let mut row = find_affiliate(entry, id).await?.into_active_model();
    row.deleted_at = Set(Some(entry.at.0));
    row.update(entry.tx).await?;
    write_standing(entry, id, EVERY_PROGRAM, Standing::Suspended).await?;
    Ok(publish::affiliate(entry.tx, id).await?)
}

pub(super) async fn set_standing(
    entry: &mut Entry<'_>,
    program: ProgramId,
    affiliate: AffiliateId,
    standing: Standing,
) -> Result<(), LedgerError> {
    find_program(entry, program).await?;
    find_affiliate(entry, affiliate).await?;
    let (before, _) = entry.standings(program, affiliate, entry.at).await?;
    let row = enrolment::ActiveModel {
        program_id: Set(program.0),
        affiliate_id: Set(affiliate.0),
        account_id: Set(entry.account.0),
        standing: Set(standing.as_str().to_owned()),
        created_at: Set(entry.at.0),
        updated_at: Set(entry.at.0),
    };
    enrolment::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([enrolment::Column::ProgramId, enrolment::Column::AffiliateId])
                .update_columns([enrolment::Column::Standing, enrolment::Column::UpdatedAt])
                .to_owned(),
        )
        .exec_without_returning(entry.tx)
        .await?;
    write_standing(entry, affiliate, program.0, standing).await?;
    if before == Some(Standing::Suspended) && standing != Standing::Suspended {
        bonuses::stands_anew(entry, Some(program), affiliate).await?;
    }
    Ok(publish::affiliate(entry.tx, affiliate).await?)
}

async fn write_standing(
    entry: &Entry<'_>,
    affiliate: AffiliateId,
    program_id: i64,
    standing: Standing,
) -> Result<(), LedgerError> {
    let row = standing::ActiveModel {
        affiliate_id: Set(affiliate.0),
        program_id: Set(program_id),
        seq: Set(entry.seq),
        account_id: Set(entry.account.0),
        starts_at: Set(entry.at.0),
        standing: Set(standing.as_str().to_owned()),
    };
    standing::Entity::insert(row).exec_without_returning(entry.tx).await?;
    Ok(())
}

/// A link keeps its code, program and affiliate for life; the rest may change.
pub(super) async fn put_link(entry: &Entry<'_>, put: &PutLink) -> Result<(), LedgerError> {
    let known = link::Entity::find_by_id(put.id.0).one(entry.tx).await?;
    match known {
        None => {
            find_program(entry, put.program).await?;
            find_affiliate(entry, put.affiliate).await?;
            let row = link::ActiveModel {
                id: Set(put.id.0),
                uid: Set(put.uid),
                account_id: Set(entry.account.0),
                program_id: Set(put.program.0),
                affiliate_id: Set(put.affiliate.0),
                code: Set(put.code.clone()),
                destination: Set(put.destination.clone()),
                source_id: Set(put.source_id.clone()),
                asset_id: Set(put.asset_id.clone()),
                expires_at: Set(put.expires_at.map(|at| at.0)),
                created_at: Set(entry.at.0),
                updated_at: Set(entry.at.0),
                deleted_at: Set(None),
            };
            link::Entity::insert(row)
                .exec_without_returning(entry.tx)
                .await
                .map_err(|error| LedgerError::unique("code", error))?;
        }
        Some(row) if row.account_id != entry.account.0 || row.deleted_at.is_some() => {
            return Err(LedgerError::NotFound("link"));
        }
        Some(row) => {
            let mut row = row.into_active_model();
            row.destination = Set(put.destination.clone());
            row.source_id = Set(put.source_id.clone());
            row.asset_id = Set(put.asset_id.clone());
            row.expires_at = Set(put.expires_at.map(|at| at.0));
            row.updated_at = Set(entry.at.0);
            row.update(entry.tx).await?;
        }
    }
    Ok(publish::link(entry.tx, put.id).await?)
}

pub(super) async fn delete_link(entry: &Entry<'_>, id: LinkId) -> Result<(), LedgerError> {
    let row = link::Entity::find_by_id(id.0)
        .filter(link::Column::AccountId.eq(entry.account.0))
        .filter(link::Column::DeletedAt.is_null())
        .one(entry.tx)
        .await?;
    let mut row = row.ok_or(LedgerError::NotFound("link"))?.into_active_model();
    row.deleted_at = Set(Some(entry.at.0));
    row.update(entry.tx).await?;
    Ok(publish::link(entry.tx, id).await?)
}

pub(super) async fn put_coupon(entry: &Entry<'_>, put: &PutCoupon) -> Result<(), LedgerError> {
    let known = coupon::Entity::find_by_id(put.id).one(entry.tx).await?;
    let code_key = put.code.to_ascii_lowercase();
    match known {
        None => {
            find_program(entry, put.program).await?;
            find_affiliate(entry, put.affiliate).await?;
            let row = coupon::ActiveModel {
                id: Set(put.id),
                account_id: Set(entry.account.0),
                program_id: Set(put.program.0),
                affiliate_id: Set(put.affiliate.0),
                code: Set(put.code.clone()),
                code_key: Set(code_key),
                starts_at: Set(put.starts_at.map(|at| at.0)),
                ends_at: Set(put.ends_at.map(|at| at.0)),
                created_at: Set(entry.at.0),
                updated_at: Set(entry.at.0),
                deleted_at: Set(None),
            };
            coupon::Entity::insert(row)
                .exec_without_returning(entry.tx)
                .await
                .map_err(|error| LedgerError::unique("code", error))?;
        }
        Some(row) if row.account_id != entry.account.0 || row.deleted_at.is_some() => {
            return Err(LedgerError::NotFound("coupon"));
        }
        Some(row) => {
            let mut row = row.into_active_model();
            row.starts_at = Set(put.starts_at.map(|at| at.0));
            row.ends_at = Set(put.ends_at.map(|at| at.0));
            row.updated_at = Set(entry.at.0);
            row.update(entry.tx).await?;
        }
    }
    Ok(())
}

pub(super) async fn delete_coupon(entry: &Entry<'_>, id: Uuid) -> Result<(), LedgerError> {
    let row = coupon::Entity::find_by_id(id)
        .filter(coupon::Column::AccountId.eq(entry.account.0))
        .filter(coupon::Column::DeletedAt.is_null())
        .one(entry.tx)
        .await?;
    let mut row = row.ok_or(LedgerError::NotFound("coupon"))?.into_active_model();
    row.deleted_at = Set(Some(entry.at.0));
    row.update(entry.tx).await?;
    Ok(())
}

pub(super) async fn find_program(entry: &Entry<'_>, id: ProgramId) -> Result<program::Model, LedgerError> {
    let row = program::Entity::find_by_id(id.0)
        .filter(program::Column::AccountId.eq(entry.account.0))
        .filter(program::Column::DeletedAt.is_null())
        .one(entry.tx)
        .await?;
    row.ok_or(LedgerError::NotFound("program"))
}

pub(super) async fn find_affiliate(
    entry: &Entry<'_>,
    id: AffiliateId,
) -> Result<affiliate::Model, LedgerError> {
    let row = affiliate::Entity::find_by_id(id.0)
        .filter(affiliate::Column::AccountId.eq(entry.account.0))
        .filter(affiliate::Column::DeletedAt.is_null())
        .one(entry.tx)
        .await?;
    row.ok_or(LedgerError::NotFound("affiliate"))
}
