//! Grants, never their tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use evergrant_domain::api_key::KeyScope;
use evergrant_ports::GrantView;

use super::{PathId, document_id};
use crate::Gateway;
use crate::caller::Caller;
use crate::refusal::Refusal;

/// `GET /v1/grants/{id}`
pub(super) async fn status(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    id: PathId,
) -> Result<Json<GrantView>, Refusal> {
    caller.require(KeyScope::Status)?;
    let id = document_id(id)?;
    caller.reach(gateway.tokens.stored(&id).await?)?;
    let view = gateway.store.get(&id).await?;
    view.map(Json).ok_or(Refusal::NotFound)
}
