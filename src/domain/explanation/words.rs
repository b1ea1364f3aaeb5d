//! The words of an explanation: what inputs and warnings are called, how figures are written.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Signed;

use crate::domain::{
    amount::Currency,
    pricing::to_minor,
    reason::{Input, Stop, Warning},
    time::MS_PER_DAY,
};

/// Digits below the minor unit that are written of a number that does not end sooner.
const MORE_DIGITS: u32 = 12;

pub(super) const fn noun(input: Input) -> &'static str {
    match input {
        Input::CustomerId => "the customer",
        Input::Coupon => "the coupon",
        Input::ReferralCode => "the referral code",
        Input::Click => "the click",
        Input::AssetSource => "the asset and source",
        Input::TrackingId => "the tracking id",
    }
}

pub(super) const fn cause(warning: Warning) -> &'static str {
    match warning {
        Warning::UnknownCoupon => "no coupon has that code",
        Warning::CouponExpired => "it was not valid when the conversion happened",
        Warning::UnknownReferralCode => "no link has that code",
        Warning::UnknownClick => "no such click is known",
        Warning::ClickForged => "its signature does not match",
        Warning::ClickExpired => "the click was older than the attribution window",
        Warning::ClickInvalidTraffic => "it is a click that conversions may not be attributed to",
        Warning::ConversionBeforeClick => "the conversion happened more than 5 minutes before it",
        Warning::UnknownAssetSource => "no link has both",
        Warning::UnknownTrackingId => "no click with it may be attributed to",
        Warning::AmountRounded => "an amount was rounded",
    }
}

/// Why a line earns nothing, by the code of its reason.
pub(super) fn stopped(reason: &str) -> &'static str {
    match Stop::parse(reason) {
        Some(Stop::CustomerCanceled) => "The customer was canceled when it happened",
        Some(Stop::Recurrence) => "The customer has earned this type as often as it pays",
        Some(Stop::RecurringPeriod) => "It came too long after the customer's first conversion",
        Some(Stop::RecurringCap) => "The customer has earned as many conversions as the program pays",
        Some(Stop::Capped) => "A cap of the program was reached",
        Some(Stop::AffiliateSuspended) => "The affiliate was suspended when it happened",
        Some(Stop::AffiliateNotApproved) => "The affiliate was not approved in the program when it happened",
        Some(Stop::Recalculated) => "There was no such line when the conversion was recalculated",
        None => "A rule stopped it",
    }
}

/// The sentence with a capital at its start.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `4.99 USD`.
pub(super) fn money(currency: Currency, minor: i64) -> String {
    format!("{} {currency}", currency.format(minor))
}

/// `4.99 USD exactly, without rounding`, or `4.995 USD, rounded to 5.00 USD`.
pub(super) fn rounding(currency: Currency, exact: &BigRational) -> String {
    let rounded = money(currency, to_minor(exact));
    if exact.is_integer() {
        return format!("{rounded} exactly, without rounding");
    }
    let is_half = *exact.denom() == BigInt::from(2);
    let half = if is_half { " (a half goes to the even neighbour)" } else { "" };
    format!("{} {currency}, rounded to {rounded}{half}", decimal(currency, exact))
}

/// Minor units as a decimal number in major units; `…` ends one that has more digits than are written.
pub(super) fn decimal(currency: Currency, exact: &BigRational) -> String {
    let digits = currency.exponent() + MORE_DIGITS;
    let scaled = exact.abs() * BigRational::from(BigInt::from(10).pow(MORE_DIGITS));
    let sign = if exact.is_negative() { "-" } else { "" };
    let text = format!("{:0>width$}", scaled.to_integer().to_string(), width = digits as usize + 1);
    let (whole, part) = text.split_at(text.len() - digits as usize);
    if scaled.is_integer() {
        let part = part.trim_end_matches('0');
        let least = currency.exponent() as usize;
        let part = if part.len() < least { format!("{part:0<least$}") } else { part.to_owned() };
        let point = if part.is_empty() { "" } else { "." };
        return format!("{sign}{whole}{point}{part}");
    }
    format!("{sign}{whole}.{part}…")
}

/// `1 day`, `30 days`.
pub(super) fn count_days(days: u32) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

/// Milliseconds, not below 0, as `2 days 3 h 4 min 5.678 s`; parts of 0 are left out.
pub(super) fn duration(ms: i64) -> String {
    let (days, rest) = (ms / MS_PER_DAY, ms % MS_PER_DAY);
    let (hours, minutes, seconds, ms) =
        (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    let mut parts = Vec::new();
    if days > 0 {
        parts.push(if days == 1 { "1 day".to_owned() } else { format!("{days} days") });
    }
    for (count, unit) in [(hours, "h"), (minutes, "min")] {
        if count > 0 {
            parts.push(format!("{count} {unit}"));
        }
    }
    if ms > 0 {
        parts.push(format!("{seconds}.{ms:03} s"));
    } else if seconds > 0 || parts.is_empty() {
        parts.push(format!("{seconds} s"));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(numer: i64, denom: i64, code: &str) -> String {
        rounding(code.parse().unwrap(), &BigRational::new(numer.into(), denom.into()))
    }

    #[test]
    fn exact_figures_are_written_as_far_as_they_go() {
        let table = [
            (499, 1, "USD", "4.99 USD exactly, without rounding"),
            (999, 2, "USD", "4.995 USD, rounded to 5.00 USD (a half goes to the even neighbour)"),
            (1851, 20, "JPY", "92.55 JPY, rounded to 93 JPY"),
            (10_005, 8, "BHD", "1.250625 BHD, rounded to 1.251 BHD"),
            (1000, 3, "USD", "3.33333333333333… USD, rounded to 3.33 USD"),
            (1, 2, "JPY", "0.5 JPY, rounded to 0 JPY (a half goes to the even neighbour)"),
            (-1, 4, "USD", "-0.0025 USD, rounded to 0.00 USD"),
        ];
        for (numer, denom, code, text) in table {
            assert_eq!(written(numer, denom, code), text);
        }
    }

    #[test]
    fn durations_leave_out_what_is_zero() {
        let table = [
            (0, "0 s"),
            (5, "0.005 s"),
            (1_000, "1 s"),
            (60_000, "1 min"),
            (86_400_000, "1 day"),
            (2 * 86_400_000 + 3 * 3_600_000 + 4 * 60_000 + 5_678, "2 days 3 h 4 min 5.678 s"),
            (30 * 86_400_000, "30 days"),
        ];
        for (ms, text) in table {
            assert_eq!(duration(ms), text);
        }
        assert_eq!((count_days(1), count_days(30)), ("1 day".to_owned(), "30 days".to_owned()));
    }
}
