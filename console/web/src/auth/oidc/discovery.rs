//! An OpenID provider's metadata and keys (OpenID Connect Discovery 1.0).

use std::sync::Arc;
use std::time::Duration;

use openidconnect::IssuerUrl;
use openidconnect::core::CoreProviderMetadata;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::http::Http;
use super::{OidcError, chain, in_time};

/// How long the metadata is valid.
const DISCOVERY_TTL: Duration = Duration::from_secs(3_600);
/// The wait after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// The provider's metadata, as far as it is known.
pub(super) struct Discovery {
    issuer: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The metadata, and until when it is valid.
    known: Option<(Arc<CoreProviderMetadata>, Instant)>,
    /// The last failure, and when it was.
    failed: Option<(OidcError, Instant)>,
}

impl Discovery {
    pub(super) fn new(issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), state: Mutex::default() }
    }

    /// The metadata, requested if necessary. While the provider is unavailable, old metadata is
    /// used.
    pub(super) async fn get(&self, http: &Http) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        // Concurrent callers wait for the same answer.
        let mut state = self.state.lock().await;
        let now = Instant::now();
        let failed_just_now =
            state.failed.as_ref().filter(|(_, at)| now.duration_since(*at) < RETRY_DELAY);
        match (&state.known, failed_just_now) {
            (Some((known, fresh_until)), failed) if now < *fresh_until || failed.is_some() => {
                return Ok(Arc::clone(known));
            }
            (None, Some((error, _))) => return Err(error.clone()),
            _ => {}
        }
        match in_time(self.discover(http)).await {
            Ok(found) => {
                let found = Arc::new(found);
                let known = Some((Arc::clone(&found), Instant::now() + DISCOVERY_TTL));
                *state = State { known, failed: None };
                Ok(found)
            }
            Err(error) => {
                state.failed = Some((error.clone(), Instant::now()));
                let Some((known, _)) = &state.known else { return Err(error) };
                tracing::warn!(%error, "the OpenID provider does not answer: using its earlier metadata");
                Ok(Arc::clone(known))
            }
        }
    }

    /// Makes the next call request it again, because the provider has changed.
    pub(super) async fn expire(&self) {
        if let Some((_, fresh_until)) = &mut self.state.lock().await.known {
            *fresh_until = Instant::now();
        }
    }

    async fn discover(&self, http: &Http) -> Result<CoreProviderMetadata, OidcError> {
        let issuer = IssuerUrl::new(self.issuer.clone());
        let issuer = issuer.map_err(|error| OidcError::Away(error.to_string()))?;
        let found = CoreProviderMetadata::discover_async(issuer, http).await;
        found.map_err(|error| OidcError::Away(chain(&error)))
    }
}
