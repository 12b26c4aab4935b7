//! What a provider's token request looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::assertion::AssertionClaims;
use super::template::TextTemplate;
use super::{ClientAuth, Provider, RegisteredClient, TokenUrl};
use evergrant_domain::{DocumentFields, NO_TEXT};

/// How a token request differs from that of RFC 6749 §6.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestForm {
    /// The method.
    pub(super) method: RequestMethod,
    /// How the parameters are written.
    pub(super) body: BodyForm,
    /// The `User-Agent`, if not Evergrant's own.
    pub(super) user_agent: Option<String>,
    /// Parameters of the standard that are not sent.
    pub(super) omit: Vec<RequestParameter>,
    /// Other names of parameters of the standard.
    pub(super) names: BTreeMap<RequestParameter, String>,
    /// Further parameters, and other values of those of the standard.
    pub(super) parameters: BTreeMap<String, TextTemplate>,
    /// Further headers.
    pub(super) headers: BTreeMap<String, TextTemplate>,
    /// For whom an assertion of `private_key_jwt` is, if not for the token URL.
    pub(super) assertion_audience: Option<String>,
    /// Who issues such an assertion, if not our client by its id.
    pub(super) assertion_issuer: Option<String>,
}

/// The method of a token request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RequestMethod {
    /// The parameters are in the body.
    #[default]
    #[serde(rename = "POST")]
    Post,
    /// The parameters are in the query.
    #[serde(rename = "GET")]
    Get,
}

/// How parameters are written in a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyForm {
    /// As `application/x-www-form-urlencoded`.
    #[default]
    Form,
    /// As JSON.
    Json,
}

/// The parameters of the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestParameter {
    /// `grant_type`
    GrantType,
    /// `refresh_token`
    RefreshToken,
    /// `scope`
    Scope,
    /// `client_id`
    ClientId,
    /// `client_secret`
    ClientSecret,
}

impl RequestParameter {
    const fn as_str(self) -> &'static str {
        match self {
            Self::GrantType => "grant_type",
            Self::RefreshToken => "refresh_token",
            Self::Scope => "scope",
            Self::ClientId => "client_id",
            Self::ClientSecret => "client_secret",
        }
    }
}

/// A request that is ready to be sent, but for its authentication.
pub(super) struct TokenRequest {
    pub(super) url: Url,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Provider {
    /// The request for a refresh token of a document with these fields. `assertion` authenticates our
    /// client, if a key does.
    ///
    /// # Errors
    /// Why nothing may be sent for this document.
    pub(super) fn token_request(
        &self,
        client: &RegisteredClient,
        refresh_token: &SecretString,
        fields: &DocumentFields,
        assertion: Option<String>,
    ) -> Result<TokenRequest, String> {
        let url = self.token_url.complete(|name| self.value(name, fields))?;
        let value = |name: &str| self.request_value(client, name, refresh_token, fields);
        let fill = |template| TextTemplate::fill(template, value).map_err(missing);
        let mut parameters = self.grant_parameters(refresh_token);
        parameters.extend(self.client_parameters(client, assertion));
        for (name, template) in &self.request.parameters {
            let text = fill(template)?;
            match parameters.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = text,
                None => parameters.push((name.clone(), text)),
            }
        }
        let headers = self.headers(client, refresh_token, fields)?;
        Ok(TokenRequest { url, parameters, headers })
    }

    /// The request that revokes a refresh token of a document with these fields (RFC 7009 §2.1). Our client
    /// authenticates as it does for tokens.
    ///
    /// # Errors
    /// As [`Self::token_request`].
    pub(super) fn revocation_request(
        &self,
        client: &RegisteredClient,
        refresh_token: &SecretString,
        fields: &DocumentFields,
        assertion: Option<String>,
    ) -> Result<TokenRequest, String> {
        let url =
            self.revocation_url.as_ref().ok_or("it has no revocation_url; nothing was sent")?;
        let url = url.complete(|name| self.value(name, fields))?;
        let mut parameters = vec![
            ("token".to_owned(), refresh_token.expose_secret().to_owned()),
            ("token_type_hint".to_owned(), RequestParameter::RefreshToken.as_str().to_owned()),
        ];
        parameters.extend(self.client_parameters(client, assertion));
        let headers = self.headers(client, refresh_token, fields)?;
        Ok(TokenRequest { url, parameters, headers })
    }

    /// What authenticates our client, if a key does.
    ///
    /// # Errors
    /// As [`Self::token_request`].
    pub(super) fn assertion(
        &self,
        client: &RegisteredClient,
        fields: &DocumentFields,
        now: SystemTime,
    ) -> Result<Option<String>, String> {
        let Some(key) =
            self.client_key.as_ref().filter(|_| self.client_auth == ClientAuth::PrivateKeyJwt)
        else {
            return Ok(None);
        };
        let audience = match &self.request.assertion_audience {
            Some(audience) => audience.clone(),
            None => self.token_url.complete(|name| self.value(name, fields))?.into(),
        };
        let issuer = self.request.assertion_issuer.as_ref().unwrap_or(&client.id);
        let claims = AssertionClaims { issuer, subject: &client.id, audience: &audience };
        key.assert(claims, now).map(Some)
    }

    /// A value of a document, or the one for documents without it.
    fn value<'a>(&'a self, name: &str, fields: &'a DocumentFields) -> Option<&'a str> {
        let path = self.fields.get(name).map_or(name, String::as_str);
        let of_document = fields.get(path).filter(|value| !value.is_empty() && *value != NO_TEXT);
        of_document.or_else(|| self.field_defaults.get(name)).map(String::as_str)
    }

    /// What a template of the settings names.
    fn request_value<'a>(
        &'a self,
        client: &'a RegisteredClient,
        name: &str,
        refresh_token: &'a SecretString,
        fields: &'a DocumentFields,
    ) -> Option<&'a str> {
        match name {
            "refresh_token" => Some(refresh_token.expose_secret()),
            "client_id" => Some(client.id.as_str()),
            "client_secret" => client.secret.as_ref().map(|secret| secret.expose_secret()),
            _ => self.value(name, fields),
        }
    }

    fn headers(
        &self,
        client: &RegisteredClient,
        refresh_token: &SecretString,
        fields: &DocumentFields,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let mut headers = Vec::new();
        for (name, template) in &self.request.headers {
            let wrong = || format!("the header {name} cannot hold its value; nothing was sent");
            let text =
                template.fill(|name| self.request_value(client, name, refresh_token, fields));
            let mut header = HeaderValue::try_from(text.map_err(missing)?).map_err(|_| wrong())?;
            header.set_sensitive(true);
            headers.push((HeaderName::try_from(name).map_err(|_| wrong())?, header));
        }
        Ok(headers)
    }

    fn grant_parameters(&self, refresh_token: &SecretString) -> Vec<(String, String)> {
        let standard = [
            (RequestParameter::GrantType, Some("refresh_token")),
            (RequestParameter::RefreshToken, Some(refresh_token.expose_secret())),
            (RequestParameter::Scope, self.scope.as_deref()),
        ];
        standard.into_iter().filter_map(|(name, value)| self.parameter(name, value)).collect()
    }

    /// What authenticates our client, if the body does.
    fn client_parameters(
        &self,
        client: &RegisteredClient,
        assertion: Option<String>,
    ) -> Vec<(String, String)> {
        let secret = client.secret.as_ref().filter(|_| self.client_auth == ClientAuth::Body);
        let client_id = (!self.client_auth.is_header()).then_some(client.id.as_str());
        let standard = [
            (RequestParameter::ClientId, client_id),
            (RequestParameter::ClientSecret, secret.map(|secret| secret.expose_secret())),
        ];
        let standard = standard.into_iter().filter_map(|(name, value)| self.parameter(name, value));
        let asserted = assertion.into_iter().flat_map(|assertion| {
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            [
                ("client_assertion_type".to_owned(), kind.to_owned()),
                ("client_assertion".to_owned(), assertion),
            ]
        });
        standard.chain(asserted).collect()
    }

    /// A parameter of the standard by the name that the provider has for it, if it wants it.
    fn parameter(&self, name: RequestParameter, value: Option<&str>) -> Option<(String, String)> {
        let value = value.filter(|_| !self.request.omit.contains(&name))?;
        let name = self.request.names.get(&name).map_or(name.as_str(), String::as_str);
        Some((name.to_owned(), value.to_owned()))
    }

    /// The names of the values that its address and its requests take from a document.
    fn field_names(&self) -> impl Iterator<Item = &str> {
        let templates = self.request.parameters.values().chain(self.request.headers.values());
        let own = |name: &&str| !["refresh_token", "client_id", "client_secret"].contains(name);
        templates.flat_map(TextTemplate::names).filter(own).chain(self.token_url.names())
    }

    /// The paths in a document of what its addresses, its requests and the choice of our client need.
    pub fn document_paths(&self) -> BTreeSet<String> {
        let path = |name| self.fields.get(name).map_or(name, String::as_str).to_owned();
        let of_revocation = self.revocation_url.iter().flat_map(TokenUrl::names);
        let client = self.tenants.field().map(str::to_owned);
        self.field_names().chain(of_revocation).map(path).chain(client).collect()
    }

    /// A document for which a request can be made: what it needs, with made-up values.
    pub fn sample_document(&self) -> DocumentFields {
        let path = |name: &str| self.fields.get(name).map_or(name, String::as_str).to_owned();
        let any = self.document_paths().into_iter().map(|path| (path, "sample".to_owned()));
        let of_url = self.token_url.sample().into_iter();
        any.chain(of_url.map(|(name, value)| (path(name), value))).collect()
    }

    /// That a request can be made for a document with these fields.
    ///
    /// # Errors
    /// Why nothing may be sent for it.
    pub fn check_document(&self, fields: &DocumentFields) -> Result<(), String> {
        self.client_of(fields)?;
        self.token_url.complete(|name| self.value(name, fields))?;
        match self.field_names().find(|name| self.value(name, fields).is_none()) {
            None => Ok(()),
            Some(name) => Err(missing(name)),
        }
    }
}

fn missing(name: &str) -> String {
    format!("the document has no {name}, which the request needs; nothing was sent")
}
