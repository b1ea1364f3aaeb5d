//! Readers of single values, each with its limit. Their errors end the sentence that the field's name begins.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::fields::Input;
use crate::domain::{
    amount::{Currency, DecimalText},
    destination,
    ids::{self, Prefix, Slug},
    time::Timestamp,
};

/// Bytes of a `meta_data` object at most, written as JSON.
const MAX_META_DATA: usize = 8 * 1024;

/// A text of 1 to `max` characters without control characters.
pub fn text(max: usize) -> impl Fn(&Input) -> Result<String, String> {
    move |input| {
        let text = input.text()?;
        let chars = text.chars().count();
        if chars == 0 || chars > max {
            return Err(format!("must have 1 to {max} characters"));
        }
        if text.chars().any(char::is_control) {
            return Err("must not have control characters".to_owned());
        }
        Ok(text)
    }
}

pub fn boolean(input: &Input) -> Result<bool, String> {
    input.json("true or false")
}

/// A whole number of a range.
pub fn integer(range: RangeInclusive<u32>) -> impl Fn(&Input) -> Result<u32, String> {
    move |input| {
        let what = || format!("a whole number from {} to {}", range.start(), range.end());
        let value: u32 = input.json(&what())?;
        if range.contains(&value) { Ok(value) } else { Err(format!("must be {}", what())) }
    }
}

/// Something that is read from its text.
fn parsed<T: FromStr<Err: Display>>(input: &Input) -> Result<T, String> {
    input.text()?.parse().map_err(|error: T::Err| error.to_string())
}

pub fn slug(input: &Input) -> Result<Slug, String> {
    parsed(input)
}

pub fn currency(input: &Input) -> Result<Currency, String> {
    parsed(input).map_err(|error| format!("is {error}"))
}

pub fn decimal(input: &Input) -> Result<DecimalText, String> {
    input.number_text()?.parse().map_err(|error: crate::domain::amount::AmountError| error.to_string())
}

/// A referral or coupon code.
pub fn code(input: &Input) -> Result<String, String> {
    let text = input.text()?;
    ids::check_code(&text).map(|()| text).map_err(|error| error.to_string())
}

/// An instant in RFC 3339.
pub fn time(input: &Input) -> Result<Timestamp, String> {
    Timestamp::parse(&input.text()?)
        .ok_or_else(|| "must be a time as of RFC 3339, such as 2026-01-31T12:00:00Z".to_owned())
}

/// An instant that is not later than `now`.
pub fn past_time(now: Timestamp) -> impl Fn(&Input) -> Result<Timestamp, String> {
    move |input| match time(input)? {
        at if at > now => Err("must not be in the future".to_owned()),
        at => Ok(at),
    }
}

/// A day, as days since 1970-01-01.
pub fn day(input: &Input) -> Result<i32, String> {
    let wrong = || "must be a day such as 2026-01-31".to_owned();
    let text = input.text()?;
    if text.len() != 10 {
        return Err(wrong());
    }
    Ok(Timestamp::parse(&format!("{text}T00:00:00Z")).ok_or_else(wrong)?.day())
}

/// A prefixed id of one kind.
pub fn id(prefix: Prefix) -> impl Fn(&Input) -> Result<Uuid, String> {
    move |input| {
        let example = format!("must be an id such as {}_ and 32 hex digits", prefix.as_str());
        prefix.parse(&input.text()?).ok_or(example)
    }
}

/// A word of a closed set.
pub fn word<T: Copy>(all: &'static [(&'static str, T)]) -> impl Fn(&Input) -> Result<T, String> {
    move |input| {
        let text = input.text()?;
        all.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
            format!("must be one of: {}", words.join(", "))
        })
    }
}

/// The word of a value of a closed set.
pub fn name_of<T: PartialEq>(all: &[(&str, T)], value: T) -> String {
    all.iter().find(|(_, one)| *one == value).map(|(name, _)| (*name).to_owned()).unwrap_or_default()
}

/// A code of a closed set that knows how to list itself.
pub fn one_of<T: Copy>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl Fn(&Input) -> Result<T, String> {
    move |input| {
        let text = input.text()?;
        all.iter().copied().find(|value| name(*value) == text).ok_or_else(|| {
            let words: Vec<&str> = all.iter().map(|value| name(*value)).collect();
            format!("must be one of: {}", words.join(", "))
        })
    }
}

/// A link's or program's destination. What depends on the program's `allow_http` is checked with it.
pub fn destination(allow_http: bool) -> impl Fn(&Input) -> Result<String, String> {
    move |input| {
        let text = input.text()?;
        destination::check_destination(&text, allow_http).map(|()| text).map_err(|error| error.to_string())
    }
}

/// A host name in lower case, without a port.
pub fn host(input: &Input) -> Result<String, String> {
    let text = input.text()?;
    if is_host(&text) {
        Ok(text)
    } else {
        Err("must be a host name in lower case, without scheme, port or path".to_owned())
    }
}

/// A host under which links may live: a name with a dot that is no address. Upper case is read as lower case.
pub fn tracking_host(input: &Input) -> Result<String, String> {
    let text = input.text()?.to_ascii_lowercase();
    let is_address = text.parse::<std::net::Ipv4Addr>().is_ok();
    let last_is_number =
        text.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if is_host(&text) && text.contains('.') && !is_address && !last_is_number {
        Ok(text)
    } else {
        Err("must be a full host name such as go.shop.example, without scheme, port or path".to_owned())
    }
}

/// Whether a text is a host name of LDH labels (RFC 1123) or an IPv4 address, in lower case.
pub fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Free data of the client: an object of at most 8 KiB.
pub fn meta_data(input: &Input) -> Result<Map<String, Value>, String> {
    let map: Map<String, Value> = input.json("an object")?;
    match serde_json::to_string(&map) {
        // JSON has no other way to write U+0000, which no PostgreSQL stores.
        Ok(json) if json.replace("\\\\", "").contains("\\u0000") => {
            Err("must not have the character U+0000".to_owned())
        }
        Ok(json) if json.len() <= MAX_META_DATA => Ok(map),
        _ => Err(format!("may have {MAX_META_DATA} bytes at most, written as JSON")),
    }
}

/// An address that could be one: the mail server has the last word.
pub fn email(input: &Input) -> Result<String, String> {
    let text = text(254)(input)?;
    let right = text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && !host.is_empty() && !host.contains('@') && !text.contains(char::is_whitespace)
    });
    if right { Ok(text) } else { Err("must be an e-mail address".to_owned()) }
}

/// A slug out of a name; none where the name has no letter or digit of ASCII.
pub fn slug_of(name: &str) -> Option<Slug> {
    let mut text = String::new();
    for c in name.chars() {
        if text.len() >= 40 {
            break;
        }
        if c.is_ascii_alphanumeric() {
            text.push(c.to_ascii_lowercase());
        } else if !text.is_empty() && !text.ends_with('-') {
            text.push('-');
        }
    }
    text.trim_end_matches('-').parse().ok()
}

/// `chars` characters (at most 12) of `0-9a-f` to make a name unique; nothing that has to be kept secret.
pub fn random_suffix(chars: usize) -> String {
    // The last 12 digits of a UUIDv7 are its counter and its random part.
    let mut text = HEXLOWER.encode(Uuid::now_v7().as_bytes());
    text.drain(..text.len() - chars.min(12));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Input {
        Input::Text(text.to_owned())
    }

    #[test]
    fn days_and_times() {
        assert_eq!(day(&input("1970-01-02")), Ok(1));
        for bad in ["1970-1-2", "2026-02-30", "yesterday", "2026-01-31T00:00:00Z", ""] {
            assert!(day(&input(bad)).is_err(), "{bad}");
        }
        assert_eq!(time(&input("1970-01-01T00:00:01+00:00")), Ok(Timestamp(1000)));
        assert!(time(&input("2026-01-31")).is_err());
    }

    #[test]
    fn hosts() {
        for good in ["go.shop.example", "localhost", "127.0.0.1", "xn--bcher-kva.example"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "Go.example", "a..b", "-a.b", "a-.b", "a:80", "a/b", "*.a", "bücher.example", "a.b."]
        {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn slugs_are_made_of_names() {
        assert_eq!(slug_of("  Jane's  Shop! ").unwrap().as_str(), "jane-s-shop");
        assert_eq!(slug_of("日本"), None);
        assert!(slug_of(&"a".repeat(300)).is_some());
        assert_eq!(random_suffix(8).len(), 8);
        assert_ne!(random_suffix(8), random_suffix(8));
    }

    #[test]
    fn e_mail_addresses() {
        assert!(email(&input("jane@shop.example")).is_ok());
        for bad in ["jane", "@x", "a@", "a b@c", "a@b@c", "a@b\n"] {
            assert!(email(&input(bad)).is_err(), "{bad}");
        }
    }
}
