//! Event ids and external ids that are taken: what makes a repeat a repeat (MONEY 3, 8).

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Set};
use uuid::Uuid;

use super::{LedgerError, journal::Entry};
use crate::{
    domain::{ids::ProgramId, reason::ConversionKind},
    store::entities::claim,
};

/// What can be taken once in an account.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim<'a> {
    Event(Uuid),
    /// One space of external ids per program and kind.
    Conversion(ProgramId, ConversionKind, &'a str),
    Refund(&'a str),
}

impl Claim<'_> {
    /// 32 hex digits of BLAKE3 over the kind and the parts; the text, of free length, comes last.
    pub fn key(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        match self {
            Self::Event(id) => hasher.update(b"event\0").update(id.as_bytes()),
            Self::Conversion(program, kind, external_id) => hasher
                .update(b"conversion\0")
                .update(&program.0.to_be_bytes())
                .update(kind.as_str().as_bytes())
                .update(b"\0")
                .update(external_id.as_bytes()),
            Self::Refund(external_id) => hasher.update(b"refund\0").update(external_id.as_bytes()),
        };
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

/// Who holds a claim, if anybody does.
pub(super) async fn holder(entry: &Entry<'_>, claim: Claim<'_>) -> Result<Option<claim::Model>, LedgerError> {
    Ok(claim::Entity::find_by_id((entry.account.0, claim.key())).one(entry.tx).await?)
}

/// Takes all of these for one holder.
pub(super) async fn take(
    entry: &Entry<'_>,
    claims: &[Claim<'_>],
    holder: Uuid,
    fingerprint: &str,
) -> Result<(), LedgerError> {
    let rows = claims.iter().map(|claim| claim::ActiveModel {
        account_id: Set(entry.account.0),
        claim: Set(claim.key()),
        holder: Set(holder),
        fingerprint: Set(fingerprint.to_owned()),
    });
    claim::Entity::insert_many(rows).exec_without_returning(entry.tx).await?;
    Ok(())
}

/// Gives back all that a holder claimed: it was rejected after all.
pub(super) async fn release(entry: &Entry<'_>, holder: Uuid) -> Result<(), LedgerError> {
    claim::Entity::delete_many()
        .filter(claim::Column::AccountId.eq(entry.account.0))
        .filter(claim::Column::Holder.eq(holder))
        .exec(entry.tx)
        .await?;
    Ok(())
}
