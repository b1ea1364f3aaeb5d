//! Prices as clients write and see them: of commission types, levels, first payments and overrides.
//!
//! Amounts are of the program's currency and exact in it. Where the currency itself is wrong, which was noted, what
//! depends on it is left out.

use num_traits::ToPrimitive;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        fields::{Fields, Given},
        values,
    },
    domain::{
        amount::{AmountError, Currency, DecimalText, Percent},
        calendar::Period,
        price::{Bracket, FlatPrice, Price, TierError, TierMeasure, TierMode, Tiers},
    },
};

const MAX_BRACKETS: usize = 100;

pub const PERIODS: &[Period] = &Period::ALL;
const MEASURES: &[(&str, TierMeasure)] = &[("revenue", TierMeasure::Revenue), ("count", TierMeasure::Count)];
const MODES: &[(&str, TierMode)] = &[("whole", TierMode::Whole), ("marginal", TierMode::Marginal)];

/// A price that looks at the sale alone.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
pub struct FlatPriceInput {
    /// `fixed` or `percentage`.
    #[schema(example = "percentage")]
    pub form: String,
    /// A decimal: of the program's currency, or percent with at most 8 digits after the point.
    #[schema(example = "12.5")]
    pub value: String,
}

/// What an affiliate has brought before decides about the price.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({
    "measure": "revenue", "period": "month", "mode": "whole",
    "brackets": [{"from": "0", "form": "percentage", "value": "5"}, {"from": "1000", "form": "percentage", "value": "8"}],
}))]
pub struct TiersInput {
    /// `revenue`, the sum of the sub amounts, or `count`, the number of commissions: of this type, of this affiliate.
    pub measure: String,
    /// `day`, `week`, `month`, `quarter`, `year` or `lifetime`, in the account's time zone.
    pub period: String,
    /// `whole`: one bracket prices all of it. `marginal`: each part by the bracket in which it lies (`revenue` with
    /// percentages alone). Default: `whole`.
    pub mode: Option<String>,
    /// The first from 0, ascending, all of one form.
    #[schema(min_items = 1, max_items = 100)]
    pub brackets: Vec<BracketInput>,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
pub struct BracketInput {
    /// From this measure on: of the program's currency, or a whole number.
    #[schema(example = "1000")]
    pub from: String,
    /// `fixed` or `percentage`.
    #[schema(example = "percentage")]
    pub form: String,
    /// A decimal: of the program's currency, or percent with at most 8 digits after the point.
    #[schema(example = "8")]
    pub value: String,
}

#[derive(Clone, Copy)]
enum Form {
    Fixed,
    Percentage,
    Tiered,
}

const FLAT_FORMS: &[(&str, Form)] = &[("fixed", Form::Fixed), ("percentage", Form::Percentage)];
const FORMS: &[(&str, Form)] =
    &[("fixed", Form::Fixed), ("percentage", Form::Percentage), ("tiered", Form::Tiered)];

/// Reads `form` with `value`, or with `tiers`. `None` only where an error was noted, here or of the currency.
pub fn price(fields: &mut Fields, currency: Option<Currency>) -> Option<Price> {
    let form = fields.required("form", None, values::word(FORMS));
    let value = fields.given("value", values::decimal);
    let tiers = fields.object("tiers", |fields| tiers(fields, currency));
    match form? {
        Form::Tiered => {
            if value != Given::Absent {
                fields.wrong("value", "must not be given with the form tiered: the brackets have values");
            }
            match tiers {
                Given::Is(tiers) => Some(Price::Tiered(tiers)),
                Given::Absent | Given::Null => {
                    fields.wrong("tiers", "is required with the form tiered");
                    None
                }
                Given::Wrong => None,
            }
        }
        form @ (Form::Fixed | Form::Percentage) => {
            if !matches!(tiers, Given::Absent | Given::Null) {
                fields.wrong("tiers", "must not be given but with the form tiered");
            }
            flat_of(fields, form, value, currency).map(Price::from)
        }
    }
}

/// Reads `form` and `value`. `None` only where an error was noted, here or of the currency.
pub fn flat_price(fields: &mut Fields, currency: Option<Currency>) -> Option<FlatPrice> {
    let form = fields.required("form", None, values::word(FLAT_FORMS));
    let value = fields.given("value", values::decimal);
    flat_of(fields, form?, value, currency)
}

/// Reads `first_payment`, an object that null clears. `None` only where an error was noted.
pub fn first_payment(fields: &mut Fields, currency: Option<Currency>) -> Option<Option<FlatPrice>> {
    match fields.object("first_payment", |fields| flat_price(fields, currency)) {
        Given::Is(price) => Some(Some(price)),
        Given::Absent | Given::Null => Some(None),
        Given::Wrong => None,
    }
}

fn flat_of(
    fields: &mut Fields,
    form: Form,
    value: Given<DecimalText>,
    currency: Option<Currency>,
) -> Option<FlatPrice> {
    let value = match value {
        Given::Is(value) => value,
        Given::Absent | Given::Null => {
            fields.wrong("value", "is required");
            return None;
        }
        Given::Wrong => return None,
    };
    let price = match form {
        Form::Percentage => percent(&value).map(|value| FlatPrice::Percentage { value }),
        Form::Fixed | Form::Tiered => {
            value.to_minor_exact(currency?).map(|value| FlatPrice::Fixed { value }).map_err(|e| e.to_string())
        }
    };
    price.map_err(|message| fields.wrong("value", message)).ok()
}

fn percent(value: &DecimalText) -> Result<Percent, String> {
    Percent::from_decimal(value).map_err(|error| match error {
        AmountError::TooLarge => "must be a percent from 0 to 100".to_owned(),
        AmountError::Invalid | AmountError::TooLong | AmountError::Negative | AmountError::TooPrecise => {
            error.to_string()
        }
    })
}

fn tiers(fields: &mut Fields, currency: Option<Currency>) -> Option<Tiers> {
    let measure = fields.required("measure", None, values::word(MEASURES));
    let period = fields.required("period", None, values::one_of(PERIODS, Period::as_str));
    let mode = fields.or("mode", TierMode::Whole, values::word(MODES));
    let brackets = fields.objects("brackets", MAX_BRACKETS, |entry| bracket(entry, measure, currency));
    let brackets = match brackets {
        Given::Is(brackets) => brackets,
        Given::Absent | Given::Null => {
            fields.wrong("brackets", "is required");
            return None;
        }
        Given::Wrong => return None,
    };
    let tiers = Tiers { measure: measure?, period: period?, mode, brackets };
    match tiers.check() {
        Ok(()) => Some(tiers),
        Err(error) => {
            fields.wrong(&misplaced(error, &tiers), error);
            None
        }
    }
}

/// Where it stands what is wrong with brackets that are right one by one.
fn misplaced(error: TierError, tiers: &Tiers) -> String {
    match error {
        TierError::Empty => "brackets".to_owned(),
        TierError::Start => "brackets[0].from".to_owned(),
        TierError::Order(place) => format!("brackets[{place}].from"),
        TierError::Forms => {
            let is_amount = |bracket: &Bracket| bracket.price.is_amount();
            let other = tiers.brackets.windows(2).position(|pair| is_amount(&pair[0]) != is_amount(&pair[1]));
            format!("brackets[{}].form", other.map_or(0, |place| place + 1))
        }
        TierError::Marginal => "mode".to_owned(),
    }
}

fn bracket(fields: &mut Fields, measure: Option<TierMeasure>, currency: Option<Currency>) -> Option<Bracket> {
    let from = fields.required("from", None, values::decimal);
    let price = flat_price(fields, currency);
    let from = match measure? {
        TierMeasure::Revenue => amount(fields, "from", &from?, currency?),
        TierMeasure::Count => count(fields, "from", &from?),
    };
    Some(Bracket { from: from?, price: price? })
}

/// An amount of the program's currency, in minor units.
pub fn amount(
    fields: &mut Fields,
    name: &'static str,
    value: &DecimalText,
    currency: Currency,
) -> Option<i64> {
    value.to_minor_exact(currency).map_err(|error| fields.wrong(name, error)).ok()
}

/// A number of things, written as a decimal as amounts are.
pub fn count(fields: &mut Fields, name: &'static str, value: &DecimalText) -> Option<i64> {
    let exact = value.value();
    let count = exact.is_integer().then(|| exact.to_integer().to_u32()).flatten();
    if count.is_none() {
        fields.wrong(name, format!("must be a whole number from 0 to {}", u32::MAX));
    }
    count.map(i64::from)
}

/// A price that looks at the sale alone.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FlatPriceView {
    /// `fixed` or `percentage`.
    #[schema(example = "percentage")]
    pub form: String,
    /// Of the program's currency, or percent.
    #[schema(example = "12.5")]
    pub value: String,
}

impl FlatPriceView {
    pub fn of(price: FlatPrice, currency: Currency) -> Self {
        match price {
            FlatPrice::Fixed { value } => Self { form: "fixed".to_owned(), value: currency.format(value) },
            FlatPrice::Percentage { value } => {
                Self { form: "percentage".to_owned(), value: value.to_string() }
            }
        }
    }
}

/// A price of a commission type or an override.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PriceView {
    /// `fixed`, `percentage` or `tiered`.
    #[schema(example = "percentage")]
    pub form: String,
    /// Of the program's currency, or percent; not of the form `tiered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "12.5")]
    pub value: Option<String>,
    /// Of the form `tiered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiers: Option<TiersView>,
}

impl PriceView {
    pub fn of(price: &Price, currency: Currency) -> Self {
        let flat = |price: FlatPrice| {
            let FlatPriceView { form, value } = FlatPriceView::of(price, currency);
            Self { form, value: Some(value), tiers: None }
        };
        match price {
            Price::Fixed { value } => flat(FlatPrice::Fixed { value: *value }),
            Price::Percentage { value } => flat(FlatPrice::Percentage { value: *value }),
            Price::Tiered(tiers) => {
                Self { form: "tiered".to_owned(), value: None, tiers: Some(TiersView::of(tiers, currency)) }
            }
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TiersView {
    /// `revenue` or `count`.
    #[schema(example = "revenue")]
    pub measure: String,
    #[schema(example = "month")]
    pub period: String,
    /// `whole` or `marginal`.
    #[schema(example = "whole")]
    pub mode: String,
    pub brackets: Vec<BracketView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BracketView {
    /// Of the program's currency, or a whole number.
    #[schema(example = "1000.00")]
    pub from: String,
    /// `fixed` or `percentage`.
    #[schema(example = "percentage")]
    pub form: String,
    /// Of the program's currency, or percent.
    #[schema(example = "8")]
    pub value: String,
}

impl TiersView {
    fn of(tiers: &Tiers, currency: Currency) -> Self {
        let bracket = |bracket: &Bracket| {
            let from = match tiers.measure {
                TierMeasure::Revenue => currency.format(bracket.from),
                TierMeasure::Count => bracket.from.to_string(),
            };
            let FlatPriceView { form, value } = FlatPriceView::of(bracket.price, currency);
            BracketView { from, form, value }
        };
        Self {
            measure: values::name_of(MEASURES, tiers.measure),
            period: tiers.period.as_str().to_owned(),
            mode: values::name_of(MODES, tiers.mode),
            brackets: tiers.brackets.iter().map(bracket).collect(),
        }
    }
}
