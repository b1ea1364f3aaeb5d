//! The fields of one report, taken one by one: from a JSON object or from a query. What nobody takes is refused by
//! its name, what cannot be read too.
//!
//! A field is absent where it is `null`, and where a query leaves it empty. Numbers are read from their text, never
//! through a float.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::domain::{
    amount::DecimalText,
    ids::{Slug, check_code},
    time::Timestamp,
};

/// Bytes of `meta_data` as JSON at most.
const MAX_META_BYTES: usize = 8192;
/// Names in `meta_data` at most, nested ones included.
const MAX_META_NAMES: usize = 64;
/// Objects and arrays in one another.
const MAX_META_DEPTH: usize = 4;
/// Characters of an id from another system.
pub(crate) const MAX_ID: usize = 255;

/// Why a report cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// One value of it; `field` says which.
    #[error("{detail}")]
    Field { field: Cow<'static, str>, detail: Cow<'static, str> },
    #[error("the body is not JSON: {0}")]
    Json(String),
}

impl Unreadable {
    pub(crate) fn field(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Field { field: field.into(), detail: detail.into() }
    }
}

/// A value as it was given.
#[derive(Clone, Debug)]
enum Given<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

/// The fields that are left to take.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    left: Vec<(Cow<'a, str>, Given<'a>)>,
    /// The names that were asked for.
    known: Vec<&'static str>,
    /// Where they stand: `commissions[0].`
    path: String,
}

impl<'a> Fields<'a> {
    /// The members of a JSON object.
    ///
    /// # Errors
    /// Another kind of value, or a name that is given twice.
    pub(crate) fn of_json(json: &'a RawValue, path: String) -> Result<Self, Unreadable> {
        let Members(members) = serde_json::from_str(json.get()).map_err(|error| {
            let name = path.trim_end_matches('.');
            if name.is_empty() {
                Unreadable::Json(describe(&error))
            } else {
                Unreadable::field(name.to_owned(), "must be an object, each name given once")
            }
        })?;
        let left = members.into_iter().map(|(name, value)| (name, Given::Json(value))).collect();
        Ok(Self { left, known: Vec::new(), path })
    }

    /// The pairs of a query. Each name may be given once.
    pub(crate) fn of_query(pairs: &'a [(Cow<'a, str>, Cow<'a, str>)]) -> Self {
        let text = |value: &'a Cow<'a, str>| Given::Text(Cow::Borrowed(value));
        let left = pairs.iter().map(|(name, value)| (Cow::Borrowed(&**name), text(value))).collect();
        Self { left, known: Vec::new(), path: String::new() }
    }

    fn take(&mut self, name: &'static str) -> Option<Given<'a>> {
        self.known.push(name);
        let at = self.left.iter().position(|(given, _)| given == name)?;
        let (_, value) = self.left.swap_remove(at);
        match &value {
            Given::Json(raw) if raw.get() == "null" => None,
            Given::Text(text) if text.is_empty() => None,
            Given::Json(_) | Given::Text(_) => Some(value),
        }
    }

    fn refuse(&self, name: &str, detail: impl Into<Cow<'static, str>>) -> Unreadable {
        Unreadable::field(format!("{}{name}", self.path), detail)
    }

    /// A field that has to be there.
    pub(crate) fn need<T>(&self, name: &str, value: Option<T>) -> Result<T, Unreadable> {
        value.ok_or_else(|| self.refuse(name, "must be given"))
    }

    /// Text of 1 to `max` characters, without control characters.
    pub(crate) fn text(&mut self, name: &'static str, max: usize) -> Result<Option<String>, Unreadable> {
        let text = match self.take(name) {
            None => return Ok(None),
            Some(Given::Text(text)) => text.into_owned(),
            Some(Given::Json(raw)) => {
                serde_json::from_str(raw.get()).map_err(|_| self.refuse(name, "must be a string"))?
            }
        };
        if text.is_empty() || text.chars().count() > max {
            return Err(self.refuse(name, format!("must have 1 to {max} characters")));
        }
        if text.chars().any(char::is_control) {
            return Err(self.refuse(name, "must not have control characters"));
        }
        Ok(Some(text))
    }

    /// Text that `check` has to like.
    pub(crate) fn checked<E: fmt::Display>(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&str) -> Result<(), E>,
    ) -> Result<Option<String>, Unreadable> {
        let text = self.text(name, MAX_ID)?;
        if let Some(text) = &text {
            check(text).map_err(|error| self.refuse(name, error.to_string()))?;
        }
        Ok(text)
    }

    /// The slug of a program.
    pub(crate) fn slug(&mut self, name: &'static str) -> Result<Option<String>, Unreadable> {
        self.checked(name, |text| text.parse::<Slug>().map(|_| ()))
    }

    /// A referral code.
    pub(crate) fn code(&mut self, name: &'static str) -> Result<Option<String>, Unreadable> {
        self.checked(name, check_code)
    }

    /// A decimal number, as a number or as text.
    pub(crate) fn decimal(&mut self, name: &'static str) -> Result<Option<DecimalText>, Unreadable> {
        let text: Cow<'_, str> = match self.take(name) {
            None => return Ok(None),
            Some(Given::Text(text)) => text,
            Some(Given::Json(raw)) if raw.get().starts_with('"') => Cow::Owned(
                serde_json::from_str(raw.get()).map_err(|_| self.refuse(name, "must be a decimal number"))?,
            ),
            Some(Given::Json(raw)) => Cow::Borrowed(raw.get()),
        };
        let parsed: Result<DecimalText, _> = text.parse();
        parsed.map(Some).map_err(|error| self.refuse(name, error.to_string()))
    }

    /// A time of RFC 3339.
    pub(crate) fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Unreadable> {
        let Some(text) = self.text(name, MAX_ID)? else { return Ok(None) };
        let refused = || self.refuse(name, "must be a time of RFC 3339, such as 2026-01-31T12:00:00Z");
        Timestamp::parse(&text).map(Some).ok_or_else(refused)
    }

    /// `sub1` to `sub5`.
    pub(crate) fn sub_ids(&mut self) -> Result<[Option<String>; 5], Unreadable> {
        let mut ids = [const { None }; 5];
        for (id, name) in ids.iter_mut().zip(["sub1", "sub2", "sub3", "sub4", "sub5"]) {
            *id = self.text(name, MAX_ID)?;
        }
        Ok(ids)
    }

    /// `meta_data`: an object (in a query: its JSON) of a bounded size.
    pub(crate) fn meta_data(&mut self) -> Result<Map<String, Value>, Unreadable> {
        const NAME: &str = "meta_data";
        let Some(json) = self.json(NAME) else { return Ok(Map::new()) };
        if json.len() > MAX_META_BYTES {
            return Err(self.refuse(NAME, format!("must have {MAX_META_BYTES} bytes of JSON at most")));
        }
        let Ok(Value::Object(map)) = serde_json::from_str(&json) else {
            return Err(self.refuse(NAME, "must be an object"));
        };
        let mut names = 0;
        let value = Value::Object(map);
        if !fits(&value, MAX_META_DEPTH, &mut names) || names > MAX_META_NAMES {
            let detail = format!(
                "may have {MAX_META_NAMES} names, {MAX_META_DEPTH} levels, and no U+0000 in its texts"
            );
            return Err(self.refuse(NAME, detail));
        }
        match value {
            Value::Object(map) => Ok(map),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Ok(Map::new())
            }
        }
    }

    /// The JSON text of a field.
    pub(crate) fn json(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        self.take(name).map(|given| match given {
            Given::Json(raw) => Cow::Borrowed(raw.get()),
            Given::Text(text) => text,
        })
    }

    /// # Errors
    /// A field was given that nobody knows.
    pub(crate) fn finish(self) -> Result<(), Unreadable> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => {
                // A name is anybody's text: it goes into a message cut to a size.
                let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                let known = self.known.join(", ");
                Err(self.refuse(&name, format!("is not known here; known are: {known}")))
            }
        }
    }
}

/// What serde_json says, without the position inside of its own copy.
fn describe(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    text.truncate(text.find(" at line").unwrap_or(text.len()));
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Whether a value is not nested deeper than `depth`; counts its names.
fn fits(value: &Value, depth: usize, names: &mut usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.contains('\0'),
        Value::Array(items) => depth > 0 && items.iter().all(|item| fits(item, depth - 1, names)),
        Value::Object(map) => {
            *names += map.len();
            depth > 0 && map.iter().all(|(name, value)| !name.contains('\0') && fits(value, depth - 1, names))
        }
    }
}

/// The members of an object, in order, no name twice.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Names at most; each is compared with all before it.
const MAX_MEMBERS: usize = 128;

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    if members.len() == MAX_MEMBERS {
                        return Err(de::Error::custom("too many names in an object"));
                    }
                    if members.iter().any(|(other, _)| *other == name) {
                        return Err(de::Error::custom("a name is given twice"));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Result<Fields<'_>, Unreadable> {
        Fields::of_json(serde_json::from_str(json).unwrap(), String::new())
    }

    #[test]
    fn numbers_keep_their_text() {
        let mut given =
            fields(r#"{"a": 12345678901234567890.10, "b": "1.50", "c": 1E2, "d": null}"#).unwrap();
        assert_eq!(given.decimal("a").unwrap().unwrap().as_str(), "12345678901234567890.10");
        assert_eq!(given.decimal("b").unwrap().unwrap().as_str(), "1.50");
        assert_eq!(given.decimal("c").unwrap().unwrap().as_str(), "1E2");
        assert_eq!(given.decimal("d").unwrap(), None);
        assert_eq!(given.decimal("e").unwrap(), None);
        assert!(given.finish().is_ok());
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        let named = |refusal: Unreadable| match refusal {
            Unreadable::Field { field, .. } => field.into_owned(),
            other => panic!("{other:?}"),
        };
        for json in [r#"{"x": true}"#, r#"{"x": "NaN"}"#, r#"{"x": [1]}"#, r#"{"x": ""}"#, r#"{"x": 1e99}"#] {
            assert_eq!(named(fields(json).unwrap().decimal("x").unwrap_err()), "x", "{json}");
        }
        for json in
            [r#"{"x": 1}"#, r#"{"x": ""}"#, r#"{"x": "a\u0000"}"#, r#"{"x": {}}"#, r#"{"x": "\ud800"}"#]
        {
            assert_eq!(named(fields(json).unwrap().text("x", 5).unwrap_err()), "x", "{json}");
        }
        assert_eq!(named(fields(r#"{"x": 1}"#).unwrap().finish().unwrap_err()), "x");
        assert!(matches!(fields(r#"{"x": 1, "x": 2}"#), Err(Unreadable::Json(_))));
        assert!(matches!(fields(r#"{"x": 1, "\u0078": 2}"#), Err(Unreadable::Json(_))));
        assert!(matches!(fields("[1]"), Err(Unreadable::Json(_))));
    }

    #[test]
    fn meta_data_is_bounded() {
        let meta = |inner: &str| {
            fields(&format!(r#"{{"meta_data": {inner}}}"#)).unwrap().meta_data().map(|map| map.len())
        };
        assert_eq!(meta(r#"{"a": {"b": [1, {"c": 2}]}}"#), Ok(1));
        assert_eq!(meta("null"), Ok(0));
        let many: Vec<String> = (0..65).map(|n| format!("\"{n}\": 1")).collect();
        for bad in [
            "[]",
            "\"x\"",
            r#"{"a": {"b": {"c": {"d": {}}}}}"#,
            r#"{"a": "\u0000"}"#,
            r#"{"a": 1e999}"#,
            &format!("{{{}}}", many.join(",")),
            &format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_META_BYTES)),
            &format!("{{\"a\": {}{}}}", "[".repeat(1000), "]".repeat(1000)),
        ] {
            assert!(meta(bad).is_err(), "{}", &bad[..bad.len().min(60)]);
        }
    }
}
