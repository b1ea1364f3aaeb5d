//! Time: UTC, in milliseconds since 1970-01-01T00:00:00Z (MONEY 1).

use std::{fmt, ops::Add, time::SystemTime};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

pub const MS_PER_DAY: i64 = 86_400_000;

/// An instant. As JSON on the event log and in the journal it is the integer; the API writes RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The latest instant that is accepted anywhere: 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// The time inside a UUIDv7; `None` for any other UUID.
    pub fn of_uuid(id: Uuid) -> Option<Self> {
        if id.get_version_num() != 7 {
            return None;
        }
        let bytes = id.as_bytes();
        let ms = bytes[..6].iter().fold(0_i64, |ms, byte| (ms << 8) | i64::from(*byte));
        Some(Self(ms))
    }

    /// Days since 1970-01-01 in UTC.
    pub fn day(self) -> i32 {
        i32::try_from(self.0.div_euclid(MS_PER_DAY)).unwrap_or(i32::MAX)
    }

    /// Reads RFC 3339 (`2026-01-31T12:00:00Z`, any offset), between 1970 and 9999; digits past the millisecond
    /// are cut. A leap second, where there can be one, is the end of the second before it.
    pub fn parse(text: &str) -> Option<Self> {
        // The crate takes any character there.
        if !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
            return None;
        }
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let at = Self(i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?);
        (at.0 >= 0 && at <= Self::MAX).then_some(at)
    }

    /// This instant and `days` times 86,400,000 ms.
    pub fn plus_days(self, days: i64) -> Self {
        Self(self.0.saturating_add(days.saturating_mul(MS_PER_DAY)))
    }
}

impl Add<i64> for Timestamp {
    type Output = Self;

    /// Milliseconds later.
    fn add(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_rfc_3339() {
        let at = Timestamp::parse("2026-01-31T13:00:00.5+01:00").unwrap();
        assert_eq!(at.to_string(), "2026-01-31T12:00:00.500Z");
        // A space instead of the T, as RFC 3339, 5.6 allows.
        for same in ["2026-01-31t12:00:00.5009z", "2026-01-31 12:00:00.5Z"] {
            assert_eq!(Timestamp::parse(same), Some(at), "{same}");
        }
        let leap = Timestamp::parse("2016-12-31T23:59:60Z").unwrap();
        assert_eq!(leap.to_string(), "2016-12-31T23:59:59.999Z");
        for wrong in [
            "1969-12-31T23:59:59Z",
            "2026-02-29T12:00:00Z",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31x12:00:00Z",
            "2026-01-31-12:00:00Z",
            "2026-01-31T12:00:60Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00+24:00",
            "2026-01-31T12:00:00+0100",
            "20260131T120000Z",
            "2026-01-31",
            "yesterday",
            "",
        ] {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_uuid_v7_carries_its_time() {
        let before = Timestamp::now();
        let at = Timestamp::of_uuid(Uuid::now_v7()).unwrap();
        assert!(before <= at && at <= Timestamp::now());
        assert_eq!(Timestamp::of_uuid(Uuid::nil()), None);
    }
}
