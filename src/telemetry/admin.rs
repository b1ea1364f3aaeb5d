//! The admin listener: metrics and probes, apart from what the public reaches.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | every series in Prometheus's text format |
//! | `/healthz` | 200 while the process runs |
//! | `/readyz` | 200 when traffic is welcome; else 503 with `{"ready": false, "missing": ["catalog_loaded"]}` |

use std::{io, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use super::{readiness::Readiness, recorder::Metrics};

/// Rendering takes milliseconds; whoever takes longer has gone.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Prometheus keeps its connection open: after `shutdown`, requests under way have so long.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct AdminState {
    metrics: Metrics,
    readiness: Readiness,
}

/// What `/readyz` says.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    missing: Vec<&'static str>,
}

/// Serves until `shutdown`, which should be the last of the process: probes are asked while it drains.
///
/// Keeps the histograms' memory bounded meanwhile.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let upkeep = tokio::spawn(metrics.clone().upkeep(shutdown.clone()));
    let stop = shutdown.clone();
    let server = axum::serve(listener, router(metrics, readiness))
        .with_graceful_shutdown(async move { stop.cancelled().await });
    let served = tokio::select! {
        served = server => served,
        () = async { shutdown.cancelled().await; tokio::time::sleep(CLOSE_TIMEOUT).await } => Ok(()),
    };
    upkeep.abort();
    served
}

fn router(metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .with_state(AdminState { metrics, readiness })
}

async fn show_metrics(State(state): State<AdminState>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, state.metrics.render()).into_response()
}

async fn ready(State(state): State<AdminState>) -> Response {
    let missing: Vec<_> =
        state.readiness.missing().into_iter().map(super::readiness::Condition::as_str).collect();
    let ready = missing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, missing })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{readiness::Condition, recorder, series};

    /// The address, and the end of a server that was told to stop.
    async fn start(
        readiness: Readiness,
    ) -> (String, CancellationToken, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let metrics = recorder::install().unwrap();
        (address, shutdown.clone(), tokio::spawn(serve(listener, metrics, readiness, shutdown)))
    }

    async fn get(url: String) -> (u16, String) {
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn metrics_and_probes_answer_until_the_end() {
        let readiness = Readiness::new(&[Condition::CatalogLoaded, Condition::StoreReady]);
        let (address, shutdown, server) = start(readiness.clone()).await;
        let missing = r#"{"ready":false,"missing":["catalog_loaded","store_ready"]}"#;
        assert_eq!(get(format!("{address}/readyz")).await, (503, missing.to_owned()));
        readiness.set(Condition::CatalogLoaded, true);
        readiness.set(Condition::StoreReady, true);
        assert_eq!(
            get(format!("{address}/readyz")).await,
            (200, r#"{"ready":true,"missing":[]}"#.to_owned())
        );
        readiness.drain();
        assert_eq!(get(format!("{address}/readyz")).await.0, 503);
        assert_eq!(get(format!("{address}/healthz")).await, (200, "ok\n".to_owned()));
        series::counter("waypost_test_admin_total", "A test.").increment(2);
        let (status, text) = get(format!("{address}/metrics")).await;
        assert_eq!(status, 200);
        assert!(text.contains("waypost_test_admin_total 2"));
        assert_eq!(get(format!("{address}/nothing")).await.0, 404);
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap().unwrap();
    }
}
