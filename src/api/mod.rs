//! The management API: `/v1` over HTTP, its OpenAPI document, a page to read it, and the demo shop.
//!
//! What every answer of `/v1` has in common is decided in `layers`, around all handlers: a key of the account,
//! its scope, the rate limit, the time limit, the security headers. A handler that forgets one of them gets it all
//! the same. Handlers read through [`Store::reader`] and change through `change`, whose transaction holds the
//! ledger's command, the names that no command may hold, and the answer for an `Idempotency-Key`.

mod auth;
mod change;
mod demo;
mod error;
mod fields;
mod layers;
mod openapi;
mod page;
mod rate_limit;
mod serve;
mod v1;
mod values;

use std::{ops::Deref, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
pub use demo::DemoPage;
pub use error::{ApiError, FieldError, Problem};
use rate_limit::RateLimiter;
pub use serve::serve;

use crate::{
    config::ApiSettings, domain::sealed::SealingKeys, ledger::Intake, store::Store,
    telemetry::api::ApiMetrics,
};

/// What the API is made of.
#[derive(Clone, Debug)]
pub struct ApiParts {
    pub store: Store,
    pub intake: Arc<Intake>,
    /// Opens and seals the secrets of programs.
    pub sealing: Arc<SealingKeys>,
    pub settings: ApiSettings,
    pub metrics: ApiMetrics,
    /// Where links live of accounts without a tracking domain, such as `http://127.0.0.1:8080`.
    pub edge_url: Option<String>,
    /// The demo shop, under `waypost dev` alone.
    pub demo: Option<DemoPage>,
}

/// The state of the handlers.
#[derive(Clone, Debug)]
struct Api(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    parts: ApiParts,
    limiter: RateLimiter,
}

impl Deref for Api {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.0.parts
    }
}

impl Api {
    fn limiter(&self) -> &RateLimiter {
        &self.0.limiter
    }
}

/// All routes, ready to be served.
pub fn router(parts: ApiParts) -> Router {
    let limiter = RateLimiter::new(parts.settings.rate_limit_per_minute);
    let api = Api(Arc::new(Shared { parts, limiter }));
    let (routes, document) = openapi::assemble(v1::routes());
    let mut router = routes.merge(openapi::routes(document));
    if let Some(page) = &api.demo {
        router = router.merge(demo::routes(page));
    }
    layers::around(router, &api).with_state(api)
}

/// The one variable segment of a path, decoded.
struct Segment(String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segments([segment]) = Segments::from_request_parts(parts, state).await?;
        Ok(Self(segment))
    }
}

/// The variable segments of a path, decoded.
struct Segments<const N: usize>([String; N]);

impl<S: Send + Sync, const N: usize> FromRequestParts<S> for Segments<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // What is not UTF-8 names nothing.
        let Path(segments) =
            Path::<Vec<String>>::from_request_parts(parts, state).await.map_err(|_| ApiError::NoRoute)?;
        // No name has it, and PostgreSQL cannot be asked for it.
        if segments.iter().any(|segment| segment.contains('\0')) {
            return Err(ApiError::NoRoute);
        }
        segments.try_into().map(Self).map_err(|_| ApiError::internal("the path has other segments"))
    }
}
