//! `POST /revoke`: token revocation (RFC 7009), under the limits of the token endpoint.

use axum::Form;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::App;
use super::token::respond;
use crate::ledger::DeathCause;
use crate::oauth::{refused, throttled};
use crate::sync::lock;

/// What a revocation has in its body.
#[derive(Deserialize)]
pub(crate) struct RevocationForm {
    token: String,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// Ends the grant of a refresh token. One that is not known is as good as revoked (§2.2).
pub(crate) async fn revoke(
    State(app): State<App>,
    headers: HeaderMap,
    Form(form): Form<RevocationForm>,
) -> Response {
    let provider = &app.handle.provider;
    let settings = provider.settings();
    let now_us = provider.clock.now_us();
    let arrival = lock(&provider.gate).arrive(now_us);
    if let Err(wait_us) = arrival {
        return respond(throttled(settings.retry_after, settings.quota_body, wait_us, now_us));
    }
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (id, secret) = (form.client_id.as_deref(), form.client_secret.as_deref());
    let allowed = settings.client_auth;
    if let Err(refusal) = provider.client.authenticate(allowed, authorization, id, secret) {
        return respond(refused(refusal));
    }
    if let Some(id) = provider.codec.open_refresh_token(&form.token) {
        let now_ms = provider.clock.now_ms();
        provider.ledger.with(id.grant, |grant| grant.kill(DeathCause::Revoked, now_ms));
    }
    StatusCode::OK.into_response()
}
