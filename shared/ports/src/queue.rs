//! The job queue with all its roles.

use async_trait::async_trait;

use crate::{InspectionFinding, JobPublisher, QueueError, WorkQueue};
use evergrant_domain::{DeadLetter, ProviderId};

/// The job queue. It is a hint: losing every message costs time, never a token.
///
/// A queue or an exchange that is deleted under a running process is created again by the operation
/// that needs it.
#[async_trait]
pub trait JobQueue: JobPublisher + WorkQueue {
    /// Creates exchanges, queues and bindings; does nothing if they exist as expected.
    ///
    /// # Errors
    /// [`QueueError::Mismatch`] for one that exists with other arguments.
    async fn prepare(&self) -> Result<(), QueueError>;

    /// Browses a provider's dead letters, oldest first. Browsing changes neither the queue nor its
    /// order.
    async fn dead_letters(&self, provider: &ProviderId)
    -> Result<Box<dyn DeadLetters>, QueueError>;

    /// What exists and what is missing, for `evergrant doctor`.
    async fn inspect(&self) -> Result<Vec<InspectionFinding>, QueueError>;
}

/// A browse through a provider's dead letters. What is not removed is back in its position when
/// this is closed or dropped.
#[async_trait]
pub trait DeadLetters: Send {
    /// How many there were when the browse began. It ends there, so that a letter that is redriven
    /// and dies again is not seen twice.
    fn cutoff(&self) -> u64;

    /// Says at the beginning that nothing will be removed, so that an adapter may read ahead.
    fn browse_only(&mut self) {}

    /// The next dead letter, None at the cut-off.
    async fn next(&mut self) -> Result<Option<DeadLetter>, QueueError>;

    /// Removes the dead letter that [`Self::next`] returned last, permanently.
    async fn remove(&mut self) -> Result<(), QueueError>;

    /// Ends the browse.
    async fn close(self: Box<Self>) -> Result<(), QueueError>;
}
