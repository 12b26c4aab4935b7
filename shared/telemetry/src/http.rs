//! The endpoints `/healthz`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::{ListenSettings, ProcessMetrics};
use evergrant_http_server::HttpLimits;

/// Health checks: what a process depends on, and whether each part works. A process is ready when
/// all parts work.
#[derive(Clone, Default)]
pub struct HealthChecks {
    parts: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl HealthChecks {
    /// Sets whether a part works. A part that was never set does not count.
    pub fn set(&self, part: &str, works: bool) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(part.to_owned(), works);
    }

    /// Whether there are parts and all work.
    pub fn is_ready(&self) -> bool {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        !parts.is_empty() && parts.values().all(|works| *works)
    }

    fn snapshot(&self) -> BTreeMap<String, bool> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The server of health and metrics cannot be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve health and metrics at {address}: {reason}; give another address as telemetry.listen \
     (--listen), or off"
)]
pub struct HttpError {
    address: SocketAddr,
    reason: String,
}

/// Serves health and metrics until `shutdown` ends. Returns the address once it listens (port 0
/// becomes a real one), None if it is off. The server runs in a task.
///
/// # Errors
/// If the address cannot be used.
pub async fn serve(
    listen: ListenSettings,
    metrics: ProcessMetrics,
    health: HealthChecks,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Option<SocketAddr>, HttpError> {
    let ListenSettings::At(address) = listen else {
        return Ok(None);
    };
    let fail = |error: std::io::Error| HttpError { address, reason: error.to_string() };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(health))
        .route("/metrics", get(render).with_state(metrics));
    tokio::spawn(evergrant_http_server::serve(
        listener,
        router,
        HttpLimits::TELEMETRY,
        None,
        shutdown,
    ));
    Ok(Some(bound))
}

async fn readyz(State(health): State<HealthChecks>) -> impl IntoResponse {
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health.snapshot()))
}

async fn render(State(metrics): State<ProcessMetrics>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], metrics.render())
}
