//! How jobs travel.

use async_trait::async_trait;

use crate::{InspectionFinding, JobPublisher, QueueError, WorkQueue};
use evergrant_domain::{DeadLetter, ProviderId};

/// How jobs travel. The queue is a hint: losing every message costs time, never a token.
///
/// A queue or an exchange that somebody deletes under a running process is made again by the
/// operation that misses it.
#[async_trait]
pub trait JobQueue: JobPublisher + WorkQueue {
    /// Makes exchanges, queues and bindings; does nothing where they exist as expected.
    ///
    /// # Errors
    /// [`QueueError::Mismatch`] for one that exists with other arguments.
    async fn prepare(&self) -> Result<(), QueueError>;

    /// Looks through a provider's dead letters, oldest first. Looking changes neither the queue
    /// nor its order.
    async fn dead_letters(&self, provider: &ProviderId)
    -> Result<Box<dyn DeadLetters>, QueueError>;

    /// What there is and what is missing, for `evergrant doctor`.
    async fn inspect(&self) -> Result<Vec<InspectionFinding>, QueueError>;
}

/// A browse through a provider's dead letters. What is not removed is back in its place when this is
/// closed or dropped.
#[async_trait]
pub trait DeadLetters: Send {
    /// How many there were when the look began; it ends there, so that what is sent back and dies
    /// again is not met a second time.
    fn cutoff(&self) -> u64;

    /// Says at the beginning that nothing will be removed, so that a queue which delivers may be read
    /// ahead.
    fn browse_only(&mut self) {}

    /// The next dead letter, None at the cut-off.
    async fn next(&mut self) -> Result<Option<DeadLetter>, QueueError>;

    /// Removes the dead letter that [`Self::next`] returned last, for good.
    async fn remove(&mut self) -> Result<(), QueueError>;

    /// Ends the look.
    async fn close(self: Box<Self>) -> Result<(), QueueError>;
}
