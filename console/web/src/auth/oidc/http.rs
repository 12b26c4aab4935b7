//! HTTP requests to an OpenID provider.

use std::pin::Pin;
use std::time::Duration;

use evergrant_provider::install_tls;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A client that follows no redirects and limits the size of answers.
pub(super) struct Http {
    client: reqwest::Client,
}

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{0}")]
    Request(#[from] reqwest::Error),
    #[error("its answer is over {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Malformed(#[from] ::http::Error),
}

impl Http {
    /// # Errors
    /// If this machine's certificates cannot be read.
    pub(super) fn new(timeout: Duration, https_only: bool) -> Result<Self, String> {
        install_tls();
        let client = reqwest::Client::builder()
            .connect_timeout(timeout / 2)
            .timeout(timeout)
            .https_only(https_only)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("evergrant/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { client: client.map_err(|error| error.to_string())? })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let request = self.client.request(parts.method, url).headers(parts.headers).body(body);
        let mut answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let mut response = ::http::Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(HttpError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(response.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
