//! The worker's view of the queues: deliveries, retries, dead letters and rescued answers.

use std::time::Duration;

use async_trait::async_trait;

use crate::QueueError;
use evergrant_domain::{DeadLetter, Job, ProviderId, SealedAnswer};

/// The queues as workers use them: jobs, retries, dead letters and rescued answers.
#[async_trait]
pub trait WorkQueue: Send + Sync + 'static {
    /// Consumes a provider's work queues, all shards or some, with at most `prefetch`
    /// unacknowledged deliveries, but at least one for each shard.
    async fn consume(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
        prefetch: u16,
    ) -> Result<Box<dyn DeliveryStream>, QueueError>;

    /// Publishes a job that returns to its work queue after `delay`, a rung of the ladder. Returns
    /// when it is confirmed.
    async fn retry(&self, job: &Job, delay: Duration) -> Result<(), QueueError>;

    /// Publishes a dead letter. Returns when it is confirmed.
    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError>;

    /// Puts a provider's sealed answer into the rescue queue, for any worker to commit. Returns
    /// when it is confirmed.
    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError>;

    /// Consumes the rescue queue: each delivery's body is an encoded [`SealedAnswer`].
    async fn consume_rescues(&self, prefetch: u16) -> Result<Box<dyn DeliveryStream>, QueueError>;
}

/// Deliveries of one consumer.
#[async_trait]
pub trait DeliveryStream: Send {
    /// The next delivery. None when the consumer has ended: the broker cancelled it, or the
    /// connection is lost. Unacknowledged messages will be redelivered. Cancel-safe: dropping the
    /// future loses no delivery.
    async fn next(&mut self) -> Option<Delivery>;

    /// The queues that cannot be consumed now, each with the reason. They are retried while the
    /// others continue.
    fn missing(&self) -> Vec<(String, QueueError)> {
        Vec::new()
    }

    /// Stops deliveries. Those that were handed out can still be acknowledged; the others go back
    /// to the queue.
    async fn stop(&mut self);
}

/// A message and the right to acknowledge it.
pub struct Delivery {
    /// The message's body.
    pub body: Vec<u8>,
    /// Whether it was delivered before, to a consumer that did not acknowledge it.
    pub redelivered: bool,
    /// Acknowledges it. If it is dropped instead, the message is redelivered once the consumer is
    /// gone.
    pub acker: Box<dyn DeliveryAcker>,
}

/// The right to acknowledge one delivery.
#[async_trait]
pub trait DeliveryAcker: Send + Sync {
    /// Acknowledges it, once. A failure means that it will be redelivered, which is harmless.
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;
}
