//! The secrets that sign merchants' pixels: made here, sealed before they are stored, opened for the merchant.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    Set, sea_query::Expr,
};

use super::{Store, entities::program, keys, publish};
use crate::domain::{
    ids::ProgramId,
    sealed::{NONCE_BYTES, OpenError, Sealed, SealingKeys, pixel_secret_of},
    time::Timestamp,
};

/// Programs that are looked at in one statement.
const PAGE: u64 = 500;

/// Gives a program a new secret and tells the edges.
pub async fn renew(
    tx: &impl ConnectionTrait,
    id: ProgramId,
    sealing: &SealingKeys,
    at: Timestamp,
) -> Result<(), DbErr> {
    let sealed = seal(sealing, id, &keys::random_secret()?)?;
    let change = program::ActiveModel {
        id: Set(id.0),
        pixel_secret: Set(sealed.into_text()),
        updated_at: Set(at.0),
        ..Default::default()
    };
    change.update(tx).await?;
    publish::program(tx, id).await
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
        let rows = program::Entity::find()
            .filter(program::Column::Id.gt(after))
            .filter(program::Column::PixelSecret.ne(""))
            .order_by_asc(program::Column::Id)
            .limit(PAGE)
            .all(store.reader())
            .await?;
        let Some(last) = rows.last() else { return Ok(done) };
        after = last.id;
        for row in rows {
            let sealed = Sealed::from_text(row.pixel_secret.as_str());
            if sealing.is_current(&sealed) || (clear_text_only && sealed.has_form()) {
                continue;
            }
            match if sealed.has_form() { open(&row, sealing) } else { Ok(sealed.into_text()) } {
                Ok(text) => done.sealed += u64::from(replace(store, &row, sealing, &text).await?),
                Err(_) => done.unreadable += 1,
            }
        }
    }
}

/// One program in a transaction of its own, unless its merchant has replaced the secret meanwhile.
async fn replace(
    store: &Store,
    row: &program::Model,
    sealing: &SealingKeys,
    text: &str,
) -> Result<bool, DbErr> {
    let id = ProgramId(row.id);
    let sealed = seal(sealing, id, text)?;
    let tx = store.begin().await?;
    let changed = program::Entity::update_many()
        .col_expr(program::Column::PixelSecret, Expr::value(sealed.into_text()))
        .filter(program::Column::Id.eq(row.id))
        .filter(program::Column::PixelSecret.eq(row.pixel_secret.as_str()))
        .exec(&tx)
        .await?;
    if changed.rows_affected == 0 {
        return Ok(false);
    }
    publish::program(&tx, id).await?;
    tx.commit().await?;
    Ok(true)
}

fn seal(sealing: &SealingKeys, id: ProgramId, text: &str) -> Result<Sealed, DbErr> {
    let mut nonce = [0_u8; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| DbErr::Custom(format!("no randomness: {error}")))?;
    Ok(sealing.seal(&nonce, &pixel_secret_of(id), text))
}
