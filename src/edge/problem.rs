//! What a refused request is told: an RFC 9457 problem document that names the field.
//!
//! [`Refusal`] is the one public error of the data plane. Its texts are fixed or speak of the request alone; nothing
//! internal reaches a client.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::response::EdgeBody;
use crate::{events::report::Unreadable, stream::AppendError};

/// Why a request is not answered as it hoped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("nothing lives at this path")]
    NotFound,
    #[error("this path does not know this method")]
    MethodNotAllowed { allow: &'static str },
    #[error("this host is no tracking domain")]
    UnknownHost,
    #[error("no link has this code")]
    UnknownCode,
    /// One value of the request; `field` says which.
    #[error("{detail}")]
    Field { field: Cow<'static, str>, detail: Cow<'static, str> },
    #[error("the body is not JSON: {0}")]
    Json(String),
    #[error("the body was cut off")]
    BodyBroken,
    #[error("the body did not arrive in time")]
    BodySlow,
    #[error("the body may have {max} bytes at most")]
    BodyTooLarge { max: usize },
    #[error("the body must be application/json, in UTF-8, without content encoding")]
    MediaType,
    #[error("a key is needed: Authorization: Bearer, X-Api-Key or Api-Key")]
    Unauthorized,
    #[error("{0}")]
    Forbidden(&'static str),
    /// The event log refused; nothing was stored.
    #[error("the event cannot be stored now")]
    NotStored(AppendError),
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Field { field, detail } => Self::Field { field, detail },
            Unreadable::Json(detail) => Self::Json(detail),
        }
    }
}

impl Refusal {
    pub(crate) fn field(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Field { field: field.into(), detail: detail.into() }
    }

    pub const fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::UnknownHost | Self::UnknownCode => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Field { .. } | Self::Json(_) | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::BodySlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotStored(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A word for programs, of a closed set.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::UnknownHost => "unknown_host",
            Self::UnknownCode => "unknown_code",
            Self::Field { .. } => "invalid_field",
            Self::Json(_) => "invalid_json",
            Self::BodyBroken => "body_broken",
            Self::BodySlow => "body_timeout",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::MediaType => "unsupported_media_type",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::NotStored(AppendError::Full) => "log_full",
            Self::NotStored(AppendError::Stalled | AppendError::Failed) => "log_unavailable",
            Self::NotStored(AppendError::Closed) => "stopping",
        }
    }

    /// When the same request may be sent again; none: it has to be corrected first.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotStored(AppendError::Full) => Some(Duration::from_secs(5)),
            Self::NotStored(AppendError::Stalled | AppendError::Failed) => Some(Duration::from_secs(2)),
            // Another edge takes it.
            Self::NotStored(AppendError::Closed) => Some(Duration::from_secs(1)),
            Self::NotFound
            | Self::MethodNotAllowed { .. }
            | Self::UnknownHost
            | Self::UnknownCode
            | Self::Field { .. }
            | Self::Json(_)
            | Self::BodyBroken
            | Self::BodySlow
            | Self::BodyTooLarge { .. }
            | Self::MediaType
            | Self::Unauthorized
            | Self::Forbidden(_) => None,
        }
    }

    /// Whether what is left of the body makes the connection useless.
    const fn closes(&self) -> bool {
        matches!(self, Self::BodyBroken | Self::BodySlow | Self::BodyTooLarge { .. })
    }

    /// The document.
    pub fn problem(&self) -> Problem<'_> {
        let status = self.status();
        let field = match self {
            Self::Field { field, .. } => Some(&**field),
            Self::UnknownHost => Some("host"),
            Self::UnknownCode => Some("code"),
            Self::Json(_) | Self::BodyBroken | Self::BodySlow | Self::BodyTooLarge { .. } => Some("body"),
            Self::MediaType => Some("content-type"),
            Self::Unauthorized => Some("authorization"),
            Self::NotFound | Self::MethodNotAllowed { .. } | Self::Forbidden(_) | Self::NotStored(_) => None,
        };
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code: self.code(),
            detail: self.to_string(),
            field,
        }
    }

    /// The answer.
    pub fn response(&self) -> Response<EdgeBody> {
        // A struct of texts and a number always serialises.
        let document = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = Response::new(EdgeBody::from(Bytes::from(document)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if self.closes() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        match self {
            Self::MethodNotAllowed { allow } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::NotFound
            | Self::UnknownHost
            | Self::UnknownCode
            | Self::Field { .. }
            | Self::Json(_)
            | Self::BodyBroken
            | Self::BodySlow
            | Self::BodyTooLarge { .. }
            | Self::MediaType
            | Self::Forbidden(_)
            | Self::NotStored(_) => {}
        }
        response
    }
}

/// A problem document of RFC 9457, with `code` and `field` beside its own members.
#[derive(Clone, Debug, Serialize)]
pub struct Problem<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub title: &'static str,
    pub status: u16,
    pub code: &'static str,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_field() {
        let refusal = Refusal::field("commissions[0].sub_amount", "must be a decimal number");
        let json = serde_json::to_value(refusal.problem()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "about:blank", "title": "Bad Request", "status": 400, "code": "invalid_field",
                "detail": "must be a decimal number", "field": "commissions[0].sub_amount"
            })
        );
    }

    #[test]
    fn only_a_refusing_log_may_be_tried_again() {
        let full = Refusal::NotStored(AppendError::Full).response();
        assert_eq!(full.status(), 503);
        assert_eq!(full.headers()["retry-after"], "5");
        assert_eq!(Refusal::Unauthorized.response().headers().get("retry-after"), None);
    }
}
