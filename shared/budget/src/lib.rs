//! When a request may be sent to a provider.
//!
//! [`Budget`] is the seam: the worker asks it for a permit before each exchange and tells it each
//! answer. [`SharedBudget`] keeps a provider's limits, pauses and circuit for any number of
//! replicas, by way of the store:
//!
//! * `board`: what a replica knows, and who waits. No I/O.
//! * `keeper`: the task that reserves places and reads what other replicas wrote.
//! * `shared`: the two together.
//! * `change`: what an operator changes.
//!
//! What is decided is in [`evergrant_domain`]: `cell`, `gate`, `provider_state`, `punctuality`.

mod board;
mod change;
#[cfg(test)]
mod fake_store;
mod keeper;
mod metrics;
mod shared;

use std::time::Duration;

use async_trait::async_trait;

use evergrant_domain::Signal;
use evergrant_domain::weigh::Evidence;

pub use change::change_provider;
pub use shared::{BudgetSettings, Permit, SharedBudget};

/// A provider's budget: its rate limits, its pauses and its circuit.
#[async_trait]
pub trait Budget: Send + Sync + 'static {
    /// Waits until a request may be sent, and counts it: send it at once. Waiters go in the order they
    /// came. A caller that gives up waiting costs the budget nothing.
    async fn acquire(&self) -> Permit;

    /// Takes note of what an answer says about the provider.
    fn note(&self, signal: &Signal);

    /// The time between two requests of all replicas together; None without a limit.
    fn spacing(&self) -> Option<Duration>;

    /// What is known beforehand of an answer.
    fn evidence(&self) -> Evidence;

    /// For how long nothing may be sent, as far as that is known: a pause, an open circuit, or a
    /// limit whose next place is far off.
    fn shut_for(&self) -> Option<Duration>;
}
