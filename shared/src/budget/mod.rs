//! When a request may be sent to a provider.
//!
//! [`Budget`] is the seam: the worker asks it for a permit before each exchange and tells it each
//! answer. [`LocalBudget`] keeps the limits within one process.

mod local;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::Signal;

pub use local::LocalBudget;

/// A provider's budget: its rate limits, its pauses and its circuit.
#[async_trait]
pub trait Budget: Send + Sync + 'static {
    /// Waits until a request may be sent, and counts it. Waiters go in the order they came. A
    /// caller that gives up waiting may cost the budget one request, never the limit.
    async fn acquire(&self);

    /// Takes note of what an answer says about the provider.
    fn note(&self, signal: &Signal);

    /// For how long nothing may be sent, if that is known: a pause or an open circuit.
    fn shut_for(&self) -> Option<Duration>;
}
