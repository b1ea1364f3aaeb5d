//! An override as clients write it.

use sea_orm::ConnectionTrait;
use utoipa::ToSchema;

use crate::{
    api::{
        error::ApiError,
        fields::{Fields, Given, Input},
        v1::{
            groups, lookup,
            prices::{self, FlatPriceInput, TiersInput},
            programs::LAST_LEVEL,
        },
        values,
    },
    domain::{
        amount::Currency,
        ids::{AccountId, AffiliateId, Prefix},
        price::{OverrideRule, Price, Target},
    },
    ledger::Whose,
};

/// An override to create or change. Of `affiliate` and `group` one is given, and of `commission_type` and `level` one.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({
    "affiliate": "jane", "commission_type": "standard", "form": "percentage", "value": "15",
}))]
pub struct OverrideInput {
    /// Whose it is. It cannot be changed.
    pub affiliate: Option<String>,
    /// Whose it is: the id of a group. It cannot be changed.
    pub group: Option<String>,
    /// What it is for: the identifier of a commission type of the program. It cannot be changed.
    pub commission_type: Option<String>,
    /// What it is for: a level of those above. It cannot be changed.
    #[schema(minimum = 2, maximum = 21)]
    pub level: Option<u32>,
    /// `fixed`, `percentage` or, not for a level, `tiered`.
    #[schema(example = "percentage")]
    pub form: String,
    /// A decimal: of the program's currency, or percent with at most 8 digits after the point. Not of the form
    /// `tiered`.
    #[schema(example = "15")]
    pub value: Option<String>,
    /// Of the form `tiered`.
    pub tiers: Option<TiersInput>,
    /// Goes before it for a customer's first conversion with an amount above 0. Default: none; that of the commission
    /// type does not count.
    pub first_payment: Option<FlatPriceInput>,
    /// From when on it is in force (RFC 3339), not in the future. Default: from now on.
    pub effective_from: Option<String>,
}

/// Reads whose it is, and finds them; what is not there is a wrong value of its field. `None` only where an error was
/// noted.
pub async fn whose(
    db: &impl ConnectionTrait,
    account: AccountId,
    fields: &mut Fields,
) -> Result<Option<Whose>, ApiError> {
    let affiliate = fields.given("affiliate", Input::text);
    let group = fields.given("group", values::id(Prefix::Group));
    match (affiliate, group) {
        (Given::Is(slug), Given::Absent | Given::Null) => match lookup::affiliate(db, account, &slug).await {
            Ok(row) => Ok(Some(Whose::Affiliate(AffiliateId(row.id)))),
            Err(ApiError::NotFound(_)) => {
                fields.wrong("affiliate", "there is no such affiliate");
                Ok(None)
            }
            Err(other) => Err(other),
        },
        (Given::Absent | Given::Null, Given::Is(id)) => match groups::by_id(db, account, id).await {
            Ok(row) => Ok(Some(Whose::Group(row.id))),
            Err(ApiError::NotFound(_)) => {
                fields.wrong("group", "there is no such group");
                Ok(None)
            }
            Err(other) => Err(other),
        },
        (Given::Is(_), Given::Is(_)) => {
            fields.wrong("group", "must not be given with affiliate");
            Ok(None)
        }
        (Given::Absent | Given::Null, Given::Absent | Given::Null) => {
            fields.wrong("affiliate", "is required, or group");
            Ok(None)
        }
        (Given::Wrong, _) | (_, Given::Wrong) => Ok(None),
    }
}

/// Reads what it is for; a commission type must be one of `types`. `None` only where an error was noted.
pub fn target(fields: &mut Fields, types: &[String]) -> Option<Target> {
    let commission_type = fields.given("commission_type", Input::text);
    let level = fields.given("level", values::integer(2..=LAST_LEVEL));
    match (commission_type, level) {
        (Given::Is(identifier), Given::Absent | Given::Null) => {
            if !types.contains(&identifier) {
                fields.wrong("commission_type", "is not a commission type of the program");
                return None;
            }
            Some(Target::CommissionType(identifier))
        }
        (Given::Absent | Given::Null, Given::Is(level)) => Some(Target::Level(level)),
        (Given::Is(_), Given::Is(_)) => {
            fields.wrong("level", "must not be given with commission_type");
            None
        }
        (Given::Absent | Given::Null, Given::Absent | Given::Null) => {
            fields.wrong("commission_type", "is required, or level");
            None
        }
        (Given::Wrong, _) | (_, Given::Wrong) => None,
    }
}

/// Reads what it pays. `None` only where an error was noted.
pub fn rule(fields: &mut Fields, of_level: bool, currency: Currency) -> Option<OverrideRule> {
    let price = prices::price(fields, Some(currency));
    let first_payment = prices::first_payment(fields, Some(currency));
    if of_level && matches!(price, Some(Price::Tiered(_))) {
        fields.wrong("form", "cannot be tiered for a level");
        return None;
    }
    Some(OverrideRule { price: price?, first_payment: first_payment? })
}
