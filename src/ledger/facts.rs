//! Gathers what attribution needs to know of a conversion's inputs. What belongs to a deleted program is not known.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use super::{ClickProof, Evidence, LedgerError, ProvenClick, journal::Entry, programs};
use crate::{
    domain::{
        attribution::{Candidate, ClickEvidence, ClickFact, CouponFact, Facts, Given},
        ids::{AffiliateId, LinkId, ProgramId},
        time::Timestamp,
    },
    events::Conversion,
    store::entities::{coupon, customer, link},
};

/// What is known of every input of `conversion` now.
pub(super) async fn gather(
    entry: &Entry<'_>,
    conversion: &Conversion,
    evidence: &Evidence,
    occurred_at: Timestamp,
    named_program: Option<ProgramId>,
    waited_out: bool,
) -> Result<Facts, LedgerError> {
    let group = match &conversion.program_group {
        Some(group) => Some(programs::of_group(entry.tx, entry.account, group).await?),
        None => None,
    };
    Ok(Facts {
        occurred_at,
        named_program,
        group,
        customers: customers(entry, conversion).await?,
        coupon: coupon(entry, conversion).await?,
        referral_code: referral_code(entry, conversion).await?,
        click: click(entry, evidence.click, occurred_at).await?,
        asset_source: asset_source(entry, conversion).await?,
        tracking_id: tracking_id(entry, conversion, evidence, occurred_at).await?,
        waited_out,
    })
}

async fn customers(entry: &Entry<'_>, conversion: &Conversion) -> Result<Given<Vec<Candidate>>, LedgerError> {
    let Some(id) = &conversion.customer_id else { return Ok(Given::Absent) };
    let rows = customer::Entity::find()
        .filter(customer::Column::AccountId.eq(entry.account.0))
        .filter(customer::Column::CustomerId.eq(id.as_str()))
        .filter(customer::Column::ProgramId.in_subquery(programs::live(entry.account)))
        .order_by_asc(customer::Column::ProgramId)
        .all(entry.tx)
        .await?;
    if rows.is_empty() {
        return Ok(Given::Unknown);
    }
    let candidate = |row: customer::Model| Candidate {
        program: ProgramId(row.program_id),
        affiliate: AffiliateId(row.affiliate_id),
        link: row.link_id.map(LinkId),
    };
    Ok(Given::Found(rows.into_iter().map(candidate).collect()))
}

async fn coupon(entry: &Entry<'_>, conversion: &Conversion) -> Result<Given<CouponFact>, LedgerError> {
    let Some(code) = &conversion.coupon else { return Ok(Given::Absent) };
    let row = coupon::Entity::find()
        .filter(coupon::Column::AccountId.eq(entry.account.0))
        .filter(coupon::Column::CodeKey.eq(code.to_ascii_lowercase()))
        .filter(coupon::Column::DeletedAt.is_null())
        .filter(coupon::Column::ProgramId.in_subquery(programs::live(entry.account)))
        .one(entry.tx)
        .await?;
    Ok(row.map_or(Given::Unknown, |row| {
        Given::Found(CouponFact {
            candidate: Candidate {
                program: ProgramId(row.program_id),
                affiliate: AffiliateId(row.affiliate_id),
                link: None,
            },
            starts_at: row.starts_at.map(Timestamp),
            ends_at: row.ends_at.map(Timestamp),
        })
    }))
}

async fn referral_code(entry: &Entry<'_>, conversion: &Conversion) -> Result<Given<Candidate>, LedgerError> {
    let Some(code) = &conversion.referral_code else { return Ok(Given::Absent) };
    let row = link::Entity::find()
        .filter(link::Column::AccountId.eq(entry.account.0))
        .filter(link::Column::Code.eq(code.as_str()))
        .filter(link::Column::DeletedAt.is_null())
        .filter(link::Column::ProgramId.in_subquery(programs::live(entry.account)))
        .one(entry.tx)
        .await?;
    Ok(row.map_or(Given::Unknown, |row| Given::Found(candidate(&row))))
}

/// The link with both; the oldest where several have them.
async fn asset_source(entry: &Entry<'_>, conversion: &Conversion) -> Result<Given<Candidate>, LedgerError> {
    let (Some(asset), Some(source)) = (&conversion.asset_id, &conversion.source_id) else {
        return Ok(Given::Absent);
    };
    let row = link::Entity::find()
        .filter(link::Column::AccountId.eq(entry.account.0))
        .filter(link::Column::AssetId.eq(asset.as_str()))
        .filter(link::Column::SourceId.eq(source.as_str()))
        .filter(link::Column::DeletedAt.is_null())
        .filter(link::Column::ProgramId.in_subquery(programs::live(entry.account)))
        .order_by_asc(link::Column::Id)
        .one(entry.tx)
        .await?;
    Ok(row.map_or(Given::Unknown, |row| Given::Found(candidate(&row))))
}

async fn click(
    entry: &Entry<'_>,
    proof: ClickProof,
    occurred_at: Timestamp,
) -> Result<ClickEvidence, LedgerError> {
    Ok(match proof {
        ClickProof::Absent => ClickEvidence::Absent,
        ClickProof::NotStored => ClickEvidence::NotStored,
        ClickProof::UnknownKey => ClickEvidence::UnknownKey,
        ClickProof::Forged => ClickEvidence::Forged,
        ClickProof::Unreadable => ClickEvidence::Unknown,
        ClickProof::Proven(click) => match fact(entry, click, occurred_at).await? {
            Some(fact) => ClickEvidence::Proven(fact),
            None => ClickEvidence::Unknown,
        },
    })
}

async fn tracking_id(
    entry: &Entry<'_>,
    conversion: &Conversion,
    evidence: &Evidence,
    occurred_at: Timestamp,
) -> Result<Given<ClickFact>, LedgerError> {
    if conversion.tracking_id.is_none() {
        return Ok(Given::Absent);
    }
    let fact = match evidence.tracked {
        Some(click) => fact(entry, click, occurred_at).await?,
        None => None,
    };
    Ok(fact.map_or(Given::Unknown, Given::Found))
}

/// A click with its link's program and window; `None` when the link is not this account's. A link that was deleted
/// since keeps what its clicks earned.
async fn fact(
    entry: &Entry<'_>,
    click: ProvenClick,
    occurred_at: Timestamp,
) -> Result<Option<ClickFact>, LedgerError> {
    let Some(row) = entry.link(click.link).await? else { return Ok(None) };
    let program = entry.program_at(ProgramId(row.program_id), occurred_at).await?;
    Ok(program.filter(|program| !program.deleted).map(|program| ClickFact {
        click_id: click.click_id,
        clicked_at: click.clicked_at,
        attributable: click.attributable,
        review: click.review,
        candidate: candidate(&row),
        cookie_time_days: program.settings.cookie_time,
        any_age: program.settings.override_max_cookie_time,
    }))
}

fn candidate(row: &link::Model) -> Candidate {
    Candidate {
        program: ProgramId(row.program_id),
        affiliate: AffiliateId(row.affiliate_id),
        link: Some(LinkId(row.id)),
    }
}
