//! What an event's click token proved and which stored clicks were found, gathered before the command is applied.

use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{
        attribution::TOLERANCE_MS,
        ids::{AccountId, LinkId, Prefix},
        time::Timestamp,
        token::{KeyRing, TokenError},
    },
    events::Conversion,
    store::entities::click,
};

/// Days before an event in which its click is looked for first.
const RECENT_DAYS: i32 = 31;

/// A click that is proven, by its token or by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenClick {
    pub click_id: Uuid,
    pub link: LinkId,
    pub clicked_at: Timestamp,
    pub attributable: bool,
    pub review: bool,
}

/// What became of the click id that an event carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClickProof {
    #[default]
    Absent,
    Proven(ProvenClick),
    /// A bare id, or a token whose key was revoked: the stored click is the proof, and there is none yet.
    NotStored,
    /// A token whose key may still reach this process.
    UnknownKey,
    Forged,
    /// Neither a token nor an id.
    Unreadable,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    #[serde(default)]
    pub click: ClickProof,
    /// The latest click of the tracking id that may attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracked: Option<ProvenClick>,
}

impl Evidence {
    /// Whether the click or the key that would prove it is still not there.
    pub fn click_is_missing(&self) -> bool {
        matches!(self.click, ClickProof::NotStored | ClickProof::UnknownKey)
    }

    /// Looks at everything that a conversion says of its click.
    pub async fn gather(
        db: &impl ConnectionTrait,
        keys: &KeyRing,
        conversion: &Conversion,
        occurred_at: Timestamp,
    ) -> Result<Self, DbErr> {
        let click = match &conversion.click_id {
            Some(text) => prove(db, keys, conversion.account, text).await?,
            None => ClickProof::Absent,
        };
        let tracked = match &conversion.tracking_id {
            Some(id) => latest_tracked(db, conversion.account, id, occurred_at).await?,
            None => None,
        };
        Ok(Self { click, tracked })
    }
}

async fn prove(
    db: &impl ConnectionTrait,
    keys: &KeyRing,
    account: AccountId,
    text: &str,
) -> Result<ClickProof, DbErr> {
    let bare = Prefix::Click.parse(text).or_else(|| Uuid::try_parse(text).ok());
    if let Some(id) = bare {
        return stored(db, account, id).await;
    }
    match keys.verify(text) {
        Ok(token) => Ok(match token.clicked_at() {
            Some(clicked_at) => ClickProof::Proven(ProvenClick {
                click_id: token.click_id,
                link: token.link,
                clicked_at,
                attributable: token.attributable,
                review: token.review,
            }),
            None => ClickProof::Unreadable,
        }),
        Err(TokenError::UnknownKey(_)) => Ok(ClickProof::UnknownKey),
        Err(TokenError::RevokedKey(_)) => match keys.read_unproven(text) {
            Some(token) => stored(db, account, token.click_id).await,
            None => Ok(ClickProof::Unreadable),
        },
        Err(TokenError::Forged) => Ok(ClickProof::Forged),
        Err(TokenError::Malformed) => Ok(ClickProof::Unreadable),
    }
}

async fn stored(db: &impl ConnectionTrait, account: AccountId, id: Uuid) -> Result<ClickProof, DbErr> {
    let Some(clicked_at) = Timestamp::of_uuid(id) else {
        return Ok(ClickProof::Unreadable);
    };
    let row = click::Entity::find_by_id((clicked_at.day(), id))
        .filter(click::Column::AccountId.eq(account.0))
        .one(db)
        .await?;
    Ok(row.map_or(ClickProof::NotStored, |row| ClickProof::Proven(proven(&row))))
}

async fn latest_tracked(
    db: &impl ConnectionTrait,
    account: AccountId,
    tracking_id: &str,
    occurred_at: Timestamp,
) -> Result<Option<ProvenClick>, DbErr> {
    let until = occurred_at + TOLERANCE_MS;
    // Clicks lie apart by day: most often the recent days have it, and the others are not touched.
    let recent = until.day().saturating_sub(RECENT_DAYS);
    for days in [recent..=until.day(), i32::MIN..=recent.saturating_sub(1)] {
        let row = click::Entity::find()
            .filter(click::Column::AccountId.eq(account.0))
            .filter(click::Column::TrackingId.eq(tracking_id))
            .filter(click::Column::Attributable.eq(true))
            .filter(click::Column::Day.between(*days.start(), *days.end()))
            .filter(click::Column::ClickedAt.lte(until.0))
            .order_by_desc(click::Column::ClickedAt)
            .order_by_desc(click::Column::Id)
            .one(db)
            .await?;
        if row.is_some() {
            return Ok(row.map(|row| proven(&row)));
        }
    }
    Ok(None)
}

fn proven(row: &click::Model) -> ProvenClick {
    ProvenClick {
        click_id: row.id,
        link: LinkId(row.link_id),
        clicked_at: Timestamp(row.clicked_at),
        attributable: row.attributable,
        review: row.review,
    }
}
