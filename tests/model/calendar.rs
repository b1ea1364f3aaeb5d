//! Days and periods of the model's own, cut in the account's time zone.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use waypost::domain::calendar::Period;

use super::Ms;

pub const DAY: Ms = 86_400_000;

fn date(at: Ms, zone: &TimeZone) -> Date {
    Timestamp::from_millisecond(at).unwrap().to_zoned(zone.clone()).date()
}

fn start(date: Date, zone: &TimeZone) -> Ms {
    // Midnight, or what follows where there is none.
    date.to_zoned(zone.clone()).unwrap().start_of_day().unwrap().timestamp().as_millisecond()
}

/// Days since 1970-01-01.
pub fn day_number(at: Ms, zone: &TimeZone) -> i32 {
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond();
    i32::try_from(midnight(date(at, zone)) / DAY).unwrap()
}

/// From the first, included, to the second, excluded.
pub fn span(period: Period, at: Ms, zone: &TimeZone) -> (Ms, Ms) {
    let day = date(at, zone);
    let (year, month) = (day.year(), day.month());
    let month_after = |year: i16, month: i8, months: i8| {
        let month = month + months;
        if month > 12 { Date::new(year + 1, month - 12, 1) } else { Date::new(year, month, 1) }.unwrap()
    };
    let days_after = |day: Date, days: i64| day.checked_add(jiff::Span::new().days(days)).unwrap();
    let (first, next) = match period {
        Period::Day => (day, days_after(day, 1)),
        Period::Week => {
            let monday = days_after(day, -i64::from(day.weekday().to_monday_zero_offset()));
            (monday, days_after(monday, 7))
        }
        Period::Month => (Date::new(year, month, 1).unwrap(), month_after(year, month, 1)),
        Period::Quarter => {
            let first = [1, 1, 1, 4, 4, 4, 7, 7, 7, 10, 10, 10][usize::try_from(month - 1).unwrap()];
            (Date::new(year, first, 1).unwrap(), month_after(year, first, 3))
        }
        Period::Year => (Date::new(year, 1, 1).unwrap(), Date::new(year + 1, 1, 1).unwrap()),
        Period::Lifetime => return (Ms::MIN, Ms::MAX),
    };
    (start(first, zone), start(next, zone))
}

pub fn within(at: Ms, span: (Ms, Ms)) -> bool {
    span.0 <= at && at < span.1
}
