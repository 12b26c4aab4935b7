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

/// A provider's budget: its rate limits, its pauses and its circuit.
#[async_trait]
pub trait Budget: Send + Sync + 'static {
    /// Waits until a request may be sent, and counts it: send it at once. Waiters go in the order they
    /// came. A caller that gives up waiting costs the budget nothing.
    async fn acquire(&self) -> Permit;

    /// Takes note of what an answer says about the provider.
    fn note(&self, signal: &BudgetSignal);

    /// The time between two requests of all replicas together; None without a limit.
    fn spacing(&self) -> Option<Duration>;

    /// What is known beforehand of an answer.
    fn evidence(&self) -> DeathEvidence;

    /// For how long nothing may be sent, as far as that is known: a pause, an open circuit, or a
    /// limit whose next slot is far off.
    fn shut_for(&self) -> Option<Duration>;
}
