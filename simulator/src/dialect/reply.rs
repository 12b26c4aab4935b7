//! Answers in the provider's words: those that its file shows, with the tokens and the time of now.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::ProviderDialect;
use super::assertion::json;
use super::file::AnswerVector;
use crate::oauth::Reply;

/// The tokens of an answer.
pub(crate) struct NewTokens<'a> {
    pub(crate) access_token: &'a str,
    /// The one that is good from now on: a new one, or the one that was presented.
    pub(crate) refresh_token: &'a str,
    pub(crate) is_rotated: bool,
}

/// Times that lie further from the vector's are numbers of something else, in seconds.
const TIME_RANGE_S: i64 = 20 * 365 * 86_400;

impl ProviderDialect {
    /// The answer to a good token.
    pub(crate) fn success(&self, tokens: &NewTokens<'_>, now_us: u64) -> Reply {
        let rotated = self.rotated.as_ref().filter(|_| tokens.is_rotated);
        let vector = rotated.or(self.kept.as_ref()).unwrap_or(&self.dead);
        let filled = |text: &str| {
            if vector.refresh_token.as_deref() == Some(text) {
                return Some(tokens.refresh_token.to_owned());
            }
            let is_access = vector.access_token.as_deref() == Some(text);
            is_access.then(|| like(text, tokens.access_token, now_us))
        };
        reply(vector, now_us, &filled)
    }

    /// The answer to a token that is not good.
    pub(crate) fn dead(&self, now_us: u64) -> Reply {
        reply(&self.dead, now_us, &|_| None)
    }

    /// The answer to a request that comes too early by so many seconds, where that is known.
    pub(crate) fn throttled(&self, wait_s: Option<u64>, now_us: u64) -> Reply {
        let reply = reply(&self.throttled, now_us, &|_| None);
        let retry_after = match (&reply.retry_after, wait_s) {
            (Some(_), Some(wait_s)) => Some(wait_s.to_string()),
            (told, _) => told.clone(),
        };
        Reply { retry_after, ..reply }
    }

    /// The answer to a client or a request that is not right.
    pub(crate) fn refused(&self, now_us: u64) -> Reply {
        reply(&self.refused, now_us, &|_| None)
    }
}

fn reply(vector: &AnswerVector, now_us: u64, filled: &dyn Fn(&str) -> Option<String>) -> Reply {
    let age_s = vector.age_s(now_us);
    let vector_s = age_s.map(|age_s| (now_us / 1_000_000).cast_signed() - age_s);
    let shift = |text: &str| shifted(text, vector_s?, age_s?);
    let content = |text: &str| filled(text).or_else(|| shift(text));
    let headers = vector
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), shift(value).unwrap_or_else(|| value.clone())));
    let is = |wanted: &'static str| {
        move |(name, _): &(String, String)| name.eq_ignore_ascii_case(wanted)
    };
    let (waits, headers): (Vec<_>, Vec<_>) = headers.partition(is("retry-after"));
    let (types, headers): (Vec<_>, Vec<_>) = headers.into_iter().partition(is("content-type"));
    let (body, usual_type) = body_of(&vector.body, &content);
    let content_type = types.into_iter().next().map(|(_, value)| value);
    Reply {
        status: vector.status,
        content_type: content_type.map_or(usual_type.into(), Into::into),
        body,
        retry_after: waits.into_iter().next().map(|(_, value)| value),
        challenge: false,
        headers,
    }
}

/// A body of JSON, of a form, or of any text, with other words in the places of some.
fn body_of(text: &str, word: &dyn Fn(&str) -> Option<String>) -> (Vec<u8>, &'static str) {
    if let Ok(mut value) = serde_json::from_str::<Value>(text) {
        replace(&mut value, word);
        return (value.to_string().into_bytes(), "application/json;charset=UTF-8");
    }
    if text.is_empty() || text.contains(char::is_whitespace) || !text.contains('=') {
        return (text.into(), "text/html");
    }
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let value = word(&value).unwrap_or_else(|| value.into_owned());
        form.append_pair(&name, &value);
    }
    (form.finish().into_bytes(), "application/x-www-form-urlencoded")
}

fn replace(value: &mut Value, word: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, word)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, word)),
        Value::String(text) => {
            if let Some(other) = word(text) {
                *text = other;
            }
        }
        Value::Number(number) => {
            let other = word(&number.to_string()).and_then(|other| other.parse::<u64>().ok());
            *value = other.map_or_else(|| value.take(), Value::from);
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// A time near that of the vector, so much later. None if it is no time.
fn shifted(text: &str, vector_s: i64, age_s: i64) -> Option<String> {
    if let Ok(number) = text.parse::<i64>() {
        let in_ms = number > 100 * vector_s;
        let (time_s, unit) = if in_ms { (number / 1_000, 1_000) } else { (number, 1) };
        let is_time = (time_s - vector_s).abs() < TIME_RANGE_S;
        return is_time.then(|| (number + age_s * unit).to_string());
    }
    let time = humantime::parse_rfc3339(text).ok()?;
    let time_s = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let time_s = time_s.checked_add_signed(age_s)?;
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(time_s);
    Some(humantime::format_rfc3339_seconds(later).to_string())
}

/// The access token in the form of the vector's: as it is, or as a JWT that lives as long.
fn like(sample: &str, token: &str, now_us: u64) -> String {
    let parts: Vec<&str> = sample.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { return token.to_owned() };
    let mut claims = json(claims);
    let (Some(end), Some(begin)) = (claims["exp"].as_u64(), claims["iat"].as_u64()) else {
        return token.to_owned();
    };
    let now_s = now_us / 1_000_000;
    claims["exp"] = json!(now_s + end.saturating_sub(begin));
    claims["iat"] = json!(now_s);
    claims["jti"] = json!(token);
    format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
}
