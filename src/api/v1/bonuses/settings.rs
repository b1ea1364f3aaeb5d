//! A bonus's settings as clients write them.

use num_traits::ToPrimitive;
use utoipa::ToSchema;

use crate::{
    api::{
        fields::{Fields, Given, Input},
        values,
    },
    domain::{
        amount::{AmountError, Currency, DecimalText, Percent},
        bonuses::{BonusInterval, BonusMeasure, BonusSettings, BonusTarget},
        price::FlatPrice,
        time::Timestamp,
    },
};

const MAX_TITLE: usize = 200;
const MAX_TARGETS: usize = 50;
/// Conversions or customers.
const MAX_COUNT: i64 = 1_000_000_000;

/// How targets pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Fixed,
    Percentage,
}

pub const FORMS: &[(&str, Form)] = &[("fixed", Form::Fixed), ("percentage", Form::Percentage)];

/// A bonus to create or change.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({
    "identifier": "gold", "interval": "calmo", "target_type": "conversion_count", "form": "fixed",
    "targets": [{"target": "10", "value": "50"}, {"target": "25", "value": "200"}],
}))]
pub struct BonusInput {
    /// Slug, unique in the program; commissions of the bonus have it as their type.
    #[schema(max_length = 64)]
    pub identifier: String,
    /// Default: the identifier.
    #[schema(max_length = 200)]
    pub title: Option<String>,
    /// In which time conversions are counted together: `calday`, `calweek`, `calmo`, `calqu`, `calyr` or `alltime`.
    pub interval: String,
    /// What is counted: `conversion_count`, `conversion_amount` or `customer_count`.
    pub target_type: String,
    /// What targets pay: `fixed`, or a `percentage` of the amount that was counted.
    pub form: String,
    /// The highest that is reached pays. They must ascend.
    #[schema(min_items = 1, max_items = 50)]
    pub targets: Vec<BonusTargetInput>,
    /// The first day that counts, in the account's time zone. Default: from ever.
    #[schema(example = "2026-01-01")]
    pub start_date: Option<String>,
    /// The last day that counts, included. Default: for ever.
    #[schema(example = "2026-12-31")]
    pub end_date: Option<String>,
    /// Default: true.
    pub active: Option<bool>,
    /// In force from then on (RFC 3339), not later than now. Default: from now.
    pub from: Option<String>,
}

/// A target and what it pays.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
pub struct BonusTargetInput {
    /// A number, or an amount of the program's currency where amounts are counted; above 0.
    #[schema(example = "10")]
    pub target: String,
    /// Of the program's currency, or percent with at most 8 digits after the point.
    #[schema(example = "50")]
    pub value: String,
}

/// The settings of a body and since when they are in force; what is not given is as in `base`, or the default. `None`
/// only where an error was noted.
pub fn read(
    fields: &mut Fields,
    base: Option<&BonusSettings>,
    currency: Currency,
    now: Timestamp,
) -> Option<(BonusSettings, Option<Timestamp>)> {
    let slug = |input: &Input| values::slug(input).map(String::from);
    let identifier = fields.required("identifier", base.map(|base| base.identifier.clone()), slug);
    let title = base.map(|base| base.title.clone()).or_else(|| identifier.clone()).unwrap_or_default();
    let title = fields.or("title", title, values::text(MAX_TITLE));
    let interval = fields.required(
        "interval",
        base.map(|base| base.interval),
        values::one_of(&BonusInterval::ALL, BonusInterval::as_str),
    );
    let measure = fields.required(
        "target_type",
        base.map(|base| base.measure),
        values::one_of(&BonusMeasure::ALL, BonusMeasure::as_str),
    );
    let form = fields.required("form", base.and_then(form_of), values::word(FORMS));
    let targets = targets(fields, base, measure, form, currency);
    let start_date = fields.optional("start_date", base.and_then(|base| base.start_date), values::day);
    let end_date = fields.optional("end_date", base.and_then(|base| base.end_date), values::day);
    let active = fields.or("active", base.is_none_or(|base| base.active), values::boolean);
    let from = fields.optional("from", None, values::time);
    if from.is_some_and(|from| from > now) {
        fields.wrong("from", "must not be in the future");
    }
    let settings = BonusSettings {
        identifier: identifier?,
        title,
        interval: interval?,
        measure: measure?,
        targets: targets?,
        start_date,
        end_date,
        active,
    };
    if let Err(error) = settings.check() {
        fields.wrong(&error.field(), error);
    }
    Some((settings, from)).filter(|_| !fields.has_errors())
}

/// The form of all targets.
pub fn form_of(settings: &BonusSettings) -> Option<Form> {
    settings.targets.first().map(|target| match target.pays {
        FlatPrice::Fixed { .. } => Form::Fixed,
        FlatPrice::Percentage { .. } => Form::Percentage,
    })
}

fn targets(
    fields: &mut Fields,
    base: Option<&BonusSettings>,
    measure: Option<BonusMeasure>,
    form: Option<Form>,
    currency: Currency,
) -> Option<Vec<BonusTarget>> {
    match fields.objects("targets", MAX_TARGETS, |entry| target(entry, measure, form, currency)) {
        Given::Is(targets) => Some(targets),
        Given::Wrong => None,
        Given::Null => {
            fields.wrong("targets", "must not be null");
            None
        }
        Given::Absent => {
            let Some(base) = base else {
                fields.wrong("targets", "is required");
                return None;
            };
            let counts_amounts = |measure| measure == BonusMeasure::ConversionAmount;
            let other_measure =
                measure.is_some_and(|measure| counts_amounts(measure) != counts_amounts(base.measure));
            if other_measure || form.is_some() && form != form_of(base) {
                fields.wrong("targets", "must be given anew: they are of the old form or type");
                return None;
            }
            Some(base.targets.clone())
        }
    }
}

fn target(
    entry: &mut Fields,
    measure: Option<BonusMeasure>,
    form: Option<Form>,
    currency: Currency,
) -> Option<BonusTarget> {
    let target = entry.required("target", None, |input| goal(input, measure, currency));
    let pays = entry.required("value", None, |input| pays(input, form, currency));
    Some(BonusTarget { target: target?, pays: pays? })
}

/// What has to be reached. A type that is wrong was noted: its targets are read as numbers.
fn goal(input: &Input, measure: Option<BonusMeasure>, currency: Currency) -> Result<i64, String> {
    let text = values::decimal(input)?;
    match measure {
        Some(BonusMeasure::ConversionAmount) => {
            text.to_minor_exact(currency).map_err(|error| error.to_string())
        }
        Some(BonusMeasure::ConversionCount | BonusMeasure::CustomerCount) | None => count(&text),
    }
}

fn count(text: &DecimalText) -> Result<i64, String> {
    let value = text.value();
    let number = value.is_integer().then(|| value.to_integer().to_i64()).flatten();
    number
        .filter(|number| (1..=MAX_COUNT).contains(number))
        .ok_or_else(|| format!("must be a whole number from 1 to {MAX_COUNT}"))
}

fn pays(input: &Input, form: Option<Form>, currency: Currency) -> Result<FlatPrice, String> {
    let text = values::decimal(input)?;
    match form {
        Some(Form::Percentage) => match Percent::from_decimal(&text) {
            Ok(value) => Ok(FlatPrice::Percentage { value }),
            Err(AmountError::TooLarge) => Err("must be a percent from 0 to 100".to_owned()),
            Err(error) => Err(error.to_string()),
        },
        Some(Form::Fixed) => match text.to_minor_exact(currency) {
            Ok(value) => Ok(FlatPrice::Fixed { value }),
            Err(error) => Err(error.to_string()),
        },
        // The form itself is wrong, which was noted.
        None => Ok(FlatPrice::Fixed { value: 0 }),
    }
}
