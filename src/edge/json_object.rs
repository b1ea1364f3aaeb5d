//! A JSON object written into memory field by field: the bytes are serde's, without its asking for each name and each
//! character whether it has to be escaped.

use std::borrow::Cow;

use serde::Serialize;
use uuid::Uuid;

/// The object that is being written. Names must be plain: they are not escaped.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

/// Writes an object at the end of `out`.
pub(super) fn object(out: &mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fields(&mut Object { out, empty: true });
    out.push(b'}');
}

/// Writes more fields of an object that has some, to be [placed](Object::place) in it later.
pub(super) fn more(out: &mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
    fields(&mut Object { out, empty: false });
}

impl Object<'_> {
    /// What [`more`] has written, after the fields that are there.
    pub fn place(&mut self, fields: &[u8]) {
        self.out.extend_from_slice(fields);
    }

    fn name(&mut self, name: &'static str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub fn object(&mut self, name: &'static str, fields: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        object(self.out, fields);
    }

    pub fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        write_text(self.out, text);
    }

    /// Nothing where there is none.
    pub fn text_if(&mut self, name: &'static str, text: Option<impl AsRef<str>>) {
        if let Some(text) = text {
            self.text(name, text.as_ref());
        }
    }

    /// In their places, with `null` where there is none.
    pub fn texts(&mut self, name: &'static str, texts: &[Option<Cow<'_, str>>]) {
        self.name(name);
        for (n, text) in texts.iter().enumerate() {
            self.out.push(if n == 0 { b'[' } else { b',' });
            match text {
                Some(text) => write_text(self.out, text),
                None => self.out.extend_from_slice(b"null"),
            }
        }
        self.out.push(b']');
    }

    pub fn uuid(&mut self, name: &'static str, id: Uuid) {
        self.text(name, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }

    /// Anything else: numbers, truth values, what has no fixed shape.
    pub fn value(&mut self, name: &'static str, value: &impl Serialize) {
        self.name(name);
        // Into memory, of what has texts for keys: nothing can fail.
        let _ = serde_json::to_writer(&mut *self.out, value);
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    // All of it is looked at, which is quicker than to stop at the first.
    let is_special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    if text.as_bytes().iter().fold(false, |found, byte| found | is_special(byte)) {
        let _ = serde_json::to_writer(out, text);
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_those_of_serde(text in any::<String>()) {
            let mut out = Vec::new();
            write_text(&mut out, &text);
            prop_assert_eq!(out, serde_json::to_vec(&text).unwrap());
        }
    }

    #[test]
    fn fields_stand_in_their_order() {
        let mut out = Vec::new();
        object(&mut out, |object| {
            object.value("n", &-5);
            object.object("empty", |_| {});
            object.text_if("none", None::<&str>);
            object.texts("some", &[None, Some("a\"".into())]);
            object.uuid("id", Uuid::nil());
            let mut others = Vec::new();
            more(&mut others, |object| object.value("m", &1));
            object.place(&others);
        });
        let text =
            r#"{"n":-5,"empty":{},"some":[null,"a\""],"id":"00000000-0000-0000-0000-000000000000","m":1}"#;
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(text).unwrap()["some"], json!([null, "a\""]));
    }
}
