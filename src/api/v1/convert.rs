//! From stored values to those of JSON.

use crate::{
    api::error::ApiError,
    domain::{amount::Currency, time::Timestamp},
};

/// RFC 3339 in UTC, with milliseconds.
pub fn time(ms: i64) -> String {
    Timestamp(ms).to_string()
}

/// A stored currency.
pub fn currency(code: &str) -> Result<Currency, ApiError> {
    code.parse().map_err(|_| ApiError::internal(format!("stored currency {code}")))
}

/// Minor units as a decimal of major units.
pub fn money(minor: i64, code: &str) -> Result<String, ApiError> {
    Ok(currency(code)?.format(minor))
}
