//! How jobs travel.

use std::time::Duration;

use async_trait::async_trait;

use super::{Finding, QueueError};
use evergrant_domain::{DeadLetter, Job, ProviderId, SealedAnswer};

/// How jobs travel. The queue is a hint: losing every message costs time, never a token.
///
/// A queue or an exchange that somebody deletes under a running process is made again by the
/// operation that misses it.
#[async_trait]
pub trait JobQueue: Send + Sync + 'static {
    /// Makes exchanges, queues and bindings; does nothing where they exist as expected.
    ///
    /// # Errors
    /// [`QueueError::Mismatch`] for one that exists with other arguments.
    async fn prepare(&self) -> Result<(), QueueError>;

    /// How many jobs wait in a provider's work queues.
    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError>;

    /// Publishes jobs to the work queues of their providers, several unconfirmed at a time, and
    /// returns when the broker has confirmed that each is in its queue.
    ///
    /// # Errors
    /// If not all are confirmed. Some may be in their queues nevertheless; sending them again makes
    /// duplicates, which are harmless.
    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError>;

    /// Publishes jobs as [`Self::publish`] does, but each queue by itself: one that takes no messages
    /// holds up no other. One result for each job, in order.
    async fn publish_each(&self, jobs: &[Job]) -> Vec<Result<(), QueueError>> {
        vec![self.publish(jobs).await; jobs.len()]
    }

    /// Publishes a job that comes back to its work queue after `delay`, a rung of the ladder.
    /// Returns when it is confirmed.
    async fn retry(&self, job: &Job, delay: Duration) -> Result<(), QueueError>;

    /// Publishes a dead letter. Returns when it is confirmed.
    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError>;

    /// Puts a sealed answer of a provider into the rescue queue, for any worker to commit. Returns
    /// when it is confirmed.
    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError>;

    /// Consumes the rescue queue: each delivery's body is an encoded [`SealedAnswer`].
    async fn consume_rescues(&self, prefetch: u16) -> Result<Box<dyn Intake>, QueueError>;

    /// Consumes a provider's work queues, all shards or some, with at most `prefetch` deliveries
    /// unacknowledged, but at least one for each shard.
    async fn consume(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
        prefetch: u16,
    ) -> Result<Box<dyn Intake>, QueueError>;

    /// Looks through a provider's dead letters, oldest first. Looking changes neither the queue
    /// nor its order.
    async fn dead_letters(&self, provider: &ProviderId)
    -> Result<Box<dyn DeadLetters>, QueueError>;

    /// What there is and what is missing, for `evergrant doctor`.
    async fn inspect(&self) -> Result<Vec<Finding>, QueueError>;
}

/// Deliveries of one consumer.
#[async_trait]
pub trait Intake: Send {
    /// The next delivery. None when the consumer has ended: the broker cancelled it or the
    /// connection is lost; what was not acknowledged will be delivered again. Dropping the future
    /// before it ends loses no delivery.
    async fn next(&mut self) -> Option<Delivery>;

    /// The queues that cannot be consumed for now, each with the reason. They are tried again while the
    /// others go on.
    fn missing(&self) -> Vec<(String, QueueError)> {
        Vec::new()
    }

    /// Stops deliveries. Those that were handed out can still be acknowledged; those that were
    /// not go back to the queue.
    async fn stop(&mut self);
}

/// A message and the right to acknowledge it.
pub struct Delivery {
    /// The message's body.
    pub body: Vec<u8>,
    /// It was delivered before, to a consumer that did not acknowledge it.
    pub redelivered: bool,
    /// Acknowledges it. Dropped without that, it is delivered again once the consumer is gone.
    pub acker: Box<dyn Acker>,
}

/// The right to acknowledge one delivery.
#[async_trait]
pub trait Acker: Send + Sync {
    /// Acknowledges it, once. A failure means that it will be delivered again, which is harmless.
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;
}

/// A look through a provider's dead letters. What is not removed is back in its place when this is
/// closed or dropped.
#[async_trait]
pub trait DeadLetters: Send {
    /// How many there were when the look began; it ends there, so that what is sent back and dies
    /// again is not met a second time.
    fn cutoff(&self) -> u64;

    /// Says at the beginning that nothing will be removed, so that a queue which delivers may be read
    /// ahead.
    fn look_only(&mut self) {}

    /// The next dead letter, None at the cut-off.
    async fn next(&mut self) -> Result<Option<DeadLetter>, QueueError>;

    /// Removes the dead letter that [`Self::next`] returned last, for good.
    async fn remove(&mut self) -> Result<(), QueueError>;

    /// Ends the look.
    async fn close(self: Box<Self>) -> Result<(), QueueError>;
}
