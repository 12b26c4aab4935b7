//! The broker: queues, consumers and retries that wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::message::{Message, MessagePosition, QueueName};
use super::{MemoryClock, MemoryQueueSettings};
use evergrant_domain::shard::shard_of;
use evergrant_domain::{DeadLetter, DeadReason, DocumentId, Job, ProviderId};
use evergrant_ports::{InspectionFinding, QueueError};

/// As for RabbitMQ's work queues: a limit against a message that crashes its consumers.
const DELIVERY_LIMIT: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConsumerId(u64);

/// The state of a broker.
pub(super) struct Broker {
    settings: MemoryQueueSettings,
    clock: MemoryClock,
    queues: BTreeMap<QueueName, Queue>,
    /// Retries that wait: when each returns, and to which queue.
    waiting: BTreeMap<(Instant, MessagePosition), (QueueName, Message)>,
    dead: BTreeMap<ProviderId, BTreeMap<MessagePosition, DeadLetter>>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    /// The last number that was assigned.
    last: u64,
}

#[derive(Default)]
struct Queue {
    ready: BTreeMap<MessagePosition, Message>,
    /// The consumer that got the latest message: they are served in turn.
    served: Option<ConsumerId>,
}

struct Consumer {
    connection: ConnectionId,
    /// Its queues, with its prefetch for each.
    shares: BTreeMap<QueueName, usize>,
    /// Unacknowledged messages, handed out or not.
    held: BTreeMap<MessagePosition, (QueueName, Message)>,
    /// Messages that are not handed out yet.
    unseen: VecDeque<MessagePosition>,
    stopped: bool,
    changed: Arc<Notify>,
}

/// What a consumer gets when it asks.
pub(super) enum NextDelivery {
    /// A message.
    Message(MessagePosition, Message),
    /// Nothing now; ask again when notified, or at this time.
    Wait(Arc<Notify>, Option<Instant>),
    /// The consumer has ended.
    Ended,
}

impl Broker {
    pub(super) fn new(settings: MemoryQueueSettings, clock: MemoryClock) -> Self {
        let shards = settings.shards.max(1);
        let mut queues = BTreeMap::from([(QueueName::Rescue, Queue::default())]);
        for provider in &settings.providers {
            for shard in 0..shards {
                for name in [QueueName::Work, QueueName::Again] {
                    queues.insert(name(provider.clone(), shard), Queue::default());
                }
            }
        }
        let dead = settings.providers.iter().map(|p| (p.clone(), BTreeMap::new())).collect();
        let (waiting, consumers) = (BTreeMap::new(), BTreeMap::new());
        Self { settings, clock, queues, waiting, dead, consumers, last: 0 }
    }

    pub(super) fn new_connection(&mut self) -> ConnectionId {
        ConnectionId(self.number())
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The work queues of a provider, all or some, and the queues of returning jobs.
    pub(super) fn queues_of(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
    ) -> [Vec<QueueName>; 2] {
        let all: Vec<u16> = (0..self.settings.shards.max(1)).collect();
        let shards = shards.unwrap_or(&all);
        let names = |name: fn(ProviderId, u16) -> QueueName| {
            shards.iter().map(|shard| name(provider.clone(), *shard)).collect()
        };
        [names(QueueName::Work), names(QueueName::Again)]
    }

    /// The number of ready jobs.
    pub(super) fn depth(&mut self, provider: &ProviderId) -> Result<u64, QueueError> {
        self.ripen();
        let mut depth = 0;
        for name in self.queues_of(provider, None).concat() {
            let queue = self.queues.get(&name).ok_or_else(|| missing("depth", &name))?;
            depth += queue.ready.len() as u64;
        }
        Ok(depth)
    }

    pub(super) fn has_job_of(&self, id: &DocumentId) -> bool {
        let ready = self.queues.values().flat_map(|queue| queue.ready.values());
        let held = self.consumers.values().flat_map(|consumer| consumer.held.values());
        let waiting = self.waiting.values().chain(held).map(|(_, message)| message);
        let is_of = |message: &Message| Job::decode(&message.body).is_ok_and(|job| job.id == *id);
        ready.chain(waiting).any(is_of)
    }

    pub(super) fn publish(&mut self, job: &Job) -> Result<(), QueueError> {
        let name = QueueName::Work(job.provider.clone(), self.shard_of(job));
        if !self.queues.contains_key(&name) {
            return Err(unroutable("publish", &name));
        }
        self.add(&name, Message::new(job.encode()));
        Ok(())
    }

    /// A job without a queue is detected when its delay is over, and is lost then.
    pub(super) fn retry(&mut self, job: &Job, delay: Duration) {
        let due_at = Instant::now() + self.settings.ladder.at_least(delay);
        let name = QueueName::Again(job.provider.clone(), self.shard_of(job));
        let place = self.number();
        self.waiting.insert((due_at, place), (name, Message::new(job.encode())));
        // A consumer that sleeps until the next retry may have to wake up sooner.
        self.consumers.values().for_each(|consumer| consumer.changed.notify_one());
    }

    pub(super) fn rescue(&mut self, body: Vec<u8>) -> Result<(), QueueError> {
        self.add(&QueueName::Rescue, Message::new(body));
        Ok(())
    }

    pub(super) fn bury(&mut self, letter: DeadLetter) -> Result<(), QueueError> {
        let place = self.number();
        let Some(letters) = self.dead.get_mut(&letter.provider) else {
            let reason = format!("there is no queue dead.{}", letter.provider);
            return Err(QueueError::Unconfirmed { operation: "bury", reason });
        };
        letters.insert(place, letter);
        Ok(())
    }

    pub(super) fn letters(
        &mut self,
        provider: &ProviderId,
    ) -> Option<&mut BTreeMap<MessagePosition, DeadLetter>> {
        self.dead.get_mut(provider)
    }

    fn shard_of(&self, job: &Job) -> u16 {
        shard_of(&job.id, self.settings.shards)
    }

    fn add(&mut self, name: &QueueName, message: Message) {
        let place = self.number();
        if let Some(queue) = self.queues.get_mut(name) {
            queue.ready.insert(place, message);
            self.hand_out(name);
        }
    }

    /// Moves retries whose delay is over to their queues.
    fn ripen(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now
        {
            let (name, message) = entry.remove();
            self.add(&name, message);
        }
    }

    /// Gives ready messages to consumers with room, in turn.
    fn hand_out(&mut self, name: &QueueName) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        while let Some((place, _)) = queue.ready.first_key_value() {
            let place = *place;
            let with_room = || self.consumers.iter().filter(|(_, c)| c.has_room(name));
            let after = with_room().find(|(id, _)| queue.served.is_some_and(|last| **id > last));
            let Some((&id, _)) = after.or_else(|| with_room().next()) else { return };
            queue.served = Some(id);
            if let Some(message) = queue.ready.remove(&place)
                && let Some(consumer) = self.consumers.get_mut(&id)
            {
                consumer.held.insert(place, (name.clone(), message));
                consumer.unseen.push_back(place);
                consumer.changed.notify_one();
            }
        }
    }

    pub(super) fn consume(
        &mut self,
        operation: &'static str,
        connection: ConnectionId,
        queues: Vec<(QueueName, usize)>,
    ) -> Result<ConsumerId, QueueError> {
        let unknown = queues.iter().find(|(name, _)| !self.queues.contains_key(name));
        if let Some((unknown, _)) = unknown {
            return Err(missing(operation, unknown));
        }
        let consumer = Consumer {
            connection,
            shares: queues.iter().cloned().collect(),
            held: BTreeMap::new(),
            unseen: VecDeque::new(),
            stopped: false,
            changed: Arc::default(),
        };
        let id = ConsumerId(self.number());
        self.consumers.insert(id, consumer);
        queues.iter().for_each(|(name, _)| self.hand_out(name));
        Ok(id)
    }

    pub(super) fn next(&mut self, id: ConsumerId) -> NextDelivery {
        self.ripen();
        let wake_at = self.waiting.first_key_value().map(|((due_at, _), _)| *due_at);
        let Some(consumer) = self.consumers.get_mut(&id).filter(|c| !c.stopped) else {
            return NextDelivery::Ended;
        };
        let Some(place) = consumer.unseen.pop_front() else {
            return NextDelivery::Wait(Arc::clone(&consumer.changed), wake_at);
        };
        match consumer.held.get(&place) {
            Some((_, message)) => NextDelivery::Message(place, message.clone()),
            None => NextDelivery::Ended,
        }
    }

    /// False if it cannot be acknowledged any more: it is redelivered.
    pub(super) fn ack(&mut self, id: ConsumerId, place: MessagePosition) -> bool {
        let held = self.consumers.get_mut(&id).and_then(|c| c.held.remove(&place));
        let Some((name, _)) = held else { return false };
        self.hand_out(&name);
        true
    }

    /// Ends deliveries: those not handed out go back, and the rest can be acknowledged.
    pub(super) fn stop(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.stopped = true;
        let unseen: Vec<MessagePosition> = consumer.unseen.drain(..).collect();
        let back = unseen.iter().filter_map(|place| Some((*place, consumer.held.remove(place)?)));
        let back: Vec<_> = back.collect();
        consumer.changed.notify_one();
        self.requeue(back);
    }

    /// Ends a consumer: all that it held goes back.
    pub(super) fn close(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.remove(&id) {
            consumer.changed.notify_one();
            self.requeue(consumer.held.into_iter().collect());
        }
    }

    /// Ends the consumers of connections.
    pub(super) fn cut(&mut self, which: impl Fn(ConnectionId) -> bool) {
        let of_these = self.consumers.iter().filter(|(_, consumer)| which(consumer.connection));
        let ids: Vec<ConsumerId> = of_these.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.close(id));
    }

    fn requeue(&mut self, messages: Vec<(MessagePosition, (QueueName, Message))>) {
        let mut touched = Vec::new();
        for (place, (name, mut message)) in messages {
            message.returns += 1;
            if let QueueName::Work(provider, _) | QueueName::Again(provider, _) = &name
                && message.returns > DELIVERY_LIMIT
            {
                let letter = self.given_up(provider, message.body, &name);
                // A provider with work queues has dead letters.
                let _ = self.bury(letter);
            } else if let Some(queue) = self.queues.get_mut(&name) {
                queue.ready.insert(place, message);
                touched.push(name);
            }
        }
        touched.iter().for_each(|name| self.hand_out(name));
    }

    fn given_up(&self, provider: &ProviderId, body: Vec<u8>, from: &QueueName) -> DeadLetter {
        let (job, now) = (Job::decode(&body).ok(), self.clock.now());
        let words = format!("delivered too often without an acknowledgement, from {from}");
        DeadLetter {
            body,
            provider: provider.clone(),
            id: job.as_ref().map(|job| job.id.clone()),
            reason: DeadReason::DeliveryLimit,
            http_status: None,
            code: None,
            description: Some(words),
            attempts: 0,
            first_failed_at: now,
            last_failed_at: now,
            redrive_count: job.map_or(0, |job| job.redrive_count),
            worker: None,
        }
    }

    pub(super) fn findings(&self) -> Vec<InspectionFinding> {
        let of = |(name, queue): (&QueueName, &Queue)| InspectionFinding {
            what: format!("queue {name}"),
            ok: true,
            detail: format!("{} messages ready, in memory", queue.ready.len()),
        };
        self.queues.iter().map(of).collect()
    }
}

impl Consumer {
    fn has_room(&self, name: &QueueName) -> bool {
        let held = self.held.values().filter(|(from, _)| from == name).count();
        !self.stopped && self.shares.get(name).is_some_and(|share| held < *share)
    }
}

fn missing(operation: &'static str, name: &QueueName) -> QueueError {
    let reason = format!("there is no queue {name}; not prepared yet?");
    QueueError::Unavailable { operation, reason }
}

fn unroutable(operation: &'static str, name: &QueueName) -> QueueError {
    QueueError::Unconfirmed { operation, reason: format!("there is no queue {name}") }
}
