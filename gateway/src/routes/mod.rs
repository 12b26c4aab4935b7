//! What can be asked of the gateway.

mod grant;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::middleware::map_response_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use evergrant_domain::DocumentId;
use evergrant_domain::document_id::InvalidDocumentId;

use crate::Gateway;
use crate::refusal::Refusal;

/// The paths of version 1. Each answer is counted.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let count = async |axum::extract::State(gateway): axum::extract::State<Arc<Gateway>>,
                       response: Response| {
        gateway.metrics.count(&response);
        response
    };
    Router::new()
        .route("/v1/token", get(token::of_user))
        .route("/v1/grants/{id}/token", get(token::of_grant))
        .route("/v1/grants/{id}/refresh", post(token::refresh))
        .route("/v1/grants/{id}", get(grant::status))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::WrongMethod)
        .layer(map_response_with_state(Arc::clone(&gateway), count))
        .with_state(gateway)
}

/// A document's id in a path.
type PathId = Result<Path<String>, PathRejection>;

/// The document that a path names: an ObjectId's digits, a number, a string, or extended JSON.
fn document_id(id: PathId) -> Result<DocumentId, Refusal> {
    let Path(text) = id.map_err(|error| Refusal::BadRequest(error.body_text()))?;
    text.parse().map_err(|error: InvalidDocumentId| Refusal::BadRequest(error.to_string()))
}
