//! Bonuses, their versions and awards as clients see them.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::settings::{FORMS, form_of};
use crate::{
    api::{
        error::ApiError,
        v1::{
            convert,
            lookup::{Names, Refs},
        },
    },
    domain::{
        amount::Currency,
        bonuses::{BonusMeasure, BonusSettings},
        calendar::date_of,
        ids::{AccountId, Prefix},
        price::FlatPrice,
        time::Timestamp,
    },
    store::entities::{bonus, bonus_award, bonus_version, program},
};

/// What a bonus says.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BonusRules {
    #[schema(example = "gold")]
    pub identifier: String,
    #[schema(example = "Gold")]
    pub title: String,
    #[schema(example = "calmo")]
    pub interval: String,
    #[schema(example = "conversion_count")]
    pub target_type: String,
    /// `fixed` or `percentage`.
    #[schema(example = "fixed")]
    pub form: String,
    pub targets: Vec<BonusTargetView>,
    /// The first day that counts.
    #[schema(example = "2026-01-01")]
    pub start_date: Option<String>,
    /// The last day that counts.
    #[schema(example = "2026-12-31")]
    pub end_date: Option<String>,
    pub active: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BonusTargetView {
    /// A number, or an amount of the program's currency.
    #[schema(example = "10")]
    pub target: String,
    /// Of the program's currency, or percent.
    #[schema(example = "50.00")]
    pub value: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Bonus {
    #[schema(example = "bon_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    #[schema(example = "summer")]
    pub program: String,
    /// The number of the version that was written last.
    pub version: i32,
    #[serde(flatten)]
    pub rules: BonusRules,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BonusVersion {
    pub version: i32,
    /// In force from then on.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub from: String,
    #[serde(flatten)]
    pub rules: BonusRules,
}

/// What an affiliate was awarded for an interval.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BonusAward {
    #[schema(example = "jane")]
    pub affiliate: String,
    /// When the interval began; none: it counts from ever.
    #[schema(example = "2026-01-01T00:00:00.000Z")]
    pub from: Option<String>,
    /// When it ended.
    #[schema(example = "2026-02-01T00:00:00.000Z")]
    pub to: Option<String>,
    /// The highest target that was reached.
    #[schema(example = "10")]
    pub target: String,
    /// All that was awarded.
    #[schema(example = "50.00")]
    pub amount: String,
    #[schema(example = "USD")]
    pub currency: String,
    /// The last commission of it; none: what was reached is worth nothing.
    #[schema(example = "com_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub commission: Option<String>,
}

/// The settings of a stored bonus.
pub fn settings_of(settings: serde_json::Value) -> Result<BonusSettings, ApiError> {
    serde_json::from_value(settings).map_err(ApiError::internal)
}

fn target(measure: BonusMeasure, target: i64, currency: Currency) -> String {
    match measure {
        BonusMeasure::ConversionAmount => currency.format(target),
        BonusMeasure::ConversionCount | BonusMeasure::CustomerCount => target.to_string(),
    }
}

impl BonusRules {
    fn of(settings: BonusSettings, currency: Currency) -> Self {
        let form = form_of(&settings);
        let form = FORMS.iter().find(|(_, one)| Some(*one) == form).map(|(word, _)| (*word).to_owned());
        let targets = settings.targets.iter().map(|one| BonusTargetView {
            target: target(settings.measure, one.target, currency),
            value: match one.pays {
                FlatPrice::Fixed { value } => currency.format(value),
                FlatPrice::Percentage { value } => value.to_string(),
            },
        });
        let day = |day: i32| date_of(day).to_string();
        Self {
            targets: targets.collect(),
            form: form.unwrap_or_default(),
            identifier: settings.identifier,
            title: settings.title,
            interval: settings.interval.as_str().to_owned(),
            target_type: settings.measure.as_str().to_owned(),
            start_date: settings.start_date.map(day),
            end_date: settings.end_date.map(day),
            active: settings.active,
        }
    }
}

impl Bonus {
    pub fn of(row: bonus::Model, program: &program::Model) -> Result<Self, ApiError> {
        let currency = convert::currency(&program.currency)?;
        Ok(Self {
            id: Prefix::Bonus.format(row.id),
            program: program.slug.clone(),
            version: row.version,
            rules: BonusRules::of(settings_of(row.settings)?, currency),
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        })
    }
}

impl BonusVersion {
    pub fn of(row: bonus_version::Model, currency: Currency) -> Result<Self, ApiError> {
        Ok(Self {
            version: row.version,
            from: convert::time(row.starts_at),
            rules: BonusRules::of(settings_of(row.settings)?, currency),
        })
    }
}

/// Awards of one bonus.
pub async fn awards(
    db: &impl ConnectionTrait,
    account: AccountId,
    bonus: &bonus::Model,
    currency: Currency,
    rows: Vec<bonus_award::Model>,
) -> Result<Vec<BonusAward>, ApiError> {
    let affiliates = rows.iter().map(|row| row.affiliate_id).collect();
    let names = Names::load(db, account, Refs { affiliates, ..Refs::default() }).await?;
    let versions = bonus_version::Entity::find()
        .filter(bonus_version::Column::BonusId.eq(bonus.id))
        .filter(bonus_version::Column::AccountId.eq(account.0))
        .all(db)
        .await?;
    let measure_at = |time: Timestamp| {
        let begun = versions.iter().filter(|version| version.starts_at <= time.0);
        let found = begun.max_by_key(|version| (version.starts_at, version.version));
        found.and_then(|version| settings_of(version.settings.clone()).ok()).map(|one| one.measure)
    };
    let now = settings_of(bonus.settings.clone())?.measure;
    let view = |row: bonus_award::Model| {
        let closes = row.interval_end < Timestamp::MAX.0;
        let decided_by = if closes { measure_at(Timestamp(row.interval_end - 1)) } else { None };
        Ok(BonusAward {
            affiliate: names.affiliate(row.affiliate_id)?,
            from: closes.then(|| convert::time(row.interval_start)),
            to: closes.then(|| convert::time(row.interval_end)),
            target: target(decided_by.unwrap_or(now), row.target, currency),
            amount: currency.format(row.amount),
            currency: currency.code().to_owned(),
            commission: row.line_id.map(|id| Prefix::Commission.format(id)),
        })
    };
    rows.into_iter().map(view).collect()
}
