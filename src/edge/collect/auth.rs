//! Who posts: the key, its account, and what it may send.

use http::{HeaderMap, HeaderName, header};

use super::EventKind;
use crate::{
    catalog::{CatalogReader, KeyKind, Scope},
    domain::ids::AccountId,
    edge::problem::Refusal,
    events::Authority,
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
/// Characters of a key at most.
const MAX_KEY: usize = 256;

/// Who posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub account: AccountId,
    pub authority: Authority,
}

impl Caller {
    /// Whether the key stands in a web page, and requests come from visitors themselves.
    pub(crate) fn is_public(self) -> bool {
        self.authority == Authority::Publishable
    }
}

/// Finds the key and checks that it may send events of this kind.
///
/// The key alone decides the account, whatever the host. A secret key needs the scope `events`; a publishable key's
/// kind says what it may send.
///
/// # Errors
/// No key, one that is unknown or revoked (these look alike), or one that may not.
pub(crate) fn authenticate(
    reader: &CatalogReader<'_>,
    headers: &HeaderMap,
    kind: EventKind,
) -> Result<Caller, Refusal> {
    let text = key_of(headers)?;
    // Found by its hash: nothing about the key itself is compared, so nothing can be timed.
    let hash = blake3::hash(text.as_bytes());
    let key = reader.key(hash.as_bytes()).ok_or(Refusal::Unauthorized)?;
    let authority = match key.kind {
        KeyKind::Publishable if kind.is_public() => Authority::Publishable,
        KeyKind::Publishable => {
            return Err(Refusal::Forbidden("publishable keys may send clicks and leads only"));
        }
        KeyKind::Secret if !key.scopes.contains(&Scope::Events) => {
            return Err(Refusal::Forbidden("the key needs the scope events"));
        }
        KeyKind::Secret if key.scopes.contains(&Scope::Import) => Authority::Import,
        KeyKind::Secret => Authority::Secret,
    };
    Ok(Caller { account: key.account, authority })
}

/// The one key of the request.
fn key_of(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut found = None;
    for name in [header::AUTHORIZATION, X_API_KEY, API_KEY] {
        for value in headers.get_all(&name) {
            let text = value.to_str().map_err(|_| Refusal::Unauthorized)?;
            let key =
                if name == header::AUTHORIZATION { bearer(text).ok_or(Refusal::Unauthorized)? } else { text };
            let key = key.trim();
            if found.is_some_and(|other| other != key) {
                return Err(Refusal::field("authorization", "gives two different keys"));
            }
            found = Some(key);
        }
    }
    found.filter(|key| !key.is_empty() && key.len() <= MAX_KEY).ok_or(Refusal::Unauthorized)
}

fn bearer(text: &str) -> Option<&str> {
    let (scheme, key) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_key_comes_in_one_of_three_headers() {
        for pair in [
            ("authorization", "Bearer k1"),
            ("authorization", "bearer  k1"),
            ("x-api-key", "k1"),
            ("api-key", "k1"),
        ] {
            assert_eq!(key_of(&headers(&[pair])), Ok("k1"), "{pair:?}");
        }
        for pair in
            [("authorization", "Basic k1"), ("authorization", "k1"), ("x-api-key", ""), ("cookie", "k1")]
        {
            assert_eq!(key_of(&headers(&[pair])), Err(Refusal::Unauthorized), "{pair:?}");
        }
        assert_eq!(key_of(&headers(&[("x-api-key", "a"), ("api-key", "a")])), Ok("a"));
        assert!(matches!(
            key_of(&headers(&[("x-api-key", "a"), ("api-key", "b")])),
            Err(Refusal::Field { .. })
        ));
    }
}
