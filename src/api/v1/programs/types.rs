//! Commission types as clients write them.

use utoipa::ToSchema;

use super::{
    limits,
    settings::{ANEW, MAX_NAME},
};
use crate::{
    api::{
        fields::{Fields, Given},
        v1::prices::{self, FlatPriceInput, TiersInput},
        values,
    },
    domain::{
        amount::Currency,
        program::{CommissionType, ProgramSettings},
    },
};

const MAX_TYPES: usize = 50;
const DEFAULT_TYPE: &str = "standard";

/// What a conversion of one type earns.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
pub struct CommissionTypeInput {
    /// The name that conversions give. Default: `standard`.
    pub identifier: Option<String>,
    /// Default: the identifier.
    #[schema(max_length = 200)]
    pub title: Option<String>,
    /// `fixed`, `percentage` or `tiered`.
    #[schema(example = "percentage")]
    pub form: String,
    /// A decimal: of the program's currency, or percent with at most 8 digits after the point. Not of the form
    /// `tiered`.
    #[schema(example = "12.5")]
    pub value: Option<String>,
    /// Of the form `tiered`.
    pub tiers: Option<TiersInput>,
    /// Goes before it for a customer's first conversion with an amount above 0. Default: none.
    pub first_payment: Option<FlatPriceInput>,
    /// How often one customer earns it: `once`, `repeating` (so many `times`) or `forever`. Default: `forever`.
    pub recurrence: Option<String>,
    /// Of the recurrence `repeating`: how many conversions of a customer earn.
    #[schema(minimum = 1, maximum = 1000000)]
    pub times: Option<u32>,
    /// Whether it counts for the program's `recurring_cap`. Default: true.
    pub count_towards_cap: Option<bool>,
}

/// Reads the types; none given: those of `base`. `None` only where an error was noted.
pub fn commission_types(
    fields: &mut Fields,
    base: Option<(&ProgramSettings, Currency)>,
    currency: Option<Currency>,
) -> Option<Vec<CommissionType>> {
    let types = match fields.objects("commission_types", MAX_TYPES, |entry| commission_type(entry, currency))
    {
        Given::Is(types) if types.is_empty() => {
            fields.wrong("commission_types", "must have at least one entry");
            return None;
        }
        Given::Is(types) => types,
        Given::Wrong => return None,
        Given::Null => {
            fields.wrong("commission_types", "must not be null");
            return None;
        }
        Given::Absent => {
            let Some((old, old_currency)) = base else {
                fields.wrong("commission_types", "is required");
                return None;
            };
            let changes = currency.is_some_and(|currency| currency != old_currency);
            if changes && old.commission_types.iter().any(CommissionType::holds_amounts) {
                fields.wrong("commission_types", ANEW);
                return None;
            }
            old.commission_types.clone()
        }
    };
    for (n, one) in types.iter().enumerate() {
        if types[..n].iter().any(|other| other.identifier == one.identifier) {
            fields.wrong(&format!("commission_types[{n}].identifier"), "is given twice");
        }
    }
    Some(types)
}

fn commission_type(entry: &mut Fields, currency: Option<Currency>) -> Option<CommissionType> {
    let identifier =
        entry.or("identifier", DEFAULT_TYPE.to_owned(), |input| values::slug(input).map(String::from));
    let title = entry.or("title", identifier.clone(), values::text(MAX_NAME));
    let price = prices::price(entry, currency);
    let first_payment = prices::first_payment(entry, currency);
    let recurrence = limits::recurrence(entry);
    let count_towards_cap = entry.or("count_towards_cap", true, values::boolean);
    Some(CommissionType {
        identifier,
        title,
        price: price?,
        first_payment: first_payment?,
        recurrence: recurrence?,
        count_towards_cap,
    })
}
