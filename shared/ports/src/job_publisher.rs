//! Publishing jobs.

use async_trait::async_trait;

use crate::QueueError;
use evergrant_domain::{Job, ProviderId};

/// The work queues as the producer sees them.
#[async_trait]
pub trait JobPublisher: Send + Sync + 'static {
    /// How many jobs wait in a provider's work queues.
    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError>;

    /// Publishes jobs to the work queues of their providers, several unconfirmed at a time, and
    /// returns when the broker has confirmed that each is in its queue.
    ///
    /// # Errors
    /// If not all are confirmed. Some may be in their queues nevertheless; publishing them again
    /// makes duplicates, which are harmless.
    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError>;

    /// Publishes jobs as [`Self::publish`] does, but each queue independently: one that accepts no
    /// messages delays no other. One result for each job, in order.
    async fn publish_each(&self, jobs: &[Job]) -> Vec<Result<(), QueueError>> {
        vec![self.publish(jobs).await; jobs.len()]
    }
}
