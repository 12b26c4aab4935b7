//! What a scripted provider wants to see in a request, in place of the usual checks.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::answer::Answer;
use crate::oauth::Client;
use crate::provider::RawRequest;
use crate::settings::ClientAuth;

/// One requirement; all that it names must be met.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Requirement {
    /// The media type of the body.
    content_type: Option<String>,
    /// A parameter that the body must have, with this `value` if there is one.
    parameter: Option<String>,
    /// A header that must be there, with this `value` if there is one.
    header: Option<String>,
    value: Option<String>,
    /// How the client must say who it is.
    client: Option<ClientForm>,
    /// The answer to a request that does not meet it.
    otherwise: Option<Answer>,
}

/// How a client says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClientForm {
    /// Basic, id and secret form-urlencoded before, as RFC 6749 wants it.
    Basic,
    /// Basic, id and secret as they are.
    BasicRaw,
    /// `client_id` and `client_secret` in the body.
    Body,
}

/// A request as a provider sees it that takes forms and JSON.
pub(crate) struct SeenRequest<'a> {
    raw: RawRequest<'a>,
    media_type: String,
    parameters: BTreeMap<String, String>,
}

impl<'a> SeenRequest<'a> {
    pub(crate) fn read(raw: RawRequest<'a>) -> Self {
        let media_type = raw.header("content-type").unwrap_or("");
        let media_type = media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let parameters = if media_type == "application/json" {
            serde_json::from_slice::<BTreeMap<String, Value>>(raw.body)
                .unwrap_or_default()
                .into_iter()
                .map(|(name, value)| (name, text(value)))
                .collect()
        } else {
            form_urlencoded::parse(raw.body).into_owned().collect()
        };
        Self { raw, media_type, parameters }
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

impl Requirement {
    pub(crate) fn validate(&self) -> Result<(), String> {
        let named = [
            self.content_type.is_some(),
            self.parameter.is_some(),
            self.header.is_some(),
            self.client.is_some(),
        ];
        if !named.contains(&true) {
            return Err(
                "it requires nothing: name content_type, parameter, header or client".into()
            );
        }
        self.otherwise.as_ref().map_or(Ok(()), Answer::validate)
    }

    pub(crate) fn is_met_by(&self, request: &SeenRequest<'_>, client: &Client) -> bool {
        let fits = |found: Option<&str>| match (found, &self.value) {
            (Some(found), Some(value)) => found == value,
            (found, _) => found.is_some(),
        };
        let is_type = |wanted: &String| *wanted == request.media_type;
        self.content_type.as_ref().is_none_or(is_type)
            && self.parameter.as_ref().is_none_or(|name| fits(request.parameter(name)))
            && self.header.as_ref().is_none_or(|name| fits(request.raw.header(name)))
            && self.client.is_none_or(|form| form.is_met_by(request, client))
    }

    /// The answer to a request that does not meet it.
    pub(crate) fn otherwise(&self) -> Answer {
        self.otherwise.clone().unwrap_or_else(|| match self.client {
            Some(_) => Answer::refusal(401, "invalid_client"),
            None => Answer::refusal(400, "invalid_request"),
        })
    }
}

impl ClientForm {
    fn is_met_by(self, request: &SeenRequest<'_>, client: &Client) -> bool {
        let header = request.raw.header("authorization");
        let (id, secret) = (request.parameter("client_id"), request.parameter("client_secret"));
        match self {
            Self::Basic => client.authenticate(ClientAuth::Basic, header, id, secret).is_ok(),
            Self::Body => client.authenticate(ClientAuth::Body, header, id, secret).is_ok(),
            Self::BasicRaw => {
                let pair = format!("{}:{}", client.id, client.secret);
                header.is_some_and(|header| header == format!("Basic {}", STANDARD.encode(pair)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client { id: "app".into(), secret: "p%w".into() }
    }

    fn is_met(requirement: &str, headers: &[(&str, &str)], body: &str) -> bool {
        let requirement: Requirement = toml::from_str(requirement).unwrap();
        let raw = RawRequest::post(headers, body.as_bytes());
        requirement.is_met_by(&SeenRequest::read(raw), &client())
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn a_body_of_json_or_a_form_has_parameters() {
        let key = "content_type = 'application/json'\nparameter = 'key'\nvalue = '5'";
        assert!(is_met(key, &[JSON], r#"{"key": 5}"#));
        assert!(!is_met(key, &[JSON], r#"{"key": 6}"#));
        assert!(!is_met(key, &[], "key=5"));
        assert!(is_met("parameter = 'key'", &[], "key="));
    }

    #[test]
    fn a_header_is_there_or_is_not() {
        let headers = [("x-api-key", "k")];
        assert!(is_met("header = 'x-api-key'", &headers, ""));
        assert!(!is_met("header = 'x-api-key'\nvalue = 'other'", &headers, ""));
        assert!(!is_met("header = 'x-other'", &headers, ""));
    }

    #[test]
    fn a_client_says_who_it_is_in_one_of_three_ways() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let (encoded, raw) = (basic("app:p%25w"), basic("app:p%w"));
        assert!(is_met("client = 'basic'", &[("authorization", &encoded)], ""));
        assert!(!is_met("client = 'basic_raw'", &[("authorization", &encoded)], ""));
        assert!(is_met("client = 'basic_raw'", &[("authorization", &raw)], ""));
        let body = "client_id=app&client_secret=p%25w";
        assert!(is_met("client = 'body'", &[], body));
        assert!(!is_met("client = 'body'", &[("authorization", &encoded)], ""));
    }
}
