//! Further values that are written to a document beside the new tokens: expiry times, and fields of
//! the answer.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::answer_path::AnswerPath;
use super::schedule::RefreshTimes;
use crate::Timestamp;

/// The sources of further fields, by their paths in the document.
pub type FieldSources = BTreeMap<String, FieldSource>;

/// The values of further fields, by their paths in the document.
pub type FieldValues = BTreeMap<String, FieldValue>;

/// The source of a field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldSource {
    /// The value at this path of the answer.
    Answer(AnswerPath),
    /// The end of a token.
    End(TokenEnd),
}

/// The end of a token in the form in which an application stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEnd {
    /// The token.
    pub end_of: EndingToken,
    /// The form.
    #[serde(rename = "as")]
    pub form: TimeForm,
}

/// A token that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingToken {
    /// The access token.
    AccessToken,
    /// The refresh token, if it is not exchanged.
    RefreshToken,
}

/// The form in which an application stores a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeForm {
    /// A number of seconds since 1970.
    Seconds,
    /// A number of milliseconds since 1970.
    Milliseconds,
    /// A date of BSON.
    Date,
    /// ISO 8601, in UTC.
    Text,
}

/// The value of a field, or its source.
#[derive(Debug, Clone)]
pub enum FieldValue {
    /// A value of the answer, as JSON. It may be a token.
    Answered(SecretString),
    /// The end of a token.
    End(TokenEnd),
}

impl FieldSource {
    /// The value after this answer; None if the answer does not have it.
    pub fn value(&self, answer: &Value) -> Option<FieldValue> {
        match self {
            Self::Answer(path) => {
                let found = path.all(answer).into_iter().next()?;
                Some(FieldValue::Answered(found.to_string().into()))
            }
            Self::End(end) => Some(FieldValue::End(*end)),
        }
    }
}

/// The values after this answer. A field that is missing in it stays unchanged.
pub fn field_values(sources: &FieldSources, answer: &Value) -> FieldValues {
    let values = sources.iter();
    values.filter_map(|(path, source)| Some((path.clone(), source.value(answer)?))).collect()
}

impl EndingToken {
    /// When it ends, if that is known.
    pub fn end(self, times: &RefreshTimes) -> Option<Timestamp> {
        match self {
            Self::AccessToken => Some(times.access_expires_at),
            Self::RefreshToken => {
                let ends = [times.refresh_idle_until, times.refresh_absolute_until];
                ends.into_iter().flatten().min()
            }
        }
    }
}

impl PartialEq for FieldValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Answered(one), Self::Answered(other)) => {
                one.expose_secret() == other.expose_secret()
            }
            (Self::End(one), Self::End(other)) => one == other,
            _ => false,
        }
    }
}

impl<'de> Deserialize<'de> for FieldSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = FieldSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a path in the answer such as \"scope\", or { end_of = \"access_token\", \
                     as = \"seconds\" }; a field's path with dots is put in quotes",
                )
            }
            fn visit_str<E: Error>(self, path: &str) -> Result<FieldSource, E> {
                let path = AnswerPath::try_from(path.to_owned()).map_err(E::custom)?;
                Ok(FieldSource::Answer(path))
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<FieldSource, A::Error> {
                TokenEnd::deserialize(MapAccessDeserializer::new(members)).map(FieldSource::End)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sources(settings: Value) -> Result<FieldSources, serde_json::Error> {
        serde_json::from_value(settings)
    }

    #[test]
    fn a_field_missing_in_the_answer_stays_unchanged() {
        let sources = sources(json!({
            "scope": "scope",
            "tokens.domain": "data.api_domain",
            "expires_at": { "end_of": "access_token", "as": "seconds" },
            "id_token": "id_token",
            "instance_url": "instance_url",
        }));
        let answer = json!({
            "scope": "openid", "data": { "api_domain": "https://x" }, "id_token": null,
        });
        let values = field_values(&sources.unwrap(), &answer);
        let paths: Vec<_> = values.keys().map(String::as_str).collect();
        assert_eq!(paths, ["expires_at", "scope", "tokens.domain"]);
        assert_eq!(values["tokens.domain"], FieldValue::Answered("\"https://x\"".into()));
    }

    #[test]
    fn answered_values_are_never_printed() {
        let source = FieldSource::Answer(AnswerPath::try_from("id_token".to_owned()).unwrap());
        let value = source.value(&json!({ "id_token": "S3cret" }));
        assert!(!format!("{value:?}").contains("S3cret"));
    }

    #[test]
    fn an_invalid_source_is_refused() {
        for wrong in [
            json!({ "a": 1 }),
            json!({ "a": "b..c" }),
            json!({ "a": { "end_of": "session", "as": "date" } }),
            json!({ "a": { "end_of": "access_token", "as": "minutes" } }),
            json!({ "tokens": { "scope": "scope" } }),
        ] {
            assert!(sources(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
