//! What can be asked of the gateway.

mod grant;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use evergrant_domain::DocumentId;

use crate::Gateway;
use crate::refusal::Refusal;

/// The paths of version 1.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/token", get(token::of_user))
        .route("/v1/grants/{id}/token", get(token::of_grant))
        .route("/v1/grants/{id}/refresh", post(token::refresh))
        .route("/v1/grants/{id}", get(grant::status))
        .fallback(async || Refusal::NotFound)
        .with_state(gateway)
}

/// The document that a path names: an ObjectId's digits, a number, a string, or extended JSON.
fn document_id(text: &str) -> Result<DocumentId, Refusal> {
    text.parse().map_err(|error: evergrant_domain::document_id::InvalidDocumentId| {
        Refusal::BadRequest(error.to_string())
    })
}
