//! What a provider's answer means.
//!
//! The rules are RFC 6749 §5.2 and what real providers do instead: they send the right code under
//! the wrong status, errors under HTTP 200, and pages of HTML. Status and body are read together,
//! and a status of 5xx is never the death of a grant.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::error_code::{clean_code, clean_description};
use super::outcome::{Failure, NewTokens, Outcome};

/// How an exchange ended, as the provider's client saw it.
#[derive(Debug, Clone)]
pub enum Exchange {
    /// A whole answer came.
    Answered(Answer),
    /// The request never reached the provider. The words say why and hold no secret.
    NotSent(String),
    /// The request was sent, or may have been, and no whole answer came.
    NoAnswer(String),
}

/// A whole HTTP answer.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// The body. It may hold tokens.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    /// The status and the body's length: the body may hold tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer {{ status: {}, body: {} bytes }}", self.status, self.body.len())
    }
}

/// How a provider differs from RFC 6749.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialect {
    /// Error codes beside `invalid_grant` that mean that the grant is dead.
    pub dead_codes: Vec<String>,
    /// Texts in an error's description that mean that the grant is dead, in lower case.
    pub dead_texts: Vec<String>,
    /// Error codes beside HTTP 429 that mean "slow down".
    pub throttle_codes: Vec<String>,
}

/// Codes that reject the client, not the user (RFC 6749 §5.2; `access_denied` is Atlassian's).
const CLIENT_CODES: [&str; 5] = [
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "access_denied",
];

/// Says what the end of an exchange means.
pub fn classify(exchange: Exchange, dialect: &Dialect) -> Outcome {
    match exchange {
        Exchange::NotSent(what) => Outcome::Transient(Failure::described(what)),
        Exchange::NoAnswer(what) => Outcome::Ambiguous(Failure::described(what)),
        Exchange::Answered(answer) => classify_answer(&answer, dialect),
    }
}

fn classify_answer(answer: &Answer, dialect: &Dialect) -> Outcome {
    let body = match serde_json::from_slice(&answer.body) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    };
    let code = body.as_ref().and_then(error_code);
    let failure = failure_of(answer, body.as_ref(), code);
    let is = |codes: &[String]| code.is_some_and(|code| codes.iter().any(|known| known == code));

    if answer.status == 429 || is(&dialect.throttle_codes) {
        return Outcome::Throttled(failure);
    }
    match answer.status {
        500..=599 => server_error(answer.status, failure),
        408 | 425 => Outcome::Transient(failure),
        300..=399 => Outcome::Misconfigured(redirected(failure)),
        _ if code == Some("invalid_grant") || is(&dialect.dead_codes) => {
            Outcome::GrantDead(failure)
        }
        _ if code.is_some_and(|code| CLIENT_CODES.contains(&code)) => {
            Outcome::Misconfigured(failure)
        }
        200..=299 => match (&body, code) {
            (Some(body), None) => new_tokens(body, failure),
            (Some(_), Some(_)) => Outcome::Transient(failure),
            (None, _) => Outcome::Ambiguous(unusable(failure, "the answer is not a JSON object")),
        },
        400..=499 if says_dead(body.as_ref(), dialect) => Outcome::GrantDead(failure),
        401 | 403 | 404 | 405 | 415 => Outcome::Misconfigured(failure),
        _ => Outcome::Transient(failure),
    }
}

/// A gateway's 502 and 504 say that someone behind it did not answer, maybe after rotating.
fn server_error(status: u16, failure: Failure) -> Outcome {
    if matches!(status, 502 | 504) {
        Outcome::Ambiguous(failure)
    } else {
        Outcome::Transient(failure)
    }
}

fn redirected(failure: Failure) -> Failure {
    let description = "the token URL answers with a redirect: configure its target instead";
    Failure { description: Some(description.to_owned()), ..failure }
}

fn unusable(failure: Failure, what: &str) -> Failure {
    Failure { description: Some(what.to_owned()), ..failure }
}

/// The member that names the error: `error` (RFC 6749), `status` (HubSpot), `errorCode` (gateways).
/// A success that repeats `"error": null` or `""` has none.
fn error_code(body: &Map<String, Value>) -> Option<&str> {
    let text = |key| body.get(key).and_then(Value::as_str).filter(|text: &&str| !text.is_empty());
    let has_token = text("access_token").is_some();
    text("error")
        .or_else(|| if has_token { None } else { text("errorCode").or_else(|| text("status")) })
}

fn description(body: &Map<String, Value>) -> Option<&str> {
    ["error_description", "developerMessage", "message"]
        .into_iter()
        .find_map(|key| body.get(key).and_then(Value::as_str))
}

fn says_dead(body: Option<&Map<String, Value>>, dialect: &Dialect) -> bool {
    let Some(text) = body.and_then(description) else {
        return false;
    };
    let text = text.to_lowercase();
    dialect.dead_texts.iter().any(|dead| text.contains(dead.as_str()))
}

fn failure_of(answer: &Answer, body: Option<&Map<String, Value>>, code: Option<&str>) -> Failure {
    Failure {
        http_status: Some(answer.status),
        code: code.map(clean_code),
        description: body.and_then(description).map(clean_description),
        retry_after_ms: answer.retry_after_ms,
    }
}

fn new_tokens(body: &Map<String, Value>, failure: Failure) -> Outcome {
    let access_token = match body.get("access_token") {
        Some(Value::String(token)) if !token.is_empty() => SecretString::from(token.as_str()),
        _ => return Outcome::Ambiguous(unusable(failure, "the answer has no access token")),
    };
    let refresh_token = match body.get("refresh_token") {
        None | Some(Value::Null) => None,
        Some(Value::String(token)) if token.is_empty() => None,
        Some(Value::String(token)) => Some(SecretString::from(token.as_str())),
        Some(_) => {
            return Outcome::Ambiguous(unusable(failure, "the new refresh token is not a string"));
        }
    };
    let refresh_lifetime =
        ["refresh_expires_in", "refresh_token_expires_in", "x_refresh_token_expires_in"];
    Outcome::Refreshed(NewTokens {
        access_token,
        refresh_token,
        expires_in_s: body.get("expires_in").and_then(seconds),
        refresh_expires_in_s: refresh_lifetime.into_iter().find_map(|key| seconds(body.get(key)?)),
    })
}

/// A lifetime, whether it came as a number or as text; nonsense counts as not given.
fn seconds(value: &Value) -> Option<u64> {
    const TEN_YEARS_S: u64 = 10 * 365 * 86_400;
    let seconds = match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    seconds.filter(|&s| s > 0).map(|s| s.min(TEN_YEARS_S))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn whole(seconds: f64) -> Option<u64> {
    (1.0..1e15).contains(&seconds).then_some(seconds as u64)
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
