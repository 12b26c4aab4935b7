#![doc = include_str!("../README.md")]

mod change;
#[cfg(test)]
mod fake_store;
mod local_state;
mod metrics;
mod shared_budget;
mod sync_task;

use std::time::Duration;

use async_trait::async_trait;

use evergrant_domain::BudgetSignal;
use evergrant_domain::weigh::DeathEvidence;

pub use change::change_provider;
pub use shared_budget::{BudgetSettings, Permit, SharedBudget};

/// A provider's budget: its rate limits, pauses and circuit breaker.
#[async_trait]
pub trait Budget: Send + Sync + 'static {
    /// Waits until a request may be sent, and counts it: it must be sent at once. Callers are
    /// served in the order of arrival. A caller that stops waiting costs the budget nothing.
    async fn acquire(&self) -> Permit;

    /// Observes what an answer says about the provider.
    fn note(&self, signal: &BudgetSignal);

    /// The time between two requests of all replicas together; None without a limit.
    fn spacing(&self) -> Option<Duration>;

    /// What is known about deaths before an answer is weighed.
    fn evidence(&self) -> DeathEvidence;

    /// For how long nothing may be sent, as far as that is known: because of a pause, an open
    /// circuit, or a limit whose next slot is far away.
    fn shut_for(&self) -> Option<Duration>;
}
