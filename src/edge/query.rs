//! Query strings as HTML forms write them: `name=value` pairs between `&`, `+` and `%20` both a space.
//!
//! Reading never fails: a percent sign that begins no byte stands for itself, bytes that are no UTF-8 become U+FFFD.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC};

/// Everything but RFC 3986's unreserved characters: a value that may stand anywhere in a URL.
pub(crate) const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What may not stand in a URL as it is. Percent signs stay: the text is encoded already.
pub(crate) const TEXT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The pairs of a query, still encoded; without `=` the value is empty. Empty pairs are left out.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The text behind an encoded name or value.
pub(crate) fn decode(raw: &str) -> Cow<'_, str> {
    if is_plain(raw.as_bytes()) {
        return Cow::Borrowed(raw);
    }
    let bytes: Vec<u8> = form_bytes(raw.as_bytes()).collect();
    Cow::Owned(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(broken) => String::from_utf8_lossy(broken.as_bytes()).into_owned(),
    })
}

/// Whether an encoded name stands for `name`.
pub(crate) fn is_name(raw: &[u8], name: &[u8]) -> bool {
    if is_plain(raw) { raw == name } else { form_bytes(raw).eq(name.iter().copied()) }
}

/// Whether two encoded names stand for the same.
pub(crate) fn same_name(one: &[u8], other: &[u8]) -> bool {
    if is_plain(one) { is_name(other, one) } else { form_bytes(one).eq(form_bytes(other)) }
}

fn is_plain(raw: &[u8]) -> bool {
    !raw.iter().any(|b| matches!(b, b'%' | b'+'))
}

fn form_bytes(raw: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = *raw.get(at)?;
        at += 1;
        Some(match first {
            b'+' => b' ',
            b'%' => match raw.get(at..at + 2).and_then(hex_byte) {
                Some(byte) => {
                    at += 2;
                    byte
                }
                None => b'%',
            },
            other => other,
        })
    })
}

/// Two hex digits as a byte.
pub(crate) fn hex_byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_split_once() {
        let read: Vec<_> = pairs("a=1&&b&c=d=e&=x").collect();
        assert_eq!(read, [("a", "1"), ("b", ""), ("c", "d=e"), ("", "x")]);
    }

    #[test]
    fn decoding_is_lenient() {
        for (raw, text) in
            [("a+b%20c", "a b c"), ("%zz%2", "%zz%2"), ("%C3%A9", "é"), ("%ff", "\u{fffd}"), ("%+1", "% 1")]
        {
            assert_eq!(decode(raw), text, "{raw}");
        }
    }

    #[test]
    fn names_are_compared_decoded() {
        assert!(is_name(b"click%5Fid", b"click_id"));
        assert!(is_name(b"%63lick_id", b"click_id"));
        assert!(!is_name(b"click+id", b"click_id"));
        assert!(same_name(b"a%62", b"%61b"));
        assert!(!same_name(b"a", b"%61b"));
    }

    proptest! {
        #[test]
        fn what_was_encoded_reads_back(text in ".{0,40}") {
            let raw = percent_encoding::utf8_percent_encode(&text, VALUE).to_string();
            prop_assert_eq!(decode(&raw), text.as_str());
            prop_assert!(is_name(raw.as_bytes(), text.as_bytes()));
        }
    }
}
