//! Days and periods as they are cut in an account's time zone (MONEY 1), daylight saving included.

use jiff::{
    civil::{Date, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// A time zone by its IANA name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// The name is not that of a time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time zone of the IANA database, such as Europe/Berlin")]
pub struct ZoneError;

impl Zone {
    pub fn named(name: &str) -> Result<Self, ZoneError> {
        // A name only: a rule such as `EST5EDT`, or a copy with leap seconds, would cut days as nobody expects.
        let is_copy = ["posix/", "right/"].iter().any(|copy| name.starts_with(copy));
        if name != "UTC" && (!name.contains('/') || is_copy) {
            return Err(ZoneError);
        }
        let zone = TimeZone::get(name).map_err(|_| ZoneError)?;
        if zone.is_unknown() { Err(ZoneError) } else { Ok(Self(zone)) }
    }

    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The name by which [`Self::named`] finds it again.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The calendar day of an instant, as days since 1970-01-01.
    pub fn day_of(&self, at: Timestamp) -> i32 {
        days_of(self.date(at))
    }

    /// When a calendar day begins: its midnight, or the first instant after a gap there.
    pub fn start_of(&self, day: i32) -> Timestamp {
        self.start(date_of(day))
    }

    fn date(&self, at: Timestamp) -> Date {
        let instant = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::MAX);
        self.0.to_datetime(instant).date()
    }

    fn start(&self, date: Date) -> Timestamp {
        let start = date.to_zoned(self.0.clone()).and_then(|midnight| midnight.start_of_day());
        start.map_or(Timestamp::MAX, |start| Timestamp(start.timestamp().as_millisecond()))
    }
}

/// How long amounts and conversions are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    /// From Monday, as in ISO 8601.
    Week,
    Month,
    Quarter,
    Year,
    Lifetime,
}

/// From `start`, included, to `end`, excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Span {
    /// All time.
    pub const ALWAYS: Self = Self { start: Timestamp(0), end: Timestamp::MAX };

    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

impl Period {
    pub const ALL: [Self; 6] =
        [Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year, Self::Lifetime];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
            Self::Lifetime => "lifetime",
        }
    }

    /// The period in which an instant lies.
    pub fn span(self, at: Timestamp, zone: &Zone) -> Span {
        let date = zone.date(at);
        let Some(first) = self.first_day(date) else { return Span::ALWAYS };
        let end = self.first_day_after(first).map_or(Timestamp::MAX, |next| zone.start(next));
        Span { start: zone.start(first), end }
    }

    /// None of a lifetime.
    fn first_day(self, date: Date) -> Option<Date> {
        let first_of = |month: i8| Date::new(date.year(), month, 1).unwrap_or(date);
        Some(match self {
            Self::Day => date,
            Self::Week => {
                let since = i64::from(date.weekday().since(Weekday::Monday));
                date.checked_sub(jiff::Span::new().days(since)).unwrap_or(date)
            }
            Self::Month => first_of(date.month()),
            Self::Quarter => first_of((date.month() - 1) / 3 * 3 + 1),
            Self::Year => first_of(1),
            Self::Lifetime => return None,
        })
    }

    /// The first day of the next period; none after the end of time.
    fn first_day_after(self, first: Date) -> Option<Date> {
        let length = match self {
            Self::Day => jiff::Span::new().days(1),
            Self::Week => jiff::Span::new().weeks(1),
            Self::Month => jiff::Span::new().months(1),
            Self::Quarter => jiff::Span::new().months(3),
            Self::Year => jiff::Span::new().years(1),
            Self::Lifetime => return None,
        };
        first.checked_add(length).ok()
    }
}

fn days_of(date: Date) -> i32 {
    date.since(Date::constant(1970, 1, 1)).map_or(i32::MAX, |span| span.get_days())
}

/// The date of a number of days since 1970-01-01.
pub fn date_of(day: i32) -> Date {
    let epoch = Date::constant(1970, 1, 1);
    epoch.checked_add(jiff::Span::new().days(i64::from(day))).unwrap_or(epoch)
}

/// Reads `2026-01-31` as days since 1970-01-01.
pub fn parse_day(text: &str) -> Option<i32> {
    let date: Date = text.parse().ok()?;
    (text.len() == 10).then(|| days_of(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn span(period: Period, time: &str, zone: &str) -> (String, String) {
        let span = period.span(at(time), &Zone::named(zone).unwrap());
        (span.start.to_string(), span.end.to_string())
    }

    #[test]
    fn periods_are_cut_in_the_zone() {
        let table = [
            (Period::Day, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00.000Z", "2026-03-29T22:00:00.000Z"),
            (Period::Day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z"),
            (Period::Week, "2026-01-01T00:00:00Z", "2025-12-28T23:00:00.000Z", "2026-01-04T23:00:00.000Z"),
            (Period::Month, "2026-02-28T23:30:00Z", "2026-02-28T23:00:00.000Z", "2026-03-31T22:00:00.000Z"),
            (Period::Quarter, "2026-05-05T00:00:00Z", "2026-03-31T22:00:00.000Z", "2026-06-30T22:00:00.000Z"),
            (Period::Year, "2025-12-31T23:30:00Z", "2025-12-31T23:00:00.000Z", "2026-12-31T23:00:00.000Z"),
        ];
        for (period, time, start, end) in table {
            let expected = (start.to_owned(), end.to_owned());
            assert_eq!(span(period, time, "Europe/Berlin"), expected, "{period:?}");
        }
        assert_eq!(Period::Lifetime.span(at("2026-01-01T00:00:00Z"), &Zone::utc()), Span::ALWAYS);
    }

    #[test]
    fn a_day_without_a_midnight_begins_after_the_gap() {
        // Chile went from 00:00 to 01:00 on 2024-09-08.
        let (start, _) = span(Period::Day, "2024-09-08T12:00:00Z", "America/Santiago");
        assert_eq!(start, "2024-09-08T04:00:00.000Z");
    }

    #[test]
    fn days_count_from_1970() {
        assert_eq!(parse_day("1970-01-02"), Some(1));
        assert_eq!(parse_day("2026-11-29").map(date_of), Some(Date::constant(2026, 11, 29)));
        assert_eq!(parse_day("1969-12-31"), Some(-1));
        for bad in ["2026-2-1", "2026-02-30", "20260201", "2026-02-01T00:00"] {
            assert_eq!(parse_day(bad), None, "{bad}");
        }
        let zone = Zone::named("Pacific/Auckland").unwrap();
        assert_eq!(zone.day_of(at("2026-01-01T12:00:00Z")), parse_day("2026-01-02").unwrap());
        assert_eq!(zone.start_of(parse_day("2026-01-02").unwrap()), at("2026-01-01T11:00:00Z"));
    }

    #[test]
    fn zones_go_by_their_names() {
        for bad in [
            "",
            "EST5EDT",
            "Mars/Base",
            "+01:00",
            "local",
            "Etc/Unknown",
            "posix/Europe/Berlin",
            "right/Europe/Berlin",
            "../etc/passwd",
            "Europe/",
            "/Europe/Berlin",
        ] {
            assert!(Zone::named(bad).is_err(), "{bad}");
        }
        for (given, name) in
            [("UTC", "UTC"), ("Europe/Berlin", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin")]
        {
            assert_eq!(Zone::named(given).unwrap().name(), name);
        }
        assert_eq!(Zone::utc().name(), "UTC");
    }
}
