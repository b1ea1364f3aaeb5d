//! The secrets that sign merchants' pixels: made here, sealed before they are stored, opened for the merchant.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect, Set,
};

use super::{Store, entities::program, keys, publish};
use crate::domain::{
    ids::ProgramId,
    sealed::{NONCE_BYTES, OpenError, Sealed, SealingKeys, pixel_secret_of},
    time::Timestamp,
};

/// Programs of one transaction while all are sealed anew.
const PAGE: u64 = 500;

/// Gives a program a new secret and tells the edges.
pub async fn renew(
    tx: &impl ConnectionTrait,
    id: ProgramId,
    sealing: &SealingKeys,
    at: Timestamp,
) -> Result<(), DbErr> {
    let row = program::Entity::find_by_id(id.0).one(tx).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("there is no such program".to_owned()))?;
    let mut change = row.into_active_model();
    change.updated_at = Set(at.0);
    write(tx, change, id, sealing, &keys::random_secret()?).await
}

/// A program's secret as its merchant knows it.
pub fn open(row: &program::Model, sealing: &SealingKeys) -> Result<String, OpenError> {
    sealing.open(&Sealed::from_text(row.pixel_secret.as_str()), &pixel_secret_of(ProgramId(row.id)))
}

/// What came of sealing secrets anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    pub sealed: u64,
    /// No key opens these; their merchants need new ones.
    pub unreadable: u64,
}

/// Seals with the first key what it has not sealed, also what is left in clear text from a time before.
///
/// `clear_text_only`: what any key has sealed stays as it is.
pub async fn reseal(store: &Store, sealing: &SealingKeys, clear_text_only: bool) -> Result<Resealed, DbErr> {
    let mut done = Resealed::default();
    let mut after = 0;
    loop {
        let tx = store.begin().await?;
        let rows = program::Entity::find()
            .filter(program::Column::Id.gt(after))
            .filter(program::Column::PixelSecret.ne(""))
            .order_by_asc(program::Column::Id)
            .limit(PAGE)
            .all(&tx)
            .await?;
        let Some(last) = rows.last() else { return Ok(done) };
        after = last.id;
        for row in rows {
            let sealed = Sealed::from_text(row.pixel_secret.as_str());
            if sealing.is_current(&sealed) || (clear_text_only && sealed.has_form()) {
                continue;
            }
            let text = if sealed.has_form() { open(&row, sealing) } else { Ok(sealed.into_text()) };
            match text {
                Ok(text) => {
                    let id = ProgramId(row.id);
                    write(&tx, row.into_active_model(), id, sealing, &text).await?;
                    done.sealed += 1;
                }
                Err(_) => done.unreadable += 1,
            }
        }
        tx.commit().await?;
    }
}

async fn write(
    tx: &impl ConnectionTrait,
    mut row: program::ActiveModel,
    id: ProgramId,
    sealing: &SealingKeys,
    text: &str,
) -> Result<(), DbErr> {
    let mut nonce = [0_u8; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| DbErr::Custom(format!("no randomness: {error}")))?;
    row.pixel_secret = Set(sealing.seal(&nonce, &pixel_secret_of(id), text).into_text());
    row.update(tx).await?;
    publish::program(tx, id).await
}
