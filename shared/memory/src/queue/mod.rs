//! A job queue in memory.
//!
//! * `broker`: queues, consumers and retries that wait.
//! * `message`: messages and their queues.
//! * `intake`: the consumer's side. `dead_letters`: browsing.
//!
//! As with RabbitMQ, a message is with one consumer at a time, a consumer holds at most its
//! prefetch, and an unacknowledged message returns to its position in the queue.

mod broker;
mod dead_letters;
mod intake;
mod message;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use self::broker::{Broker, ConnectionId};
use self::dead_letters::MemoryDeadLetters;
use self::intake::MemoryIntake;
use self::message::QueueName;
use super::MemoryClock;
use evergrant_domain::ladder::Ladder;
use evergrant_domain::{DeadLetter, DocumentId, Job, ProviderId, SealedAnswer};
use evergrant_ports::{
    DeadLetters, DeliveryStream, InspectionFinding, JobPublisher, JobQueue, QueueError, WorkQueue,
};

/// The settings of the broker.
#[derive(Debug, Clone)]
pub struct MemoryQueueSettings {
    /// The providers, each with work queues and dead letters of its own.
    pub providers: Vec<ProviderId>,
    /// Work queues of each provider.
    pub shards: u16,
    /// The delays of retries.
    pub ladder: Ladder,
}

/// A broker in memory. Clones are the same broker. It ends, with its content, with its last clone
/// and connection.
#[derive(Clone)]
pub struct MemoryBroker(Arc<Mutex<Broker>>);

impl MemoryBroker {
    /// A broker with the queues of `settings`.
    pub fn new(settings: MemoryQueueSettings, clock: MemoryClock) -> Self {
        Self(Arc::new(Mutex::new(Broker::new(settings, clock))))
    }

    /// A new connection.
    pub fn connect(&self) -> MemoryQueue {
        let connection = self.lock().new_connection();
        MemoryQueue { broker: self.clone(), connection }
    }

    /// Closes all connections, like a restart of the broker: see [`MemoryQueue::cut`].
    pub fn cut_all(&self) {
        self.lock().cut(|_| true);
    }

    /// Whether any queue holds a job of a document, for the judge of a simulation.
    pub fn has_job_of(&self, id: &DocumentId) -> bool {
        self.lock().has_job_of(id)
    }

    fn lock(&self) -> MutexGuard<'_, Broker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`JobQueue`] over a [`MemoryBroker`]: one connection to it. Clones are the same connection.
#[derive(Clone)]
pub struct MemoryQueue {
    broker: MemoryBroker,
    connection: ConnectionId,
}

impl MemoryQueue {
    /// Closes this connection. Its consumers end, and their unacknowledged messages go back and
    /// cannot be acknowledged any more. The next operation connects again.
    pub fn cut(&self) {
        self.broker.lock().cut(|connection| connection == self.connection);
    }

    fn open(
        &self,
        operation: &'static str,
        queues: Vec<(QueueName, usize)>,
    ) -> Result<Box<dyn DeliveryStream>, QueueError> {
        let consumer = self.broker.lock().consume(operation, self.connection, queues)?;
        Ok(Box::new(MemoryIntake::new(self.broker.clone(), consumer)))
    }
}

/// The share of a prefetch for returning jobs, as in the RabbitMQ adapter.
const FOR_WHAT_COMES_BACK: u16 = 4;

/// Queues with a consumer's prefetch for each: together the prefetch, but at least one each.
fn shared_out(queues: Vec<QueueName>, prefetch: u16) -> Vec<(QueueName, usize)> {
    let (count, prefetch) = (queues.len().max(1), usize::from(prefetch));
    let (each, left) = (prefetch / count, prefetch % count);
    let share = |index| (each + usize::from(index < left)).max(1);
    queues.into_iter().enumerate().map(|(index, name)| (name, share(index))).collect()
}

#[async_trait]
impl JobPublisher for MemoryQueue {
    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError> {
        self.broker.lock().depth(provider)
    }

    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError> {
        let mut broker = self.broker.lock();
        // As many as have a queue, even if one has none.
        let published = jobs.iter().map(|job| broker.publish(job));
        published.fold(Ok(()), Result::and)
    }
}

#[async_trait]
impl WorkQueue for MemoryQueue {
    async fn consume(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
        prefetch: u16,
    ) -> Result<Box<dyn DeliveryStream>, QueueError> {
        let [work, again] = self.broker.lock().queues_of(provider, shards);
        let for_again = prefetch / FOR_WHAT_COMES_BACK;
        let mut queues = shared_out(work, prefetch - for_again);
        queues.extend(shared_out(again, for_again));
        self.open("consume", queues)
    }

    async fn retry(&self, job: &Job, delay: Duration) -> Result<(), QueueError> {
        self.broker.lock().retry(job, delay);
        Ok(())
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        self.broker.lock().bury(letter.clone())
    }

    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError> {
        self.broker.lock().rescue(answer.encode())
    }

    async fn consume_rescues(&self, prefetch: u16) -> Result<Box<dyn DeliveryStream>, QueueError> {
        self.open("consume rescues", vec![(QueueName::Rescue, usize::from(prefetch).max(1))])
    }
}

#[async_trait]
impl JobQueue for MemoryQueue {
    async fn prepare(&self) -> Result<(), QueueError> {
        Ok(())
    }

    async fn dead_letters(
        &self,
        provider: &ProviderId,
    ) -> Result<Box<dyn DeadLetters>, QueueError> {
        Ok(Box::new(MemoryDeadLetters::open(self.broker.clone(), provider)?))
    }

    async fn inspect(&self) -> Result<Vec<InspectionFinding>, QueueError> {
        Ok(self.broker.lock().findings())
    }
}
