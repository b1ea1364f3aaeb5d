//! A program as clients see it. Its pixel secret is never part of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::settings::{ATTRIBUTION_MODELS, PIXEL_TRUSTS, REFUND_POLICIES, SAME_SITES};
use crate::{
    api::{error::ApiError, v1::convert},
    domain::{
        amount::Currency,
        program::{Price, ProgramSettings},
    },
    store::entities::program,
};

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Program {
    /// Slug, unique in the account.
    #[schema(example = "summer")]
    pub id: String,
    /// The number of the settings now in force.
    pub version: i32,
    #[schema(example = "Summer sale")]
    pub name: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    pub currency: String,
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
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CommissionTypeView {
    #[schema(example = "standard")]
    pub identifier: String,
    #[schema(example = "Standard")]
    pub title: String,
    /// `fixed` or `percentage`.
    #[schema(example = "percentage")]
    pub form: String,
    /// Of the program's currency, or percent.
    #[schema(example = "12.5")]
    pub value: String,
}

/// The settings of a stored program.
pub fn settings_of(row: &program::Model) -> Result<(ProgramSettings, Currency), ApiError> {
    let settings = serde_json::from_value(row.settings.clone()).map_err(ApiError::internal)?;
    Ok((settings, convert::currency(&row.currency)?))
}

impl Program {
    pub fn of(row: program::Model) -> Result<Self, ApiError> {
        let (settings, currency) = settings_of(&row)?;
        let commission_types = settings.commission_types.into_iter().map(|one| {
            let (form, value) = match one.price {
                Price::Fixed { value } => ("fixed", currency.format(value)),
                Price::Percentage { value } => ("percentage", value.to_string()),
            };
            CommissionTypeView { identifier: one.identifier, title: one.title, form: form.to_owned(), value }
        });
        Ok(Self {
            id: row.slug,
            version: row.version,
            currency: row.currency,
            commission_types: commission_types.collect(),
            name: settings.name,
            destination: settings.destination,
            deep_link_hosts: settings.deep_link_hosts,
            allow_http: settings.allow_http,
            referral_parameter: settings.referral_parameter,
            click_parameter: settings.click_parameter,
            cookie_time: settings.cookie_time,
            override_max_cookie_time: settings.override_max_cookie_time,
            cookie_same_site: name(SAME_SITES, settings.cookie_same_site),
            attribution_model: name(ATTRIBUTION_MODELS, settings.attribution_model),
            referrer_policy: settings.referrer_policy.as_str().to_owned(),
            pixel: name(PIXEL_TRUSTS, settings.pixel),
            duplicate_window_ms: settings.duplicate_window_ms,
            default_commission_type: settings.default_commission_type,
            auto_approve_commissions: settings.auto_approve_commissions,
            payout_delay: settings.payout_delay,
            refund_policy: name(REFUND_POLICIES, settings.refund_policy),
            program_group: settings.program_group,
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        })
    }
}

fn name<T: PartialEq>(all: &[(&str, T)], value: T) -> String {
    all.iter().find(|(_, one)| *one == value).map(|(name, _)| (*name).to_owned()).unwrap_or_default()
}
