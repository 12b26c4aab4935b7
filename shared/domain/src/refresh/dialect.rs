//! A provider's dialect: how its answers differ from the common vocabulary.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::also_write::FieldSources;
use super::answer_form::{AnswerForm, texts_at};
use super::answer_path::AnswerPath;
use super::error_body::ErrorBody;
use super::scalar::{ScalarText, one_or_many};
use crate::prefix_pattern::matches_pattern;

/// How a provider's answers differ from the common `vocabulary`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialect {
    /// Further error codes of a dead grant.
    pub dead_codes: Vec<String>,
    /// Further texts of a dead grant, in lower case.
    pub dead_texts: Vec<String>,
    /// Further texts that revoke a death, in lower case.
    pub not_dead_texts: Vec<String>,
    /// Further error codes of a throttle.
    pub throttle_codes: Vec<String>,
    /// Whether a throttle is about the client or the user.
    pub throttle_scope: ThrottleScope,
    /// Where its answers hold each value.
    pub answer: AnswerForm,
    /// Further values of its answers that are written to the document beside the tokens.
    pub also_write: FieldSources,
    /// What its answers mean, before the common vocabulary. The first matching rule counts.
    pub rules: Vec<DialectRule>,
}

/// What a throttle is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleScope {
    /// The client: all grants pause, and longer the more of them are throttled in a row.
    #[default]
    Client,
    /// The user: no other grant waits.
    User,
}

/// A rule for answers. All given conditions must match, and one item of each list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RuleSettings")]
pub struct DialectRule {
    status: Vec<StatusPattern>,
    code: Vec<String>,
    text: Vec<String>,
    path: Option<AnswerPath>,
    /// What a matching answer means.
    pub means: DialectMeaning,
    /// What a throttle is about, if it differs from the provider's default.
    pub scope: Option<ThrottleScope>,
    /// How long to wait, if the answer does not say.
    pub wait: Option<Duration>,
}

/// What an answer without tokens means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialectMeaning {
    /// The grant is dead: the user must sign in again.
    Dead,
    /// The failure may be temporary.
    NotDead,
    /// A throttle.
    Throttled,
    /// The client is the cause, not the user.
    ClientMisconfigured,
    /// The request came too early.
    RetryLater,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSettings {
    #[serde(default, deserialize_with = "one_or_many")]
    status: Vec<StatusPattern>,
    #[serde(default, deserialize_with = "one_or_many")]
    code: Vec<ScalarText>,
    #[serde(default, deserialize_with = "one_or_many")]
    text: Vec<String>,
    path: Option<AnswerPath>,
    means: DialectMeaning,
    scope: Option<ThrottleScope>,
    wait: Option<String>,
}

impl TryFrom<RuleSettings> for DialectRule {
    type Error = String;

    fn try_from(written: RuleSettings) -> Result<Self, String> {
        let RuleSettings { status, code, text, path, means, scope, wait } = written;
        if status.is_empty() && code.is_empty() && text.is_empty() {
            return Err("a rule needs at least one of status, code and text".to_owned());
        }
        if path.is_some() && code.is_empty() && text.is_empty() {
            return Err("a rule with a path needs code or text".to_owned());
        }
        let wait = wait.map(|wait| humantime::parse_duration(&wait)).transpose();
        Ok(Self {
            status,
            code: code.into_iter().map(|ScalarText(code)| code.to_ascii_lowercase()).collect(),
            text: text.iter().map(|text| text.to_lowercase()).collect(),
            path,
            means,
            scope,
            wait: wait.map_err(|_| "wait is a duration such as \"30s\" or \"15min\"".to_owned())?,
        })
    }
}

/// A status, or a class of them: `400`, `4xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ScalarText")]
enum StatusPattern {
    One(u16),
    Hundred(u16),
}

impl TryFrom<ScalarText> for StatusPattern {
    type Error = String;

    fn try_from(ScalarText(text): ScalarText) -> Result<Self, String> {
        let hundred = text.strip_suffix("xx").and_then(|hundred| hundred.parse().ok());
        let one = text.parse().ok().filter(|status| (100..600).contains(status));
        match (hundred, one) {
            (Some(hundred @ 1..=5), _) => Ok(Self::Hundred(hundred)),
            (_, Some(one)) => Ok(Self::One(one)),
            _ => {
                Err("a status is a number such as 400, or \"4xx\" for all of a hundred".to_owned())
            }
        }
    }
}

impl StatusPattern {
    fn fits(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Hundred(hundred) => hundred == status / 100,
        }
    }
}

impl Dialect {
    /// The rule that matches an answer without success.
    pub(super) fn rule_for(
        &self,
        status: u16,
        error: &ErrorBody,
        body: Option<&Value>,
    ) -> Option<&DialectRule> {
        self.rules.iter().find(|rule| rule.fits(status, error, body))
    }
}

impl DialectRule {
    fn fits(&self, status: u16, error: &ErrorBody, body: Option<&Value>) -> bool {
        if self.status.is_empty() {
            // A failing server says nothing about a grant or a client, whatever its words are, and
            // one that did not answer in time may have rotated the token.
            let says_nothing = match self.means {
                DialectMeaning::Dead | DialectMeaning::ClientMisconfigured => {
                    status >= 500 || status == 429
                }
                DialectMeaning::NotDead | DialectMeaning::Throttled => matches!(status, 502 | 504),
                DialectMeaning::RetryLater => false,
            };
            if says_nothing {
                return false;
            }
        } else if !self.status.iter().any(|pattern| pattern.fits(status)) {
            return false;
        }
        match &self.path {
            Some(path) => {
                let there = body.map(|body| texts_at([path], body)).unwrap_or_default();
                self.says(&there, &there)
            }
            None => self.says(&error.codes, &error.texts),
        }
    }

    fn says(&self, codes: &[String], texts: &[String]) -> bool {
        let is_code = |known: &String| {
            codes.iter().any(|code| matches_pattern(known, &code.to_ascii_lowercase()))
        };
        let is_text = |known: &String| texts.iter().any(|text| text.to_lowercase().contains(known));
        (self.code.is_empty() || self.code.iter().any(is_code))
            && (self.text.is_empty() || self.text.iter().any(is_text))
    }
}

#[cfg(test)]
mod tests;
