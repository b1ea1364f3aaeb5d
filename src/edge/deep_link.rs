//! Deep links: `?to=` names a page, and the program says on which hosts.
//!
//! What is followed is never the visitor's text but what the URL standard's parser made of it, written out again.
//! A text that browsers and parsers could read in two ways is refused before that.

use url::{Host, Url};

use crate::domain::destination::MAX_DESTINATION;

/// The URL to follow, or `None` where the default destination has to do.
pub(crate) fn follow(text: &str, hosts: &[String], allow_http: bool) -> Option<Url> {
    if text.len() > MAX_DESTINATION || text.chars().any(is_tricky) || hides_controls(text) {
        return None;
    }
    let rest = strip_scheme(text, "https://").or_else(|| {
        let plain = strip_scheme(text, "http://");
        if allow_http { plain } else { None }
    })?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // `@` would make the host a user name, `%` a host that is spelled twice.
    if authority.is_empty() || authority.contains(['@', '%']) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let https = url.scheme() == "https" || (allow_http && url.scheme() == "http");
    // A port that is not the scheme's own is another server than the one that was listed.
    if !https || !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
        return None;
    }
    let listed = match url.host()? {
        Host::Domain(domain) => hosts.iter().any(|pattern| matches_host(pattern, domain)),
        // An address is followed only where that very text is listed, however it was spelled.
        Host::Ipv4(ip) => is_listed(hosts, &ip.to_string()),
        Host::Ipv6(ip) => is_listed(hosts, &ip.to_string()) || is_listed(hosts, &format!("[{ip}]")),
    };
    listed.then_some(url)
}

fn is_listed(hosts: &[String], text: &str) -> bool {
    hosts.iter().any(|host| host == text)
}

/// Whether `domain`, as the parser wrote it, is the pattern's host, or below it for `*.host`.
fn matches_host(pattern: &str, domain: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if !domain.split('.').all(is_label) {
        return false;
    }
    match pattern.strip_prefix("*.") {
        Some(suffix) => {
            domain.len() > suffix.len() + 1
                && domain.as_bytes()[domain.len() - suffix.len() - 1] == b'.'
                && domain.as_bytes()[domain.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
        }
        None => domain.eq_ignore_ascii_case(pattern),
    }
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let head = text.get(..scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
}

/// Characters that parsers strip, turn round or do not show.
fn is_tricky(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c, '\\' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
}

/// Whether a percent-encoded control character waits for a careless reader down the road.
fn hides_controls(text: &str) -> bool {
    text.as_bytes().windows(3).any(|three| {
        three[0] == b'%' && super::query::hex_byte(&three[1..]).is_some_and(|byte| byte.is_ascii_control())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts() -> Vec<String> {
        ["shop.example", "*.shop.example", "xn--mller-kva.example", "192.0.2.1"].map(String::from).to_vec()
    }

    #[test]
    fn listed_pages_are_followed() {
        for (text, url) in [
            ("https://shop.example", "https://shop.example/"),
            ("https://SHOP.example:443/a?b=c#d", "https://shop.example/a?b=c#d"),
            ("https://a.b.shop.example/x y".replace(' ', "%20").as_str(), "https://a.b.shop.example/x%20y"),
            ("https://müller.example/ä", "https://xn--mller-kva.example/%C3%A4"),
            ("https://192.0.2.1/", "https://192.0.2.1/"),
        ] {
            assert_eq!(follow(text, &hosts(), false).map(String::from).as_deref(), Some(url), "{text}");
        }
        assert!(follow("http://shop.example/", &hosts(), true).is_some());
        assert!(follow("http://shop.example/", &hosts(), false).is_none());
    }

    proptest! {
        #[test]
        fn whatever_is_followed_is_on_the_list(
            text in "(https|http|HTTPS):[/\\\\]{0,3}[a-z@:.%#?/0-9\\\\]{0,12}(shop\\.example|evil\\.example)[./@:?#\\\\a-z]{0,12}",
        ) {
            if let Some(url) = follow(&text, &hosts(), true) {
                let host = url.host_str().unwrap();
                prop_assert!(host == "shop.example" || host.ends_with(".shop.example"), "{text} -> {url}");
                let again = Url::parse(url.as_str()).unwrap();
                prop_assert_eq!(again.host_str(), Some(host));
            }
        }
    }
}
