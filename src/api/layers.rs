//! What is around every handler, from the outside in: headers and metrics, panics, the time limit, the key.

use std::{
    any::Any,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    Api,
    auth::{self, Caller},
    change::KeptBody,
    error::{ApiError, BeginAgain},
    rate_limit::Subject,
};
use crate::{catalog::Scope, domain::time::Timestamp};

/// Between the tries of a request that is begun again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(2), Duration::from_millis(20), Duration::from_millis(200)];

/// Where conversions and refunds are reported.
const REPORTS: [&str; 2] = ["/v1/conversions", "/v1/refunds"];

const NOTHING_ACTIVE: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Swagger UI brings its own scripts and styles, and styles elements in place.
const DOCS: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Puts the layers around the routes.
pub fn around(router: Router<Api>, api: &Api) -> Router<Api> {
    let metrics = api.metrics.clone();
    let on_panic = move |panic: Box<dyn Any + Send + 'static>| {
        metrics.panics.increment(1);
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        ApiError::Internal(format!("panic: {text}")).into_response()
    };
    router
        .fallback(|| async { ApiError::NoRoute })
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn(begin_again))
        .layer(middleware::from_fn_with_state(api.clone(), guard))
        .layer(middleware::from_fn_with_state(api.clone(), time_limit))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(middleware::from_fn_with_state(api.clone(), observe))
}

/// The router adds `Allow`.
async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        ApiError::MethodNotAllowed.into_response()
    }
}

async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let docs = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
    api.metrics.seconds.record(started.elapsed());
    api.metrics.answered(response.status().as_u16());
    let headers = response.headers_mut();
    let mut default = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(header::X_FRAME_OPTIONS, "DENY");
    default(header::REFERRER_POLICY, "no-referrer");
    default(header::CACHE_CONTROL, "no-store");
    default(header::CONTENT_SECURITY_POLICY, if docs { DOCS } else { NOTHING_ACTIVE });
    response
}

/// A handler that is given up leaves nothing behind: its transaction ends with it.
async fn time_limit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let limit = Duration::from_millis(api.settings.request_timeout_ms);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut.into_response(),
    }
}

/// Begins a request again when the store says that another transaction was quicker or that its connection broke, and
/// nothing has happened. Not where the body is gone unread: without it, it would be another request.
async fn begin_again(mut request: Request, next: Next) -> Response {
    let kept = KeptBody::default();
    request.extensions_mut().insert(kept.clone());
    let (parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let mut response = next.clone().run(Request::from_parts(parts.clone(), body)).await;
    for pause in PAUSES {
        if response.extensions().get::<BeginAgain>().is_none() || (has_body && !kept.is_read()) {
            break;
        }
        tokio::time::sleep(pause).await;
        // Whoever needs the body has kept it.
        response = next.clone().run(Request::from_parts(parts.clone(), Body::empty())).await;
    }
    response
}

/// Who asks; looked up again where the store's connection broke.
async fn caller_of(api: &Api, headers: &HeaderMap) -> Result<Caller, ApiError> {
    for pause in PAUSES {
        match auth::authenticate(api.store.reader(), headers).await {
            Err(ApiError::Lost) => tokio::time::sleep(pause).await,
            found => return found,
        }
    }
    auth::authenticate(api.store.reader(), headers).await
}

/// What a key needs. Reporting is what the edge takes too, and needs the same here.
fn scope_of(method: &Method, path: &str) -> Scope {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Scope::Read,
        Method::POST if REPORTS.contains(&path) => Scope::Events,
        _ => Scope::Write,
    }
}

/// Lets nothing into `/v1` without a key that has the scope and is within its limit.
async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != "/v1" && !path.starts_with("/v1/") {
        return next.run(request).await;
    }
    let caller = caller_of(&api, request.headers()).await;
    let subject = match &caller {
        Ok(caller) => Subject::Key(caller.key),
        Err(_) => {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            Subject::Peer(peer.map(|ConnectInfo(address)| address.ip()))
        }
    };
    let quota = api.limiter().take(subject, Timestamp::now());
    let scope = scope_of(request.method(), path);
    let admitted = quota.check().and(caller).and_then(|caller| caller.require(scope).map(|()| caller));
    let mut response = match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => {
            match &error {
                ApiError::RateLimited { .. } => api.metrics.rate_limited.increment(1),
                ApiError::Unauthorized => api.metrics.unauthorized.increment(1),
                _ => {}
            }
            error.into_response()
        }
    };
    quota.write(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use axum::{
        body::Body,
        routing::{any, get},
    };
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::{
        api::{ApiParts, Shared, rate_limit::RateLimiter},
        config::ApiSettings,
        domain::{
            sealed::SealingKeys,
            token::{KeyRing, KeyState, TokenKey},
        },
        ledger::{Intake, Terms},
        store::Store,
        telemetry::api::ApiMetrics,
    };

    async fn api() -> Api {
        let key = TokenKey { id: 1, state: KeyState::Active, secret: [7; 32] };
        let terms = Terms { max_age_days: 30, pending_time_ms: 0 };
        let settings = ApiSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            max_body_bytes: 1024,
            request_timeout_ms: 50,
            rate_limit_per_minute: 10,
        };
        let parts = ApiParts {
            store: Store::connect("sqlite::memory:").await.unwrap(),
            intake: Arc::new(Intake::new(Arc::new(KeyRing::new(vec![key]).unwrap()), terms)),
            sealing: Arc::new(SealingKeys::new(&[[7; 32]]).unwrap()),
            settings,
            metrics: ApiMetrics::register(),
            edge_url: None,
            demo: None,
        };
        Api(Arc::new(Shared { parts, limiter: RateLimiter::new(10) }))
    }

    async fn answer(path: &str) -> (StatusCode, String) {
        let api = api().await;
        let routes = Router::new()
            .route("/panics", get(async || -> StatusCode { panic!("a secret of the inside") }))
            .route("/hangs", get(async || std::future::pending::<StatusCode>().await));
        let router: Router = around(routes, &api).with_state(api);
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = TowerToHyperService::new(router).call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(parts.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let bytes = axum::body::to_bytes(body, 4096).await.unwrap();
        (parts.status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_that_tells_nothing() {
        let (status, text) = answer("/panics").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(text.contains("\"code\":\"internal\"") && !text.contains("secret"), "{text}");
    }

    #[tokio::test]
    async fn what_hangs_is_given_up() {
        let (status, text) = answer("/hangs").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("\"code\":\"timeout\""), "{text}");
    }

    #[tokio::test]
    async fn a_request_is_begun_again_but_never_without_its_body() {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let lost = async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            ApiError::Lost
        };
        let router: Router = Router::new().route("/", any(lost)).layer(middleware::from_fn(begin_again));
        for (body, expected) in [(Body::empty(), 1 + PAUSES.len()), (Body::from("{}"), 1)] {
            calls.store(0, Ordering::Relaxed);
            let request = Request::builder().uri("/").body(body).unwrap();
            let response = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(calls.load(Ordering::Relaxed) as usize, expected);
        }
    }
}
