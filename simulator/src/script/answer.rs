//! One answer of a script.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::body::{Body, Words};
use crate::oauth::Reply;

/// An answer, and what becomes of the token that was presented.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Answer {
    /// The HTTP status. None is 200.
    pub(crate) status: Option<u16>,
    pub(crate) headers: BTreeMap<String, String>,
    /// None is JSON.
    pub(crate) content_type: Option<String>,
    pub(crate) body: Option<Body>,
    /// How long the client waits for it, in milliseconds.
    pub(crate) delay_ms: u64,
    pub(crate) delivery: Manner,
    /// None follows from the body: see [`Answer::token_use`].
    pub(crate) token: Option<TokenUse>,
    /// Whether it is the answer to a good token, with what is set here laid over it.
    pub(crate) usual: bool,
    /// How often it is given before the next one. None is once.
    pub(crate) times: Option<u32>,
}

/// How an answer reaches the client, or fails to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manner {
    /// As it should.
    #[default]
    Whole,
    /// Half of the body, then the end of the connection.
    Half,
    /// The connection is reset without a word.
    Reset,
    /// Nothing comes; the connection stays.
    Silence,
}

/// What becomes of a good token that is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenUse {
    /// A new one replaces it.
    Rotate,
    /// It is exchanged and stays what it is.
    Keep,
    /// Nothing is exchanged.
    Leave,
    /// Its grant dies.
    Revoke,
}

/// What no HTTP status is below or above.
const STATUSES: std::ops::RangeInclusive<u16> = 200..=599;
/// The longest delay, in milliseconds.
const DELAY_MAX_MS: u64 = 600_000;

impl Answer {
    /// The answer of RFC 6749 to a good token.
    pub(crate) fn usual_success() -> Self {
        let text = r#"{"access_token":"{access_token}","token_type":"Bearer","expires_in":{access_token_s},"refresh_token":"{refresh_token}"}"#;
        Self { body: Some(Body::Text(text.to_owned())), ..Self::default() }
    }

    /// A refusal as RFC 6749 has it.
    pub(crate) fn refusal(status: u16, code: &str) -> Self {
        let body = Body::Text(serde_json::json!({ "error": code }).to_string());
        Self { status: Some(status), body: Some(body), ..Self::default() }
    }

    pub(crate) fn validate(&self) -> Result<(), String> {
        if let Some(status) = self.status.filter(|status| !STATUSES.contains(status)) {
            return Err(format!("{status} is no status of an answer"));
        }
        if self.times == Some(0) {
            return Err("times is 0: an answer is given at least once".to_owned());
        }
        if self.delay_ms > DELAY_MAX_MS {
            return Err(format!("delay_ms is more than {DELAY_MAX_MS}"));
        }
        let names = self.headers.keys().map(axum::http::HeaderName::try_from);
        match names.zip(self.headers.keys()).find(|(parsed, _)| parsed.is_err()) {
            Some((_, name)) => Err(format!("{name:?} is no name of a header")),
            None => Ok(()),
        }
    }

    /// This answer, or the usual one with this laid over it.
    pub(crate) fn over(&self, success: Option<&Self>) -> Self {
        if !self.usual {
            return self.clone();
        }
        let base = success.cloned().unwrap_or_else(Self::usual_success);
        let mut headers = base.headers;
        headers.extend(self.headers.clone());
        Self {
            status: self.status.or(base.status),
            headers,
            content_type: self.content_type.clone().or(base.content_type),
            body: self.body.clone().or(base.body),
            delay_ms: self.delay_ms.max(base.delay_ms),
            delivery: if self.delivery == Manner::Whole { base.delivery } else { self.delivery },
            token: self.token.or(base.token),
            usual: false,
            times: self.times,
        }
    }

    /// What becomes of the token: as it is set, else by the tokens that the body holds.
    pub(crate) fn token_use(&self) -> TokenUse {
        let mentions = |place| self.body.as_ref().is_some_and(|body| body.mentions(place));
        self.token.unwrap_or_else(|| {
            if mentions("{refresh_token}") {
                TokenUse::Rotate
            } else if mentions("{access_token}") {
                TokenUse::Keep
            } else {
                TokenUse::Leave
            }
        })
    }

    /// Whether it can only be given with new tokens.
    pub(crate) fn needs_tokens(&self) -> bool {
        let mentions = |place| self.body.as_ref().is_some_and(|body| body.mentions(place));
        mentions("{refresh_token}") || mentions("{access_token}")
    }

    pub(crate) fn reply(&self, words: &Words) -> Reply {
        let is_wait = |name: &str| name.eq_ignore_ascii_case("retry-after");
        let (waits, headers) =
            self.headers.clone().into_iter().partition::<Vec<_>, _>(|(name, _)| is_wait(name));
        let content_type = self.content_type.clone();
        Reply {
            status: self.status.unwrap_or(200),
            content_type: content_type.map_or("application/json".into(), Into::into),
            body: self.body.as_ref().map(|body| body.filled(words)).unwrap_or_default(),
            retry_after: waits.into_iter().next().map(|(_, value)| value),
            challenge: false,
            headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(toml: &str) -> Answer {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn what_becomes_of_a_token_follows_from_the_body_unless_it_is_set() {
        for (toml, token_use) in [
            ("body = '{refresh_token}'", TokenUse::Rotate),
            ("body = { a = '{access_token}' }", TokenUse::Keep),
            ("status = 500", TokenUse::Leave),
            ("status = 500\ntoken = 'rotate'", TokenUse::Rotate),
            ("body = '{refresh_token}'\ntoken = 'leave'", TokenUse::Leave),
        ] {
            assert_eq!(answer(toml).token_use(), token_use, "{toml}");
        }
    }

    #[test]
    fn what_is_set_is_laid_over_the_usual_answer() {
        let success = answer("status = 201\nbody = 'x {refresh_token}'\nheaders = { A = '1' }");
        let over = answer("usual = true\ndelay_ms = 5\nheaders = { B = '2' }").over(Some(&success));
        assert_eq!((over.status, over.delay_ms, over.headers.len()), (Some(201), 5, 2));
        assert_eq!(over.token_use(), TokenUse::Rotate);
    }

    #[test]
    fn a_wait_is_told_apart_from_other_headers() {
        let reply = answer("status = 429\nheaders = { retry-after = '7', X = 'y' }")
            .reply(&Words::default());
        assert_eq!((reply.status, reply.retry_after.as_deref()), (429, Some("7")));
        assert_eq!(reply.headers, [("X".to_owned(), "y".to_owned())]);
    }
}
