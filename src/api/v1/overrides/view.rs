//! An override and its versions as clients see them.

use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        error::ApiError,
        v1::{
            convert,
            lookup::{Names, Refs},
            prices::{FlatPriceView, PriceView},
        },
    },
    domain::{
        amount::Currency,
        ids::{AccountId, Prefix},
        price::OverrideRule,
    },
    store::entities::{override_rule, override_version, program},
};

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Override {
    #[schema(example = "ovr_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    #[schema(example = "summer")]
    pub program: String,
    /// Whose it is, unless it is a group's.
    #[schema(example = "jane")]
    pub affiliate: Option<String>,
    /// Whose it is, unless it is an affiliate's.
    pub group: Option<String>,
    /// What it is for, unless it is for a level.
    #[schema(example = "standard")]
    pub commission_type: Option<String>,
    /// What it is for, unless it is for a commission type.
    pub level: Option<i32>,
    /// The number of the version now in force.
    pub version: i32,
    #[serde(flatten)]
    pub rule: Rule,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

/// What an override pays.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = OverrideRule)]
pub struct Rule {
    #[serde(flatten)]
    pub price: PriceView,
    /// That of the commission type does not count besides an override.
    pub first_payment: Option<FlatPriceView>,
}

/// One version of an override.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OverrideVersion {
    /// In the order in which they were written.
    pub version: i32,
    /// In force from then on, until the next that begins later.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub from: String,
    /// Whether it is the one in force now.
    pub in_force: bool,
    /// Null: removed from then on.
    pub rule: Option<Rule>,
}

impl Rule {
    fn of(json: serde_json::Value, currency: Currency) -> Result<Option<Self>, ApiError> {
        let rule: Option<OverrideRule> = serde_json::from_value(json).map_err(ApiError::internal)?;
        Ok(rule.map(|rule| Self {
            price: PriceView::of(&rule.price, currency),
            first_payment: rule.first_payment.map(|price| FlatPriceView::of(price, currency)),
        }))
    }
}

impl OverrideVersion {
    pub fn of(
        row: override_version::Model,
        in_force: i32,
        program: &program::Model,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            version: row.version,
            from: convert::time(row.starts_at),
            in_force: row.version == in_force,
            rule: Rule::of(row.rule, convert::currency(&program.currency)?)?,
        })
    }
}

/// Overrides of one program; those that are removed are left out.
pub async fn views(
    db: &impl ConnectionTrait,
    account: AccountId,
    program: &program::Model,
    rows: Vec<override_rule::Model>,
) -> Result<Vec<Override>, ApiError> {
    let affiliates = rows.iter().filter_map(|row| row.affiliate_id).collect();
    let names = Names::load(db, account, Refs { affiliates, ..Refs::default() }).await?;
    let currency = convert::currency(&program.currency)?;
    let mut views = Vec::new();
    for row in rows {
        let Some(rule) = Rule::of(row.rule, currency)? else { continue };
        views.push(Override {
            id: Prefix::Override.format(row.id),
            program: program.slug.clone(),
            affiliate: row.affiliate_id.map(|id| names.affiliate(id)).transpose()?,
            group: row.group_id.map(|id| Prefix::Group.format(id)),
            commission_type: row.commission_type,
            level: row.level,
            version: row.version,
            rule,
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        });
    }
    Ok(views)
}
