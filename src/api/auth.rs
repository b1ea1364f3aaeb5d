//! Who asks: an API key, its account and its scopes.
//!
//! Only secret keys open the management API. A key is looked up by its hash on every request, so a revoked one stops
//! at once. The account of the key is the only one that any query of the request ever names.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use sea_orm::ConnectionTrait;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::error::ApiError;
use crate::{
    catalog::{KeyKind, Scope},
    domain::ids::AccountId,
    events::Authority,
    store::keys,
};

/// Characters of a key at most; ours have 58.
const MAX_KEY: usize = 128;

/// The key behind a request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub account: AccountId,
    pub key: Uuid,
    scopes: Vec<Scope>,
}

impl Caller {
    /// Whether the key has the scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Refuses a key without the scope.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.may(scope) { Ok(()) } else { Err(ApiError::Scope(scope.as_str())) }
    }

    /// The scopes, in one order.
    pub fn scopes(&self) -> String {
        let mut scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        scopes.sort_unstable();
        scopes.join(" ")
    }

    /// How far what the key reports is believed, as on the edge (DESIGN section 8).
    pub fn authority(&self) -> Authority {
        if self.may(Scope::Import) { Authority::Import } else { Authority::Secret }
    }
}

/// The guard in front of `/v1` has put it there; without it nothing of `/v1` runs.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or(ApiError::Unauthorized)
    }
}

/// Finds the caller of a request.
pub(super) async fn authenticate(db: &impl ConnectionTrait, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let text = key_text(headers).ok_or(ApiError::Unauthorized)?;
    let hash = keys::hash(text);
    let row = keys::find(db, &hash).await?.ok_or(ApiError::Unauthorized)?;
    let record = keys::record(&row)?;
    // The index found the row by this very hash; the comparison costs nothing and does not tell where it differs.
    let same = record.hash.as_bytes().ct_eq(data_encoding::HEXLOWER.encode(&hash).as_bytes());
    if !bool::from(same) || record.revoked || record.kind != KeyKind::Secret {
        return Err(ApiError::Unauthorized);
    }
    Ok(Caller { account: record.account, key: row.id, scopes: record.scopes })
}

/// The key's text, where exactly one is given.
fn key_text(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let named = ["x-api-key", "api-key"]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .map(|value| value.to_str().ok().map(str::trim));
    let mut found = bearer.chain(named);
    let first = found.next()??;
    // The same key in two headers is a careful client; two keys are a mistake that must not be guessed away.
    let agree = found.all(|other| other == Some(first));
    (agree && !first.is_empty() && first.len() <= MAX_KEY).then_some(first)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        key_text(&headers).map(str::to_owned)
    }

    #[test]
    fn a_key_is_read_from_any_of_three_headers() {
        assert_eq!(read(&[("authorization", "Bearer abc")]).as_deref(), Some("abc"));
        assert_eq!(read(&[("authorization", "bearer  abc")]).as_deref(), Some("abc"));
        assert_eq!(read(&[("x-api-key", "abc")]).as_deref(), Some("abc"));
        assert_eq!(read(&[("api-key", " abc ")]).as_deref(), Some("abc"));
        assert_eq!(read(&[("api-key", "abc"), ("x-api-key", "abc")]).as_deref(), Some("abc"));
    }

    #[test]
    fn what_is_no_single_key_is_refused() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("authorization", "Basic abc")]), None);
        assert_eq!(read(&[("authorization", "Bearer")]), None);
        assert_eq!(read(&[("authorization", "Bearer ")]), None);
        assert_eq!(read(&[("api-key", "abc"), ("x-api-key", "abd")]), None);
        assert_eq!(read(&[("authorization", "Bearer abc"), ("authorization", "Bearer x")]), None);
        assert_eq!(read(&[("api-key", &"a".repeat(129))]), None);
    }
}
