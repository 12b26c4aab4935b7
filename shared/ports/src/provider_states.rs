//! What replicas know of each provider: budget, pauses and circuit breaker.

use std::time::Duration;

use async_trait::async_trait;

use crate::StoreError;
use evergrant_domain::{ProviderId, ProviderState, Timestamp};

/// One state of each provider for all replicas, changed by optimistic concurrency.
#[async_trait]
pub trait ProviderStates: Send + Sync + 'static {
    /// What all replicas know of a provider: its budget, its pauses and its circuit. A provider
    /// that nobody has written about yet is as [`ProviderState::default`] has it, in version 0.
    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<VersionedValue<ProviderState>, StoreError>;

    /// Replaces what is known of a provider if it is still in `version`; it is in the next version
    /// then. False if someone else was faster: read it again and decide anew.
    async fn set_provider_state(
        &self,
        provider: &ProviderId,
        version: u64,
        state: &ProviderState,
    ) -> Result<bool, StoreError>;
}

/// Something that replicas change one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedValue<T> {
    /// What it is.
    pub value: T,
    /// How often it was changed.
    pub version: u64,
    /// The store's clock when it was read.
    pub now: Timestamp,
    /// How wrong `now` may be to either side, where the adapter estimates the store's clock at the
    /// moment of its answer. None where the server read its clock between the question and the answer.
    pub now_error: Option<Duration>,
}
