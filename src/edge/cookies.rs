//! The one cookie per program: `wp_{program}`, whose value is a click token.

use http::{HeaderMap, header};

use crate::domain::program::{ProgramSettings, SameSite};

const SECONDS_PER_DAY: u64 = 86_400;

/// The values of a program's cookie, as sent; a browser may hold several for different paths or domains.
pub(crate) fn values<'a>(headers: &'a HeaderMap, program: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(move |pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name.strip_prefix("wp_")? == program).then_some(value)
        })
}

/// Appends the value of a `Set-Cookie` header.
pub(crate) fn write(
    out: &mut Vec<u8>,
    program: &str,
    token: &str,
    settings: &ProgramSettings,
    domain: Option<&str>,
) {
    out.extend_from_slice(b"wp_");
    out.extend_from_slice(program.as_bytes());
    out.push(b'=');
    out.extend_from_slice(token.as_bytes());
    out.extend_from_slice(b"; Path=/; Secure; HttpOnly; SameSite=");
    out.extend_from_slice(match settings.cookie_same_site {
        SameSite::Lax => b"Lax".as_slice(),
        SameSite::None => b"None".as_slice(),
    });
    out.extend_from_slice(b"; Max-Age=");
    write_number(out, u64::from(settings.cookie_time) * SECONDS_PER_DAY);
    if let Some(domain) = domain.filter(|domain| is_domain(domain)) {
        out.extend_from_slice(b"; Domain=");
        out.extend_from_slice(domain.as_bytes());
    }
}

/// Appends the decimal digits, without building a text of their own.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        // A digit fits a byte.
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A domain with other characters could add attributes of its own.
fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_all_values_of_the_program_alone() {
        let mut headers = HeaderMap::new();
        for value in ["a=b; wp_shop=one;wp_shop2=no", "wp_shop=two; wp_shop", "xwp_shop=no"] {
            headers.append(header::COOKIE, HeaderValue::from_static(value));
        }
        assert_eq!(values(&headers, "shop").collect::<Vec<_>>(), ["one", "two"]);
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_usual(number: u64) {
            let mut out = Vec::new();
            write_number(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
