//! Refusals as problem details (RFC 9457).

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use evergrant_domain::{GrantStatus, StoredToken};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::metrics::AnswerOutcome;
use crate::refusal::Refusal;
use crate::token_answer;

/// What the type of a problem begins with. It is a name and no address.
const TYPE_PREFIX: &str = "urn:evergrant:problem:";

/// A problem before it is written.
struct ProblemDetails {
    status: StatusCode,
    name: &'static str,
    detail: String,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl ProblemDetails {
    fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Self {
        Self { status, name, detail: detail.into(), members: Map::new(), retry_after: None }
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }
}

impl Refusal {
    /// The name in answers and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound => "not_found",
            Self::WrongMethod => "wrong_method",
            Self::Ambiguous(_) => "several_grants",
            Self::Stopped { status, .. } => status.as_str(),
            Self::LifetimeTooShort { .. } => "min_ttl_exceeds_lifetime",
            Self::Later { why, .. } => why.as_str(),
        }
    }

    fn details(self) -> ProblemDetails {
        let name = self.name();
        match self {
            Self::BadRequest(what) => ProblemDetails::new(StatusCode::BAD_REQUEST, name, what),
            Self::Unauthenticated => {
                let detail = "give a valid key: Authorization: Bearer evg_…";
                ProblemDetails::new(StatusCode::UNAUTHORIZED, name, detail)
            }
            Self::Forbidden(what) => ProblemDetails::new(StatusCode::FORBIDDEN, name, what),
            Self::NotFound => {
                let detail = "there is no such grant, or this key does not reach it";
                ProblemDetails::new(StatusCode::NOT_FOUND, name, detail)
            }
            Self::WrongMethod => {
                let detail = "this path does not take this method: see docs/token-api.md";
                ProblemDetails::new(StatusCode::METHOD_NOT_ALLOWED, name, detail)
            }
            Self::Ambiguous(ids) => {
                let detail = "the user has several grants: name the provider, or one of the ids";
                let ids: Vec<_> = ids.iter().map(token_answer::path_form).collect();
                ProblemDetails::new(StatusCode::CONFLICT, name, detail).with("ids", json!(ids))
            }
            Self::Stopped { stored, status, sign_in } => stopped(name, &stored, status, sign_in),
            Self::LifetimeTooShort { lifetime } => {
                let lifetime_s = lifetime.as_secs();
                let detail = format!("access tokens of this provider are valid for {lifetime_s} s");
                ProblemDetails::new(StatusCode::UNPROCESSABLE_ENTITY, name, detail)
                    .with("lifetime_s", json!(lifetime_s))
            }
            Self::Later { why, retry_after, reason, token } => {
                let mut problem =
                    ProblemDetails::new(StatusCode::SERVICE_UNAVAILABLE, name, why.detail());
                problem.retry_after = Some(retry_after);
                if let Some(token) = token {
                    problem = problem.with("token", token_answer::members(&token));
                }
                match reason {
                    Some(reason) => problem.with("reason", json!(reason)),
                    None => problem,
                }
            }
        }
    }
}

fn stopped(
    name: &'static str,
    stored: &StoredToken,
    status: GrantStatus,
    sign_in: Option<String>,
) -> ProblemDetails {
    let detail = match status {
        GrantStatus::NeedsReauth => "the grant has ended: the user must sign in again",
        GrantStatus::NoToken => "the document has no refresh token: the user must sign in",
        GrantStatus::Paused => "an operator has paused this grant: evergrant tokens resume",
        GrantStatus::Failed | GrantStatus::Active => {
            "the refresh failed for good: see evergrant dlq list"
        }
    };
    let since = stored.failing_since.or(stored.last_error.as_ref().map(|error| error.at));
    let problem = ProblemDetails::new(StatusCode::CONFLICT, name, detail)
        .with("reason", json!(stored.failure()))
        .with("since", json!(since.map(|since| since.to_string())));
    match sign_in {
        Some(url) => problem.with("sign_in_url", json!(url)),
        None => problem,
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let outcome = AnswerOutcome(self.name());
        let ProblemDetails { status, name, detail, mut members, retry_after } = self.details();
        members.insert("type".to_owned(), json!(format!("{TYPE_PREFIX}{name}")));
        members.insert("title".to_owned(), json!(name.replace('_', " ")));
        members.insert("status".to_owned(), json!(status.as_u16()));
        members.insert("detail".to_owned(), json!(detail));
        let mut response = (status, Value::Object(members).to_string()).into_response();
        response.extensions_mut().insert(outcome);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry_after) = retry_after {
            let whole_s = retry_after.as_millis().div_ceil(1_000).max(1);
            headers
                .insert(RETRY_AFTER, HeaderValue::from(u64::try_from(whole_s).unwrap_or(u64::MAX)));
        }
        response
    }
}
