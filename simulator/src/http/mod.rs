//! The HTTP side: routes, and the connections beneath them.

mod admin;
mod connection;
mod ledger;
mod revoke;
mod stream;
mod tls;
mod token;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub(crate) use connection::{Acceptor, Connection};
pub use tls::CertificateError;
pub(crate) use tls::self_signed;

use crate::handle::SimulatorHandle;

/// The largest body of an administrator's request, in bytes.
const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) handle: SimulatorHandle,
    /// Cancelled when the simulator is to stop.
    pub(crate) stop: CancellationToken,
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    let has_dialect = app.handle.provider.dialect.is_some();
    let router = if has_dialect {
        // Where the provider has its token endpoint, and by what method, is for the dialect to say.
        Router::new().fallback(token::token)
    } else {
        Router::new().route("/token", post(token::token)).route("/revoke", post(revoke::revoke))
    };
    router
        .route("/healthz", get(async || "ok\n"))
        .route("/stats", get(admin::stats))
        .route("/admin/faults", get(admin::settings).post(admin::change_settings))
        .route("/admin/script", post(admin::play))
        .route("/admin/seed", post(admin::seed))
        .route("/admin/sign_in", post(admin::sign_in))
        .route("/admin/revoke", post(admin::revoke))
        .route("/admin/forgive", post(admin::forgive))
        .route("/admin/reset_stats", post(admin::reset_stats))
        .route("/ledger", get(ledger::summary))
        .route("/ledger/requests", get(ledger::requests))
        .route("/ledger/users/{user_id}", get(ledger::user))
        .route("/ledger/check", post(ledger::check))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .with_state(app)
}

/// 400 with what is wrong, for an administrator.
#[derive(Debug)]
pub(crate) struct BadRequest(String);

impl BadRequest {
    fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl IntoResponse for BadRequest {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, axum::Json(json!({"error": self.0}))).into_response()
    }
}
