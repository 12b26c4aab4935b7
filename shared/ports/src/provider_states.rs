//! The state of each provider that replicas share: budget, pauses and circuit breaker.

use std::time::Duration;

use async_trait::async_trait;

use crate::StoreError;
use evergrant_domain::{ProviderId, ProviderState, Timestamp};

/// One state of each provider for all replicas, changed by optimistic concurrency.
#[async_trait]
pub trait ProviderStates: Send + Sync + 'static {
    /// The state of a provider that all replicas share. Before the first write it is
    /// [`ProviderState::default`], in version 0.
    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<VersionedValue<ProviderState>, StoreError>;

    /// Replaces the state of a provider if it still has `version`; it has the next version then.
    /// False if it was changed meanwhile: read it and decide again.
    async fn set_provider_state(
        &self,
        provider: &ProviderId,
        version: u64,
        state: &ProviderState,
    ) -> Result<bool, StoreError>;
}

/// A value that replicas change by optimistic concurrency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedValue<T> {
    /// The value.
    pub value: T,
    /// How often it was changed.
    pub version: u64,
    /// The store's time at the read.
    pub now: Timestamp,
    /// The possible error of `now` in either direction, if the adapter estimates the store's clock
    /// at the moment of its answer. None if the server read its clock between request and response.
    pub now_error: Option<Duration>,
}
