//! The client of a token endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};

use super::http_client::HttpClient;
use super::request_form::{BodyForm, RequestMethod, TokenRequest};
use super::transport::{failure_of, words};
use super::{ClientAuth, Provider, RegisteredClient};
use evergrant_domain::classify::{ExchangeResult, HttpAnswer};
use evergrant_domain::expiry::TimePlace;
use evergrant_domain::{DocumentFields, TransportFailure};
use evergrant_ports::wall_clock;

/// The longest answer that is read; a real one has a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

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
    http: HttpClient,
    provider: Arc<Provider>,
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
    pub fn new(provider: Arc<Provider>) -> Result<Self, ClientError> {
        let fail = |reason: String| ClientError { provider: provider.id.to_string(), reason };
        provider.require_secret().map_err(|error| fail(error.to_string()))?;
        install_tls();
        let http = HttpClient::new(&provider).map_err(fail)?;
        Ok(Self { http, provider })
    }

    /// Revokes a refresh token (RFC 7009) of a document with these fields and says how that ended:
    /// [`evergrant_domain::classify_revocation`] says what it means.
    pub async fn revoke(
        &self,
        refresh_token: &SecretString,
        fields: &DocumentFields,
    ) -> ExchangeResult {
        let make = |client: &RegisteredClient, assertion| {
            self.provider.revocation_request(client, refresh_token, fields, assertion)
        };
        self.send(fields, RequestMethod::Post, make).await
    }

    /// Sends the request that `make` makes for the client of a document with these fields, once. Nothing is sent
    /// for a document that it cannot be made for.
    async fn send(
        &self,
        fields: &DocumentFields,
        method: RequestMethod,
        make: impl FnOnce(&RegisteredClient, Option<String>) -> Result<TokenRequest, String>,
    ) -> ExchangeResult {
        let http = self.http.current();
        let mut request = match self.prepare(&http, fields, method, make) {
            Ok(request) => request,
            Err(why) => return ExchangeResult::failed(TransportFailure::NotMade, why),
        };
        let started = Instant::now();
        let permit = match self.http.permit(request.url()).await {
            Ok(permit) => permit,
            Err(why) => return ExchangeResult::failed(TransportFailure::NoConnectionFree, why),
        };
        let left = self.provider.request_timeout.saturating_sub(started.elapsed());
        *request.timeout_mut() = Some(left);
        let has_body = request.body().is_some();
        match http.execute(request).await {
            Ok(response) => {
                permit.note_version(response.version());
                read_answer(response, &self.provider.dialect.answer.retry_after).await
            }
            Err(error) => {
                let error = error.without_url();
                ExchangeResult::failed(failure_of(&error, has_body), words(&error))
            }
        }
    }

    fn prepare(
        &self,
        http: &reqwest::Client,
        fields: &DocumentFields,
        method: RequestMethod,
        make: impl FnOnce(&RegisteredClient, Option<String>) -> Result<TokenRequest, String>,
    ) -> Result<reqwest::Request, String> {
        let client = self.provider.client_of(fields)?;
        let assertion = self.provider.assertion(client, fields, SystemTime::now())?;
        self.write(http, client, make(client, assertion)?, method)
    }

    /// Writes a request as HTTP, with what authenticates our client.
    fn write(
        &self,
        http: &reqwest::Client,
        client: &RegisteredClient,
        request: TokenRequest,
        method: RequestMethod,
    ) -> Result<reqwest::Request, String> {
        let TokenRequest { mut url, parameters, headers } = request;
        let request = match (method, self.provider.request.body) {
            (RequestMethod::Get, _) => {
                url.query_pairs_mut().extend_pairs(&parameters);
                http.get(url)
            }
            (RequestMethod::Post, BodyForm::Form) => http.post(url).form(&parameters),
            (RequestMethod::Post, BodyForm::Json) => {
                let members: BTreeMap<&String, &String> =
                    parameters.iter().map(|(name, value)| (name, value)).collect();
                http.post(url).json(&members)
            }
        };
        let mut all =
            HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let authorization = authorization(self.provider.client_auth, client);
        all.extend(authorization.map(|value| (AUTHORIZATION, value)));
        all.extend(headers);
        request.headers(all).build().map_err(|error| words(&error.without_url()))
    }
}

#[async_trait]
impl TokenEndpoint for ProviderClient {
    async fn exchange(
        &self,
        refresh_token: &SecretString,
        fields: &DocumentFields,
    ) -> ExchangeResult {
        let make = |client: &RegisteredClient, assertion| {
            self.provider.token_request(client, refresh_token, fields, assertion)
        };
        self.send(fields, self.provider.request.method, make).await
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
                let what = format!("the answer is over {ANSWER_BYTES_MAX} bytes");
                return ExchangeResult::failed(TransportFailure::AnswerLost, what);
            }
            Ok(None) => {
                let header = |name: &str| headers.get(name)?.to_str().ok();
                answer.read_wait(retry_after, header, wall_clock());
                return ExchangeResult::Answered(answer);
            }
            // Whatever ends an answer that has begun: it was an answer.
            Err(error) => {
                let what = words(&error.without_url());
                return ExchangeResult::failed(TransportFailure::AnswerLost, what);
            }
        }
    }
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
    use std::time::Duration;

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
