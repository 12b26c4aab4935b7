//! The form of a provider's answers: where each value is.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::answer_path::AnswerPath;
use super::expiry::{TimeFormat, TimePlace, TokenExpiry, ToldEnds};
use super::scalar::{ScalarText, one_or_many};

/// Where an answer holds each value. An empty list means the usual places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerForm {
    /// What marks a success, besides the status.
    pub success: Option<SuccessForm>,
    /// The access token.
    #[serde(deserialize_with = "one_or_many")]
    pub access_token: Vec<AnswerPath>,
    /// The refresh token.
    #[serde(deserialize_with = "one_or_many")]
    pub refresh_token: Vec<AnswerPath>,
    /// When the access token ends.
    #[serde(deserialize_with = "one_or_many")]
    pub access_lifetime: Vec<TimePlace>,
    /// When the refresh token ends without an exchange.
    #[serde(deserialize_with = "one_or_many")]
    pub refresh_idle_lifetime: Vec<TimePlace>,
    /// When the grant ends in any case.
    #[serde(deserialize_with = "one_or_many")]
    pub refresh_absolute_lifetime: Vec<TimePlace>,
    /// How long to wait, besides `Retry-After`.
    #[serde(deserialize_with = "one_or_many")]
    pub retry_after: Vec<TimePlace>,
    /// Error codes, besides those in the usual places.
    #[serde(deserialize_with = "one_or_many")]
    pub error_code: Vec<AnswerPath>,
    /// Error texts, besides those in the usual places.
    #[serde(deserialize_with = "one_or_many")]
    pub error_text: Vec<AnswerPath>,
}

/// What marks a success in the body.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuccessForm {
    path: AnswerPath,
    #[serde(deserialize_with = "one_or_many")]
    is: Vec<ScalarText>,
}

impl SuccessForm {
    pub(super) fn holds(&self, body: &Value) -> bool {
        let said = self.path.all(body).into_iter().filter_map(ScalarText::of);
        said.into_iter().any(|said| self.is.iter().any(|ScalarText(is)| *is == said))
    }
}

/// The usual names of the ends: those of draft-ietf-oauth-refresh-token-expiration, and earlier
/// ones.
struct UsualEnds {
    access: Vec<TimePlace>,
    idle: Vec<TimePlace>,
    absolute: Vec<TimePlace>,
}

static USUAL_ENDS: LazyLock<UsualEnds> = LazyLock::new(|| {
    let places = |lives: &[&str], ends: &[&str]| {
        let lives = lives.iter().map(|name| TimePlace::named(name, TimeFormat::Seconds));
        let ends = ends.iter().map(|name| TimePlace::named(name, TimeFormat::At));
        lives.chain(ends).flatten().collect()
    };
    UsualEnds {
        access: places(&["expires_in"], &["expires_at"]),
        idle: places(
            &[
                "refresh_token_timeout",
                "refresh_token_expires_in",
                "refresh_expires_in",
                "x_refresh_token_expires_in",
            ],
            &["refresh_token_expires_at", "refresh_expires_at"],
        ),
        absolute: places(&["authorization_expires_in"], &[]),
    }
});

impl AnswerForm {
    pub(super) fn access_token<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        at(&self.access_token, "access_token", body)
    }

    pub(super) fn refresh_token<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        at(&self.refresh_token, "refresh_token", body)
    }

    pub(super) fn ends(&self, body: &Value) -> ToldEnds {
        let read = |own: &[TimePlace], usual: &[TimePlace]| -> Option<TokenExpiry> {
            let places = if own.is_empty() { usual } else { own };
            places.iter().find_map(|place| place.read(body))
        };
        ToldEnds {
            access: read(&self.access_lifetime, &USUAL_ENDS.access),
            idle: read(&self.refresh_idle_lifetime, &USUAL_ENDS.idle),
            absolute: read(&self.refresh_absolute_lifetime, &USUAL_ENDS.absolute),
        }
    }

    pub(super) fn error_codes(&self, body: &Value) -> Vec<String> {
        texts_at(&self.error_code, body)
    }

    pub(super) fn error_texts(&self, body: &Value) -> Vec<String> {
        texts_at(&self.error_text, body)
    }
}

/// The value at the first path that exists; without paths, at the usual name.
fn at<'a>(paths: &[AnswerPath], usual: &str, body: &'a Value) -> Option<&'a Value> {
    if paths.is_empty() {
        return body.get(usual).filter(|value| !value.is_null());
    }
    paths.iter().find_map(|path| path.all(body).into_iter().next())
}

/// All texts and numbers at the paths.
pub(super) fn texts_at<'a>(
    paths: impl IntoIterator<Item = &'a AnswerPath>,
    body: &Value,
) -> Vec<String> {
    let values = paths.into_iter().flat_map(|path| path.all(body));
    values.filter_map(ScalarText::of).filter(|text| !text.is_empty()).collect()
}
