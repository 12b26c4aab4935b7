//! The store's clock.

use async_trait::async_trait;

use crate::StoreError;
use evergrant_domain::Timestamp;

/// The clock for every time that decides something, so that the clocks of replicas do not matter.
#[async_trait]
pub trait StoreClock: Send + Sync + 'static {
    /// The store's time.
    async fn now(&self) -> Result<Timestamp, StoreError>;
}
