//! The client of a token endpoint.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};

use super::request_form::{BodyForm, RequestMethod, TokenRequest};
use super::{ClientAuth, Provider, RegisteredClient};
use evergrant_domain::classify::{ExchangeResult, HttpAnswer};
use evergrant_domain::error_code::clean_description;
use evergrant_domain::expiry::TimePlace;
use evergrant_domain::{DocumentFields, ExchangeSecrets};
use evergrant_ports::wall_clock;

/// The longest answer that is read; a real one has a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What we call ourselves.
const USER_AGENT: &str = concat!("evergrant/", env!("CARGO_PKG_VERSION"));

/// Where refresh tokens are exchanged.
#[async_trait]
pub trait TokenEndpoint: Send + Sync + 'static {
    /// Exchanges a refresh token (RFC 6749 §6) of a document with these fields and says how that ended.
    async fn exchange(
        &self,
        refresh_token: &SecretString,
        fields: &DocumentFields,
    ) -> ExchangeResult;
}

/// The token endpoint of one provider, over HTTP. It reports what happened and decides
/// nothing; in particular it never tries again, since a rotated token dies by a second use.
#[derive(Clone)]
pub struct ProviderClient {
    http: reqwest::Client,
    provider: std::sync::Arc<Provider>,
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an HTTP client for the provider {provider}: {reason}")]
pub struct ClientError {
    provider: String,
    reason: String,
}

impl ProviderClient {
    /// A client for `provider`, which keeps its connections for the next request.
    ///
    /// # Errors
    /// If the client's secret is missing, or this machine's certificates cannot be read.
    pub fn new(provider: std::sync::Arc<Provider>) -> Result<Self, ClientError> {
        let fail = |reason: String| ClientError { provider: provider.id.to_string(), reason };
        provider.require_secret().map_err(|error| fail(error.to_string()))?;
        install_tls();
        let user_agent = provider.request.user_agent.as_deref();
        let mut http = reqwest::Client::builder()
            .connect_timeout(provider.request_timeout.min(Duration::from_secs(5)))
            .timeout(provider.request_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(user_agent.unwrap_or(USER_AGENT));
        if let Some(certificate) = &provider.client_certificate {
            let identity = reqwest::Identity::from_pem(certificate.expose_secret().as_bytes());
            let wrong = |_| "client_certificate_file must hold a certificate and its key as PEM";
            http = http.identity(identity.map_err(|error| fail(wrong(error).to_owned()))?);
        }
        let http = http.build().map_err(|error| fail(error.to_string()))?;
        Ok(Self { http, provider })
    }

    /// The request, ready to be sent. Nothing is sent for a document that it cannot be made for.
    fn request(
        &self,
        refresh_token: &SecretString,
        fields: &DocumentFields,
    ) -> Result<reqwest::RequestBuilder, String> {
        let provider = &self.provider;
        let client = provider.client_of(fields)?;
        let assertion = provider.assertion(client, fields, SystemTime::now())?;
        let TokenRequest { mut url, parameters, headers } =
            provider.token_request(client, refresh_token, fields, assertion)?;
        let form = &provider.request;
        let request = match (form.method, form.body) {
            (RequestMethod::Get, _) => {
                url.query_pairs_mut().extend_pairs(&parameters);
                self.http.get(url)
            }
            (RequestMethod::Post, BodyForm::Form) => self.http.post(url).form(&parameters),
            (RequestMethod::Post, BodyForm::Json) => {
                let members: BTreeMap<&String, &String> =
                    parameters.iter().map(|(name, value)| (name, value)).collect();
                self.http.post(url).json(&members)
            }
        };
        let mut all =
            HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let authorization = authorization(provider.client_auth, client);
        all.extend(authorization.map(|value| (AUTHORIZATION, value)));
        all.extend(headers);
        Ok(request.headers(all))
    }
}

#[async_trait]
impl TokenEndpoint for ProviderClient {
    async fn exchange(
        &self,
        refresh_token: &SecretString,
        fields: &DocumentFields,
    ) -> ExchangeResult {
        let request = match self.request(refresh_token, fields) {
            Ok(request) => request,
            Err(why) => return ExchangeResult::NotSent(why),
        };
        match request.send().await {
            Ok(response) => read_answer(response, &self.provider.dialect.answer.retry_after).await,
            Err(error) => failed(error),
        }
    }
}

/// Chooses the TLS implementation of this process. The second call does nothing.
pub fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The `Authorization` header: id and secret are form-encoded before they are joined (RFC 6749
/// §2.3.1), so that a colon in the id does no harm. Many servers do not decode them.
fn authorization(auth: ClientAuth, client: &RegisteredClient) -> Option<HeaderValue> {
    let encode =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let secret = client.secret.as_ref()?.expose_secret();
    let pair = match auth {
        ClientAuth::Basic => format!("{}:{}", encode(&client.id), encode(secret)),
        ClientAuth::BasicRaw => format!("{}:{secret}", client.id),
        ClientAuth::BasicSecretOnly => format!("{secret}:"),
        ClientAuth::Body
        | ClientAuth::None
        | ClientAuth::PrivateKeyJwt
        | ClientAuth::Certificate => return None,
    };
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn read_answer(mut response: reqwest::Response, retry_after: &[TimePlace]) -> ExchangeResult {
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let retry_after_ms = retry_after_ms(&headers, SystemTime::now());
    let expected = usize::try_from(response.content_length().unwrap_or_default());
    // Room for all of it: what a buffer leaves behind when it grows is not wiped.
    let body = Vec::with_capacity(expected.unwrap_or_default().min(ANSWER_BYTES_MAX));
    let mut answer = HttpAnswer { status, retry_after_ms, body };
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if answer.body.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                answer.body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => {
                return ExchangeResult::NoAnswer(format!(
                    "the answer is over {ANSWER_BYTES_MAX} bytes"
                ));
            }
            Ok(None) => {
                let header = |name: &str| headers.get(name)?.to_str().ok();
                answer.read_wait(retry_after, header, wall_clock());
                return ExchangeResult::Answered(answer);
            }
            Err(error) => return failed(error),
        }
    }
}

/// Whether the request may have reached the provider. When in doubt it may have.
fn failed(error: reqwest::Error) -> ExchangeResult {
    let not_sent = error.is_connect() || error.is_builder();
    let what = words(&error.without_url());
    if not_sent { ExchangeResult::NotSent(what) } else { ExchangeResult::NoAnswer(what) }
}

/// The innermost cause, which is the one that says something.
fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let timed_out = if error.is_timeout() { "timed out: " } else { "" };
    clean_description(&format!("{timed_out}{cause}"), &ExchangeSecrets::default())
}

/// `Retry-After` in milliseconds: seconds, or a date (RFC 9110 §10.2.3).
fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let wait = until.duration_since(now).unwrap_or_default();
    u64::try_from(wait.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let read = |text: &str| {
            let headers =
                HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            retry_after_ms(&headers, now)
        };
        assert_eq!(read("25"), Some(25_000));
        assert_eq!(read(&httpdate::fmt_http_date(now + Duration::from_secs(7))), Some(7_000));
        assert_eq!(read(&httpdate::fmt_http_date(now - Duration::from_secs(7))), Some(0));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-1"), None);
        assert_eq!(retry_after_ms(&HeaderMap::new(), now), None);
    }
}
