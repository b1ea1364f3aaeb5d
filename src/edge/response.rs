//! The answers that are always the same.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// The body of every answer: whole, in memory.
pub type EdgeBody = Full<Bytes>;

/// A JSON document.
pub(crate) fn json(status: StatusCode, document: Vec<u8>) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::from(Bytes::from(document)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
