//! Who asks: the key in `Authorization`, and what it may do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use evergrant_domain::StoredToken;
use evergrant_domain::api_key::{ApiKey, KeyScope};
use http::header::AUTHORIZATION;
use http::request::Parts;
use secrecy::{ExposeSecret, SecretString};

use crate::Gateway;
use crate::refusal::Refusal;

/// A caller with a valid key.
pub(crate) struct Caller {
    key: Arc<ApiKey>,
    text: SecretString,
}

impl Caller {
    async fn admit(gateway: &Gateway, text: SecretString) -> Result<Self, Refusal> {
        let key = gateway.keys.admit(text.expose_secret()).await?;
        let key = key.ok_or(Refusal::Unauthenticated)?;
        Ok(Self { key, text })
    }

    /// Refuses what the key's scopes do not have.
    pub(crate) fn require(&self, scope: KeyScope) -> Result<(), Refusal> {
        let what = match scope {
            KeyScope::Status => "this key has no scope status",
            KeyScope::Token => "this key has no scope token",
            KeyScope::Write => "this key has no scope write",
        };
        if self.key.may(scope) { Ok(()) } else { Err(Refusal::Forbidden(what)) }
    }

    /// Refuses a key that was revoked, or lost its scope, while its caller waited for a token.
    pub(crate) async fn require_again(&self, gateway: &Gateway) -> Result<(), Refusal> {
        Self::admit(gateway, self.text.clone()).await?.require(KeyScope::Token)
    }

    /// The grant, if the key reaches it.
    pub(crate) fn reach(&self, stored: StoredToken) -> Result<StoredToken, Refusal> {
        let reaches = self.key.covers(stored.provider.as_ref(), stored.user.as_deref());
        if reaches { Ok(stored) } else { Err(Refusal::NotFound) }
    }
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, text) =
            header.and_then(|it| it.split_once(' ')).ok_or(Refusal::Unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::Unauthenticated);
        }
        Self::admit(gateway, text.trim().into()).await
    }
}
