//! A program and the versions of its settings as clients see them. Its pixel secret is never part of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    limits::{CAP_MEASURES, SCOPES},
    settings::{ATTRIBUTION_MODELS, PIXEL_TRUSTS, REFUND_POLICIES, SAME_SITES},
};
use crate::{
    api::{
        error::ApiError,
        v1::{
            convert,
            prices::{FlatPriceView, PriceView},
        },
        values::name_of,
    },
    domain::{
        amount::Currency,
        price::{Cap, CapMeasure, Recurrence},
        program::{CommissionType, ProgramSettings},
    },
    store::entities::{program, program_version},
};

/// The percentages of a type and of all levels are more than the whole sale.
const ABOVE_100_PERCENT: &str = "rules_above_100_percent";

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Program {
    /// Slug, unique in the account.
    #[schema(example = "summer")]
    pub id: String,
    /// The number of the settings now in force.
    pub version: i32,
    /// ISO 4217.
    #[schema(example = "USD")]
    pub currency: String,
    #[serde(flatten)]
    pub settings: Settings,
    /// `rules_above_100_percent`: a commission type with all levels can pay more than the sale brings.
    pub warnings: Vec<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

/// What one version of a program's rules says.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ProgramSettings)]
pub struct Settings {
    #[schema(example = "Summer sale")]
    pub name: String,
    #[schema(example = "https://shop.example/")]
    pub destination: String,
    pub deep_link_hosts: Vec<String>,
    pub allow_http: bool,
    #[schema(example = "ref")]
    pub referral_parameter: String,
    #[schema(example = "click_id")]
    pub click_parameter: String,
    /// Days.
    #[schema(example = 30)]
    pub cookie_time: u32,
    pub override_max_cookie_time: bool,
    #[schema(example = "lax")]
    pub cookie_same_site: String,
    #[schema(example = "last_click")]
    pub attribution_model: String,
    #[schema(example = "strict-origin-when-cross-origin")]
    pub referrer_policy: String,
    #[schema(example = "held")]
    pub pixel: String,
    #[schema(example = 3600000)]
    pub duplicate_window_ms: u32,
    pub commission_types: Vec<CommissionTypeView>,
    #[schema(example = "standard")]
    pub default_commission_type: String,
    pub auto_approve_commissions: bool,
    /// Days.
    #[schema(example = 30)]
    pub payout_delay: u32,
    #[schema(example = "reverse")]
    pub refund_policy: String,
    pub program_group: Option<String>,
    pub recurring: bool,
    pub recurring_cap: Option<u32>,
    /// Days.
    pub recurring_period_days: Option<u32>,
    pub settle_in_program_currency: bool,
    /// The first is level 2.
    pub levels: Vec<FlatPriceView>,
    pub caps: Vec<CapView>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CommissionTypeView {
    #[schema(example = "standard")]
    pub identifier: String,
    #[schema(example = "Standard")]
    pub title: String,
    #[serde(flatten)]
    pub price: PriceView,
    pub first_payment: Option<FlatPriceView>,
    /// `once`, `repeating` or `forever`.
    #[schema(example = "forever")]
    pub recurrence: String,
    /// Of the recurrence `repeating`: how many conversions of a customer earn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    pub count_towards_cap: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CapView {
    /// `affiliate` or `program`.
    #[schema(example = "affiliate")]
    pub scope: String,
    #[schema(example = "month")]
    pub period: String,
    /// `conversions` or `amount`.
    #[schema(example = "amount")]
    pub measure: String,
    /// A whole number, or of the program's currency.
    #[schema(example = "500.00")]
    pub limit: String,
}

/// One version of a program's settings.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProgramVersion {
    /// In the order in which they were written.
    pub version: i32,
    /// In force from then on, until the next that begins later.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub from: String,
    /// Whether it is the one in force now.
    pub in_force: bool,
    pub settings: Settings,
    /// As of the program.
    pub warnings: Vec<String>,
}

/// The settings of a stored program.
pub fn settings_of(row: &program::Model) -> Result<(ProgramSettings, Currency), ApiError> {
    Ok((read_settings(row.settings.clone())?, convert::currency(&row.currency)?))
}

/// The settings of a stored version.
pub fn read_settings(json: serde_json::Value) -> Result<ProgramSettings, ApiError> {
    serde_json::from_value(json).map_err(ApiError::internal)
}

/// The warnings of rules that can pay more than a sale brings, or cannot.
pub fn warnings(can_exceed_sale: bool) -> Vec<String> {
    can_exceed_sale.then(|| ABOVE_100_PERCENT.to_owned()).into_iter().collect()
}

impl Program {
    pub fn of(row: program::Model) -> Result<Self, ApiError> {
        let (settings, currency) = settings_of(&row)?;
        Ok(Self {
            id: row.slug,
            version: row.version,
            currency: row.currency,
            warnings: warnings(settings.can_exceed_sale()),
            settings: Settings::of(settings, currency),
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        })
    }
}

impl ProgramVersion {
    pub fn of(row: program_version::Model, program: &program::Model) -> Result<Self, ApiError> {
        let settings = read_settings(row.settings)?;
        Ok(Self {
            version: row.version,
            from: convert::time(row.starts_at),
            in_force: row.version == program.version,
            warnings: warnings(settings.can_exceed_sale()),
            settings: Settings::of(settings, convert::currency(&program.currency)?),
        })
    }
}

impl Settings {
    fn of(settings: ProgramSettings, currency: Currency) -> Self {
        let types = settings.commission_types.iter().map(|one| CommissionTypeView::of(one, currency));
        Self {
            commission_types: types.collect(),
            levels: settings.levels.iter().map(|level| FlatPriceView::of(*level, currency)).collect(),
            caps: settings.caps.iter().map(|cap| CapView::of(cap, currency)).collect(),
            name: settings.name,
            destination: settings.destination,
            deep_link_hosts: settings.deep_link_hosts,
            allow_http: settings.allow_http,
            referral_parameter: settings.referral_parameter,
            click_parameter: settings.click_parameter,
            cookie_time: settings.cookie_time,
            override_max_cookie_time: settings.override_max_cookie_time,
            cookie_same_site: name_of(SAME_SITES, settings.cookie_same_site),
            attribution_model: name_of(ATTRIBUTION_MODELS, settings.attribution_model),
            referrer_policy: settings.referrer_policy.as_str().to_owned(),
            pixel: name_of(PIXEL_TRUSTS, settings.pixel),
            duplicate_window_ms: settings.duplicate_window_ms,
            default_commission_type: settings.default_commission_type,
            auto_approve_commissions: settings.auto_approve_commissions,
            payout_delay: settings.payout_delay,
            refund_policy: name_of(REFUND_POLICIES, settings.refund_policy),
            program_group: settings.program_group,
            recurring: settings.recurring,
            recurring_cap: settings.recurring_cap,
            recurring_period_days: settings.recurring_period_days,
            settle_in_program_currency: settings.settle_in_program_currency,
        }
    }
}

impl CommissionTypeView {
    fn of(one: &CommissionType, currency: Currency) -> Self {
        let (recurrence, times) = match one.recurrence {
            Recurrence::Once => ("once", None),
            Recurrence::Repeating(times) => ("repeating", Some(times)),
            Recurrence::Forever => ("forever", None),
        };
        Self {
            identifier: one.identifier.clone(),
            title: one.title.clone(),
            price: PriceView::of(&one.price, currency),
            first_payment: one.first_payment.map(|price| FlatPriceView::of(price, currency)),
            recurrence: recurrence.to_owned(),
            times,
            count_towards_cap: one.count_towards_cap,
        }
    }
}

impl CapView {
    fn of(cap: &Cap, currency: Currency) -> Self {
        let limit = match cap.measure {
            CapMeasure::Conversions => cap.limit.to_string(),
            CapMeasure::Amount => currency.format(cap.limit),
        };
        Self {
            scope: name_of(SCOPES, cap.scope),
            period: cap.period.as_str().to_owned(),
            measure: name_of(CAP_MEASURES, cap.measure),
            limit,
        }
    }
}
