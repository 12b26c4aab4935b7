//! The store's own clock.

use async_trait::async_trait;

use crate::StoreError;
use evergrant_domain::Timestamp;

/// The clock that every time which decides something is read from, so that replicas' clocks don't matter.
#[async_trait]
pub trait StoreClock: Send + Sync + 'static {
    /// The store's clock.
    async fn now(&self) -> Result<Timestamp, StoreError>;
}
