//! Lists, a page at a time.
//!
//! A page continues after the position of the last row (never by counting rows), newest first, so rows that come in
//! between are neither repeated nor skipped. A cursor is opaque to clients:
//!
//! ```text
//! base64url without padding of
//!   0..6   BLAKE3 of the list's path and filters
//!   6..    the position, as text
//! ```
//! A cursor of another list, or one that was altered, is refused. It holds nothing secret and opens nothing: every
//! query names the caller's account besides.

use std::{fmt::Display, str::FromStr};

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};
use data_encoding::BASE64URL_NOPAD;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select, Value};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    error::ApiError,
    fields::{Fields, Input},
    values,
};

const DEFAULT_LIMIT: u32 = 25;
const MAX_LIMIT: u32 = 100;
const LIST_BYTES: usize = 6;

/// Characters of a cursor at most.
const MAX_CURSOR: usize = 256;

/// One page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// Newest first.
    pub data: Vec<T>,
    /// Give it as `cursor` to get the next page; null: this was the last.
    pub next_cursor: Option<String>,
}

/// What every list takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes the parameters; `Query::page` reads them")]
pub struct PageParams {
    /// Rows of a page.
    #[param(minimum = 1, maximum = 100, default = 25)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The query string of a request, read field by field.
#[derive(Debug)]
pub struct Query {
    pub fields: Fields,
    list: [u8; LIST_BYTES],
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.uri))
    }
}

impl Query {
    fn of(uri: &Uri) -> Self {
        let mut filters: Vec<(String, String)> =
            url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .filter(|(name, _)| name != "cursor" && name != "limit")
                .collect();
        filters.sort();
        let mut hasher = blake3::Hasher::new();
        for text in filters.iter().flat_map(|(name, value)| [name, value]) {
            hasher.update(&(text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(uri.path().as_bytes());
        let mut list = [0; LIST_BYTES];
        list.copy_from_slice(&hasher.finalize().as_bytes()[..LIST_BYTES]);
        Self { fields: Fields::of_query(uri.query()), list }
    }

    /// Reads `limit` and `cursor`.
    pub fn page<P: FromStr>(&mut self) -> PageRequest<P> {
        let limit = self.fields.or("limit", DEFAULT_LIMIT, values::integer(1..=MAX_LIMIT));
        let list = self.list;
        let after = self.fields.optional("cursor", None, |input| read_cursor(input, list));
        PageRequest { limit: limit as usize, after, list }
    }

    /// Refuses the request if anything was wrong with its query.
    pub fn finish(self) -> Result<(), ApiError> {
        self.fields.finish()
    }
}

fn read_cursor<P: FromStr>(input: &Input, list: [u8; LIST_BYTES]) -> Result<P, String> {
    let read = |text: &str| {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (head, position) = bytes.split_at_checked(LIST_BYTES)?;
        (head == list).then(|| std::str::from_utf8(position).ok()?.parse().ok()).flatten()
    };
    let text = input.text()?;
    let position = if text.len() <= MAX_CURSOR { read(&text) } else { None };
    position.ok_or_else(|| "is not a cursor of this list with these filters".to_owned())
}

/// Which page is asked for. `P` is the position of a row in the list's order.
#[derive(Debug)]
pub struct PageRequest<P> {
    limit: usize,
    /// The position of the last row of the page before.
    pub after: Option<P>,
    list: [u8; LIST_BYTES],
}

impl<P: Display + Clone + Into<Value>> PageRequest<P> {
    /// The rows to fetch of a list, newest first, where the position is the value of a column.
    pub fn of<E: EntityTrait>(&self, list: Select<E>, position: E::Column) -> Select<E> {
        let rest = match &self.after {
            Some(after) => list.filter(position.lt(after.clone())),
            None => list,
        };
        rest.order_by_desc(position).limit(self.fetch())
    }
}

impl<P: Display> PageRequest<P> {
    /// Rows to fetch: one more than the page has, to know whether another follows.
    pub fn fetch(&self) -> u64 {
        self.limit as u64 + 1
    }

    /// Cuts what was fetched to the page, and makes the cursor of the next.
    pub fn cut<R>(&self, rows: &mut Vec<R>, position: impl Fn(&R) -> P) -> Option<String> {
        if rows.len() <= self.limit {
            return None;
        }
        rows.truncate(self.limit);
        let mut bytes = self.list.to_vec();
        bytes.extend(position(rows.last()?).to_string().as_bytes());
        Some(BASE64URL_NOPAD.encode(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(uri: &str) -> Result<PageRequest<i64>, ApiError> {
        let mut query = Query::of(&uri.parse().unwrap());
        let page = query.page();
        query.fields.optional("a", None, Input::text);
        query.finish().map(|()| page)
    }

    #[test]
    fn a_cursor_leads_on_in_its_own_list_only() {
        let first = page("/things?limit=2&a=1").unwrap();
        let mut rows = vec![9_i64, 7, 5];
        assert_eq!(first.fetch(), 3);
        let cursor = first.cut(&mut rows, |row| *row).unwrap();
        assert_eq!(rows, [9, 7]);
        // The limit may change on the way.
        assert_eq!(page(&format!("/things?a=1&limit=9&cursor={cursor}")).unwrap().after, Some(7));
        for other in ["/things?cursor=", "/things?a=2&cursor=", "/others?a=1&cursor="] {
            assert!(page(&format!("{other}{cursor}")).is_err(), "{other}");
        }
        assert!(page(&format!("/things?a=1&cursor={cursor}A")).is_err());
        assert!(page("/things?cursor=").is_err());
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let only = page("/things?limit=2").unwrap();
        assert_eq!(only.cut(&mut vec![1_i64, 2], |row| *row), None);
    }

    #[test]
    fn limits_have_limits() {
        for bad in ["0", "101", "-1", "1.5", "x", ""] {
            assert!(page(&format!("/things?limit={bad}")).is_err(), "{bad}");
        }
        assert_eq!(page("/things").unwrap().fetch(), 26);
    }
}
