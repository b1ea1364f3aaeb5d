//! The `Location` of a redirect: the destination with its macros filled in and the query put together.
//!
//! The query is, in this order: what the destination brings, what the visitor brought, what Waypost sets. A
//! parameter that Waypost sets comes from nowhere else, not even where Waypost leaves it out; a parameter of the
//! destination is not given again by the visitor. Only printable ASCII is ever written, so that no header can be
//! broken out of.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use percent_encoding::percent_encode;

use super::{
    cookies::write_number,
    query::{TEXT, VALUE, decode, is_name, pairs, same_name},
};
use crate::domain::{
    destination::{Destination, Macro, Piece, pieces},
    time::Timestamp,
};

/// Query parameters of a link that speak to Waypost alone: the deep link and the consent.
const CONTROLS: [&str; 2] = ["to", "cons"];

/// What macros stand for.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    pub token: &'a str,
    pub code: &'a str,
    pub affiliate: &'a str,
    pub program: &'a str,
    pub source: Cow<'a, str>,
    /// Encoded, as the visitor brought them.
    pub sub_ids: [Option<&'a str>; 5],
    pub country: Option<[u8; 2]>,
    pub device: &'a str,
    pub os: &'a str,
    pub browser: &'a str,
    pub at: Timestamp,
    pub random: [u8; 8],
}

/// A query parameter that is Waypost's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    pub name: &'a str,
    /// None: it appears nowhere.
    pub value: Option<&'a str>,
}

/// Appends the URL. `values` is `None` for a deep link, whose braces are text; `brought` is the visitor's query.
pub(crate) fn write(
    out: &mut Vec<u8>,
    destination: &Destination<'_>,
    values: Option<&Values<'_>>,
    brought: Option<&str>,
    own: &[Own<'_>],
) {
    out.extend_from_slice(destination.origin.as_bytes());
    if destination.path.is_empty() {
        out.push(b'/');
    }
    write_part(out, destination.path, values, true);
    write_query(out, destination.query, values, brought, own);
    if let Some(fragment) = destination.fragment {
        out.push(b'#');
        write_part(out, fragment, values, false);
    }
}

fn write_query(
    out: &mut Vec<u8>,
    query: Option<&str>,
    values: Option<&Values<'_>>,
    brought: Option<&str>,
    own: &[Own<'_>],
) {
    let start = out.len();
    out.push(b'?');
    let is_own = |name: &[u8]| own.iter().any(|own| is_name(name, own.name.as_bytes()));
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let from = out.len();
        separate(out, start);
        let at = out.len();
        write_part(out, pair, values, false);
        // Looked at when it is filled in: a macro may stand in the name.
        if is_own(name_of(&out[at..])) {
            out.truncate(from);
        }
    }
    let destination_end = out.len();
    for (name, value) in pairs(brought.unwrap_or_default()) {
        let raw = name.as_bytes();
        let control = CONTROLS.iter().any(|control| is_name(raw, control.as_bytes()));
        let taken = || {
            out[start + 1..destination_end].split(|b| *b == b'&').any(|pair| same_name(name_of(pair), raw))
        };
        if control || is_own(raw) || taken() {
            continue;
        }
        separate(out, start);
        extend_encoded(out, name, TEXT);
        out.push(b'=');
        extend_encoded(out, value, TEXT);
    }
    for own in own {
        if let Some(value) = own.value {
            separate(out, start);
            extend_encoded(out, own.name, VALUE);
            out.push(b'=');
            extend_encoded(out, value, VALUE);
        }
    }
    if out.len() == start + 1 {
        out.truncate(start);
    }
}

/// An ampersand, but for the first pair after the question mark.
fn separate(out: &mut Vec<u8>, start: usize) {
    if out.len() > start + 1 {
        out.push(b'&');
    }
}

fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|b| *b == b'=').next().unwrap_or_default()
}

fn extend_encoded(out: &mut Vec<u8>, text: &str, keep: &'static percent_encoding::AsciiSet) {
    for part in percent_encode(text.as_bytes(), keep) {
        out.extend_from_slice(part.as_bytes());
    }
}

fn write_part(out: &mut Vec<u8>, text: &str, values: Option<&Values<'_>>, in_path: bool) {
    let Some(values) = values.filter(|_| text.contains('{')) else {
        return extend_encoded(out, text, TEXT);
    };
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => extend_encoded(out, text, TEXT),
            Piece::Macro(name) => write_macro(out, name, values, in_path),
        }
    }
}

fn write_macro(out: &mut Vec<u8>, name: Macro, values: &Values<'_>, in_path: bool) {
    let brought: Cow<'_, str> = match name {
        Macro::Timestamp => {
            return write_number(out, u64::try_from(values.at.0 / 1000).unwrap_or(0));
        }
        Macro::Random => {
            let mut digits = [0; 16];
            HEXLOWER.encode_mut(&values.random, &mut digits);
            return out.extend_from_slice(&digits);
        }
        Macro::Country => {
            return out.extend_from_slice(values.country.as_ref().map_or(&[], <[u8; 2]>::as_slice));
        }
        Macro::ClickId => values.token.into(),
        Macro::Code => values.code.into(),
        Macro::Affiliate => values.affiliate.into(),
        Macro::Program => values.program.into(),
        Macro::Source => values.source.as_ref().into(),
        Macro::Sub(n) => values.sub_ids.get(n).copied().flatten().map_or("".into(), decode),
        Macro::Device => values.device.into(),
        Macro::Os => values.os.into(),
        Macro::Browser => values.browser.into(),
    };
    // A segment of dots would lead out of the folder that the destination names.
    if in_path && brought.bytes().all(|b| b == b'.') {
        return;
    }
    extend_encoded(out, &brought, VALUE);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> Values<'static> {
        Values {
            token: "TOKEN",
            code: "jane",
            affiliate: "jane-doe",
            program: "shop",
            source: "blog/1".into(),
            sub_ids: [Some("a+b%26c"), None, Some(".."), None, Some("%C3%A9")],
            country: Some(*b"DE"),
            device: "mobile",
            os: "iOS",
            browser: "Mobile Safari",
            at: Timestamp(1_800_000_000_999),
            random: [0xab; 8],
        }
    }

    fn written(destination: &str, brought: Option<&str>, token: Option<&str>) -> String {
        let mut out = Vec::new();
        let destination = Destination::read(destination, false).unwrap();
        let own = [Own { name: "ref", value: Some("jane") }, Own { name: "click_id", value: token }];
        write(&mut out, &destination, Some(&values()), brought, &own);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn macros_are_encoded_where_they_stand() {
        assert_eq!(
            written("https://shop.example/{sub1}/{source}?b={browser}&s={sub5}#{sub1}{random}", None, None),
            "https://shop.example/a%20b%26c/blog%2F1?b=Mobile%20Safari&s=%C3%A9&ref=jane\
             #a%20b%26cabababababababab"
        );
        assert_eq!(
            written("https://shop.example/?{code}={timestamp}{country}&n={nothing}{sub2}", None, None),
            "https://shop.example/?jane=1800000000DE&n=%7Bnothing%7D&ref=jane"
        );
    }

    #[test]
    fn a_macro_cannot_climb_out_of_its_folder() {
        assert_eq!(
            written("https://shop.example/go/{sub3}/x", None, None),
            "https://shop.example/go//x?ref=jane"
        );
    }

    #[test]
    fn what_waypost_sets_is_set_once() {
        let url = "https://shop.example/?click_id=old&ref=old&a=1";
        let brought = "click_id=forged&%63lick_id=forged&ref=forged&a=2&%61=3&b=4&to=x&cons=1&c&sub1=s";
        assert_eq!(
            written(url, Some(brought), Some("T")),
            "https://shop.example/?a=1&b=4&c=&sub1=s&ref=jane&click_id=T"
        );
        assert_eq!(written(url, Some(brought), None), "https://shop.example/?a=1&b=4&c=&sub1=s&ref=jane");
        // The name of a parameter that a macro makes is held to the same.
        assert_eq!(
            written("https://shop.example/?{code}=x", None, None),
            "https://shop.example/?jane=x&ref=jane"
        );
    }

    #[test]
    fn fragments_stay_at_the_end() {
        assert_eq!(written("https://shop.example#top", None, None), "https://shop.example/?ref=jane#top");
    }

    proptest! {
        #[test]
        fn only_printable_ascii_is_written_and_the_host_stays(
            path in "[/a-z{}%é\\\\ \r\n\u{0}]{0,20}",
            brought in ".{0,60}",
            sub in ".{0,20}",
        ) {
            let text = format!("https://shop.example/{path}{{sub1}}?x={{sub1}}#{{sub1}}");
            let destination = Destination::read(&text, false).unwrap();
            let mut values = values();
            values.sub_ids[0] = Some(&sub);
            let mut out = Vec::new();
            write(&mut out, &destination, Some(&values), Some(&brought), &[Own { name: "ref", value: Some("j") }]);
            prop_assert!(out.iter().all(|b| (0x21..0x7f).contains(b)));
            let url = url::Url::parse(std::str::from_utf8(&out).unwrap()).unwrap();
            prop_assert_eq!(url.host_str(), Some("shop.example"));
        }
    }
}
