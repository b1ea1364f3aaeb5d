//! How things are named: numeric ids inside, slugs and prefixed ids outside.
//!
//! Numeric ids are unique in one deployment and never reused; they travel in events and in the catalog.
//! Everything that has no slug is known outside by `prefix_` and 32 hex digits of a UUIDv7.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! numeric_id {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

numeric_id! {
    /// A merchant. Every row belongs to one, and nothing crosses.
    AccountId;
    /// What a merchant pays for, with its rules.
    ProgramId;
    /// Who promotes.
    AffiliateId;
    /// A referral code of one affiliate in one program.
    LinkId;
}

/// The kinds of prefixed ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    Link,
    Coupon,
    Click,
    Conversion,
    Commission,
    Customer,
    Refund,
    Rejected,
    Key,
    Event,
    Group,
    Override,
    Bonus,
    Payment,
    Payout,
}

impl Prefix {
    /// The letters before the underscore.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "lnk",
            Self::Coupon => "cpn",
            Self::Click => "clk",
            Self::Conversion => "cnv",
            Self::Commission => "com",
            Self::Customer => "cus",
            Self::Refund => "rfd",
            Self::Rejected => "rej",
            Self::Key => "key",
            Self::Event => "evt",
            Self::Group => "grp",
            Self::Override => "ovr",
            Self::Bonus => "bon",
            Self::Payment => "pay",
            Self::Payout => "pyo",
        }
    }

    /// The public form of `id`, such as `cnv_018f…`.
    pub fn format(self, id: Uuid) -> String {
        format!("{}_{}", self.as_str(), id.simple())
    }

    /// Reads a public form back; `None` when the prefix or the digits are not this kind's.
    pub fn parse(self, text: &str) -> Option<Uuid> {
        let digits = text.strip_prefix(self.as_str())?.strip_prefix('_')?;
        if digits.len() != 32 || digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        Uuid::try_parse(digits).ok()
    }
}

/// Why a slug or a code was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("must have 1 to {0} characters")]
    Length(usize),
    #[error(
        "may only have lower-case letters a to z, digits, '-' and '_', and must begin with a letter or digit"
    )]
    Slug,
    #[error("may only have letters, digits, '-', '_', '.' and '~'")]
    Code,
}

/// The name of a program or an affiliate, unique in its account: `[a-z0-9][a-z0-9_-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(Box<str>);

impl Slug {
    pub const MAX: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(NameError::Length(Self::MAX));
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        let begins = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if !text.bytes().all(fits) || !text.bytes().next().is_some_and(begins) {
            return Err(NameError::Slug);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Slug {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> Self {
        slug.0.into()
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a referral code: 1 to 64 of RFC 3986's unreserved characters, so that it stands in a path as it is.
pub fn check_code(code: &str) -> Result<(), NameError> {
    const MAX: usize = 64;
    if code.is_empty() || code.len() > MAX {
        return Err(NameError::Length(MAX));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    // A path of dots alone would be resolved away by browsers.
    if !code.bytes().all(fits) || code.bytes().all(|b| b == b'.') {
        return Err(NameError::Code);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixed_ids_read_back_and_refuse_other_kinds() {
        let id = Uuid::now_v7();
        let text = Prefix::Conversion.format(id);
        assert_eq!(Prefix::Conversion.parse(&text), Some(id));
        assert_eq!(Prefix::Commission.parse(&text), None);
        assert_eq!(Prefix::Conversion.parse(&text.to_uppercase()), None);
        assert_eq!(Prefix::Conversion.parse("cnv_"), None);
    }

    #[test]
    fn slugs_and_codes_hold_to_their_alphabets() {
        assert!("demo-shop".parse::<Slug>().is_ok());
        for bad in ["", "-x", "A", "a b", "a/b", "é", &"a".repeat(65)] {
            assert!(bad.parse::<Slug>().is_err(), "{bad}");
        }
        assert!(check_code("Jane_1.0~").is_ok());
        for bad in ["", ".", "..", "a/b", "a%20", "a b", &"a".repeat(65)] {
            assert!(check_code(bad).is_err(), "{bad}");
        }
    }
}
