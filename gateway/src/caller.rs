//! Who asks: the key in `Authorization`, and what it may do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use evergrant_domain::StoredToken;
use evergrant_domain::api_key::{ApiKey, KeyScope};
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::Gateway;
use crate::refusal::Refusal;

/// A caller with a valid key.
pub(crate) struct Caller(Arc<ApiKey>);

impl Caller {
    /// Refuses what the key's scopes do not have.
    pub(crate) fn require(&self, scope: KeyScope) -> Result<(), Refusal> {
        let what = match scope {
            KeyScope::Status => "this key has no scope status",
            KeyScope::Token => "this key has no scope token",
            KeyScope::Write => "this key has no scope write",
        };
        if self.0.may(scope) { Ok(()) } else { Err(Refusal::Forbidden(what)) }
    }

    /// The grant, if the key reaches it.
    pub(crate) fn reach(&self, stored: StoredToken) -> Result<StoredToken, Refusal> {
        let reaches = self.0.covers(stored.provider.as_ref(), stored.user.as_deref());
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
        gateway.keys.admit(text.trim()).await?.map(Self).ok_or(Refusal::Unauthenticated)
    }
}
