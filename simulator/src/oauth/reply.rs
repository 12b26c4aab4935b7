//! Replies of the token endpoint, as data.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::json;

use super::refusal::Refusal;
use crate::settings::{DeadReply, QuotaBody, RetryAfter};

/// A reply, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) body: Vec<u8>,
    /// The value of `Retry-After`.
    pub(crate) retry_after: Option<String>,
    /// Whether `WWW-Authenticate` asks for Basic.
    pub(crate) challenge: bool,
    /// Other headers.
    pub(crate) headers: Vec<(String, String)>,
}

/// How a good reply tells the access token's lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpiresIn {
    Number,
    String,
    Missing,
}

/// What a good reply says.
pub(crate) struct Success<'a> {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) expires_in: ExpiresIn,
    pub(crate) access_token_s: u64,
    pub(crate) scope: &'a str,
}

#[derive(Serialize)]
struct SuccessBody<'a> {
    access_token: &'a str,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    scope: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

/// 200 with tokens.
pub(crate) fn success(success: &Success<'_>) -> Reply {
    let expires_in = match success.expires_in {
        ExpiresIn::Number => Some(Seconds::Number(success.access_token_s)),
        ExpiresIn::String => Some(Seconds::Text(success.access_token_s.to_string())),
        ExpiresIn::Missing => None,
    };
    json_reply(
        200,
        &SuccessBody {
            access_token: &success.access_token,
            token_type: "Bearer",
            expires_in,
            refresh_token: success.refresh_token.as_deref(),
            scope: success.scope,
        },
    )
}

/// The reply to a request that is not taken.
pub(crate) fn refused(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::InvalidRequest(why) => error(400, "invalid_request", why),
        Refusal::InvalidClient(why) => {
            Reply { challenge: true, ..error(401, "invalid_client", why) }
        }
        Refusal::UnsupportedGrantType => {
            error(400, "unsupported_grant_type", "only refresh_token is supported")
        }
        Refusal::InvalidScope => {
            error(400, "invalid_scope", "the scope is wider than what was granted")
        }
    }
}

/// The reply where there is no token endpoint.
pub(crate) fn not_found() -> Reply {
    error(404, "not_found", "there is no token endpoint at this address")
}

/// The reply to a refresh token that is not accepted.
pub(crate) fn dead(style: DeadReply) -> Reply {
    const WHY: &str = "The refresh token is invalid, expired or revoked.";
    match style {
        DeadReply::Rfc => error(400, "invalid_grant", WHY),
        DeadReply::Forbidden => error(403, "invalid_grant", WHY),
        DeadReply::Github => error(200, "bad_refresh_token", WHY),
        DeadReply::Slack => {
            json_reply(200, &json!({"ok": false, "error": "invalid_refresh_token"}))
        }
        DeadReply::Hubspot => {
            json_reply(400, &json!({"status": "BAD_REFRESH_TOKEN", "message": WHY}))
        }
    }
}

/// 429 of a limit: to be tried again after `wait_us` microseconds.
pub(crate) fn throttled(style: RetryAfter, body: QuotaBody, wait_us: u64, now_us: u64) -> Reply {
    quota(body, retry_after(style, wait_us.div_ceil(1_000_000).max(1), now_us))
}

/// 429 with or without `Retry-After`.
pub(crate) fn quota(body: QuotaBody, retry_after: Option<String>) -> Reply {
    let reply = match body {
        QuotaBody::Oauth => error(429, "temporarily_unavailable", "Too many requests."),
        QuotaBody::Autodesk => {
            json_reply(429, &json!({"developerMessage": "Quota limit exceeded."}))
        }
    };
    Reply { retry_after, ..reply }
}

/// 500 or 503.
pub(crate) fn server_error(status: u16, retry_after: Option<String>) -> Reply {
    let code = if status == 503 { "temporarily_unavailable" } else { "server_error" };
    Reply { retry_after, ..error(status, code, "The server met a fault.") }
}

/// 400 with words that repeat what was sent, as providers do.
pub(crate) fn echo(token: &str, client_secret: &str) -> Reply {
    let encoded: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let (once, twice) = (STANDARD.encode(token), STANDARD.encode(format!("token={token}")));
    let words = format!(
        "cannot use '{token}' ({encoded}) of {client_secret} now: {once}, {twice}, {}",
        token.to_uppercase()
    );
    error(400, "temporarily_unavailable", &words)
}

/// 502 as a proxy writes it.
pub(crate) fn html_error() -> Reply {
    const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
        <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
    let html = json_reply(502, &());
    Reply { content_type: "text/html".into(), body: PAGE.into(), ..html }
}

/// The value of a `Retry-After` header. A date has no fractions, so it is rounded up.
pub(crate) fn retry_after(style: RetryAfter, wait_s: u64, now_us: u64) -> Option<String> {
    match style {
        RetryAfter::Seconds => Some(wait_s.to_string()),
        RetryAfter::HttpDate => {
            let at_s = now_us.div_ceil(1_000_000).saturating_add(wait_s);
            // The last second of the year 9999, the last that the format can say.
            let at = UNIX_EPOCH + Duration::from_secs(at_s.min(253_402_300_799));
            Some(httpdate::fmt_http_date(at))
        }
        RetryAfter::Absent => None,
    }
}

fn error(status: u16, code: &str, description: &str) -> Reply {
    json_reply(status, &json!({"error": code, "error_description": description}))
}

fn json_reply(status: u16, body: &impl Serialize) -> Reply {
    Reply {
        status,
        content_type: "application/json;charset=UTF-8".into(),
        // Strings and numbers cannot fail to be written.
        body: serde_json::to_vec(body).unwrap_or_default(),
        retry_after: None,
        challenge: false,
        headers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds_and_is_never_none() {
        let header = |wait_us, now_us, style| {
            throttled(style, QuotaBody::Oauth, wait_us, now_us).retry_after
        };
        assert_eq!(header(1, 0, RetryAfter::Seconds).unwrap(), "1");
        assert_eq!(header(1_000_001, 0, RetryAfter::Seconds).unwrap(), "2");
        let date = header(1_000_000, 500_000, RetryAfter::HttpDate).unwrap();
        assert_eq!(date, "Thu, 01 Jan 1970 00:00:02 GMT");
        assert_eq!(header(1, 0, RetryAfter::Absent), None);
    }

    #[test]
    fn autodesk_says_no_error_when_the_quota_is_spent() {
        let reply = quota(QuotaBody::Autodesk, None);
        assert_eq!(reply.body, br#"{"developerMessage":"Quota limit exceeded."}"#);
    }

    #[test]
    fn a_dead_token_has_as_many_faces_as_there_are_providers() {
        for (style, status, word) in [
            (DeadReply::Rfc, 400, "invalid_grant"),
            (DeadReply::Forbidden, 403, "invalid_grant"),
            (DeadReply::Github, 200, "bad_refresh_token"),
            (DeadReply::Slack, 200, "invalid_refresh_token"),
            (DeadReply::Hubspot, 400, "BAD_REFRESH_TOKEN"),
        ] {
            let reply = dead(style);
            assert_eq!(reply.status, status);
            assert!(String::from_utf8(reply.body).unwrap().contains(word));
        }
    }
}
