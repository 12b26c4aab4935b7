//! What an administrator of the provider can do.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, BadRequest};
use crate::handle::{ForgiveResult, RevokeResult};
use crate::ledger::{SeedDocument, SeedPlan};
use crate::script::AnswerScript;
use crate::settings::SimulatorSettings;
use crate::stats::SimulatorStats;

/// Documents that are written at once.
const SEED_CHUNK: usize = 256;

/// Users to act upon.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Users {
    users: Vec<String>,
}

/// `GET /stats`.
pub(crate) async fn stats(State(app): State<App>) -> Json<SimulatorStats> {
    Json(app.handle.stats())
}

/// `POST /admin/reset_stats`.
pub(crate) async fn reset_stats(State(app): State<App>) -> Json<Value> {
    app.handle.reset_stats();
    Json(json!({"ok": true}))
}

/// `GET /admin/faults`.
pub(crate) async fn settings(State(app): State<App>) -> Json<SimulatorSettings> {
    Json(SimulatorSettings::clone(&app.handle.settings()))
}

/// `POST /admin/faults`: any part of the settings.
pub(crate) async fn change_settings(
    State(app): State<App>,
    body: Bytes,
) -> Result<Json<SimulatorSettings>, BadRequest> {
    let patch: Value = read(&body)?;
    let settings = app.handle.patch(&patch).map_err(BadRequest::new)?;
    Ok(Json(SimulatorSettings::clone(&settings)))
}

/// `POST /admin/script`: a script, in TOML. Nothing at all ends the one that is played.
pub(crate) async fn play(State(app): State<App>, body: Bytes) -> Result<Json<Value>, BadRequest> {
    let text = std::str::from_utf8(&body).map_err(BadRequest::new)?;
    let script = AnswerScript::parse(text).map_err(BadRequest::new)?;
    app.handle.play(script).map_err(BadRequest::new)?;
    Ok(Json(json!({"ok": true})))
}

/// `POST /admin/revoke`: `{"users":["…"]}`.
pub(crate) async fn revoke(
    State(app): State<App>,
    body: Bytes,
) -> Result<Json<RevokeResult>, BadRequest> {
    let request: Users = read(&body)?;
    Ok(Json(app.handle.revoke(&request.users)))
}

/// `POST /admin/forgive`: `{"users":["…"],"keep_faults":false}`, or nothing.
pub(crate) async fn forgive(
    State(app): State<App>,
    body: Bytes,
) -> Result<Json<ForgiveResult>, BadRequest> {
    Ok(Json(app.handle.forgive(&read(&body)?)))
}

/// `POST /admin/sign_in`: `{"users":["…"]}`. Answers a document for each.
pub(crate) async fn sign_in(State(app): State<App>, body: Bytes) -> Result<Response, BadRequest> {
    let request: Users = read(&body)?;
    let handle = app.handle;
    Ok(json_lines(request.users.into_iter().map(move |user| handle.sign_in(&user))))
}

/// `POST /admin/seed`: a plan. Answers its documents, and makes them as they are read.
pub(crate) async fn seed(State(app): State<App>, body: Bytes) -> Result<Response, BadRequest> {
    let plan: SeedPlan = read(&body)?;
    Ok(json_lines(app.handle.seed(plan).map_err(BadRequest::new)?))
}

/// Reads a request's JSON. No body at all is an empty object.
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, BadRequest> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(BadRequest::new)
}

/// A response that is made while it is sent.
fn json_lines(documents: impl Iterator<Item = SeedDocument> + Send + 'static) -> Response {
    let mut documents = documents.fuse();
    let chunks = std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        for document in documents.by_ref().take(SEED_CHUNK) {
            if let Err(error) = serde_json::to_writer(&mut chunk, &document) {
                return Some(Err(error));
            }
            chunk.push(b'\n');
        }
        (!chunk.is_empty()).then_some(Ok(chunk))
    });
    let body = Body::from_stream(stream::iter(chunks));
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
