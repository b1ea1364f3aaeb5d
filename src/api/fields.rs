//! Reading what a client sent: every wrong value is named, all at once, and a field that nobody knows is refused.
//!
//! [`Fields`] holds a JSON object or a query string. A handler asks for each field it knows; [`Fields::finish`] then
//! says what was wrong with those and which others were given. Numbers keep their text: no amount is ever a float.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::error::{ApiError, FieldError};

/// A value as it was sent.
#[derive(Clone, Debug)]
pub enum Input {
    Json(Box<RawValue>),
    /// Of a query string.
    Text(String),
}

impl Input {
    fn is_null(&self) -> bool {
        matches!(self, Self::Json(raw) if raw.get() == "null")
    }

    /// Reads it as `T`; `what` ends the sentence "must be …".
    pub fn json<'a, T: Deserialize<'a>>(&'a self, what: &str) -> Result<T, String> {
        let text = match self {
            Self::Json(raw) => raw.get(),
            // `true` and `42` of a query string are read as JSON is.
            Self::Text(text) => text,
        };
        serde_json::from_str(text).map_err(|_| format!("must be {what}"))
    }

    pub fn text(&self) -> Result<String, String> {
        let text = match self {
            Self::Json(_) => self.json("a text")?,
            Self::Text(text) => text.clone(),
        };
        // No PostgreSQL stores it, or can be asked for it.
        if text.contains('\0') { Err("must not have the character U+0000".to_owned()) } else { Ok(text) }
    }

    /// A decimal number's text, given as a number or as a text.
    pub fn number_text(&self) -> Result<String, String> {
        match self {
            Self::Json(raw) if raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                Ok(raw.get().to_owned())
            }
            _ => self.text().map_err(|_| "must be a decimal number".to_owned()),
        }
    }
}

/// A field as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given<T> {
    Absent,
    /// Given as null, to clear it.
    Null,
    Is(T),
    /// It cannot be taken, and that was noted.
    Wrong,
}

/// The fields of one object, or of a query string.
#[derive(Debug)]
pub struct Fields {
    /// Before each name in errors: `commission_types[0].`.
    prefix: String,
    given: BTreeMap<String, Input>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Of a body that must be a JSON object; an empty body is an empty object.
    pub fn of_body(body: &[u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Ok(Self::new(Vec::new(), String::new()));
        }
        let pairs: Pairs = serde_json::from_slice(body).map_err(|error| ApiError::Json(error.to_string()))?;
        Ok(Self::new(pairs.0, String::new()))
    }

    pub fn of_query(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let pairs = pairs.map(|(name, value)| (name.into_owned(), Input::Text(value.into_owned())));
        Self::new(pairs.collect(), String::new())
    }

    fn new(pairs: Vec<(String, Input)>, prefix: String) -> Self {
        let mut fields = Self { prefix, given: BTreeMap::new(), known: Vec::new(), errors: Vec::new() };
        for (name, input) in pairs {
            match fields.given.entry(name) {
                Entry::Vacant(free) => {
                    free.insert(input);
                }
                Entry::Occupied(taken) => {
                    let name = shortened(taken.key());
                    fields.wrong(&name, "is given twice");
                }
            }
        }
        fields
    }

    /// Notes that a field cannot be taken.
    pub fn wrong(&mut self, name: &str, message: impl fmt::Display) {
        self.errors.push(FieldError::new(format!("{}{name}", self.prefix), message));
    }

    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Whether a field was given and not read yet.
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Reads a field as it was given.
    pub fn given<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Input) -> Result<T, String>,
    ) -> Given<T> {
        self.known.push(name);
        match self.given.remove(name) {
            None => Given::Absent,
            Some(input) if input.is_null() => Given::Null,
            Some(input) => match read(&input) {
                Ok(value) => Given::Is(value),
                Err(message) => {
                    self.wrong(name, message);
                    Given::Wrong
                }
            },
        }
    }

    /// A field that has to have a value: the given one, else `base`. `None` only where an error was noted.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        base: Option<T>,
        read: impl FnOnce(&Input) -> Result<T, String>,
    ) -> Option<T> {
        match self.given(name, read) {
            Given::Is(value) => Some(value),
            Given::Absent => {
                if base.is_none() {
                    self.wrong(name, "is required");
                }
                base
            }
            Given::Null => {
                self.wrong(name, "must not be null");
                None
            }
            Given::Wrong => None,
        }
    }

    /// A field with a default, which also stands where an error was noted.
    pub fn or<T>(
        &mut self,
        name: &'static str,
        default: T,
        read: impl FnOnce(&Input) -> Result<T, String>,
    ) -> T {
        match self.given(name, read) {
            Given::Is(value) => value,
            Given::Null => {
                self.wrong(name, "must not be null");
                default
            }
            Given::Absent | Given::Wrong => default,
        }
    }

    /// A field that may be empty: the given one (null clears it), else `base`.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        base: Option<T>,
        read: impl FnOnce(&Input) -> Result<T, String>,
    ) -> Option<T> {
        match self.given(name, read) {
            Given::Is(value) => Some(value),
            Given::Absent => base,
            Given::Null | Given::Wrong => None,
        }
    }

    /// A field that may be repeated in a request but never changes: given, it must be what it is.
    pub fn unchanging(&mut self, name: &'static str, now: &str) {
        if let Given::Is(text) = self.given(name, Input::text)
            && text != now
        {
            self.wrong(name, "cannot be changed");
        }
    }

    /// An array of objects, of at most `max`; `read` takes one and notes its errors.
    pub fn objects<T>(
        &mut self,
        name: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Fields) -> Option<T>,
    ) -> Given<Vec<T>> {
        let inputs = match self.given(name, |input| input.json::<Vec<Box<RawValue>>>("a list")) {
            Given::Is(inputs) if inputs.len() > max => {
                self.wrong(name, format!("may have {max} entries at most"));
                return Given::Wrong;
            }
            Given::Is(inputs) => inputs,
            Given::Absent => return Given::Absent,
            Given::Null => return Given::Null,
            Given::Wrong => return Given::Wrong,
        };
        let mut values = Vec::with_capacity(inputs.len());
        for (n, input) in inputs.iter().enumerate() {
            let place = format!("{}{name}[{n}]", self.prefix);
            match serde_json::from_str::<Pairs>(input.get()) {
                Ok(pairs) => {
                    let mut fields = Self::new(pairs.0, format!("{place}."));
                    values.extend(read(&mut fields));
                    self.errors.extend(fields.into_errors());
                }
                Err(_) => self.errors.push(FieldError::new(place, "must be an object")),
            }
        }
        if values.len() == inputs.len() { Given::Is(values) } else { Given::Wrong }
    }

    /// A field that is an object; `read` takes it and notes its errors.
    pub fn object<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Fields) -> Option<T>) -> Given<T> {
        let pairs: Pairs = match self.given(name, |input| input.json("an object")) {
            Given::Is(pairs) => pairs,
            Given::Absent => return Given::Absent,
            Given::Null => return Given::Null,
            Given::Wrong => return Given::Wrong,
        };
        let mut fields = Self::new(pairs.0, format!("{}{name}.", self.prefix));
        let value = read(&mut fields);
        self.errors.extend(fields.into_errors());
        value.map_or(Given::Wrong, Given::Is)
    }

    fn into_errors(mut self) -> Vec<FieldError> {
        for name in std::mem::take(&mut self.given).into_keys() {
            let known = self.known.join(", ");
            self.wrong(&shortened(&name), format!("is not known here; known are: {known}"));
        }
        self.errors
    }

    /// Refuses the request if anything was wrong with it.
    pub fn finish(self) -> Result<(), ApiError> {
        let errors = self.into_errors();
        if errors.is_empty() { Ok(()) } else { Err(ApiError::Invalid(errors)) }
    }
}

/// A name that a client made up, as far as it helps to find it.
fn shortened(name: &str) -> String {
    const MAX: usize = 64;
    if name.chars().count() <= MAX {
        return name.to_owned();
    }
    name.chars().take(MAX).chain(['…']).collect()
}

/// The pairs of an object in their order, repeated names included.
struct Pairs(Vec<(String, Input)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                let mut pairs = Vec::new();
                while let Some((name, raw)) = map.next_entry::<String, Box<RawValue>>()? {
                    pairs.push((name, Input::Json(raw)));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(fields: Fields) -> Vec<(String, String)> {
        match fields.finish() {
            Err(ApiError::Invalid(errors)) => errors.into_iter().map(|e| (e.field, e.message)).collect(),
            Ok(()) => Vec::new(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let mut fields = Fields::of_body(br#"{"a": 1, "b": null, "x": 2, "x": 3, "y": []}"#).unwrap();
        assert_eq!(fields.required("a", None, Input::text), None);
        assert_eq!(fields.required("b", Some("old".to_owned()), Input::text), None);
        assert_eq!(fields.required("c", None, Input::text), None);
        assert_eq!(fields.required("d", Some(4), |input| input.json("a number")), Some(4));
        let told = errors(fields);
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x", "a", "b", "c", "x", "y"]);
        assert_eq!(told[0].1, "is given twice");
        assert_eq!(told[5].1, "is not known here; known are: a, b, c, d");
    }

    #[test]
    fn null_clears_what_may_be_empty() {
        let mut fields = Fields::of_body(br#"{"a": null}"#).unwrap();
        assert_eq!(fields.optional("a", Some("old".to_owned()), Input::text), None);
        assert_eq!(fields.optional("b", Some("old".to_owned()), Input::text).as_deref(), Some("old"));
        assert!(errors(fields).is_empty());
    }

    #[test]
    fn numbers_keep_their_text() {
        let mut fields = Fields::of_body(br#"{"a": 0.1000000000000000055, "b": "7.5", "c": true}"#).unwrap();
        assert_eq!(fields.required("a", None, Input::number_text).unwrap(), "0.1000000000000000055");
        assert_eq!(fields.required("b", None, Input::number_text).unwrap(), "7.5");
        assert_eq!(fields.required("c", None, Input::number_text), None);
        assert_eq!(errors(fields).len(), 1);
    }

    #[test]
    fn entries_of_a_list_are_named_by_their_place() {
        let mut fields = Fields::of_body(br#"{"list": [{"v": "x"}, {"v": 1, "w": 2}, 3]}"#).unwrap();
        let list = fields.objects("list", 5, |entry| entry.required("v", None, Input::text));
        assert_eq!(list, Given::Wrong);
        let told = errors(fields);
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["list[1].v", "list[1].w", "list[2]"]);
    }

    #[test]
    fn fields_of_an_object_are_named_by_their_place() {
        let mut fields = Fields::of_body(br#"{"a": {"v": 1, "w": 2}, "b": [], "c": null}"#).unwrap();
        let read = |object: &mut Fields| object.required("v", None, Input::text);
        assert_eq!(fields.object("a", read), Given::Wrong);
        assert_eq!(fields.object("b", read), Given::Wrong);
        assert_eq!(fields.object("c", read), Given::Null);
        assert_eq!(fields.object("d", read), Given::Absent);
        let names: Vec<String> = errors(fields).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.v", "a.w", "b"]);
    }

    #[test]
    fn what_is_no_object_is_no_body() {
        for bad in ["[]", "1", "null", "{", "{\"a\":}", "\"x\"", "\u{feff}{}"] {
            assert!(matches!(Fields::of_body(bad.as_bytes()), Err(ApiError::Json(_))), "{bad}");
        }
    }

    #[test]
    fn query_strings_are_read_the_same_way() {
        let mut fields = Fields::of_query(Some("limit=5&q=a%20b&q=c&z"));
        assert_eq!(fields.or("limit", 25, |input| input.json("a number")), 5);
        assert_eq!(fields.optional("q", None, Input::text).as_deref(), Some("a b"));
        let names: Vec<String> = errors(fields).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["q", "z"]);
    }
}
