//! What a refused request is told: an RFC 9457 problem document.
//!
//! [`ApiError`] is the one error of the management API. Its texts are fixed or speak of the request alone; what went
//! wrong inside is logged and never answered.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{attribution::PassedOver, reason::Rejection},
    events::report::Unreadable,
    ledger::LedgerError,
    store::{self, Trouble},
};

/// How long a client waits when the store is busy.
const BUSY: Duration = Duration::from_secs(1);

/// In the extensions of an answer: nothing has happened, and the same request may be begun again at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct BeginAgain;

/// One value of the request that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Where it stands: `cookie_time`, `commission_types[0].value`, a query parameter, a header.
    #[schema(example = "commission_types[0].value")]
    pub field: String,
    #[schema(example = "has more digits after the point than allowed")]
    pub message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl ToString) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }
}

/// Why a request is not answered as it hoped.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("a secret key is needed: Authorization: Bearer, X-Api-Key or Api-Key")]
    Unauthorized,
    #[error("this key may not do that: it needs the scope {0}")]
    Scope(&'static str),
    /// There is none in this account. Another account's answers the same.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("nothing lives at this path")]
    NoRoute,
    #[error("this path does not know this method")]
    MethodNotAllowed,
    #[error("the request has values that cannot be taken")]
    Invalid(Vec<FieldError>),
    /// The rules do not take what was reported.
    #[error("{}", rejected(*.reason, .detail.as_deref()))]
    Rejected {
        reason: Rejection,
        detail: Option<String>,
        field: Option<String>,
        passed_over: Vec<PassedOver>,
    },
    #[error("the body is not JSON: {0}")]
    Json(String),
    #[error("the body was cut off")]
    BodyBroken,
    #[error("the body may have {0} bytes at most")]
    BodyTooLarge(usize),
    #[error("the body must be application/json, in UTF-8, without content encoding")]
    MediaType,
    /// A value is taken by another thing of the account.
    #[error("{field} {message}")]
    Conflict { field: String, message: String },
    /// The state of things does not allow it.
    #[error("{message}")]
    NotPossible { code: &'static str, message: String },
    #[error("this Idempotency-Key came with another request before, or from a key with other scopes")]
    IdempotencyReused,
    #[error("too many requests")]
    RateLimited { retry_after: Duration },
    #[error("the answer took too long")]
    TimedOut,
    /// The same request may succeed when it is sent again.
    #[error("the store is busy")]
    Busy,
    /// Nothing has happened: another transaction was quicker, or the connection to the store broke. The request is
    /// begun again by the API itself; who sees this saw several tries fail.
    #[error("the store is busy")]
    Lost,
    /// The store was told to commit and its answer was lost.
    #[error(
        "the change may have been made: look before you send it again, and send changes with an Idempotency-Key, \
         which may be sent again"
    )]
    OutcomeUnknown,
    /// The detail is for the log alone.
    #[error("something went wrong inside")]
    Internal(String),
}

impl ApiError {
    /// A refusal of one field.
    pub(crate) fn field(field: impl Into<String>, message: impl ToString) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    pub(crate) fn internal(error: impl ToString) -> Self {
        Self::Internal(error.to_string())
    }

    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Scope(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Json(_) | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::Invalid(_) | Self::Rejected { .. } | Self::IdempotencyReused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Conflict { .. } | Self::NotPossible { .. } => StatusCode::CONFLICT,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut | Self::Busy | Self::Lost => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutcomeUnknown | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A word for programs, of a closed set (with the codes of the ledger).
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Scope(_) => "forbidden",
            Self::NotFound(_) | Self::NoRoute => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Invalid(_) => "invalid_request",
            Self::Rejected { reason, .. } => reason.as_str(),
            Self::Json(_) => "invalid_json",
            Self::BodyBroken => "body_broken",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::MediaType => "unsupported_media_type",
            Self::Conflict { .. } => "conflict",
            Self::NotPossible { code, .. } => code,
            Self::IdempotencyReused => "idempotency_key_reused",
            Self::RateLimited { .. } => "rate_limited",
            Self::TimedOut => "timeout",
            Self::Busy | Self::Lost => "busy",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Internal(_) => "internal",
        }
    }

    /// When the same request may be sent again; none: it has to be corrected first, or somebody has to look.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::TimedOut | Self::Busy | Self::Lost => Some(BUSY),
            Self::Unauthorized
            | Self::Scope(_)
            | Self::NotFound(_)
            | Self::NoRoute
            | Self::MethodNotAllowed
            | Self::Invalid(_)
            | Self::Rejected { .. }
            | Self::Json(_)
            | Self::BodyBroken
            | Self::BodyTooLarge(_)
            | Self::MediaType
            | Self::Conflict { .. }
            | Self::NotPossible { .. }
            | Self::IdempotencyReused
            | Self::OutcomeUnknown
            | Self::Internal(_) => None,
        }
    }
}

/// The field whose value does not fit the state of things, where it is one.
fn field_of(code: &str) -> Option<&'static str> {
    match code {
        "exceeds_available" | "below_minimum_payout" | "amount_not_above_refunded" | "amount_too_large" => {
            Some("amount")
        }
        "from_in_future" => Some("from"),
        _ => None,
    }
}

/// What a rejection is told in a sentence.
fn rejected(reason: Rejection, detail: Option<&str>) -> String {
    let words = reason.as_str().replace('_', " ");
    match detail {
        Some(detail) => format!("it cannot be taken: {words}: {detail}"),
        None => format!("it cannot be taken: {words}"),
    }
}

impl From<Unreadable> for ApiError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Field { field, detail } => Self::field(field, detail),
            Unreadable::Json(detail) => Self::Json(detail),
        }
    }
}

impl From<DbErr> for ApiError {
    fn from(error: DbErr) -> Self {
        match store::trouble(&error) {
            Some(Trouble::Again) => {
                tracing::debug!(%error, "a transaction was lost");
                Self::Lost
            }
            Some(Trouble::Later) => {
                tracing::warn!(%error, "the store is busy");
                Self::Busy
            }
            None => Self::internal(error),
        }
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NotFound(what) => Self::NotFound(what),
            LedgerError::Conflict { field, message } => {
                Self::Conflict { field: field.to_owned(), message: message.to_owned() }
            }
            LedgerError::NotPossible { code, message } => Self::NotPossible { code, message },
            LedgerError::Rejected(reason) => Self::NotPossible {
                code: reason.as_str(),
                message: format!("the event cannot be taken: {reason}"),
            },
            LedgerError::Store(error) => match store::refused_value(&error) {
                Some(value) => {
                    Self::NotPossible { code: value.reason().as_str(), message: value.to_string() }
                }
                None => error.into(),
            },
            LedgerError::Damaged { .. } => Self::internal(error),
        }
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` says what it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    #[schema(example = "Unprocessable Entity")]
    pub title: String,
    #[schema(example = 422)]
    pub status: u16,
    /// A word for programs.
    #[schema(example = "invalid_request")]
    pub code: String,
    /// A sentence for people.
    #[schema(example = "the request has values that cannot be taken")]
    pub detail: String,
    /// Every value that cannot be taken.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<FieldError>,
    /// Of a report that was not taken: why inputs were passed over.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<String>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: self.code().to_owned(),
            detail: self.to_string(),
            errors: match &self {
                Self::Invalid(errors) => errors.clone(),
                Self::Conflict { field, message } => vec![FieldError::new(field, message)],
                Self::Rejected { field: Some(field), .. } => vec![FieldError::new(field, &self)],
                Self::NotPossible { code, .. } => {
                    field_of(code).map(|field| FieldError::new(field, &self)).into_iter().collect()
                }
                Self::IdempotencyReused => vec![FieldError::new("Idempotency-Key", &self)],
                _ => Vec::new(),
            },
            warnings: match &self {
                Self::Rejected { passed_over, .. } => {
                    passed_over.iter().map(|passed| passed.warning.to_string()).collect()
                }
                _ => Vec::new(),
            },
        };
        if let Self::Internal(detail) = &self {
            tracing::error!(detail, "a request failed inside");
        }
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        match self {
            Self::Lost => {
                response.extensions_mut().insert(BeginAgain);
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // What is left of the body makes the connection useless.
            Self::BodyBroken | Self::BodyTooLarge(_) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
