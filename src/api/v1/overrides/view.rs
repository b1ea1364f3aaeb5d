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
            programs::{settings_of, warnings},
        },
    },
    domain::{
        amount::Currency,
        ids::{AccountId, AffiliateId, Prefix},
        price::{OverrideRule, Target},
    },
    ledger::Whose,
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
    /// `rules_above_100_percent`: in place of the program's rule, together with its others, it can pay more than the
    /// sale brings.
    pub warnings: Vec<String>,
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
    fn of(rule: OverrideRule, currency: Currency) -> Self {
        Self {
            price: PriceView::of(&rule.price, currency),
            first_payment: rule.first_payment.map(|price| FlatPriceView::of(price, currency)),
        }
    }
}

impl OverrideVersion {
    pub fn of(
        row: override_version::Model,
        in_force: i32,
        program: &program::Model,
    ) -> Result<Self, ApiError> {
        let currency = convert::currency(&program.currency)?;
        Ok(Self {
            version: row.version,
            from: convert::time(row.starts_at),
            in_force: row.version == in_force,
            rule: read_rule(row.rule)?.map(|rule| Rule::of(rule, currency)),
        })
    }
}

/// Whose an override is and what it is for.
pub fn identity(row: &override_rule::Model) -> Result<(Whose, Target), ApiError> {
    let whose = match (row.affiliate_id, row.group_id) {
        (Some(affiliate), _) => Whose::Affiliate(AffiliateId(affiliate)),
        (None, Some(group)) => Whose::Group(group),
        (None, None) => return Err(ApiError::internal("an override of nobody")),
    };
    let target = match (&row.commission_type, row.level) {
        (Some(identifier), _) => Target::CommissionType(identifier.clone()),
        (None, Some(level)) => Target::Level(u32::try_from(level).map_err(ApiError::internal)?),
        (None, None) => return Err(ApiError::internal("an override for nothing")),
    };
    Ok((whose, target))
}

/// A stored rule; none where the override is removed.
fn read_rule(json: serde_json::Value) -> Result<Option<OverrideRule>, ApiError> {
    serde_json::from_value(json).map_err(ApiError::internal)
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
    let (settings, currency) = settings_of(program)?;
    let mut views = Vec::new();
    for row in rows {
        let (_, target) = identity(&row)?;
        let Some(rule) = read_rule(row.rule)? else { continue };
        let warnings = warnings(settings.can_exceed_sale_with(&target, &rule));
        views.push(Override {
            id: Prefix::Override.format(row.id),
            program: program.slug.clone(),
            affiliate: row.affiliate_id.map(|id| names.affiliate(id)).transpose()?,
            group: row.group_id.map(|id| Prefix::Group.format(id)),
            commission_type: row.commission_type,
            level: row.level,
            version: row.version,
            rule: Rule::of(rule, currency),
            warnings,
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        });
    }
    Ok(views)
}
