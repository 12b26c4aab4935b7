//! What an OpenID provider says of itself, its keys among it (OpenID Connect Discovery 1.0).

use std::sync::Arc;
use std::time::Duration;

use openidconnect::IssuerUrl;
use openidconnect::core::CoreProviderMetadata;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::http::Http;
use super::{OidcError, chain, in_time};

/// How long it is not asked for again.
const DISCOVERY_TTL: Duration = Duration::from_secs(3_600);
/// How long after a failure it is not asked for again.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// What the provider says of itself, as far as it is known.
pub(super) struct Discovery {
    issuer: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// It, and until when it is fresh.
    known: Option<(Arc<CoreProviderMetadata>, Instant)>,
    /// Why it could not be had, and when.
    failed: Option<(OidcError, Instant)>,
}

impl Discovery {
    pub(super) fn new(issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), state: Mutex::default() }
    }

    /// It, asked for if need be. One that is known is better than none while the provider is away.
    pub(super) async fn get(&self, http: &Http) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        // Those who come meanwhile wait for the same answer.
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
                tracing::warn!(%error, "what it said of itself before is used");
                Ok(Arc::clone(known))
            }
        }
    }

    /// Has it asked for again, since the provider has changed.
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
