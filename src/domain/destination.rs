//! Where a link leads: an absolute URL that may hold macros, checked when it is saved and read again when it is
//! followed.
//!
//! Scheme and host are fixed text. Macros stand in the path, the query or the fragment, so that nothing a visitor
//! brings can choose the host.

use url::Url;

/// Characters of a destination at most.
pub const MAX_DESTINATION: usize = 2048;

/// Why a destination cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    #[error("must have 1 to {MAX_DESTINATION} characters")]
    Length,
    #[error("must not have spaces, control characters or backslashes")]
    Character,
    #[error("must begin with https://")]
    Scheme,
    #[error("may only be http where the program allows it")]
    HttpNotAllowed,
    #[error("must not have user information before the host")]
    UserInfo,
    #[error(
        "must have a plain host name, without macros or percent-encoding, and a port from 1 to 65535 if any"
    )]
    Host,
    #[error("has an unknown macro: {{{0}}}")]
    UnknownMacro(String),
    #[error("has a brace that belongs to no macro")]
    StrayBrace,
    #[error("is not a URL")]
    NotUrl,
}

/// What is put in for a macro when the link is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Macro {
    /// The click token; empty where the visitor opted out or the click may not be attributed.
    ClickId,
    /// The referral code.
    Code,
    /// The affiliate's slug.
    Affiliate,
    /// The program's slug.
    Program,
    /// The source id.
    Source,
    /// `sub1` to `sub5`, counted from 0.
    Sub(usize),
    /// ISO 3166 alpha-2; empty where nobody knows.
    Country,
    Device,
    Os,
    Browser,
    /// Seconds since 1970.
    Timestamp,
    /// 16 hex digits.
    Random,
}

impl Macro {
    /// Reads the name between the braces.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "click_id" => Self::ClickId,
            "code" => Self::Code,
            "affiliate" => Self::Affiliate,
            "program" => Self::Program,
            "source" => Self::Source,
            "sub1" => Self::Sub(0),
            "sub2" => Self::Sub(1),
            "sub3" => Self::Sub(2),
            "sub4" => Self::Sub(3),
            "sub5" => Self::Sub(4),
            "country" => Self::Country,
            "device" => Self::Device,
            "os" => Self::Os,
            "browser" => Self::Browser,
            "timestamp" => Self::Timestamp,
            "random" => Self::Random,
            _ => return None,
        })
    }
}

/// A part of a destination: text, or a macro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    Macro(Macro),
}

/// Cuts text at its macros. A brace that opens no known macro is text.
pub fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((found, after)) = leading_macro(rest) {
            rest = after;
            return Some(Piece::Macro(found));
        }
        // The first character is text, whatever it is.
        let next = rest
            .match_indices('{')
            .map(|(at, _)| at)
            .find(|&at| at > 0 && leading_macro(&rest[at..]).is_some())
            .unwrap_or(rest.len());
        let (before, after) = rest.split_at(next);
        rest = after;
        Some(Piece::Text(before))
    })
}

fn leading_macro(text: &str) -> Option<(Macro, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    Some((Macro::parse(name)?, after))
}

/// A destination, cut where the rules change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// Scheme, host and port: `https://shop.example:8443`.
    pub origin: &'a str,
    /// Empty, or from the first slash on.
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
    /// Without the hash.
    pub fragment: Option<&'a str>,
}

impl<'a> Destination<'a> {
    /// Reads a destination fast, with the checks that keep its host fixed. What else may be wrong with it is found
    /// by [`check_destination`].
    pub fn read(text: &'a str, allow_http: bool) -> Result<Self, DestinationError> {
        let (scheme, rest) = match text.strip_prefix("https://") {
            Some(rest) => ("https://", rest),
            None => match text.strip_prefix("http://") {
                Some(rest) if allow_http => ("http://", rest),
                Some(_) => return Err(DestinationError::HttpNotAllowed),
                None => return Err(DestinationError::Scheme),
            },
        };
        let host_end = rest.bytes().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let authority = &rest[..host_end];
        if authority.contains('@') {
            return Err(DestinationError::UserInfo);
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
        if authority.is_empty() || !authority.bytes().all(plain) {
            return Err(DestinationError::Host);
        }
        let (origin, rest) = text.split_at(scheme.len() + host_end);
        let (rest, fragment) = match rest.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (rest, None),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Ok(Self { origin, path, query, fragment })
    }
}

/// Checks a destination before it is saved: an absolute https URL (http where `allow_http`) with known macros in
/// its path, query or fragment only.
pub fn check_destination(text: &str, allow_http: bool) -> Result<(), DestinationError> {
    if text.is_empty() || text.chars().count() > MAX_DESTINATION {
        return Err(DestinationError::Length);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(DestinationError::Character);
    }
    let parts = Destination::read(text, allow_http)?;
    for part in [Some(parts.path), parts.query, parts.fragment].into_iter().flatten() {
        check_macros(part)?;
    }
    let host = Url::parse(parts.origin).map_err(|_| DestinationError::Host)?;
    if host.host_str().is_none_or(str::is_empty) || host.port() == Some(0) {
        return Err(DestinationError::Host);
    }
    let sample = text.replace(['{', '}'], "");
    Url::parse(&sample).map(|_| ()).map_err(|_| DestinationError::NotUrl)
}

fn check_macros(text: &str) -> Result<(), DestinationError> {
    for piece in pieces(text) {
        let Piece::Text(text) = piece else { continue };
        if let Some((_, after)) = text.split_once('{') {
            return Err(match after.split_once('}') {
                Some((name, _)) if !name.contains('{') => DestinationError::UnknownMacro(name.to_owned()),
                _ => DestinationError::StrayBrace,
            });
        }
        if text.contains('}') {
            return Err(DestinationError::StrayBrace);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_parts() {
        let read =
            Destination::read("https://shop.example:8443/a/{sub1}?x=1&y={code}#top{random}", false).unwrap();
        assert_eq!(read.origin, "https://shop.example:8443");
        assert_eq!(read.path, "/a/{sub1}");
        assert_eq!(read.query, Some("x=1&y={code}"));
        assert_eq!(read.fragment, Some("top{random}"));
        let bare = Destination::read("https://shop.example#a?b", false).unwrap();
        assert_eq!((bare.path, bare.query, bare.fragment), ("", None, Some("a?b")));
    }

    #[test]
    fn cuts_at_known_macros_only() {
        let cut: Vec<_> = pieces("{a{code}b{x}{sub5}").collect();
        assert_eq!(
            cut,
            [Piece::Text("{a"), Piece::Macro(Macro::Code), Piece::Text("b{x}"), Piece::Macro(Macro::Sub(4)),]
        );
    }

    #[test]
    fn good_destinations_pass() {
        for good in [
            "https://shop.example",
            "https://shop.example/",
            "https://shop.example/{program}/{sub1}?click={click_id}&c={country}#{random}",
            "https://xn--mller-kva.example/straße?q=ü",
            "https://[2001:db8::1]:8443/",
            "https://shop.example/?x=%20",
        ] {
            assert_eq!(check_destination(good, false), Ok(()), "{good}");
        }
        assert_eq!(check_destination("http://127.0.0.1:8081/demo", true), Ok(()));
    }

    #[test]
    fn bad_destinations_are_refused_with_the_reason() {
        use DestinationError as E;
        let unknown = |name: &str| E::UnknownMacro(name.to_owned());
        for (bad, why) in [
            ("", E::Length),
            ("shop.example", E::Scheme),
            ("//shop.example", E::Scheme),
            ("javascript:alert(1)", E::Scheme),
            ("HTTPS://shop.example", E::Scheme),
            ("http://shop.example", E::HttpNotAllowed),
            ("https://", E::Host),
            ("https:///path", E::Host),
            ("https://{sub1}.example/", E::Host),
            ("https://{sub1}/", E::Host),
            ("https://shop.example{sub1}/", E::Host),
            ("https://shop%2eexample/", E::Host),
            ("https://shop.example:99999/", E::Host),
            ("https://shop.example:0/", E::Host),
            ("https://müller.example/", E::Host),
            ("https://user@shop.example/", E::UserInfo),
            ("https://shop.example\\@evil.example/", E::Character),
            ("https://shop.example/a b", E::Character),
            ("https://shop.example/\r\nX: y", E::Character),
            ("https://shop.example/{nothing}", unknown("nothing")),
            ("https://shop.example/{sub6}", unknown("sub6")),
            ("https://shop.example/{", E::StrayBrace),
            ("https://shop.example/}", E::StrayBrace),
            ("https://shop.example/{{code}}", E::StrayBrace),
        ] {
            assert_eq!(check_destination(bad, false), Err(why), "{bad}");
        }
        let long = format!("https://shop.example/{}", "a".repeat(MAX_DESTINATION));
        assert_eq!(check_destination(&long, false), Err(E::Length));
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_text(text in "(\\{(code|sub1|x)\\}|[a-z{}é]){0,12}") {
            let mut rest = text.as_str();
            for piece in pieces(&text) {
                rest = match piece {
                    Piece::Text(part) => rest.strip_prefix(part).unwrap(),
                    Piece::Macro(found) => {
                        let (after, known) = leading_macro(rest).map(|(known, after)| (after, known)).unwrap();
                        prop_assert_eq!(known, found);
                        after
                    }
                };
            }
            prop_assert_eq!(rest, "");
        }

        #[test]
        fn what_passes_the_check_keeps_its_host(text in "https://[a-z@:/{}.?#%\\\\1]{0,24}") {
            if check_destination(&text, false).is_ok() {
                let origin = Destination::read(&text, false).unwrap().origin;
                let whole = Url::parse(&text).unwrap();
                prop_assert_eq!(whole.origin(), Url::parse(origin).unwrap().origin());
            }
        }
    }
}
