//! The host of a request, which decides the account.

use std::{borrow::Cow, net::Ipv6Addr};

use http::{Version, header, request::Parts};

use super::problem::Refusal;

/// Characters of a host name at most.
const MAX: usize = 253;

/// The host in lower case, without port and final dot; empty where HTTP/1.0 names none. A target in absolute form
/// goes before the header, as HTTP says.
///
/// # Errors
/// No host, several, or one that is no name.
pub(crate) fn host_of(parts: &Parts) -> Result<Cow<'_, str>, Refusal> {
    if let Some(authority) = parts.uri.authority() {
        return read(authority.as_str());
    }
    let mut values = parts.headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => read(value.to_str().map_err(|_| bad())?),
        (Some(_), Some(_)) => Err(Refusal::field("host", "must be given once")),
        (None, _) if parts.version <= Version::HTTP_10 => Ok(Cow::Borrowed("")),
        (None, _) => Err(Refusal::field("host", "must be given")),
    }
}

fn bad() -> Refusal {
    Refusal::field("host", "must be a host name, with a port if any")
}

fn read(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, after) = rest.split_once(']').ok_or_else(bad)?;
            ip.parse::<Ipv6Addr>().map_err(|_| bad())?;
            (&text[..ip.len() + 2], after.strip_prefix(':').or(after.is_empty().then_some("")))
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, Some("")),
        },
    };
    let port = port.ok_or_else(bad)?;
    if !port.is_empty() && (!port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err()) {
        return Err(bad());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !name.starts_with('[') && (name.is_empty() || name.len() > MAX || !name.bytes().all(fits)) {
        return Err(bad());
    }
    Ok(if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn hosts_are_brought_to_one_form() {
        for (text, host) in [
            ("go.example", "go.example"),
            ("Go.Example:8080", "go.example"),
            ("go.example.", "go.example"),
            ("[2001:DB8::1]:80", "[2001:db8::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(read(text).unwrap(), host, "{text}");
        }
        for bad in
            ["", ":80", "a b", "a/b", "a@b", "a:b", "a:99999", "a:+1", "[::1", "[x]", "[::1]80", "ä", "a%20"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn there_is_one_host() {
        let parts = |request: http::request::Builder| request.body(()).unwrap().into_parts().0;
        let none = parts(Request::get("/"));
        assert!(host_of(&none).is_err());
        let old = parts(Request::get("/").version(Version::HTTP_10));
        assert_eq!(host_of(&old).unwrap(), "");
        let two = parts(Request::get("/").header("host", "a.example").header("host", "a.example"));
        assert!(host_of(&two).is_err());
        let absolute = parts(Request::get("http://b.example/").header("host", "a.example"));
        assert_eq!(host_of(&absolute).unwrap(), "b.example");
    }
}
