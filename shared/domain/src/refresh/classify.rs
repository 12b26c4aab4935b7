//! Classifies a provider's answer.
//!
//! The rules are RFC 6749 §5.2 and what real providers do instead: the right code with the wrong
//! status, errors with HTTP 200, and HTML pages. Status and body are read together, and a 5xx
//! status never ends a grant.
//!
//! Here an answer counts as being about its own grant. [`super::weigh`] decides whether it is about
//! all grants, since it knows the answers to others.

use secrecy::zeroize::Zeroize;
use secrecy::{SecretSlice, SecretString};
use serde_json::{Map, Value};

use super::also_write::field_values;
pub use super::dialect::{Dialect, DialectMeaning, DialectRule, ThrottleScope};
use super::error_body::ErrorBody;
use super::error_code::{clean_code, clean_description};
use super::expiry::TimePlace;
use super::outcome::{ExchangeFailure, NewTokens, Outcome, RefusalScope};
use super::vocabulary::{
    Meaning, is_among, is_consent_code, is_dead_code, is_passing_code, is_throttle_code, meaning,
};
use crate::secrets::ExchangeSecrets;
use crate::timestamp::Timestamp;
use crate::values::plain_name::plain_name;

/// How an exchange ended, as the HTTP client saw it.
#[derive(Debug, Clone)]
pub enum ExchangeResult {
    /// A complete answer arrived.
    Answered(HttpAnswer),
    /// The provider has certainly not taken the request. The text says why and holds no secret.
    NotSent(String),
    /// The same, and nothing of it was tried: we were short of connections.
    NotTried(String),
    /// The request was sent, or may have been, and no complete answer arrived.
    NoAnswer(String),
}

/// A complete HTTP answer.
#[derive(Clone)]
pub struct HttpAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// The body. It may hold tokens.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// Reads the requested wait from other headers or the body, if there is no `Retry-After`.
    pub fn read_wait<'a>(
        &mut self,
        places: &[TimePlace],
        header: impl Fn(&str) -> Option<&'a str>,
        now: Timestamp,
    ) {
        // Some providers report the end of their window with every answer.
        if self.status != 429 || self.retry_after_ms.is_some() || places.is_empty() {
            return;
        }
        let body = read_body(&self.body);
        let told = places.iter().find_map(|place| place.read_answer(&header, body.as_ref()));
        let wait = told.and_then(|told| told.life_from(now));
        self.retry_after_ms = wait.and_then(|wait| u64::try_from(wait.as_millis()).ok());
    }
}

impl Drop for HttpAnswer {
    /// Overwrites the tokens before the memory is freed.
    fn drop(&mut self) {
        self.body.zeroize();
    }
}

impl std::fmt::Debug for HttpAnswer {
    /// Only the status and the body's length, because the body may hold tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer {{ status: {}, body: {} bytes }}", self.status, self.body.len())
    }
}

/// Classifies the end of an exchange. The texts of a failure hold none of the `secrets`, nor a
/// token of the answer.
///
/// ```
/// use evergrant_domain::dialect::Dialect;
/// use evergrant_domain::{ExchangeResult, ExchangeSecrets, HttpAnswer, Outcome, classify};
///
/// let body = br#"{"error": "invalid_grant"}"#.to_vec();
/// let answer = HttpAnswer { status: 400, retry_after_ms: None, body };
/// let token = "the refresh token that was sent".into();
/// let secrets = ExchangeSecrets::sent(&token, "client-id", None);
/// let outcome = classify(ExchangeResult::Answered(answer), &Dialect::default(), secrets);
/// assert!(matches!(outcome, Outcome::GrantDead(_)));
/// ```
pub fn classify(
    exchange: ExchangeResult,
    dialect: &Dialect,
    secrets: ExchangeSecrets<'_>,
) -> Outcome {
    match exchange {
        ExchangeResult::NotSent(what) => {
            Outcome::Transient(ExchangeFailure::described(secrets.redact(&what)))
        }
        // As a throttle of this grant alone, by ourselves: no attempt counts, and others go on.
        ExchangeResult::NotTried(what) => {
            Outcome::Throttled(ExchangeFailure::described(secrets.redact(&what)), 0)
        }
        ExchangeResult::NoAnswer(what) => {
            Outcome::Ambiguous(ExchangeFailure::described(secrets.redact(&what)))
        }
        ExchangeResult::Answered(answer) => classify_answer(answer, dialect, secrets),
    }
}

fn classify_answer(
    answer: HttpAnswer,
    dialect: &Dialect,
    mut secrets: ExchangeSecrets<'_>,
) -> Outcome {
    let body = read_body(&answer.body);
    let error =
        body.as_ref().map(|body| ErrorBody::from_body(body, &dialect.answer)).unwrap_or_default();
    let failure = answered_failure(&answer, body.as_ref(), &error, &mut secrets);
    let rule = dialect.rule_for(answer.status, &error, body.as_ref());
    match (answer.status, rule) {
        (200..=299, rule) => success(answer, body, &error, failure, rule, dialect),
        (_, Some(rule)) => ruled(rule, failure, dialect),
        (429, None) => throttled(failure, dialect.throttle_scope),
        (status @ 500..=599, None) => server_error(status, failure),
        (408 | 425, None) => Outcome::Transient(failure),
        (300..=399, None) => Outcome::Refused(redirected(failure), RefusalScope::Unclear),
        (_, None) => said(&error, failure, dialect),
    }
}

/// What an answer tells of a failure, without secrets.
pub(super) fn answered_failure(
    answer: &HttpAnswer,
    body: Option<&Value>,
    error: &ErrorBody,
    secrets: &mut ExchangeSecrets<'_>,
) -> ExchangeFailure {
    let tells = !error.codes.is_empty() || !error.texts.is_empty();
    if let Some(body) = body.filter(|_| tells) {
        secrets.add_tokens_of(body);
    }
    ExchangeFailure {
        http_status: Some(answer.status),
        code: error.codes.first().map(|code| clean_code(code, secrets)),
        description: error.texts.first().map(|text| clean_description(text, secrets)),
        retry_after_ms: answer.retry_after_ms,
    }
}

/// What a provider's own rule makes of an answer.
fn ruled(rule: &DialectRule, failure: ExchangeFailure, dialect: &Dialect) -> Outcome {
    let told = || {
        let wait = rule.wait.and_then(|wait| u64::try_from(wait.as_millis()).ok());
        ExchangeFailure { retry_after_ms: failure.retry_after_ms.or(wait), ..failure.clone() }
    };
    match rule.means {
        DialectMeaning::Dead => Outcome::GrantDead(failure),
        DialectMeaning::NotDead => Outcome::Transient(failure),
        DialectMeaning::Throttled => {
            throttled(told(), rule.scope.unwrap_or(dialect.throttle_scope))
        }
        DialectMeaning::ClientMisconfigured => Outcome::Refused(failure, RefusalScope::Client),
        DialectMeaning::RetryLater => Outcome::TooEarly(told()),
    }
}

/// The body as JSON. A form (`access_token=…&…`) becomes an object of strings.
pub(super) fn read_body(body: &[u8]) -> Option<Value> {
    let body = without_bom(body);
    serde_json::from_slice(body).ok().or_else(|| read_form(body))
}

fn read_form(body: &[u8]) -> Option<Value> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let text = std::str::from_utf8(body).ok()?.trim();
    let is_pair = |pair: &str| {
        let name = pair.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.chars().all(is_name)
    };
    if text.contains(char::is_whitespace) || !text.split('&').all(is_pair) {
        return None;
    }
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    Some(Value::Object(
        pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect(),
    ))
}

/// Some servers put a byte order mark before JSON.
fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn throttled(failure: ExchangeFailure, scope: ThrottleScope) -> Outcome {
    match scope {
        ThrottleScope::Client => Outcome::Throttled(failure, 1),
        ThrottleScope::User => Outcome::Throttled(failure, 0),
    }
}

/// A gateway's 502 and 504 mean that the server behind it did not answer. That server may have
/// rotated the token.
fn server_error(status: u16, failure: ExchangeFailure) -> Outcome {
    if matches!(status, 502 | 504) {
        Outcome::Ambiguous(failure)
    } else {
        Outcome::Transient(failure)
    }
}

fn redirected(failure: ExchangeFailure) -> ExchangeFailure {
    described(failure, "the token URL answers with a redirect: configure its target instead")
}

fn described(failure: ExchangeFailure, what: &str) -> ExchangeFailure {
    ExchangeFailure { description: Some(what.to_owned()), ..failure }
}

/// Classifies an answer with a success status: tokens, an error all the same, or something else.
///
/// Tokens are taken if they are present, whatever else the body says. An answer that may hold
/// tokens in an unknown place has rotated the old one: it is kept, and no other request is sent.
fn success(
    mut answer: HttpAnswer,
    body: Option<Value>,
    error: &ErrorBody,
    failure: ExchangeFailure,
    rule: Option<&DialectRule>,
    dialect: &Dialect,
) -> Outcome {
    let form = &dialect.answer;
    let is_error = match (&form.success, &body) {
        (Some(success), Some(body)) => !success.holds(body),
        _ => error.is_error,
    };
    let tokens = match &body {
        Some(body @ Value::Object(_)) => tokens_of(body, dialect, is_error),
        _ => Err("the answer is not a JSON object"),
    };
    let what = match tokens {
        Ok(tokens) => return Outcome::Refreshed(tokens),
        Err(what) => what,
    };
    let has_token = |body: &Value| {
        holds_token(body, 0)
            || form.access_token(body).is_some()
            || form.refresh_token(body).is_some()
    };
    if !body.as_ref().is_some_and(has_token) {
        match rule.filter(|_| body.is_some()) {
            Some(rule) => return ruled(rule, failure, dialect),
            None if is_error => return said(error, failure, dialect),
            None => {}
        }
    }
    let failure = described(failure, what);
    if is_page(&answer.body) {
        // From an intermediary; the server behind it may have received the request.
        return Outcome::Ambiguous(failure);
    }
    Outcome::Unreadable(failure, SecretSlice::from(std::mem::take(&mut answer.body)))
}

/// Whether it is a page for people, or empty, and so holds no tokens.
fn is_page(body: &[u8]) -> bool {
    let body = without_bom(body).trim_ascii();
    body.is_empty() || body.starts_with(b"<") || body == b"{}"
}

/// The meaning of an error by its code and its texts.
fn said(error: &ErrorBody, failure: ExchangeFailure, dialect: &Dialect) -> Outcome {
    let has = |is: &dyn Fn(&str) -> bool| error.codes.iter().any(|code| is(code));
    let texts: Vec<String> = error.texts.iter().map(|text| text.to_lowercase()).collect();
    let contains =
        |known: &[String]| texts.iter().any(|text| known.iter().any(|known| text.contains(known)));
    let means = |wanted| error.texts.iter().any(|text| meaning(text) == wanted);

    if means(Meaning::Early) {
        Outcome::TooEarly(failure)
    } else if contains(&dialect.not_dead_texts) || means(Meaning::NotDead) || has(&is_passing_code)
    {
        Outcome::Transient(failure)
    } else if has(&|code| is_throttle_code(code) || is_among(code, &dialect.throttle_codes))
        || means(Meaning::Throttled)
    {
        throttled(failure, dialect.throttle_scope)
    } else if has(&|code| is_dead_code(code) || is_among(code, &dialect.dead_codes))
        || contains(&dialect.dead_texts)
        || means(Meaning::Dead)
    {
        Outcome::GrantDead(failure)
    } else if has(&is_consent_code) {
        Outcome::Refused(failure, RefusalScope::Consent)
    } else {
        Outcome::Refused(failure, RefusalScope::Unclear)
    }
}

/// Whether an answer holds a token at any depth, under any name.
fn holds_token(value: &Value, depth: usize) -> bool {
    const NAMES: [&str; 3] = ["accesstoken", "refreshtoken", "token"];
    const DEPTH_MAX: usize = 8;
    match value {
        Value::Object(members) if depth < DEPTH_MAX => members.iter().any(|(name, value)| {
            let is_token = NAMES.contains(&plain_name(name).as_str());
            let is_text = value.as_str().is_some_and(|text| !text.is_empty());
            (is_token && is_text) || holds_token(value, depth + 1)
        }),
        Value::Array(items) if depth < DEPTH_MAX => {
            items.iter().any(|item| holds_token(item, depth + 1))
        }
        _ => false,
    }
}

/// The tokens of a successful answer (RFC 6749 §5.1).
fn tokens_of(body: &Value, dialect: &Dialect, is_error: bool) -> Result<NewTokens, &'static str> {
    let form = &dialect.answer;
    let access_token = match form.access_token(body) {
        Some(Value::String(token)) if !token.is_empty() => SecretString::from(token.as_str()),
        _ => return Err("the answer has no access token where it is looked for"),
    };
    let refresh_token = match form.refresh_token(body) {
        None => None,
        Some(Value::String(token)) if token.is_empty() => None,
        Some(Value::String(token)) => Some(SecretString::from(token.as_str())),
        Some(_) => return Err("the new refresh token is not a string"),
    };
    if refresh_token.is_none() && is_error {
        return Err("the answer has an access token beside an error");
    }
    if refresh_token.is_none() && body.as_object().is_some_and(has_other_refresh_token) {
        return Err("the answer has a refresh token where it is not looked for");
    }
    let also = field_values(&dialect.also_write, body);
    Ok(NewTokens { access_token, refresh_token, ends: form.ends(body), also })
}

/// Whether there is a refresh token beside the expected place. Keeping the old one would then keep
/// a token that was rotated away.
fn has_other_refresh_token(body: &Map<String, Value>) -> bool {
    body.iter().any(|(name, value)| match value {
        Value::String(text) => plain_name(name) == "refreshtoken" && !text.is_empty(),
        Value::Object(members) => has_other_refresh_token(members),
        _ => false,
    })
}

#[cfg(test)]
mod tests;
